package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// TestPeers10OrderIsNotTheClocks: elsewhere the branches of one transaction that
// changed one row are undone in the order of time stamps, which stand still or
// step back. Here a row has one undo row with its first image, and the order of
// rows that take each other's unique values is found by trying. The headers' times
// are falsified before the abort.
func TestPeers10OrderIsNotTheClocks(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		for _, clock := range []string{"0", "9000000000000000 - created", "1"} {
			t.Run("created = "+clock, func(t *testing.T) {
				bus := embedded(t)
				dsn := s.dsn(t)
				db, outside := open(t, s, dsn), outsider(t, s, dsn)
				mustExec(t, db, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL, s varchar(100) UNIQUE)")
				mustExec(t, db, "INSERT INTO thing VALUES (1, 10, 'a'), (2, 20, 'b'), (3, 30, 'c')")
				before := table(t, db)
				aborted(t, bus, func(ctx context.Context) error {
					if err := execs(db, // each is a branch
						"UPDATE thing SET n = 11 WHERE id = 1",
						"UPDATE thing SET n = 12, s = 'free' WHERE id = 1",
						"UPDATE thing SET s = 'a' WHERE id = 2", // takes what 1 had
						"DELETE FROM thing WHERE id = 3",
						"INSERT INTO thing VALUES (3, 33, 'b')", // takes what 2 had
						"UPDATE thing SET n = 34 WHERE id = 3",
						"INSERT INTO thing VALUES (4, 40, 'c')", // takes what 3 had
						"DELETE FROM thing WHERE id = 4",
						"INSERT INTO thing VALUES (4, 41, 'c')",
						"UPDATE thing SET n = 13 WHERE id = 1",
					)(ctx); err != nil {
						return err
					}
					mustExec(t, outside, "UPDATE gtx_branch SET created = "+clock)
					return nil
				})
				clean(t, db)
				wantTable(t, db, before)
			})
		}
	})
}

// deciding lets a test act at the moment of the decision.
type deciding struct {
	gtx.Coordinator
	before func()
}

func (c *deciding) Commit(ctx context.Context, xid gtx.XID, confirmed, dead []gtx.BranchRef) (gtx.Status, error) {
	c.before()
	return c.Coordinator.Commit(ctx, xid, confirmed, dead)
}

// TestPeers11TheXIDIsNotLost: elsewhere statements of a second try, of a goroutine
// or after a cancelled context run outside the transaction, and a Commit whose
// context is cancelled or whose time is over returns nil although nothing was
// sent. Here they belong to it or fail, and nil means committed.
func TestPeers11TheXIDIsNotLost(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		before := things(t, db)
		after := []string{`1 11 "one" true`, `2 20 "" false`, `3 30 "" true`}
		update := execs(db, "UPDATE thing SET n = n + 1 WHERE id = 1")
		undone := func(t *testing.T, err error) {
			t.Helper()
			if err == nil || errors.Is(err, gtx.ErrUnknown) {
				t.Errorf("got %v, want an abort", err)
			}
			clean(t, db)
			wantTable(t, db, before)
		}

		t.Run("second try", func(t *testing.T) {
			var seen []gtx.XID
			err := bus.Run(t.Context(), func(ctx context.Context) error {
				tx, _ := gtx.FromContext(ctx)
				seen = append(seen, tx.XID())
				if err := update(ctx); err != nil {
					return err
				}
				if len(seen) == 1 {
					return fmt.Errorf("again, please: %w", gtx.ErrConflict)
				}
				return errUndo
			})
			if !errors.Is(err, errUndo) || len(seen) != 2 || seen[0] == seen[1] {
				t.Errorf("%v, XIDs %v", err, seen)
			}
			undone(t, err)
		})
		t.Run("goroutine", func(t *testing.T) {
			done := make(chan error)
			undone(t, bus.Run(t.Context(), func(ctx context.Context) error {
				go func() { done <- update(ctx) }()
				return errors.Join(<-done, errUndo)
			}))
		})
		t.Run("goroutine that stays", func(t *testing.T) {
			var kept context.Context
			undone(t, bus.Run(t.Context(), func(ctx context.Context) error {
				kept = context.WithoutCancel(ctx)
				return errUndo
			}))
			if err := update(kept); !errors.Is(err, gtx.ErrEnded) {
				t.Errorf("a statement after the end: %v", err)
			}
			if _, err := db.BeginTx(kept, nil); !errors.Is(err, gtx.ErrEnded) {
				t.Errorf("a local transaction after the end: %v", err)
			}
			wantTable(t, db, before)
		})
		t.Run("local transaction that stays open", func(t *testing.T) {
			var tx *sql.Tx
			err := bus.Run(t.Context(), func(ctx context.Context) (err error) {
				if tx, err = db.BeginTx(context.WithoutCancel(ctx), nil); err != nil {
					return err
				}
				_, err = tx.ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 1")
				return err
			})
			if cerr := tx.Commit(); cerr == nil {
				t.Error("a local transaction committed after the end")
			}
			undone(t, err)
		})
		t.Run("cancelled before the local commit", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			undone(t, bus.Run(ctx, func(ctx context.Context) error {
				tx, err := db.BeginTx(context.WithoutCancel(ctx), nil)
				if err != nil {
					return err
				}
				defer func() { _ = tx.Rollback() }()
				if _, err := tx.ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 1"); err != nil {
					return err
				}
				cancel()
				return tx.Commit()
			}))
		})
		t.Run("cancelled after the local commit", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			undone(t, bus.Run(ctx, func(ctx context.Context) error {
				err := update(ctx)
				cancel()
				return err
			}))
		})
		t.Run("out of time", func(t *testing.T) {
			err := bus.Run(t.Context(), func(ctx context.Context) error {
				err := update(ctx)
				<-ctx.Done()
				return err
			}, gtx.WithTimeout(300*time.Millisecond))
			if !errors.Is(err, gtx.ErrAborted) {
				t.Errorf("got %v, want ErrAborted", err)
			}
			undone(t, err)
		})
		t.Run("out of time at the decision", func(t *testing.T) {
			var xid gtx.XID
			late := &deciding{bus, func() {
				eventually(t, "the deadline's abort", func() bool {
					st, err := bus.Outcome(t.Context(), xid)
					return err == nil && st == gtx.Aborted
				})
			}}
			undone(t, gtx.Run(t.Context(), func(ctx context.Context) error {
				tx, _ := gtx.FromContext(ctx)
				xid = tx.XID()
				return update(ctx)
			}, gtx.WithCoordinator(late), gtx.WithTimeout(300*time.Millisecond)))
		})
		t.Run("cancelled at the decision", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			if err := gtx.Run(ctx, update, gtx.WithCoordinator(&deciding{bus, cancel})); err != nil {
				t.Errorf("got %v: the decision was asked for, and it is commit", err)
			}
			clean(t, db)
			wantTable(t, db, after)
		})
	})
}

// TestPeers12DirtyRowIsToldOnce: elsewhere a row that somebody else has changed is
// retried for ever in silence, its locks stay, and a column that the server sets
// by itself makes rows look changed. Here the transaction is stuck: told once, with
// its XID and no value, listed, the foreign write untouched, and ended by an
// operator.
func TestPeers12DirtyRowIsToldOnce(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		for _, action := range []undo.Action{undo.ForceBefore, undo.KeepCurrent} {
			t.Run(string(action), func(t *testing.T) {
				log := logged(t)
				bus := embedded(t)
				dsn := s.dsn(t)
				var phase2 hook
				db, outside := openHooked(t, s, quickly(dsn), &hook{}, &phase2), outsider(t, s, dsn)
				before := things(t, db)
				xid := aborted(t, bus, func(ctx context.Context) error {
					if err := execs(db, "UPDATE thing SET n = 11 WHERE id = 1", "UPDATE thing SET n = 21 WHERE id = 2")(ctx); err != nil {
						return err
					}
					mustExec(t, outside, "UPDATE thing SET n = 987654 WHERE id = 1")
					return nil
				})
				eventually(t, "a line in the log", func() bool { return len(log.with(xid.String(), "stuck")) > 0 })
				var scans atomic.Int64
				phase2.Set(func(text string) error {
					if strings.Contains(text, "UNION SELECT xid FROM") {
						scans.Add(1)
					}
					return nil
				}, nil)
				eventually(t, "ten more scans", func() bool { return scans.Load() > 10 })
				if lines := log.with(xid.String(), "stuck"); len(lines) != 1 || strings.Contains(lines[0], "987654") {
					t.Errorf("told %d times: %q", len(lines), lines)
				}
				if lines := log.with(xid.String()); len(lines) > 2 { // and once that the push was in vain
					t.Errorf("%d lines about it: %q", len(lines), lines)
				}
				wantTable(t, db, []string{`1 987654 "one" true`, `2 21 "" false`, `3 30 "" true`})
				wantHeld(t, bus, xid, db, "UPDATE thing SET n = 0 WHERE id = 2")
				committed(t, bus, execs(db, "UPDATE thing SET n = n WHERE id = 3"))

				operator := newOperator(t, s, dsn, bus)
				stuck, err := operator.Stuck(t.Context())
				if err != nil || len(stuck) != 1 || stuck[0].XID != xid || !strings.Contains(stuck[0].Table, "thing") {
					t.Errorf("listed %+v (%v)", stuck, err)
				}
				if _, err := operator.Operate(t.Context(), undo.Operation{XID: xid, Action: action, Who: "tester", Reason: "seen"}); err != nil {
					t.Fatal(err)
				}
				clean(t, db)
				want := before
				if action == undo.KeepCurrent {
					want = append([]string{`1 987654 "one" true`}, before[1:]...)
				}
				wantTable(t, db, want)
			})
		}
	})
}

// TestPeers12TheServersOwnColumnIsNotDirty: ON UPDATE CURRENT_TIMESTAMP.
func TestPeers12TheServersOwnColumnIsNotDirty(t *testing.T) {
	for _, s := range servers() {
		if s.driver != "gtx-mysql" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			db := open(t, s, s.dsn(t))
			mustExec(t, db, "CREATE TABLE stamped (id int PRIMARY KEY, n int NOT NULL, at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6), dt DATETIME NULL ON UPDATE CURRENT_TIMESTAMP)")
			mustExec(t, db, "INSERT INTO stamped (id, n, at) VALUES (1, 1, '2020-01-01 00:00:00'), (2, 2, '2020-01-01 00:00:00')")
			before := whole(t, db, "stamped")
			aborted(t, bus, execs(db, "UPDATE stamped SET n = n + 1", "UPDATE stamped SET n = n + 1 WHERE id = 2", "DELETE FROM stamped WHERE id = 1"))
			clean(t, db)
			if diff := cmp.Diff(before, whole(t, db, "stamped")); diff != "" {
				t.Errorf("after the abort (-before +after):\n%s", diff)
			}
		})
	}
}

// waiting counts the sessions that wait for a lock in the database.
var waiting = map[string]string{
	"mysql":      "SELECT count(*) FROM performance_schema.data_locks WHERE lock_status = 'WAITING' AND object_schema = DATABASE()",
	"mariadb":    "SELECT count(*) FROM information_schema.innodb_lock_waits AS w JOIN information_schema.innodb_locks AS l ON l.lock_id = w.requested_lock_id WHERE l.lock_table LIKE CONCAT('%', DATABASE(), '%')",
	"postgres15": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
	"postgres18": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
}

// TestPeers13TheImageIsTheRowThatWasChanged: elsewhere the before image is read
// without a lock, and under READ COMMITTED the row that the statement then changes
// is another one: the undo takes a foreign write with it. Here the image is taken
// under the lock. TestRaces has the statistics; this is the smallest case, a writer
// that holds the row while the statement begins.
func TestPeers13TheImageIsTheRowThatWasChanged(t *testing.T) {
	for _, s := range servers()[1:] {
		t.Run(s.name, func(t *testing.T) {
			for _, text := range []string{
				"UPDATE thing SET n = n + 1 WHERE id = 1",
				"UPDATE thing SET n = n + 1 WHERE n >= 10 AND id < 3",
				"DELETE FROM thing WHERE id = 1",
			} {
				t.Run(text, func(t *testing.T) {
					bus := embedded(t)
					dsn := s.dsn(t)
					db, outside := open(t, s, dsn), outsider(t, s, dsn)
					things(t, db)
					aborted(t, bus, func(ctx context.Context) error {
						if err := execs(db, "UPDATE thing SET n = n WHERE id = 3")(ctx); err != nil { // makes the tables
							return err
						}
						theirs, err := outside.Begin()
						if err != nil {
							return err
						}
						defer func() { _ = theirs.Rollback() }()
						if _, err := theirs.Exec("UPDATE thing SET n = n + 1000 WHERE id = 1"); err != nil {
							return err
						}
						ours := make(chan error, 1)
						go func() {
							tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
							if err != nil {
								ours <- err
								return
							}
							if _, err := tx.ExecContext(ctx, text); err != nil {
								ours <- errors.Join(err, tx.Rollback())
								return
							}
							ours <- tx.Commit()
						}()
						// InnoDB looks again only when nobody has asked for 100 ms.
						eventuallyEvery(t, 150*time.Millisecond, "our statement waits", func() bool {
							var n int
							return outside.QueryRow(waiting[s.name]).Scan(&n) == nil && n > 0
						})
						if err := theirs.Commit(); err != nil {
							return err
						}
						return <-ours
					})
					clean(t, db)
					wantTable(t, db, []string{`1 1010 "one" true`, `2 20 "" false`, `3 30 "" true`})
				})
			}
		})
	}
}

// TestPeers14RollbackBeforeTheBranch: elsewhere a rollback that arrives before the
// branch has committed locally finds nothing and says so, and the branch commits
// afterwards for ever. Here it either makes the local COMMIT impossible or waits
// for it and undoes it.
func TestPeers14RollbackBeforeTheBranch(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		for _, when := range []string{"registered, before COMMIT", "before it is registered"} {
			t.Run(when, func(t *testing.T) {
				bus := embedded(t)
				var program hook
				db := openHooked(t, s, quickly(s.dsn(t)), &program, &hook{})
				before := things(t, db)
				err := bus.Run(t.Context(), func(ctx context.Context) error {
					tx, _ := gtx.FromContext(ctx)
					rollback := func() error {
						_, err := bus.Rollback(t.Context(), tx.XID())
						return err
					}
					if when == "before it is registered" {
						if err := rollback(); err != nil {
							return err
						}
						return execs(db, "UPDATE thing SET n = 11 WHERE id = 1")(ctx)
					}
					program.Set(func(text string) error {
						if strings.HasSuffix(text, "COMMIT") {
							return rollback()
						}
						return nil
					}, nil)
					return execs(db, "UPDATE thing SET n = 11 WHERE id = 1")(ctx)
				}, gtx.WithRetries(0))
				program.Set(nil, nil)
				if !errors.Is(err, gtx.ErrAborted) {
					t.Errorf("got %v, want ErrAborted", err)
				}
				clean(t, db)
				wantTable(t, db, before)
			})
		}
	})
}

// TestPeers14MetadataFollowsDDL: elsewhere what is known of a table is kept for
// ever, and after DDL images have the wrong columns. Here DDL through the same pool
// is followed at once, on Postgres everybody's. Where somebody else's DDL comes
// between an image and its restore, or before what was known was read again, it is
// seen: nothing is restored by guess, the transaction is stuck and says why, and
// ends by itself when the table is again what it was, or by an operator.
func TestPeers14MetadataFollowsDDL(t *testing.T) {
	const add, drop = "ALTER TABLE thing ADD COLUMN added varchar(20) DEFAULT 'filled'", "ALTER TABLE thing DROP COLUMN added"
	onEach(t, func(t *testing.T, s server) {
		log := logged(t)
		bus := embedded(t)
		dsn := s.dsn(t)
		db, outside := open(t, s, quickly(dsn)), outsider(t, s, dsn)
		before := things(t, db)
		update := execs(db, "UPDATE thing SET n = n + 1 WHERE id = 1")
		addOutside := func() {
			table(t, outside) // SQLite looks for the name in what the connection knew last
			mustExec(t, outside, add)
		}
		aborted(t, bus, update)
		clean(t, db)
		t.Run("by ourselves", func(t *testing.T) {
			mustExec(t, db, add)
			mustExec(t, outside, "UPDATE thing SET added = 'mine' WHERE id = 1")
			for _, text := range []string{"UPDATE thing SET added = 'other', n = 0 WHERE id = 1", "DELETE FROM thing WHERE id = 1"} {
				aborted(t, bus, execs(db, text))
				clean(t, db)
				wantTable(t, db, before)
				var added string
				if err := outside.QueryRow("SELECT added FROM thing WHERE id = 1").Scan(&added); err != nil || added != "mine" {
					t.Errorf("%s: the new column holds %q (%v)", text, added, err)
				}
			}
			mustExec(t, db, drop)
		})
		stuck := func(t *testing.T, work func(ctx context.Context) error) {
			t.Helper()
			xid := aborted(t, bus, work)
			eventually(t, "a line that says why", func() bool { return len(log.with(xid.String(), "table has been changed")) > 0 })
			if got := table(t, db)[0]; got != `1 11 "one" true` {
				t.Errorf("the row is %s: it was restored into another table", got)
			}
		}
		t.Run("by others before the abort", func(t *testing.T) {
			aborted(t, bus, update) // what is known is known
			clean(t, db)
			stuck(t, func(ctx context.Context) error {
				defer addOutside()
				return update(ctx)
			})
			mustExec(t, db, drop)
			clean(t, db)
			wantTable(t, db, before)
		})
		t.Run("by others before the statement", func(t *testing.T) {
			aborted(t, bus, update)
			clean(t, db)
			xid := aborted(t, bus, func(ctx context.Context) error {
				addOutside()
				return update(ctx)
			})
			told := func() bool { return len(log.with(xid.String(), "table has been changed")) > 0 }
			eventually(t, "restored or told", func() bool {
				n, err := leftovers(t.Context(), db)
				return err == nil && n == 0 || told()
			})
			switch {
			case !told():
				wantTable(t, db, before)
			case s.family() == "gtx-postgres":
				t.Error("the statement did not see that its table had changed")
			default:
				if got := table(t, db)[0]; got != `1 11 "one" true` {
					t.Errorf("the row is %s: it was restored into another table", got)
				}
				if _, err := newOperator(t, s, dsn, bus).Operate(t.Context(), undo.Operation{XID: xid, Action: undo.KeepCurrent, Who: "tester", Reason: "DDL"}); err != nil {
					t.Fatal(err)
				}
			}
			clean(t, db)
		})
	})
}

// TestPeers14TwoDatabasesOneTableName: elsewhere one cache of metadata serves two
// databases that both have the table.
func TestPeers14TwoDatabasesOneTableName(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		var dbs [2]*sql.DB
		for i, ddl := range []string{
			"CREATE TABLE same (id int PRIMARY KEY, a varchar(20), b int)",
			"CREATE TABLE same (b int NOT NULL, c int, id int, PRIMARY KEY (id, b))",
		} {
			dbs[i] = open(t, s, s.dsn(t))
			mustExec(t, dbs[i], ddl)
		}
		mustExec(t, dbs[0], "INSERT INTO same (id, a, b) VALUES (1, 'x', 7)")
		mustExec(t, dbs[1], "INSERT INTO same (id, b, c) VALUES (1, 7, 8), (1, 9, 9)")
		var before []string
		for _, db := range dbs {
			before = append(before, whole(t, db, "same ORDER BY b"))
		}
		work := func(ctx context.Context) error {
			for _, db := range slices.Concat(dbs[:], dbs[:]) {
				if err := execs(db, "UPDATE same SET id = id + 1 WHERE b = 7", "INSERT INTO same (id, b) VALUES (50, 50)", "DELETE FROM same WHERE id = 50")(ctx); err != nil {
					return err
				}
			}
			return nil
		}
		aborted(t, bus, work)
		for i, db := range dbs {
			clean(t, db)
			if got := whole(t, db, "same ORDER BY b"); got != before[i] {
				t.Errorf("database %d: %s, before %s", i, got, before[i])
			}
		}
	})
}
