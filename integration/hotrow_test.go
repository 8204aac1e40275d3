package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// counter makes a table of n counters.
func counter(t *testing.T, db *sql.DB, n int) {
	t.Helper()
	mustExec(t, db, "CREATE TABLE counters (id INT PRIMARY KEY, n INT NOT NULL)")
	for i := range n {
		mustExec(t, db, fmt.Sprintf("INSERT INTO counters (id, n) VALUES (%d, 0)", i))
	}
}

func count(ctx context.Context, db *sql.DB, id int) error {
	res, err := db.ExecContext(ctx, fmt.Sprintf("UPDATE counters SET n = n + 1 WHERE id = %d", id))
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("%d rows affected, %w", n, err)
	}
	return nil
}

func counted(t *testing.T, db *sql.DB, id int) (n int) {
	t.Helper()
	if err := db.QueryRow(fmt.Sprintf("SELECT n FROM counters WHERE id = %d", id)).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// together runs work in n goroutines until each has ended well, and gives how
// many tries failed.
func together(t *testing.T, n int, work func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := work(i); err != nil {
				t.Errorf("worker %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// TestHotRow: 32 workers want one row, and everybody gets it: who holds nothing
// waits for whoever holds the row (rule W5).
func TestHotRow(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		t.Parallel()
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		db.SetMaxOpenConns(16)
		counter(t, db, 1)
		const workers, each = 32, 3
		var tries atomic.Int64
		together(t, workers, func(int) error {
			for range each {
				err := bus.Run(t.Context(), func(ctx context.Context) error {
					tries.Add(1)
					return count(ctx, db, 0)
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		if n := counted(t, db, 0); n != workers*each {
			t.Errorf("counted %d, want %d", n, workers*each)
		}
		t.Logf("%d tries for %d transactions", tries.Load(), workers*each)
	})
}

// TestCrossedRows: transactions take two rows of two databases in either order.
// No database sees the circle; the younger gives up at once, runs again with the
// age of its first try, and all finish (rule W5). A circle would last for the patience
// of whoever waits in it.
func TestCrossedRows(t *testing.T) {
	const patience = 5 * time.Minute
	all := servers()
	for i, s := range all {
		other := all[(i+1)%len(all)]
		t.Run(s.name+"+"+other.name, func(t *testing.T) {
			bus := embedded(t)
			var dbs [2]*sql.DB
			for i, s := range []server{s, other} {
				dbs[i] = open(t, s, withParam(s.dsn(t), "gtx_lock_wait="+patience.String()))
			}
			const workers, each = 32, 2
			for _, db := range dbs {
				db.SetMaxOpenConns(workers) // who waits keeps its connection, and a holder must get one
				counter(t, db, 1)
			}
			var tries, circles atomic.Int64
			together(t, workers, func(i int) error {
				for range each {
					err := bus.Run(t.Context(), func(ctx context.Context) error {
						tries.Add(1)
						began := time.Now()
						defer func() {
							if time.Since(began) >= patience {
								circles.Add(1)
							}
						}()
						if err := count(ctx, dbs[i%2], 0); err != nil {
							return err
						}
						return count(ctx, dbs[1-i%2], 0)
					}, gtx.WithTimeout(3*patience))
					if err != nil {
						return err
					}
				}
				return nil
			})
			for i, db := range dbs {
				if n := counted(t, db, 0); n != workers*each {
					t.Errorf("database %d counted %d, want %d", i, n, workers*each)
				}
			}
			if n := circles.Load(); n > 0 {
				t.Errorf("%d tries waited for %s", n, patience)
			}
			t.Logf("%d tries for %d transactions", tries.Load(), workers*each)
		})
	}
}

// TestResultOfSharedConnection: database/sql locks the connection that a result came
// from when the result is asked. Another transaction has it, and waits for the end of
// the one that asks: neither would see the circle.
func TestResultOfSharedConnection(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := open(t, s, withParam(s.dsn(t), "gtx_lock_wait=5m"))
		db.SetMaxOpenConns(1)
		counter(t, db, 1)
		all, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		const text = "UPDATE counters SET n = n + 1 WHERE id = 0"
		second := make(chan error, 1)
		begun := false
		err := bus.Run(all, func(ctx context.Context) error {
			res, err := db.ExecContext(ctx, text)
			if err != nil {
				return err
			}
			if !begun {
				begun = true
				go func() {
					second <- bus.Run(all, func(ctx context.Context) error {
						_, err := db.ExecContext(ctx, text)
						return err
					})
				}()
				for db.Stats().InUse == 0 && ctx.Err() == nil {
					runtime.Gosched()
				}
			}
			_, err = res.RowsAffected()
			return err
		})
		if err != nil {
			t.Errorf("first: %v", err)
		}
		if !begun {
			return
		}
		if err := <-second; err != nil {
			t.Errorf("second: %v", err)
		}
		if n := counted(t, db, 0); n != 2 {
			t.Errorf("counted %d, want 2", n)
		}
	})
}

// TestConflictNamesTheHolder: where something else has happened in the local
// transaction nobody waits, and the error says who holds the row.
func TestConflictNamesTheHolder(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		counter(t, db, 2)
		err := bus.Run(t.Context(), func(ctx context.Context) error {
			if err := count(ctx, db, 0); err != nil {
				return err
			}
			holder, _ := gtx.FromContext(ctx)
			began := time.Now()
			err := bus.Run(gtx.Detach(ctx), func(ctx context.Context) error {
				tx, err := db.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				defer func() { _ = tx.Rollback() }()
				if _, err := tx.ExecContext(ctx, "UPDATE counters SET n = 7 WHERE id = 1"); err != nil {
					return err
				}
				_, err = tx.ExecContext(ctx, "UPDATE counters SET n = 7 WHERE id = 0")
				return err
			}, gtx.WithRetries(0))
			var held *gtx.ConflictError
			if !errors.As(err, &held) || held.Holder != holder.XID() || !errors.Is(err, gtx.ErrConflict) {
				t.Errorf("got %v after %s, want a conflict with %s", err, time.Since(began), holder.XID())
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if n, m := counted(t, db, 0), counted(t, db, 1); n != 1 || m != 0 {
			t.Errorf("counters %d and %d, want 1 and 0", n, m)
		}
	})
}
