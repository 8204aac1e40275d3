package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

// preparing are the servers that have mode XA.
func preparing() (all []server) {
	for _, s := range servers() {
		if s.driver != "gtx-sqlite" {
			all = append(all, s)
		}
	}
	return all
}

// onEachXA runs a test on every server that can prepare, with a table item (id, n) of
// three rows, n = 100, and a coordinator of its own.
func onEachXA(t *testing.T, test func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus)) {
	for _, s := range preparing() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			bus := embedded(t)
			db := open(t, s, s.dsn(t))
			itemTable(t, db)
			test(t, s, db, bus)
		})
	}
}

func itemTable(t testing.TB, db *sql.DB) {
	t.Helper()
	mustExec(t, db, "CREATE TABLE item (id bigint PRIMARY KEY, n bigint NOT NULL)")
	mustExec(t, db, "INSERT INTO item (id, n) VALUES (1, 100), (2, 100), (3, 100)")
}

// value reads one row with a context that carries no transaction.
func value(t testing.TB, db *sql.DB, id int) int {
	t.Helper()
	var out int
	if err := db.QueryRowContext(context.Background(), fmt.Sprintf("SELECT n FROM item WHERE id = %d", id)).Scan(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func update(id, by int) string {
	return fmt.Sprintf("UPDATE item SET n = n + %d WHERE id = %d", by, id)
}

// isolated is what a transaction of mode XA is run with.
func isolated(bus *natsbus.Bus) []gtx.Option {
	return []gtx.Option{gtx.WithCoordinator(bus), gtx.WithMode(gtx.XA), gtx.WithTimeout(20 * time.Second)}
}

var errNo = errors.New("the function says no")

// TestXAEveryWay writes by every way into database/sql, commits and aborts, and looks at
// once: Run returns when the branches of its own process have ended.
func TestXAEveryWay(t *testing.T) {
	ways := map[string]func(ctx context.Context, s server, db *sql.DB) error{
		"exec": func(ctx context.Context, _ server, db *sql.DB) error {
			_, err := db.ExecContext(ctx, update(1, 1))
			return err
		},
		"arguments": func(ctx context.Context, s server, db *sql.DB) error {
			res, err := db.ExecContext(ctx, "UPDATE item SET n = n + 1 WHERE id = "+s.holder(1), 1)
			if err != nil {
				return err
			}
			if rows, err := res.RowsAffected(); err != nil || rows != 1 {
				return fmt.Errorf("affected %d, %w", rows, err)
			}
			return nil
		},
		"tx": func(ctx context.Context, _ server, db *sql.DB) error {
			return locally(ctx, db, func(tx *sql.Tx) error {
				for range 3 {
					if _, err := tx.ExecContext(ctx, update(1, 1)); err != nil {
						return err
					}
				}
				_, err := tx.ExecContext(ctx, update(1, -2))
				return err
			})
		},
		"prepared": func(ctx context.Context, s server, db *sql.DB) error {
			st, err := db.PrepareContext(ctx, "UPDATE item SET n = n + 1 WHERE id = "+s.holder(1))
			if err != nil {
				return err
			}
			defer st.Close()
			_, err = st.ExecContext(ctx, 1)
			return err
		},
		"conn": func(ctx context.Context, _ server, db *sql.DB) error {
			c, err := db.Conn(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			for _, id := range []int{1, 2, 3} {
				if _, err := c.ExecContext(ctx, update(id, 1)); err != nil {
					return err
				}
			}
			return nil
		},
		"several branches": func(ctx context.Context, _ server, db *sql.DB) error {
			for id := 1; id <= 3; id++ {
				if _, err := db.ExecContext(ctx, update(id, 1)); err != nil {
					return err
				}
			}
			return nil
		},
		"locking select": func(ctx context.Context, _ server, db *sql.DB) error {
			return locally(ctx, db, func(tx *sql.Tx) error {
				var was int
				if err := tx.QueryRowContext(ctx, "SELECT n FROM item WHERE id = 1 FOR UPDATE").Scan(&was); err != nil {
					return err
				}
				_, err := tx.ExecContext(ctx, fmt.Sprintf("UPDATE item SET n = %d WHERE id = 1", was+1))
				return err
			})
		},
		"with AT": func(ctx context.Context, _ server, db *sql.DB) error {
			if _, err := db.ExecContext(gtx.InMode(ctx, gtx.AT), update(2, 1)); err != nil {
				return err
			}
			_, err := db.ExecContext(ctx, update(1, 1))
			return err
		},
		"not captured by AT": func(ctx context.Context, s server, db *sql.DB) error {
			_, err := db.ExecContext(ctx, "DELETE FROM item WHERE id IN (2, 3)")
			if err != nil {
				return err
			}
			return locally(ctx, db, func(tx *sql.Tx) error {
				text := "UPDATE IGNORE item SET n = n + 1 WHERE id = 1"
				if s.family() == "gtx-postgres" {
					text = "DO $$ BEGIN UPDATE item SET n = n + 1 WHERE id = 1; END $$"
				}
				_, err := tx.ExecContext(ctx, text)
				return err
			})
		},
	}
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		for name, way := range ways {
			t.Run(name, func(t *testing.T) {
				before := value(t, db, 1)
				err := gtx.Run(t.Context(), func(ctx context.Context) error {
					if err := way(ctx, s, db); err != nil {
						return err
					}
					if got := value(t, db, 1); got != before {
						t.Errorf("others see %d before the decision, want %d", got, before)
					}
					return errNo
				}, isolated(bus)...)
				if !errors.Is(err, errNo) {
					t.Fatalf("abort: %v", err)
				}
				if got := value(t, db, 1); got != before {
					t.Errorf("after abort: %d, want %d", got, before)
				}
				err = gtx.Run(t.Context(), func(ctx context.Context) error { return way(ctx, s, db) }, isolated(bus)...)
				if err != nil {
					t.Fatalf("commit: %v", err)
				}
				if got := value(t, db, 1); got != before+1 {
					t.Errorf("after commit: %d, want %d", got, before+1)
				}
			})
		}
	})
}

// locally runs fn in a local transaction.
func locally(ctx context.Context, db *sql.DB, fn func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// TestXAReturning reads rows of a statement that is a branch of its own.
func TestXAReturning(t *testing.T) {
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		if s.name == "mysql" {
			t.Log("MySQL has no RETURNING: what is read is the locked row")
		}
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			text := "INSERT INTO item (id, n) VALUES (7, 8) RETURNING n"
			if s.name == "mysql" {
				text = "SELECT n FROM item WHERE id = 1 FOR UPDATE"
			}
			var got int
			if err := db.QueryRowContext(ctx, text).Scan(&got); err != nil {
				return err
			}
			if want := map[bool]int{true: 100, false: 8}[s.name == "mysql"]; got != want {
				t.Errorf("got %d, want %d", got, want)
			}
			return nil
		}, isolated(bus)...)
		if err != nil {
			t.Fatal(err)
		}
	})
}

// TestXAKeepsItsLocks holds that a prepared row stands still for plain writers until the
// decision, and for those of mode AT.
func TestXAKeepsItsLocks(t *testing.T) {
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		wrote := make(chan error, 2)
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			if _, err := db.ExecContext(ctx, update(1, 1)); err != nil {
				return err
			}
			go func() {
				_, err := db.ExecContext(context.Background(), update(1, 10))
				wrote <- err
			}()
			go func() {
				wrote <- gtx.Run(context.Background(), func(ctx context.Context) error {
					_, err := db.ExecContext(ctx, update(1, 100))
					return err
				}, gtx.WithCoordinator(bus))
			}()
			waitingFor(t, s, db, 2)
			select {
			case err := <-wrote:
				t.Errorf("a writer passed a prepared row: %v", err)
			default:
			}
			return nil
		}, isolated(bus)...)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-wrote; err != nil {
				t.Error(err)
			}
		}
		if got := value(t, db, 1); got != 211 {
			t.Errorf("got %d, want 211", got)
		}
	})
}

// waitingFor returns when so many sessions of the test's database wait for a row lock.
func waitingFor(t testing.TB, s server, db *sql.DB, want int) {
	t.Helper()
	text := "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() AND info LIKE '%item%' AND id <> CONNECTION_ID() AND command <> 'Sleep'"
	if s.family() == "gtx-postgres" {
		text = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		var got int
		if err := db.QueryRowContext(context.Background(), text).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got >= want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d sessions wait, want %d", got, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestXARespectsUndoRows is rule W6: a row that a global transaction of mode AT has
// changed and may bring back is not written by one of mode XA.
func TestXARespectsUndoRows(t *testing.T) {
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		held, release := make(chan struct{}), make(chan struct{})
		var ended error
		var all sync.WaitGroup
		all.Go(func() {
			ended = gtx.Run(context.Background(), func(ctx context.Context) error {
				if _, err := db.ExecContext(ctx, update(1, 1000)); err != nil {
					return err
				}
				close(held)
				<-release
				return errNo
			}, gtx.WithCoordinator(bus))
		})
		<-held
		tries := 0
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, update(1, 1))
			if tries++; tries == 1 {
				var held *gtx.ConflictError
				if !errors.As(err, &held) || held.Holder.IsZero() {
					t.Errorf("a row that is held: %v", err)
				}
				close(release)
			}
			return err
		}, isolated(bus)...)
		all.Wait()
		if err != nil || !errors.Is(ended, errNo) {
			t.Fatalf("XA: %v, AT: %v", err, ended)
		}
		if got := value(t, db, 1); got != 101 || tries < 2 {
			t.Errorf("got %d after %d tries, want 101 after 2 or more", got, tries)
		}
	})
}

// TestXAReads holds that a local transaction that only reads is no branch.
func TestXAReads(t *testing.T) {
	onEachXA(t, func(t *testing.T, _ server, db *sql.DB, bus *natsbus.Bus) {
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			var got int
			if err := db.QueryRowContext(ctx, "SELECT n FROM item WHERE id = 1").Scan(&got); err != nil {
				return err
			}
			return locally(ctx, db, func(tx *sql.Tx) error { return tx.QueryRowContext(ctx, "SELECT n FROM item WHERE id = 2").Scan(&got) })
		}, isolated(bus)...)
		if err != nil {
			t.Fatal(err)
		}
		if st, ok := driver.Prepared(db); !ok || st.Committed != 0 {
			t.Errorf("prepared branches: %+v, %v", st, ok)
		}
	})
}

// TestXAFailedStatement commits a local transaction in which a statement has failed. What
// PostgreSQL makes of that must not pass for a vote.
func TestXAFailedStatement(t *testing.T) {
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		var commitErr error
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, update(1, 1)); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO item (id, n) VALUES (2, 2)"); err == nil {
				return errors.New("a duplicate key went in")
			}
			commitErr = tx.Commit()
			return nil
		}, isolated(bus)...)
		if s.family() == "gtx-postgres" {
			if commitErr == nil || err != nil {
				t.Errorf("commit of a failed local transaction: %v; Run: %v", commitErr, err)
			}
			if got := value(t, db, 1); got != 100 {
				t.Errorf("got %d, want 100", got)
			}
			return
		}
		// On the MySQL family the statement alone has failed.
		if commitErr != nil || err != nil {
			t.Errorf("commit: %v; Run: %v", commitErr, err)
		}
		if got := value(t, db, 1); got != 101 {
			t.Errorf("got %d, want 101", got)
		}
	})
}

// TestXATextControl holds that no text ends the local transaction behind our back.
func TestXATextControl(t *testing.T) {
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		for _, text := range []string{"COMMIT", "ROLLBACK", "BEGIN", update(1, 1) + "; COMMIT", "XA END 'a'", "PREPARE TRANSACTION 'x'"} {
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				return locally(ctx, db, func(tx *sql.Tx) error {
					if _, err := tx.ExecContext(ctx, update(2, 1)); err != nil {
						return err
					}
					_, err := tx.ExecContext(ctx, text)
					return err
				})
			}, isolated(bus)...)
			if err == nil {
				t.Errorf("%s: committed", text)
			}
			if got := value(t, db, 2); got != 100 {
				t.Errorf("%s: got %d, want 100", text, got)
			}
		}
	})
}

// TestXASmallPool has one connection for everything.
func TestXASmallPool(t *testing.T) {
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		db.SetMaxOpenConns(1)
		for i := range 20 {
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				for id := 1; id <= 3; id++ {
					if _, err := db.ExecContext(ctx, update(id, 1)); err != nil {
						return err
					}
				}
				if i%2 == 1 {
					return errNo
				}
				return nil
			}, isolated(bus)...)
			if i%2 == 0 && err != nil || i%2 == 1 && !errors.Is(err, errNo) {
				t.Fatal(err)
			}
		}
		if got := value(t, db, 1); got != 110 {
			t.Errorf("got %d, want 110", got)
		}
		if st, _ := driver.Prepared(db); st.Kept != 0 || st.Again > 3 {
			t.Errorf("stats %+v", st)
		}
	})
}

// TestXAForeignBranches leaves prepared branches of other programs alone.
func TestXAForeignBranches(t *testing.T) {
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		name := "foreign-" + strings.ReplaceAll(t.Name(), "/", "-")
		begin, prepare, list, end := []string{"XA START '" + name + "'"}, []string{"XA END '" + name + "'", "XA PREPARE '" + name + "'"}, "XA RECOVER", "XA ROLLBACK '"+name+"'"
		if s.family() == "gtx-postgres" {
			begin, prepare = []string{"BEGIN"}, []string{"PREPARE TRANSACTION '" + name + "'"}
			list, end = "SELECT gid FROM pg_prepared_xacts", "ROLLBACK PREPARED '"+name+"'"
		}
		c, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range append(append(begin, update(3, 1)), prepare...) {
			if _, err := c.ExecContext(t.Context(), text); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
		}
		for range 3 {
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, update(1, 1))
				return err
			}, isolated(bus)...)
			if err != nil {
				t.Fatal(err)
			}
		}
		if !listed(t, db, list, name) {
			t.Error("the foreign branch is gone")
		}
		if _, err := c.ExecContext(t.Context(), end); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// listed looks for name in any column of a query's rows.
func listed(t testing.TB, db *sql.DB, query, name string) bool {
	t.Helper()
	rows, err := db.QueryContext(context.Background(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for rows.Next() {
		line, dest := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range line {
			dest[i] = &line[i]
		}
		if err := rows.Scan(dest...); err != nil {
			t.Fatal(err)
		}
		for _, v := range line {
			found = found || strings.Contains(v.String, name)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// TestXARefusedOnSQLite names the reason and the way out.
func TestXARefusedOnSQLite(t *testing.T) {
	bus := embedded(t)
	s := servers()[0]
	db := open(t, s, s.dsn(t))
	itemTable(t, db)
	for _, opts := range [][]gtx.Option{
		isolated(bus),
		{gtx.WithCoordinator(bus), gtx.WithMode(gtx.ThreePhase), gtx.WithResources(driver.Participant(db))},
	} {
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, update(1, 1))
			return err
		}, opts...)
		var no *gtx.UnsupportedError
		if !errors.As(err, &no) || no.Code != "prepare" || !strings.Contains(no.Hint, "AT") {
			t.Errorf("got %v", err)
		}
	}
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		_, err := db.ExecContext(gtx.InMode(ctx, gtx.AT), update(1, 1))
		return err
	}, isolated(bus)...)
	if err != nil {
		t.Fatal(err)
	}
	if got := value(t, db, 1); got != 101 {
		t.Errorf("got %d, want 101", got)
	}
}

// TestXADeadlock has transactions cross in one database until all have committed.
func TestXADeadlock(t *testing.T) {
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		const workers, each = 4, 3
		var all sync.WaitGroup
		errs := make(chan error, workers*each)
		for w := range workers {
			all.Go(func() {
				for range each {
					first, second := 1, 2
					if w%2 == 1 {
						first, second = 2, 1
					}
					errs <- gtx.Run(t.Context(), func(ctx context.Context) error {
						return locally(ctx, db, func(tx *sql.Tx) error {
							if _, err := tx.ExecContext(ctx, update(first, 1)); err != nil {
								return err
							}
							_, err := tx.ExecContext(ctx, update(second, 1))
							return err
						})
					}, isolated(bus)...)
				}
			})
		}
		all.Wait()
		close(errs)
		for err := range errs {
			if err != nil {
				t.Error(err)
			}
		}
		if got := value(t, db, 1) + value(t, db, 2); got != 200+2*workers*each {
			t.Errorf("got %d, want %d", got, 200+2*workers*each)
		}
	})
}
