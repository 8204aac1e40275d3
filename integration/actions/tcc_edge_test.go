package actions

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/tcc"
	"github.com/globaltx/globaltx/natsbus"
)

// TestTCCLateTry is rule X7: the transaction is aborted while the Try is under way. What
// commits late is cancelled, what does not is not.
func TestTCCLateTry(t *testing.T) {
	onEachTCC(t, func(t *testing.T, _ server, db *sql.DB, bus *natsbus.Bus) {
		for _, commits := range []bool{true, false} {
			t.Run(fmt.Sprintf("commits %t", commits), func(t *testing.T) {
				h := newHold()
				res := openTCC(t, db, bus, tcc.Config{})
				defer res.Close()
				h.after = func(ctx context.Context, _ tcc.Tx, what string, _ int) error {
					if what != "try" {
						return nil
					}
					c, _ := tcc.FromContext(ctx)
					if st, err := bus.Rollback(ctx, c.XID); err != nil || st != gtx.Aborted {
						return fmt.Errorf("roll back: %s, %w", st, err)
					}
					// The push does the same beside us.
					err := res.Resolve(ctx, gtx.Resolution{XID: c.XID, Status: gtx.Aborted, Branches: []gtx.BranchID{c.Branch}})
					if !errors.Is(err, gtx.ErrConflict) {
						t.Errorf("resolve while the try is open: %v", err)
					}
					if !commits {
						return errNo
					}
					return nil
				}
				err := gtx.Run(t.Context(), func(ctx context.Context) error {
					err := registerHold(t, res, h).Try(ctx, holdArgs{ID: 1, N: 5})
					if commits != (err == nil) {
						t.Errorf("late try: %v", err)
					}
					return nil
				}, within20(bus)...)
				if !errors.Is(err, gtx.ErrAborted) {
					t.Errorf("run: %v", err)
				}
				becomes(t, db, 1, [3]int64{100, 0, 0})
				if got, want := h.called("cancel"), map[bool]int{true: 1}[commits]; got != want || h.called("confirm") != 0 {
					t.Errorf("%d calls of Cancel, want %d", got, want)
				}
			})
		}
	})
}

// TestTCCEmptyCancel has an abort meet branches that have left nothing, or were never there.
func TestTCCEmptyCancel(t *testing.T) {
	onEachTCC(t, func(t *testing.T, _ server, db *sql.DB, bus *natsbus.Bus) {
		h := newHold()
		res := openTCC(t, db, bus, tcc.Config{})
		reserve := registerHold(t, res, h)
		var xid gtx.XID
		timeout := gtx.Run(t.Context(), func(ctx context.Context) error {
			tx, _ := gtx.FromContext(ctx)
			xid = tx.XID()
			h.after = func(ctx context.Context, _ tcc.Tx, what string, _ int) error {
				<-ctx.Done()
				return ctx.Err()
			}
			return reserve.Try(ctx, holdArgs{ID: 1, N: 5})
		}, gtx.WithCoordinator(bus), gtx.WithTimeout(300*time.Millisecond))
		if !errors.Is(timeout, gtx.ErrAborted) {
			t.Errorf("timeout: %v", timeout)
		}
		h.mu.Lock()
		h.after = nil
		h.mu.Unlock()
		for range 3 {
			eventually(t, "the abort finds nothing", func() bool {
				err := res.Resolve(t.Context(), gtx.Resolution{XID: xid, Status: gtx.Aborted, Branches: []gtx.BranchID{1, 77, gtx.NewBranchID()}})
				if err != nil && !errors.Is(err, gtx.ErrConflict) {
					t.Errorf("abort of nothing: %v", err)
				}
				return err == nil
			})
		}
		becomes(t, db, 1, [3]int64{100, 0, 0})
		if h.called("cancel")+h.called("confirm") != 0 {
			t.Error("called for a Try that did not commit")
		}
	})
}

// TestTCCFailedTry goes on without an action whose Try fails, and panics on.
func TestTCCFailedTry(t *testing.T) {
	onEachTCC(t, func(t *testing.T, _ server, db *sql.DB, bus *natsbus.Bus) {
		h := newHold()
		reserve := registerHold(t, openTCC(t, db, bus, tcc.Config{}), h)
		h.after = func(_ context.Context, _ tcc.Tx, what string, call int) error {
			switch {
			case what == "try" && call == 1:
				return errNo
			case what == "try" && call == 3:
				panic("no")
			}
			return nil
		}
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			if err := reserve.Try(ctx, holdArgs{ID: 1, N: 5}); !errors.Is(err, errNo) {
				t.Errorf("first try: %v", err)
			}
			return reserve.Try(ctx, holdArgs{ID: 2, N: 6})
		}, within20(bus)...)
		if err != nil {
			t.Fatal(err)
		}
		becomes(t, db, 1, [3]int64{100, 0, 0})
		becomes(t, db, 2, [3]int64{94, 0, 6})
		func() {
			defer func() {
				if v := recover(); v != "no" {
					t.Errorf("recovered %v", v)
				}
			}()
			_ = gtx.Run(t.Context(), func(ctx context.Context) error { return reserve.Try(ctx, holdArgs{ID: 1, N: 5}) }, within20(bus)...)
		}()
		becomes(t, db, 1, [3]int64{100, 0, 0})
		for _, bad := range []holdArgs{{By: "\xff"}, {By: strings.Repeat("é", tcc.MaxArgs/6)}} {
			err := gtx.Run(t.Context(), func(ctx context.Context) error { return reserve.Try(ctx, bad) }, within20(bus)...)
			if !errors.Is(err, tcc.ErrArgs) {
				t.Errorf("arguments of %d bytes: %v", len(bad.By), err)
			}
		}
		if err := reserve.Try(t.Context(), holdArgs{ID: 1}); !errors.Is(err, tcc.ErrOutside) {
			t.Errorf("outside: %v", err)
		}
		if h.called("cancel") != 0 {
			t.Error("Cancel was called for a Try that failed")
		}
	})
}

// TestTCCExactlyOnce has two processes hear of every decision several times at once.
func TestTCCExactlyOnce(t *testing.T) {
	onEachTCC(t, func(t *testing.T, s server, _ *sql.DB, bus *natsbus.Bus) {
		dsn := s.dsn(t)
		north, south := open(t, s, dsn), open(t, s, dsn)
		holdTable(t, north)
		h := newHold()
		a, b := openTCC(t, north, bus, tcc.Config{}), openTCC(t, south, bus, tcc.Config{})
		reserve := registerHold(t, a, h)
		registerHold(t, b, h)
		const n = 12
		var all sync.WaitGroup
		for i := range n {
			var xid gtx.XID
			status := gtx.Committed
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				tx, _ := gtx.FromContext(ctx)
				xid = tx.XID()
				if err := reserve.Try(ctx, holdArgs{ID: 1, N: 1}); err != nil || i%2 == 0 {
					return err
				}
				status = gtx.Aborted
				return errNo
			}, within20(bus)...)
			if (err == nil) != (status == gtx.Committed) {
				t.Fatalf("%s: %v", status, err)
			}
			for _, res := range []*tcc.Resource{a, b, a, b} {
				all.Go(func() {
					if err := res.Resolve(t.Context(), gtx.Resolution{XID: xid, Status: status}); err != nil && !errors.Is(err, gtx.ErrConflict) {
						t.Errorf("resolve: %v", err)
					}
				})
			}
		}
		all.Wait()
		becomes(t, north, 1, [3]int64{100 - n/2, 0, n / 2})
		eventually(t, "stats", func() bool {
			x, y := a.Stats(), b.Stats()
			return x.Confirmed+y.Confirmed == n/2 && x.Cancelled+y.Cancelled == n/2
		})
	})
}

// TestTCCAtomic kills the connection between the effect of Confirm, or Cancel, and COMMIT.
func TestTCCAtomic(t *testing.T) {
	onEachTCC(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		h := newHold()
		reserve := registerHold(t, openTCC(t, db, bus, tcc.Config{}), h)
		h.after = func(ctx context.Context, tx tcc.Tx, what string, call int) error {
			if what == "try" || call%2 == 0 {
				return nil
			}
			switch s.family() {
			case "gtx-mysql": // the error is not told: COMMIT must fail by itself
				_, _ = tx.ExecContext(ctx, "KILL CONNECTION_ID()")
				return nil
			case "gtx-postgres":
				_, _ = tx.ExecContext(ctx, "SELECT pg_terminate_backend(pg_backend_pid())")
				return nil
			}
			return errNo
		}
		for i := range 2 {
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				if err := reserve.Try(ctx, holdArgs{ID: 1, N: 9}); err != nil || i == 0 {
					return err
				}
				return errNo
			}, within20(bus)...)
			if i == 0 && err != nil {
				t.Fatal(err)
			}
		}
		becomes(t, db, 1, [3]int64{91, 0, 9})
		if h.called("confirm") != 2 || h.called("cancel") != 2 {
			t.Errorf("calls %v", h.calls)
		}
	})
}

// TestTCCServerRollsBack has the server end the local transaction behind an action that does
// not return the error, as MySQL does after a deadlock.
func TestTCCServerRollsBack(t *testing.T) {
	for _, s := range servers() {
		if s.family() != "gtx-mysql" {
			continue // on the others COMMIT fails then
		}
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			db := open(t, s, s.dsn(t))
			holdTable(t, db)
			h := newHold()
			reserve := registerHold(t, openTCC(t, db, bus, tcc.Config{}), h)
			h.after = func(ctx context.Context, tx tcc.Tx, what string, call int) error {
				if call > 1 {
					return nil
				}
				_, err := tx.ExecContext(ctx, "ROLLBACK")
				return err
			}
			for i := range 2 {
				err := gtx.Run(t.Context(), func(ctx context.Context) error {
					if err := reserve.Try(ctx, holdArgs{ID: 1, N: 9}); err != nil || i == 0 {
						return err
					}
					return errNo
				}, within20(bus)...)
				if i == 0 && err != nil {
					t.Fatal(err)
				}
			}
			becomes(t, db, 1, [3]int64{91, 0, 9})
			if h.called("try") != 3 || h.called("confirm") != 2 || h.called("cancel") != 2 {
				t.Errorf("calls %v", h.calls)
			}
		})
	}
}

// TestTCCGuardOn has every statement of the program look for global transactions.
func TestTCCGuardOn(t *testing.T) {
	for _, s := range servers() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			bus := embedded(t)
			dsn := s.dsn(t)
			holdTable(t, open(t, s, dsn))
			sep := "?"
			if strings.Contains(dsn, "?") {
				sep = "&"
			}
			db := open(t, s, dsn+sep+"gtx_guard=on")
			h := newHold()
			reserve := registerHold(t, openTCC(t, db, bus, tcc.Config{}), h)
			for i := range 2 {
				err := gtx.Run(t.Context(), func(ctx context.Context) error {
					if err := reserve.Try(ctx, holdArgs{ID: 1, N: 9}); err != nil || i == 0 {
						return err
					}
					return errNo
				}, within20(bus)...)
				if want := map[int]error{1: errNo}[i]; !errors.Is(err, want) {
					t.Fatal(err)
				}
			}
			becomes(t, db, 1, [3]int64{91, 0, 9})
			h.after = func(_ context.Context, _ tcc.Tx, what string, call int) error {
				return map[bool]error{true: errNo}[what == "try" && call == 3]
			}
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				if err := reserve.Try(ctx, holdArgs{ID: 1, N: 1}); !errors.Is(err, errNo) {
					t.Errorf("failed try: %v", err)
				}
				return mine(ctx, db, reserve, (*sql.Tx).Commit)
			}, within20(bus)...)
			if err != nil {
				t.Fatal(err)
			}
			becomes(t, db, 1, [3]int64{86, 0, 14})
		})
	}
}
