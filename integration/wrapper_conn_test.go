package integration

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"testing"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/gtx"
)

// TestConnHeldOverTransactions: one sql.Conn serves global transactions, plain
// statements, plain local transactions and Raw, in any order, and forgets nothing of
// the one in the next.
func TestConnHeldOverTransactions(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		dsn := s.dsn(t)
		if s.name == "sqlite" {
			dsn += "&_pragma=synchronous(off)" // a hundred steps, none of them a crash
		}
		db, other := open(t, s, dsn), open(t, s, dsn)
		db.SetMaxOpenConns(1)
		mustExec(t, db, "CREATE TABLE account (id bigint PRIMARY KEY, n bigint NOT NULL)")
		mustExec(t, db, "INSERT INTO account VALUES (1, 0), (2, 0)")
		c, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		add := "UPDATE account SET n = n + " + s.holder(1) + " WHERE id = " + s.holder(2)
		want := map[int]int{}
		check := func(after string) {
			t.Helper()
			for id := range 2 {
				var n int
				if err := c.QueryRowContext(t.Context(), "SELECT n FROM account WHERE id = "+s.holder(1), id+1).Scan(&n); err != nil || n != want[id+1] {
					t.Fatalf("after %s: account %d holds %d, %v, want %d", after, id+1, n, err, want[id+1])
				}
			}
		}
		raw := func() error {
			return c.Raw(func(dc any) error {
				base, err := driver.Unwrap(dc)
				if err != nil {
					return err
				}
				_, err = base.(sqldriver.ExecerContext).ExecContext(t.Context(), "UPDATE account SET n = n + 1000 WHERE id = 2", nil)
				return err
			})
		}
		local := func(ctx context.Context, by int, end error) error {
			tx, err := c.BeginTx(ctx, nil)
			if err != nil {
				return fmt.Errorf("begin: %w", err)
			}
			defer tx.Rollback()
			for id := range 2 {
				if _, err := tx.ExecContext(ctx, add, by, id+1); err != nil {
					return err
				}
			}
			if _, global := gtx.FromContext(ctx); global {
				if err := raw(); !refusedAs(err, "raw") {
					t.Errorf("Raw inside a branch: %v, want code raw", err)
				}
			}
			if end != nil {
				return end
			}
			return tx.Commit()
		}
		run := func(fn func(ctx context.Context) error) error {
			return gtx.Run(t.Context(), fn, gtx.WithCoordinator(bus), gtx.WithRetries(0))
		}
		// Each adds what it says to both accounts where it gives no error, but raw to the
		// second only.
		steps := []struct {
			name string
			do   func(by int) error
			fate error
		}{
			{"global transaction", func(by int) error {
				return run(func(ctx context.Context) error { return local(ctx, by, nil) })
			}, nil},
			{"plain statements", func(by int) error {
				for id := range 2 {
					if _, err := c.ExecContext(t.Context(), add, by, id+1); err != nil {
						return err
					}
				}
				return nil
			}, nil},
			{"global transaction that aborts", func(by int) error {
				return run(func(ctx context.Context) error { return errors.Join(local(ctx, by, nil), errUndo) })
			}, errUndo},
			{"plain local transaction", func(by int) error { return local(t.Context(), by, nil) }, nil},
			{"local transaction rolled back in a global one", func(by int) error {
				return run(func(ctx context.Context) error { return local(ctx, by, errUndo) })
			}, errUndo},
			{"plain local transaction rolled back", func(by int) error { return local(t.Context(), by, errUndo) }, errUndo},
			{"global statements of their own", func(by int) error {
				return run(func(ctx context.Context) error {
					for id := range 2 {
						if _, err := c.ExecContext(ctx, add, by, id+1); err != nil {
							return err
						}
					}
					return nil
				})
			}, nil},
			{"two local transactions in a global one", func(by int) error {
				return run(func(ctx context.Context) error {
					return errors.Join(local(ctx, by-1, nil), local(ctx, 1, nil))
				})
			}, nil},
			{"a refused statement", func(by int) error {
				return run(func(ctx context.Context) error {
					_, err := c.ExecContext(ctx, "DROP TABLE account")
					if !errors.Is(err, gtx.ErrUnsupported) {
						t.Errorf("DROP TABLE inside: %v, want a refusal", err)
					}
					return errUndo
				})
			}, errUndo},
			{"raw", func(int) error {
				if err := raw(); err != nil {
					return err
				}
				want[2] += 1000
				return errUndo
			}, errUndo},
		}
		// Each step comes once directly behind each other one, and behind itself.
		var order []int
		for i := range steps {
			order = append(order, i)
			for j := i + 1; j < len(steps); j++ {
				order = append(order, i, j)
			}
		}
		for at, i := range order {
			k := steps[i]
			by := at + 2
			if err := k.do(by); !errors.Is(err, k.fate) {
				t.Fatalf("%s: %v", k.name, err)
			} else if err == nil {
				want[1] += by
				want[2] += by
			}
			if k.fate != nil { // an abort arrives behind Run
				clean(t, other)
			}
			check(k.name)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}
