package actions

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/tcc"
	"github.com/globaltx/globaltx/natsbus"
)

// mine begins a local transaction outside the global one, tries in it, and writes besides.
func mine(ctx context.Context, db *sql.DB, reserve *tcc.Handle[holdArgs], end func(*sql.Tx) error) error {
	tx, err := db.BeginTx(gtx.Detach(ctx), nil)
	if err != nil {
		return err
	}
	if err := reserve.TryTx(ctx, tx, holdArgs{ID: 1, N: 5}); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if _, err := tx.ExecContext(gtx.Detach(ctx), "UPDATE item SET taken = taken + 1 WHERE id = 2"); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return end(tx)
}

// TestTCCCallersTx is rule X6: the caller owns the local transaction of Try, and what it makes
// of it counts.
func TestTCCCallersTx(t *testing.T) {
	onEachTCC(t, func(t *testing.T, _ server, db *sql.DB, bus *natsbus.Bus) {
		h := newHolder(t, db, bus)
		reserve := h.handle
		run := func(end func(*sql.Tx) error, after error) error {
			return gtx.Run(t.Context(), func(ctx context.Context) error {
				if err := mine(ctx, db, reserve, end); err != nil {
					return err
				}
				return after
			}, within20(bus)...)
		}
		if err := run((*sql.Tx).Commit, nil); err != nil {
			t.Fatal(err)
		}
		becomes(t, db, 1, [3]int64{95, 0, 5})
		becomes(t, db, 2, [3]int64{100, 0, 1})

		if err := run((*sql.Tx).Commit, errNo); !errors.Is(err, errNo) {
			t.Fatal(err)
		}
		becomes(t, db, 1, [3]int64{95, 0, 5})
		becomes(t, db, 2, [3]int64{100, 0, 2}) // his own business

		if err := run((*sql.Tx).Rollback, nil); !errors.Is(err, gtx.ErrNotCommitted) {
			t.Errorf("rolled back: %v", err)
		}
		becomes(t, db, 1, [3]int64{95, 0, 5})

		var forgotten *sql.Tx
		err := run(func(tx *sql.Tx) error { forgotten = tx; return nil }, nil)
		if !errors.Is(err, gtx.ErrNotCommitted) {
			t.Errorf("forgotten: %v", err)
		}
		_ = forgotten.Rollback() // database/sql has done so: its context has ended
		becomes(t, db, 1, [3]int64{95, 0, 5})
		if got := h.action.called("cancel"); got != 1 {
			t.Errorf("%d calls of Cancel, want 1", got)
		}
	})
}

type holder struct {
	action *holdAction
	res    *tcc.Resource
	handle *tcc.Handle[holdArgs]
}

func newHolder(t testing.TB, db *sql.DB, bus *natsbus.Bus) holder {
	t.Helper()
	a := newHold()
	res := openTCC(t, db, bus, tcc.Config{})
	return holder{a, res, registerHold(t, res, a)}
}

// TestTCCCallersTxFails has a caller commit although TryTx has failed: no Cancel follows, and
// the global transaction aborts.
func TestTCCCallersTxFails(t *testing.T) {
	onEachTCC(t, func(t *testing.T, _ server, db *sql.DB, bus *natsbus.Bus) {
		h := newHolder(t, db, bus)
		h.action.after = func(context.Context, tcc.Tx, string, int) error { return errNo }
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			tx, err := db.BeginTx(gtx.Detach(ctx), nil)
			if err != nil {
				return err
			}
			if err := h.handle.TryTx(ctx, tx, holdArgs{ID: 1, N: 5}); !errors.Is(err, errNo) {
				t.Errorf("try: %v", err)
			}
			return tx.Commit()
		}, within20(bus)...)
		if err == nil {
			t.Error("committed")
		}
		noGuards(t, db)
		if got := h.action.called("cancel") + h.action.called("confirm"); got != 0 {
			t.Errorf("%d calls of Confirm and Cancel, want none", got)
		}
	})
}

// TestTCCWrongTx refuses what is not a local transaction outside the global one on the
// database.
func TestTCCWrongTx(t *testing.T) {
	onEachTCC(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		h := newHolder(t, db, bus)
		other := open(t, s, s.dsn(t))
		holdTable(t, other)
		openTCC(t, other, bus, tcc.Config{})
		refused := func(name, want string, try func(ctx context.Context) error) {
			err := gtx.Run(t.Context(), try, within20(bus)...)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want it to say %q", name, err, want)
			}
		}
		refused("begun inside", "gtx.Detach(ctx)", func(ctx context.Context) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			return h.handle.TryTx(ctx, tx, holdArgs{ID: 1, N: 5})
		})
		if s.driver != "gtx-sqlite" {
			refused("begun inside, XA", "gtx.Detach(ctx)", func(ctx context.Context) error {
				tx, err := db.BeginTx(gtx.InMode(ctx, gtx.XA), nil)
				if err != nil {
					return err
				}
				defer tx.Rollback()
				return h.handle.TryTx(ctx, tx, holdArgs{ID: 1, N: 5})
			})
		}
		refused("no transaction", "gtx.Detach(ctx)", func(ctx context.Context) error {
			return h.handle.TryTx(ctx, db, holdArgs{ID: 1, N: 5})
		})
		refused("another database", "not the database", func(ctx context.Context) error {
			tx, err := other.BeginTx(gtx.Detach(ctx), nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			return h.handle.TryTx(ctx, tx, holdArgs{ID: 1, N: 5})
		})
		refused("ended", "already been committed or rolled back", func(ctx context.Context) error {
			tx, err := db.BeginTx(gtx.Detach(ctx), nil)
			if err != nil {
				return err
			}
			if err := tx.Rollback(); err != nil {
				return err
			}
			return h.handle.TryTx(ctx, tx, holdArgs{ID: 1, N: 5})
		})
		refused("three-phase", "no vote", func(ctx context.Context) error {
			tx, _ := gtx.FromContext(ctx)
			xid := tx.XID()
			xid.Seq = xid.Seq/16*16 + 16
			_, _, err := gtx.Join(ctx, bus, xid, func(ctx context.Context) error { return h.handle.Try(ctx, holdArgs{ID: 1, N: 5}) })
			return err
		})
		becomes(t, db, 1, [3]int64{100, 0, 0})
		noGuards(t, other)
	})
}

// TestTCCSmallPool has one connection for everything.
func TestTCCSmallPool(t *testing.T) {
	onEachTCC(t, func(t *testing.T, _ server, db *sql.DB, bus *natsbus.Bus) {
		db.SetMaxOpenConns(1)
		h := newHolder(t, db, bus)
		for i := range 6 {
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				if err := h.handle.Try(ctx, holdArgs{ID: 1, N: 1}); err != nil {
					return err
				}
				if err := mine(ctx, db, h.handle, (*sql.Tx).Commit); err != nil {
					return err
				}
				return map[int]error{1: errNo}[i%2]
			}, within20(bus)...)
			if (err == nil) != (i%2 == 0) {
				t.Fatal(err)
			}
		}
		becomes(t, db, 1, [3]int64{82, 0, 18})
	})
}

// TestTCCJoined tries in another process of the transaction, and reports as gtxhttp does.
func TestTCCJoined(t *testing.T) {
	onEachTCC(t, func(t *testing.T, _ server, db *sql.DB, bus *natsbus.Bus) {
		h := newHolder(t, db, bus)
		for _, reports := range []bool{true, false} {
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				tx, _ := gtx.FromContext(ctx)
				tx.Share()
				confirmed, dead, err := gtx.Join(gtx.Detach(ctx), bus, tx.XID(), func(ctx context.Context) error {
					return errors.Join(h.handle.Try(ctx, holdArgs{ID: 1, N: 2}), mine(ctx, db, h.handle, (*sql.Tx).Commit))
				})
				if len(confirmed) != 2 || len(dead) != 0 || err != nil {
					t.Errorf("joined: %v, %v, %v", confirmed, dead, err)
				}
				if reports {
					tx.Report(confirmed, dead)
				}
				return nil
			}, within20(bus, gtx.WithTimeout(10*time.Second))...)
			if reports != (err == nil) {
				t.Errorf("reports %t: %v", reports, err)
			}
		}
		becomes(t, db, 1, [3]int64{93, 0, 7})
	})
}
