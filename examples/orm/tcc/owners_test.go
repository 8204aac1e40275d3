// Package tcc_test has mappers own the local transaction of a Try.
package tcc_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"

	_ "github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/tcc"
	"github.com/globaltx/globaltx/natsbus"
)

// owner is a mapper. Its local transactions are begun with the context given.
type owner struct {
	// own runs fn in a local transaction, which ends as fn does. visit writes by the mapper.
	own func(ctx context.Context, fn func(tx tcc.Tx, visit func() error) error) error
	// begin leaves the end to the caller.
	begin func(ctx context.Context) (tx tcc.Tx, rollback func() error, err error)
}

// owners are the mappers of this module that let their local transaction be used.
var owners = map[string]func(db *sql.DB) (owner, error){
	"gorm":           func(db *sql.DB) (owner, error) { return gormOwner(db, &gorm.Config{}) },
	"gorm, prepared": func(db *sql.DB) (owner, error) { return gormOwner(db, &gorm.Config{PrepareStmt: true}) },
	"sqlx":           sqlxOwner,
	"bun":            bunOwner,
}

// Visit is a row of visits, by GORM's rules for names.
type Visit struct{ Name string }

func gormOwner(db *sql.DB, cfg *gorm.Config) (owner, error) {
	g, err := gorm.Open(sqlite.Dialector{Conn: db}, cfg)
	return owner{
		own: func(ctx context.Context, fn func(tcc.Tx, func() error) error) error {
			return g.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
				return fn(tx.Statement.ConnPool.(tcc.Tx), func() error { return tx.Create(&Visit{"gorm"}).Error })
			})
		},
		begin: func(ctx context.Context) (tcc.Tx, func() error, error) {
			tx := g.WithContext(ctx).Begin()
			if tx.Error != nil {
				return nil, nil, tx.Error
			}
			return tx.Statement.ConnPool.(tcc.Tx), func() error { return tx.Rollback().Error }, nil
		},
	}, err
}

func sqlxOwner(db *sql.DB) (owner, error) {
	x := sqlx.NewDb(db, "sqlite3")
	return owner{
		own: func(ctx context.Context, fn func(tcc.Tx, func() error) error) error {
			tx, err := x.BeginTxx(ctx, nil)
			if err != nil {
				return err
			}
			visit := func() error {
				_, err := tx.NamedExecContext(ctx, "INSERT INTO visits (name) VALUES (:name)", Visit{"sqlx"})
				return err
			}
			if err := fn(tx, visit); err != nil {
				return errors.Join(err, tx.Rollback())
			}
			return tx.Commit()
		},
		begin: func(ctx context.Context) (tcc.Tx, func() error, error) {
			tx, err := x.BeginTxx(ctx, nil)
			if err != nil {
				return nil, nil, err
			}
			return tx, tx.Rollback, nil
		},
	}, nil
}

func bunOwner(db *sql.DB) (owner, error) {
	b := bun.NewDB(db, sqlitedialect.New())
	return owner{
		own: func(ctx context.Context, fn func(tcc.Tx, func() error) error) error {
			return b.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
				return fn(tx.Tx, func() error {
					_, err := tx.NewInsert().Model(&Visit{"bun"}).Exec(ctx)
					return err
				})
			})
		},
		begin: func(ctx context.Context) (tcc.Tx, func() error, error) {
			tx, err := b.BeginTx(ctx, nil)
			if err != nil {
				return nil, nil, err
			}
			return tx.Tx, tx.Rollback, nil
		},
	}, nil
}

// reserve holds one of the seats.
type reserve struct {
	mu    sync.Mutex // protects calls
	calls map[string]int
}

func (r *reserve) do(ctx context.Context, tx tcc.Tx, part, query string) error {
	r.mu.Lock()
	r.calls[part]++
	r.mu.Unlock()
	_, err := tx.ExecContext(ctx, query)
	return err
}

func (r *reserve) Try(ctx context.Context, tx tcc.Tx, _ int) error {
	return r.do(ctx, tx, "try", "UPDATE seats SET free = free - 1, held = held + 1")
}

func (r *reserve) Confirm(ctx context.Context, tx tcc.Tx, _ int) error {
	return r.do(ctx, tx, "confirm", "UPDATE seats SET held = held - 1, sold = sold + 1")
}

func (r *reserve) Cancel(ctx context.Context, tx tcc.Tx, _ int) error {
	return r.do(ctx, tx, "cancel", "UPDATE seats SET held = held - 1, free = free + 1")
}

// venue is a database with seats and the action on it.
type venue struct {
	t      *testing.T
	db     *sql.DB
	action *reserve
	handle *tcc.Handle[int]
}

func newVenue(t *testing.T, bus *natsbus.Bus) *venue {
	t.Helper()
	db, err := sql.Open("gtx-sqlite", "file:"+filepath.Join(t.TempDir(), "venue.db")+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	for _, q := range []string{
		"CREATE TABLE seats (id int PRIMARY KEY, free int, held int, sold int)", "INSERT INTO seats VALUES (1, 100, 0, 0)",
		"CREATE TABLE visits (name text)",
	} {
		if _, err := db.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	res, err := tcc.Open(t.Context(), db, tcc.Config{Coordinator: bus, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), ScanInterval: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Close() })
	a := &reserve{calls: map[string]int{}}
	h, err := tcc.Register(res, "reserve", a)
	if err != nil {
		t.Fatal(err)
	}
	return &venue{t, db, a, h}
}

// becomes waits until no guard is left, and compares seats, visits and calls.
func (v *venue) becomes(want string) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for guards := 1; guards > 0; {
		if err := v.db.QueryRowContext(ctx, "SELECT count(*) FROM gtx_tcc").Scan(&guards); err != nil {
			v.t.Fatal(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			v.t.Fatalf("%d guards are left", guards)
		}
	}
	var free, held, sold, visits int
	err := v.db.QueryRowContext(ctx, "SELECT free, held, sold, (SELECT count(*) FROM visits) FROM seats").Scan(&free, &held, &sold, &visits)
	if err != nil {
		v.t.Fatal(err)
	}
	v.action.mu.Lock()
	defer v.action.mu.Unlock()
	c := v.action.calls
	got := fmt.Sprintf("free %d, held %d, sold %d, visits %d: %d tried, %d confirmed, %d cancelled", free, held, sold, visits, c["try"], c["confirm"], c["cancel"])
	if got != want {
		v.t.Errorf("got  %s\nwant %s", got, want)
	}
	clear(c)
}

var errNo = errors.New("no")

// TestTCCOwnedByMappers: the action is what the mapper makes of its local transaction, and
// what the mapper writes in it goes with the local transaction alone.
func TestTCCOwnedByMappers(t *testing.T) {
	bus, err := natsbus.Embedded(t.Context(), t.TempDir(), natsbus.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	for name, open := range owners {
		t.Run(name, func(t *testing.T) {
			v := newVenue(t, bus)
			o, err := open(v.db)
			if err != nil {
				t.Fatal(err)
			}
			run := func(fn func(context.Context) error) error {
				return gtx.Run(t.Context(), fn, gtx.WithCoordinator(bus), gtx.WithRetries(0), gtx.WithTimeout(20*time.Second))
			}
			// work tries and visits in one local transaction, which ends with inner.
			work := func(ctx, local context.Context, inner error) error {
				return o.own(local, func(tx tcc.Tx, visit func() error) error {
					return errors.Join(v.handle.TryTx(ctx, tx, 1), visit(), inner)
				})
			}

			if err := run(func(ctx context.Context) error { return work(ctx, gtx.Detach(ctx), nil) }); err != nil {
				t.Fatal(err)
			}
			v.becomes("free 99, held 0, sold 1, visits 1: 1 tried, 1 confirmed, 0 cancelled")

			err = run(func(ctx context.Context) error { return errors.Join(work(ctx, gtx.Detach(ctx), nil), errNo) })
			if !errors.Is(err, errNo) {
				t.Errorf("aborted behind the local transaction: %v", err)
			}
			v.becomes("free 99, held 0, sold 1, visits 2: 1 tried, 0 confirmed, 1 cancelled")

			if err := run(func(ctx context.Context) error { return work(ctx, gtx.Detach(ctx), errNo) }); !errors.Is(err, errNo) {
				t.Errorf("rolled back: %v", err)
			}
			v.becomes("free 99, held 0, sold 1, visits 2: 1 tried, 0 confirmed, 0 cancelled")

			err = run(func(ctx context.Context) error {
				if err := work(ctx, gtx.Detach(ctx), errNo); !errors.Is(err, errNo) {
					t.Errorf("local transaction: %v", err)
				}
				return nil
			})
			if !errors.Is(err, gtx.ErrNotCommitted) {
				t.Errorf("rolled back, and nobody says so: %v", err)
			}
			v.becomes("free 99, held 0, sold 1, visits 2: 1 tried, 0 confirmed, 0 cancelled")

			end := func() error { return errors.New("nothing was begun") }
			err = run(func(ctx context.Context) error {
				tx, rollback, err := o.begin(gtx.Detach(ctx))
				if err != nil {
					return err
				}
				end = rollback
				return v.handle.TryTx(ctx, tx, 1)
			})
			if !errors.Is(err, gtx.ErrNotCommitted) {
				t.Errorf("forgotten: %v", err)
			}
			if err := end(); err != nil && !errors.Is(err, sql.ErrTxDone) {
				t.Errorf("end of what was forgotten: %v", err)
			}
			v.becomes("free 99, held 0, sold 1, visits 2: 1 tried, 0 confirmed, 0 cancelled")

			err = run(func(ctx context.Context) error { return work(ctx, ctx, nil) })
			if err == nil || !strings.Contains(err.Error(), "gtx.Detach(ctx)") {
				t.Errorf("begun inside the global transaction: %v", err)
			}
			v.becomes("free 99, held 0, sold 1, visits 2: 0 tried, 0 confirmed, 0 cancelled")
		})
	}
}
