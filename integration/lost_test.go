package integration

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// TestServerRollsBack: MySQL and MariaDB end a local transaction by themselves after
// a deadlock, and as they may be configured after a lock wait. Here it ends behind
// the driver's back. Nothing that comes next may commit by itself, and no COMMIT of
// nothing may count.
func TestServerRollsBack(t *testing.T) {
	for _, s := range servers()[1:3] {
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			db := open(t, s, s.dsn(t))
			mustExec(t, db, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL)")
			mustExec(t, db, "INSERT INTO thing VALUES (1, 1), (2, 1)")
			for name, next := range map[string]func(ctx context.Context, tx *sql.Tx) error{
				"commit": func(_ context.Context, tx *sql.Tx) error { return tx.Commit() },
				"update": func(ctx context.Context, tx *sql.Tx) error {
					_, err := tx.ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 2")
					return errors.Join(err, tx.Commit())
				},
				"savepoint": func(ctx context.Context, tx *sql.Tx) error {
					_, err := tx.ExecContext(ctx, "SAVEPOINT a")
					return errors.Join(err, tx.Commit())
				},
				"read, then update": func(ctx context.Context, tx *sql.Tx) error {
					var n int
					if err := tx.QueryRowContext(ctx, "SELECT n FROM thing WHERE id = 1").Scan(&n); err != nil {
						return err
					}
					_, err := tx.ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 2")
					return errors.Join(err, tx.Commit())
				},
			} {
				for _, wrote := range []bool{true, false} {
					if !wrote && name != "update" {
						continue // nothing has to be kept
					}
					t.Run(name, func(t *testing.T) {
						err := gtx.Run(t.Context(), func(ctx context.Context) error {
							c, err := db.Conn(ctx)
							if err != nil {
								return err
							}
							defer c.Close()
							unseen := behindConn(t, c)
							tx, err := c.BeginTx(ctx, nil)
							if err != nil {
								return err
							}
							text := "SELECT n FROM thing WHERE id = 1"
							if wrote {
								text = "UPDATE thing SET n = n + 1 WHERE id = 1"
							}
							if _, err := tx.ExecContext(ctx, text); err != nil {
								return err
							}
							if err := unseen("ROLLBACK"); err != nil {
								return err
							}
							return next(ctx, tx)
						}, gtx.WithCoordinator(bus), gtx.WithRetries(0))
						if err == nil || name != "commit" && !errors.Is(err, gtx.ErrConflict) {
							t.Errorf("got %v", err)
						}
						clean(t, db)
						var sum int
						if err := db.QueryRowContext(t.Context(), "SELECT SUM(n) FROM thing").Scan(&sum); err != nil || sum != 2 {
							t.Errorf("sum = %d, %v: something was committed", sum, err)
						}
					})
				}
			}
		})
	}
}

// TestDeadlockOfAReader: a plain SELECT that is the victim of a deadlock ends its
// local transaction, and gtx.Run runs the function again.
func TestDeadlockOfAReader(t *testing.T) {
	for _, s := range servers()[1:3] {
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			db := open(t, s, s.dsn(t))
			mustExec(t, db, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL, pad bigint NOT NULL)")
			for id := range 300 {
				mustExec(t, db, "INSERT INTO thing VALUES (?, 0, 0)", id+1)
			}
			tries := 0
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				tries++
				tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
				if err != nil {
					return err
				}
				defer tx.Rollback()
				if _, err := tx.ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 1"); err != nil {
					return err
				}
				var done chan error
				if tries == 1 {
					// The one that has changed more survives.
					plain, err := db.BeginTx(gtx.Detach(ctx), nil)
					if err != nil {
						return err
					}
					if _, err := plain.ExecContext(gtx.Detach(ctx), "UPDATE thing SET pad = 1 WHERE id > 1"); err != nil {
						return err
					}
					done = make(chan error, 1)
					go func() {
						_, err := plain.ExecContext(gtx.Detach(ctx), "UPDATE thing SET pad = 1 WHERE id = 1")
						done <- errors.Join(err, plain.Commit())
					}()
				}
				var n int
				err = tx.QueryRowContext(ctx, "SELECT SUM(n) FROM thing").Scan(&n)
				if done != nil {
					if perr := <-done; perr != nil {
						t.Errorf("the plain transaction: %v", perr)
					}
					if err == nil {
						t.Error("the reader was not the victim")
					}
				}
				// A careless program goes on.
				if _, werr := tx.ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 2"); werr != nil && tries > 1 {
					return werr
				} else if werr == nil && tries == 1 {
					t.Error("the local transaction goes on after the server has ended it")
				}
				if cerr := tx.Commit(); cerr != nil {
					return errors.Join(err, cerr)
				}
				return nil
			}, gtx.WithCoordinator(bus))
			if err != nil || tries != 2 {
				t.Errorf("%d tries, %v", tries, err)
			}
			clean(t, db)
			var sum int
			if err := db.QueryRowContext(t.Context(), "SELECT SUM(n) FROM thing").Scan(&sum); err != nil || sum != 2 {
				t.Errorf("sum = %d, %v, want 2", sum, err)
			}
		})
	}
}
