package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// withParam adds a parameter to a DSN.
func withParam(dsn, param string) string {
	if strings.Contains(dsn, "?") {
		return dsn + "&" + param
	}
	return dsn + "?" + param
}

// guarded opens a database whose writes outside global transactions respect
// global locks.
func guarded(t *testing.T, s server, dsn string) *sql.DB {
	return open(t, s, withParam(dsn, "gtx_guard=on"))
}

// watched is a coordinator that tells when somebody begins to wait.
type watched struct {
	gtx.Coordinator
	waits chan struct{}
}

func watch(c gtx.Coordinator) *watched {
	return &watched{Coordinator: c, waits: make(chan struct{}, 1)}
}

func (w *watched) Await(ctx context.Context, waiter, holder gtx.XID) (gtx.Status, error) {
	select {
	case w.waits <- struct{}{}:
	default:
	}
	return w.Coordinator.Await(ctx, waiter, holder)
}

// guardWrites are writes outside that want what the holder of TestGuardOnWaits has:
// stock row 1 updated, row 2 deleted, row 8 inserted.
var guardWrites = []struct{ servers, text string }{
	{"smapq", "UPDATE stock SET n = n + 10 WHERE id = 1"},
	{"smapq", "UPDATE stock SET n = n + 10 WHERE name = 'apple' OR name = 'held'"},
	{"smapq", "UPDATE stock SET n = 7"},
	{"smapq", "DELETE FROM stock WHERE id = 1"},
	{"smapq", "DELETE FROM stock WHERE id = 8"},
	{"smapq", "DELETE FROM stock"},
	{"spq", "UPDATE stock SET n = o.n FROM orders AS o WHERE o.id = stock.id"},
	{"ma", "UPDATE stock AS s JOIN orders AS o ON o.id = s.id SET s.n = o.n"},
	{"ma", "DELETE s FROM stock AS s JOIN orders AS o ON o.id = s.id"},
	{"spq", "INSERT INTO stock (id, name, n) VALUES (1, 'up', 5) ON CONFLICT (id) DO UPDATE SET n = 55"},
	{"ma", "INSERT INTO stock (id, name, n) VALUES (1, 'up', 5) ON DUPLICATE KEY UPDATE n = 55"},
	{"spq", "INSERT INTO stock (id, name, n) VALUES (2, 'again', 5) ON CONFLICT (id) DO NOTHING"},
	{"sma", "REPLACE INTO stock (id, name, n) VALUES (1, 'again', 5)"},
	{"sma", "REPLACE INTO stock (id, name, n) VALUES (2, 'again', 5)"},
}

func hold(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	for _, text := range []string{
		"UPDATE stock SET name = 'held', n = 1000 WHERE id = 1",
		"DELETE FROM stock WHERE id = 2",
		"INSERT INTO stock (id, name, n) VALUES (8, 'new', 1000)",
	} {
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// TestGuardOnWaits: a write outside global transactions waits for the end of the
// one that holds its row, and does what it does after that end.
func TestGuardOnWaits(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		t.Parallel()
		bus := watch(embedded(t))
		dsn := s.dsn(t)
		db, plain, twin := guarded(t, s, dsn), open(t, s, dsn), open(t, s, s.dsn(t))
		formTables(t, s, plain)
		formTables(t, s, twin)
		for i, form := range guardWrites {
			if !strings.Contains(form.servers, letters[s.name]) {
				continue
			}
			t.Run(form.text, func(t *testing.T) {
				bothEnds(t, func(t *testing.T, end error) {
					refill(t, plain)
					refill(t, twin)
					done := make(chan error, 1)
					err := gtx.Run(t.Context(), func(ctx context.Context) error {
						if err := hold(ctx, db); err != nil {
							return err
						}
						go func() { done <- writeOutside(t.Context(), db, form.text, i%2 == 0) }()
						select {
						case <-bus.waits:
						case err := <-done:
							return fmt.Errorf("nobody waited: %w", err)
						}
						return end
					}, gtx.WithCoordinator(bus))
					if !errors.Is(err, end) {
						t.Fatal(err)
					}
					if err := <-done; err != nil {
						t.Fatal(err)
					}
					if end == nil {
						if err := hold(t.Context(), twin); err != nil {
							t.Fatal(err)
						}
					}
					mustExec(t, twin, form.text)
					clean(t, db)
					if got, want := everything(t, db), everything(t, twin); got != want {
						t.Errorf("got\n%swant\n%s", got, want)
					}
				})
			})
		}
	})
}

// writeOutside runs a text outside global transactions.
func writeOutside(ctx context.Context, db *sql.DB, text string, inTx bool) error {
	if !inTx {
		_, err := db.ExecContext(ctx, text)
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, text); err != nil {
		return err
	}
	return tx.Commit()
}

// TestGuardOnBound: who waits longer than gtx_lock_wait, or holds something, gets
// ErrConflict with the holder, and has changed nothing. The program knows no
// coordinator.
func TestGuardOnBound(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		dsn := s.dsn(t)
		db, other := open(t, s, dsn), guarded(t, s, withParam(dsn, "gtx_lock_wait=50ms"))
		formTables(t, s, db)
		before := everything(t, db)
		err := bus.Run(t.Context(), func(ctx context.Context) error {
			if err := hold(ctx, db); err != nil {
				return err
			}
			holder, _ := gtx.FromContext(ctx)
			held := everything(t, db)
			conflict := func(err error) {
				t.Helper()
				var c *gtx.ConflictError
				if !errors.As(err, &c) || c.Holder != holder.XID() || !errors.Is(err, gtx.ErrConflict) {
					t.Errorf("got %v, want a conflict with %s", err, holder.XID())
				}
			}
			for _, inTx := range []bool{false, true} {
				// A row that nobody holds, beside held ones.
				for _, text := range []string{"UPDATE stock SET n = 33 WHERE id = 3", "UPDATE stock SET n = -3 WHERE id = 3"} {
					if err := writeOutside(t.Context(), other, text, inTx); err != nil {
						t.Errorf("%s: %v", text, err)
					}
				}
				conflict(writeOutside(t.Context(), other, "UPDATE stock SET n = 0", inTx))
			}
			tx, err := other.BeginTx(t.Context(), nil)
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }()
			if _, err := tx.Exec("UPDATE stock SET n = 3 WHERE id = 3"); err != nil {
				return err
			}
			_, err = tx.Exec("DELETE FROM stock WHERE id = 1")
			conflict(err)
			conflict(tx.Commit())
			if got := everything(t, db); got != held {
				t.Errorf("after the conflicts\n%sbefore\n%s", got, held)
			}
			return errChanged
		})
		if !errors.Is(err, errChanged) {
			t.Fatal(err)
		}
		// While the abort goes on, or after it.
		if err := writeOutside(t.Context(), other, "UPDATE stock SET n = n", false); err != nil && !errors.Is(err, gtx.ErrConflict) {
			t.Error(err)
		}
		clean(t, db)
		if got := everything(t, db); got != before {
			t.Errorf("after the abort\n%sbefore\n%s", got, before)
		}
	})
}

// TestGuardOff: without the option the same write makes the row dirty, and the
// transaction stuck.
func TestGuardOff(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		dsn := s.dsn(t)
		db, err := sql.Open(s.driver, dsn) // not by open: something is left behind
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		formTables(t, s, db)
		err = bus.Run(t.Context(), func(ctx context.Context) error {
			if err := hold(ctx, db); err != nil {
				return err
			}
			mustExec(t, db, "UPDATE stock SET n = n + 10 WHERE id = 1")
			return errChanged
		})
		if !errors.Is(err, errChanged) {
			t.Fatal(err)
		}
		deadline := time.Now().Add(30 * time.Second)
		for {
			var state int
			if err := db.QueryRow("SELECT state FROM gtx_branch").Scan(&state); err != nil {
				t.Fatal(err)
			}
			if state == undo.StateStuck {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("state %d, want stuck", state)
			}
		}
	})
}

// TestGuardOnForms: with the guard every form does outside global transactions what
// it does without, alone and in a local transaction, and nothing is left in
// gtx_undo at any time that others can see.
func TestGuardOnForms(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		t.Parallel()
		dsn := severalDSN(t, s)
		db, plain, twin := guarded(t, s, dsn), open(t, s, dsn), open(t, s, severalDSN(t, s))
		if s.name == "sqlite" {
			plain = db // where LastInsertId is the connection's last
		}
		for _, d := range []*sql.DB{plain, twin} {
			formTables(t, s, d)
			mustExec(t, d, "CREATE TABLE log (line VARCHAR(20))")
		}
		type run struct {
			text  string
			args  []any
			query bool
		}
		var runs []run
		for _, f := range forms {
			if strings.Contains(f.servers, letters[s.name]) && !strings.HasPrefix(f.text, "MERGE") { // of which lib/pq reads no count
				runs = append(runs, run{text: f.text})
			}
		}
		for _, f := range severalTexts {
			if strings.Contains(f.servers, letters[s.name]) {
				runs = append(runs, run{f.text, f.args, f.query})
			}
		}
		for _, text := range []string{
			"SELECT n FROM stock ORDER BY id",
			"INSERT INTO stock (id, name, n) VALUES (1, 'twice', 1)",
			"UPDATE stock SET name = NULL",
			"UPDATE nothing SET n = 1",
			"UPDATE stock SET n = 1 WHERE id = 99",
			"CREATE TABLE extra (id INT PRIMARY KEY, n INT)",
			"DROP TABLE extra",
		} {
			runs = append(runs, run{text: text, query: strings.HasPrefix(text, "SELECT")})
		}
		if s.name != "sqlite" {
			runs = append(runs, run{text: "INSERT INTO log (line) VALUES ('no key')"}, run{text: "UPDATE log SET line = 'x'"})
		}
		for _, r := range runs {
			for _, inTx := range []bool{false, true} {
				if inTx && s.driver == "gtx-mysql" && (strings.HasPrefix(r.text, "CREATE") || strings.HasPrefix(r.text, "DROP")) {
					continue // TestGuardOnImplicitCommit
				}
				var out [2]string
				refill(t, plain)
				refill(t, twin)
				for i, d := range []*sql.DB{db, twin} {
					out[i] = outcome(t, d, r.text, r.args, r.query, inTx) + everything(t, d)
				}
				if out[0] != out[1] {
					t.Errorf("%s (in a transaction: %t)\ngot %s\nbare %s", r.text, inTx, out[0], out[1])
				}
				if n, err := leftovers(t.Context(), db); n != 0 || err != nil {
					t.Fatalf("%s: %d rows left (%v)", r.text, n, err)
				}
			}
		}
	})
}

// TestGuardOnImplicitCommit: DDL ends a local transaction of the MySQL family.
// What the guard has written would be committed with it, and what comes behind it
// would commit statement by statement.
func TestGuardOnImplicitCommit(t *testing.T) {
	for _, s := range servers()[1:3] {
		t.Run(s.name, func(t *testing.T) {
			db := guarded(t, s, s.dsn(t))
			mustExec(t, db, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL)")
			mustExec(t, db, "INSERT INTO thing VALUES (1, 1)")
			for _, ddl := range []string{
				"CREATE TABLE other (id INT PRIMARY KEY)", "ALTER TABLE thing ADD COLUMN x INT", "/* c */ drop table thing", "RENAME TABLE thing TO t2",
				"GRANT SELECT ON thing TO nobody", "FLUSH TABLES", "OPTIMIZE TABLE thing", "SET PASSWORD = 'x'", "CREATE INDEX i ON thing (n)",
			} {
				for _, wrote := range []bool{false, true} {
					tx, err := db.BeginTx(t.Context(), nil)
					if err != nil {
						t.Fatal(err)
					}
					if wrote {
						if _, err := tx.ExecContext(t.Context(), "UPDATE thing SET n = n + 1 WHERE id = 1"); err != nil {
							t.Fatal(err)
						}
					}
					if _, err := tx.ExecContext(t.Context(), ddl); !errors.Is(err, gtx.ErrUnsupported) {
						t.Errorf("%s: got %v, want ErrUnsupported", ddl, err)
					}
					if n, err := leftovers(t.Context(), db); n != 0 || err != nil {
						t.Errorf("%s: %d undo rows were committed (%v)", ddl, n, err)
					}
					if err := tx.Rollback(); err != nil {
						t.Fatal(err)
					}
				}
			}
			var n int
			if err := db.QueryRowContext(t.Context(), "SELECT n FROM thing WHERE id = 1").Scan(&n); err != nil || n != 1 {
				t.Errorf("n = %d, %v: something was committed", n, err)
			}
		})
	}
}

// outcome runs a text outside global transactions and tells everything about it.
func outcome(t *testing.T, db *sql.DB, text string, args []any, query, inTx bool) string {
	t.Helper()
	if !inTx {
		out, err := severally(t.Context(), db, text, args, query)
		return fmt.Sprintln(out, errorCode(err))
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := severally(t.Context(), tx, text, args, query)
	return fmt.Sprintln(out, errorCode(err), errorCode(tx.Commit()))
}

// TestGuardOnTx: savepoints, statements that fail and ROLLBACK in a guarded local
// transaction are those of the bare driver.
func TestGuardOnTx(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		db, twin := guarded(t, s, s.dsn(t)), open(t, s, s.dsn(t))
		var got [2]string
		for i, d := range []*sql.DB{db, twin} {
			formTables(t, s, d)
			for _, commit := range []bool{true, false} {
				tx, err := d.Begin()
				if err != nil {
					t.Fatal(err)
				}
				for _, text := range []string{
					"UPDATE stock SET n = 1 WHERE id = 1",
					"SAVEPOINT one",
					"UPDATE stock SET n = 2 WHERE id < 3",
					"INSERT INTO stock (id, name, n) VALUES (1, 'twice', 1)",
					"ROLLBACK TO SAVEPOINT one",
					"DELETE FROM stock WHERE id = 2",
					"RELEASE SAVEPOINT one",
					"UPDATE stock SET n = n + 1 WHERE id = 1",
					"SELECT n FROM stock WHERE id = 1",
					"ROLLBACK TO SAVEPOINT gone",
				} {
					_, err := tx.Exec(text)
					got[i] += fmt.Sprintln(text, errorCode(err))
				}
				end := tx.Rollback
				if commit {
					end = tx.Commit
				}
				got[i] += fmt.Sprintln(errorCode(end()), everything(t, d))
			}
			if n, err := leftovers(t.Context(), d); n != 0 || err != nil {
				t.Errorf("%d rows left (%v)", n, err)
			}
		}
		if got[0] != got[1] {
			t.Errorf("got\n%s\nbare\n%s", got[0], got[1])
		}
	})
}

// TestGuardOnRefuses: what may write rows that cannot be seen does not run.
func TestGuardOnRefuses(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		db := guarded(t, s, s.dsn(t))
		formTables(t, s, db)
		mustExec(t, db, "CREATE TABLE log (line VARCHAR(20))")
		before := everything(t, db)
		for _, c := range []struct{ servers, text, code string }{
			{"smapq", "BEGIN", "transaction-control"},
			{"smapq", "COMMIT", "transaction-control"},
			{"ma", "SET autocommit = 0", "transaction-control"},
			{"ma", "LOCK TABLES stock WRITE", "transaction-control"},
			{"mapq", "TRUNCATE TABLE stock", "truncate"},
			{"pq", "DO $$ BEGIN DELETE FROM stock; END $$", "do"},
			{"ma", "CALL nobody()", "call"},
			{"smapq", "DELETE FROM stock; DROP TABLE orders", "ddl"},
			{"smapq", "DROP TABLE orders; DELETE FROM stock", "ddl"},
			{"ma", "DELETE FROM stock /*! WHERE id = 1 */", "version-comment"},
			{"ma", "/*! DELETE FROM stock */", "version-comment"},
			{"smapq", "DELETE FROM gtx_undo", "own-table"},
			{"s", "DELETE FROM log", "no-key"},
			{"s", "INSERT OR ROLLBACK INTO stock (id, name, n) VALUES (9, 'x', 1)", "or-rollback"},
		} {
			if !strings.Contains(c.servers, letters[s.name]) {
				continue
			}
			_, err := db.Exec(c.text)
			var u *gtx.UnsupportedError
			if !errors.As(err, &u) || u.Code != c.code || !strings.Contains(err.Error(), "gtx_guard=on") {
				t.Errorf("%s: got %v, want code %s", c.text, err, c.code)
			}
			if got := everything(t, db); got != before {
				t.Fatalf("%s changed something:\n%s", c.text, got)
			}
		}
	})
}

// TestGuardOnMixed: a local transaction outside cannot take statements of a global
// one, also with the guard.
func TestGuardOnMixed(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := guarded(t, s, s.dsn(t))
		formTables(t, s, db)
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
		err = bus.Run(t.Context(), func(ctx context.Context) error {
			_, err := tx.ExecContext(ctx, "DELETE FROM stock")
			return err
		})
		var u *gtx.UnsupportedError
		if !errors.As(err, &u) || u.Code != "plain-tx" {
			t.Errorf("got %v", err)
		}
	})
}

// TestGuardOnCrowd: 8 writers outside and 8 global transactions, of which half
// abort, over the same rows: no row gets dirty and the sums are right.
func TestGuardOnCrowd(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		t.Parallel()
		bus := embedded(t)
		db := guarded(t, s, withParam(s.dsn(t), "gtx_lock_wait=30s"))
		db.SetMaxOpenConns(16)
		const rows, writers, each = 3, 8, 12
		counter(t, db, rows)
		var global, outside atomic.Int64
		together(t, 2*writers, func(w int) error {
			for i := range each {
				id := (w + i) % rows
				if w < writers {
					err := bus.Run(t.Context(), func(ctx context.Context) error {
						if err := count(ctx, db, id); err != nil {
							return err
						}
						if i%2 == 0 {
							return errChanged
						}
						return nil
					})
					if err == nil {
						global.Add(1)
					} else if !errors.Is(err, errChanged) {
						return err
					}
					continue
				}
				var err error
				if w%2 == 0 {
					err = count(t.Context(), db, id)
				} else {
					err = countInTx(t.Context(), db, id)
				}
				if err != nil {
					return err
				}
				outside.Add(1)
			}
			return nil
		})
		clean(t, db)
		sum := 0
		for id := range rows {
			sum += counted(t, db, id)
		}
		if want := int(global.Load() + outside.Load()); sum != want || global.Load() != writers*each/2 || outside.Load() != writers*each {
			t.Errorf("counted %d, want %d of transactions and %d outside", sum, global.Load(), outside.Load())
		}
	})
}

func countInTx(ctx context.Context, db *sql.DB, id int) error {
	return writeOutside(ctx, db, fmt.Sprintf("UPDATE counters SET n = n + 1 WHERE id = %d", id), true)
}

func TestGuardOnOption(t *testing.T) {
	for value, ok := range map[string]bool{"on": true, "off": true, "yes": false, "": false} {
		db, err := sql.Open("gtx-sqlite", "file:"+filepath.Join(t.TempDir(), "db.sqlite")+"?gtx_guard="+value)
		if (err == nil) != ok {
			t.Errorf("gtx_guard=%s: got %v", value, err)
		}
		if err == nil {
			err = db.Close()
		}
		if ok && err != nil {
			t.Error(err)
		}
	}
}
