package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

// The tests TestPeers01 to TestPeers14 stand for classes of bugs that users of
// other systems for global transactions have met; each tells what goes wrong
// there and what holds here.

// quick makes conflicts and leftovers show at once.
const quick = "gtx_lock_wait=200ms&gtx_scan_interval=20ms"

func quickly(dsn string) string { return dsn + separator(dsn) + quick }

// things makes the table thing with three rows.
func things(t testing.TB, db *sql.DB) []string {
	t.Helper()
	mustExec(t, db, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL, s varchar(100))")
	mustExec(t, db, "INSERT INTO thing VALUES (1, 10, 'one'), (2, 20, NULL), (3, 30, '')")
	return table(t, db)
}

func wantTable(t testing.TB, db *sql.DB, want []string) {
	t.Helper()
	if diff := cmp.Diff(want, table(t, db)); diff != "" {
		t.Errorf("the table is not as it must be (-want +got):\n%s", diff)
	}
}

// aborted runs fn in a global transaction that is aborted after it.
func aborted(t testing.TB, bus *natsbus.Bus, fn func(ctx context.Context) error) (xid gtx.XID) {
	t.Helper()
	err := bus.Run(t.Context(), func(ctx context.Context) error {
		tx, _ := gtx.FromContext(ctx)
		xid = tx.XID()
		if err := fn(ctx); err != nil {
			return err
		}
		return errUndo
	}, gtx.WithRetries(0))
	if !errors.Is(err, errUndo) {
		t.Fatalf("got %v, want %v", err, errUndo)
	}
	return xid
}

func committed(t testing.TB, bus *natsbus.Bus, fn func(ctx context.Context) error) {
	t.Helper()
	if err := bus.Run(t.Context(), fn, gtx.WithRetries(0)); err != nil {
		t.Fatal(err)
	}
}

// execs runs texts one by one, each a local transaction of its own.
func execs(db *sql.DB, texts ...string) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		for _, text := range texts {
			if _, err := db.ExecContext(ctx, text); err != nil {
				return fmt.Errorf("%s: %w", text, err)
			}
		}
		return nil
	}
}

// wantHeld holds that no other global transaction gets the row that text changes.
func wantHeld(t testing.TB, bus *natsbus.Bus, holder gtx.XID, db *sql.DB, text string) {
	t.Helper()
	err := bus.Run(t.Context(), execs(db, text), gtx.WithRetries(0))
	var held *gtx.ConflictError
	if !errors.As(err, &held) || held.Holder != holder {
		t.Errorf("%s: got %v, want a conflict with %s", text, err, holder)
	}
}

// TestPeers01FailedUndoIsVisible: elsewhere the error of a failed undo is replaced
// by the nil of a deferred Close, and the branch is reported as rolled back while
// its change stays. Here whatever fails in phase two is told with its XID, the undo
// rows and the lock stay, and the undo is done as soon as it can be.
func TestPeers01FailedUndoIsVisible(t *testing.T) {
	for _, what := range []struct {
		name  string
		fails func(text string) bool
	}{
		{"restore", func(text string) bool {
			return strings.Contains(text, "thing") && !strings.HasPrefix(text, "SELECT") && !strings.Contains(text, "information_schema")
		}},
		{"delete of undo rows", func(text string) bool {
			return strings.HasPrefix(text, "DELETE") && strings.Contains(text, "gtx_undo")
		}},
		{"commit", func(text string) bool { return text == "COMMIT" }},
	} {
		t.Run(what.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, s server) {
				log := logged(t)
				bus := embedded(t)
				var phase2 hook
				db := openHooked(t, s, quickly(s.dsn(t)), &hook{}, &phase2)
				before := things(t, db)
				var failed atomic.Int64
				phase2.Set(func(text string) error {
					if what.fails(text) {
						failed.Add(1)
						return errInjected
					}
					return nil
				}, nil)
				xid := aborted(t, bus, execs(db, "UPDATE thing SET n = n + 1 WHERE id = 1"))
				eventually(t, "a log line that names the XID and the failure", func() bool {
					return len(log.with(xid.String(), errInjected.Error())) > 0
				})
				eventually(t, "a second try", func() bool { return failed.Load() > 1 })
				if n, err := leftovers(t.Context(), db); err != nil || n != 2 {
					t.Errorf("%d rows left (%v), want the header and one undo row", n, err)
				}
				if got := table(t, db); cmp.Equal(got, before) {
					t.Error("the change is gone although its undo failed")
				}
				wantHeld(t, bus, xid, db, "UPDATE thing SET n = 0 WHERE id = 1")
				phase2.Set(nil, nil)
				clean(t, db)
				wantTable(t, db, before)
			})
		})
	}
}

// refusing answers Register with an error.
type refusing struct {
	gtx.Coordinator
	err error
}

func (c refusing) Register(context.Context, gtx.XID, gtx.BranchRef) error { return c.err }

// TestPeers02FailsClosed: elsewhere a branch that cannot be registered, or whose
// undo row cannot be written, leaves its local transaction open, and the BEGIN of
// the connection's next user commits the unprotected change. Here the local
// transaction is rolled back before the connection goes back to the pool, or the
// connection never goes back.
func TestPeers02FailsClosed(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		dsn := s.dsn(t)
		var program hook
		db := openHooked(t, s, quickly(dsn), &program, &hook{})
		db.SetMaxOpenConns(2) // one way into database/sql needs two
		outside := outsider(t, s, dsn)
		before := things(t, outside)
		committed(t, bus, execs(db, "UPDATE thing SET n = n WHERE id = 1")) // makes the tables
		clean(t, db)
		ours := func(text string) bool { // on SQLite undo rows are written by prepared statements, before this
			return strings.Contains(text, "gtx_undo") || text == "RELEASE gtx_capture"
		}
		noUndo := func() { mustExec(t, outside, "ALTER TABLE gtx_undo RENAME TO gtx_gone") }
		undoAgain := func() { mustExec(t, outside, "ALTER TABLE gtx_gone RENAME TO gtx_undo") }
		lost := func(text string, err error) error {
			if ours(text) && err == nil {
				return errInjected
			}
			return err
		}
		noRollback := func(text string) error {
			if strings.HasPrefix(text, "ROLLBACK") {
				return errInjected
			}
			return nil
		}
		for n, fault := range []struct {
			name          string
			coord         gtx.Coordinator
			before, after func()
			err           error // nil: any
		}{
			{"register refused", refusing{bus, fmt.Errorf("refused: %w", gtx.ErrAborted)}, func() {}, func() {}, gtx.ErrAborted},
			{"register unanswered", refusing{bus, gtx.ErrUnavailable}, func() {}, func() {}, gtx.ErrUnavailable},
			{"no undo table", bus, noUndo, undoAgain, nil},
			{"no undo table, no rollback", bus, func() { noUndo(); program.Set(noRollback, nil) }, undoAgain, nil},
			{"answer of the capture lost", bus, func() { program.Set(nil, lost) }, func() {}, errInjected},
			{"answer of the capture lost, no rollback", bus, func() { program.Set(noRollback, lost) }, func() {}, errInjected},
			{"register refused, no rollback", refusing{bus, gtx.ErrAborted}, func() { program.Set(noRollback, nil) }, func() {}, gtx.ErrAborted},
		} {
			texts := []string{
				"UPDATE thing SET n = n + 1 WHERE id < 3",
				"INSERT INTO thing (id, n) VALUES (4, 40), (5, 50)",
				"DELETE FROM thing WHERE id = 3",
			}
			for i, e := range entries() {
				text := texts[(i+n)%len(texts)]
				t.Run(fault.name+"/"+e.name+"/"+text[:6], func(t *testing.T) {
					fault.before()
					err := gtx.Run(t.Context(), func(ctx context.Context) error { return e.exec(ctx, db, text) },
						gtx.WithCoordinator(fault.coord), gtx.WithRetries(0))
					program.Set(nil, nil)
					fault.after()
					if err == nil || fault.err != nil && !errors.Is(err, fault.err) {
						t.Errorf("got %v, want %v", err, fault.err)
					}
					// The next users of the connections commit what they find open.
					var next [2]*sql.Tx
					for i := range next {
						if next[i], err = db.Begin(); err != nil {
							t.Fatal(err)
						}
					}
					for _, tx := range next {
						if err := tx.Commit(); err != nil {
							t.Fatal(err)
						}
					}
					wantTable(t, outside, before)
					clean(t, db)
				})
			}
		}
	})
}

// TestPeers03EveryStatementIsProtected: elsewhere prepared statements in
// autocommit, and the second statement of a held connection, run unprotected.
// Here every way into database/sql is the same (TestEntryPoints has them one by
// one); this one keeps one connection for many statements of several transactions.
func TestPeers03EveryStatementIsProtected(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		before := things(t, db)
		c, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		st, err := c.PrepareContext(t.Context(), fmt.Sprintf("UPDATE thing SET n = n + %s WHERE id = %s", s.holder(1), s.holder(2)))
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		work := func(ctx context.Context) error {
			for i := range int64(3) {
				if _, err := st.ExecContext(ctx, 100, i+1); err != nil {
					return err
				}
				if _, err := c.ExecContext(ctx, fmt.Sprintf("INSERT INTO thing (id, n) VALUES (%s, 7)", s.holder(1)), 10+i); err != nil {
					return err
				}
				rows, err := c.QueryContext(ctx, "DELETE FROM thing WHERE id = "+s.holder(1), 10+i-1)
				if err != nil {
					return err
				}
				if err := rows.Close(); err != nil {
					return err
				}
			}
			tx, err := c.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			if _, err := tx.StmtContext(ctx, st).ExecContext(ctx, 1000, 1); err != nil {
				return errors.Join(err, tx.Rollback())
			}
			return tx.Commit()
		}
		for range 2 {
			aborted(t, bus, work)
			clean(t, db)
			wantTable(t, db, before)
			// Between two transactions the same statement is an ordinary one.
			for _, n := range []int{5, -5} {
				if _, err := st.ExecContext(t.Context(), n, 1); err != nil {
					t.Fatal(err)
				}
			}
			if n, err := leftovers(t.Context(), db); err != nil || n != 0 {
				t.Errorf("an ordinary statement left %d rows (%v)", n, err)
			}
		}
		committed(t, bus, work)
		clean(t, db)
		wantTable(t, db, []string{`1 1110 "one" true`, `2 120 "" false`, `3 130 "" true`, `12 7 "" false`})
	})
}

// TestPeers03NamedArguments: named arguments, where the base driver has them.
func TestPeers03NamedArguments(t *testing.T) {
	s := servers()[0]
	bus := embedded(t)
	db := open(t, s, s.dsn(t))
	before := things(t, db)
	work := func(ctx context.Context) error {
		_, err := db.ExecContext(ctx, "UPDATE thing SET s = :s, n = n + @n WHERE id = $id OR s = :s", sql.Named("n", 7), sql.Named("id", 2), sql.Named("s", "one"))
		return err
	}
	aborted(t, bus, work)
	clean(t, db)
	wantTable(t, db, before)
	committed(t, bus, work)
	wantTable(t, db, []string{`1 17 "one" true`, `2 27 "one" true`, `3 30 "" true`})
}
