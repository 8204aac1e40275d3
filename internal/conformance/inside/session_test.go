package inside

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "github.com/globaltx/globaltx/driver/mysql"
	_ "github.com/globaltx/globaltx/driver/postgres"
	_ "github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/natsbus"
)

func TestMain(m *testing.M) { testserver.Main(m) }

// suiteT is the testing.T of one test of a suite that runs inside.
type suiteT struct {
	*testing.T
	cleanups []func()
	errors   []string
}

func (t *suiteT) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }
func (t *suiteT) Errorf(format string, a ...any) {
	t.errors = append(t.errors, fmt.Sprintf(format, a...))
}

func (t *suiteT) end() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}

// rig is a session with a database.
type rig struct {
	*testing.T
	s        *session
	out      bytes.Buffer
	bare, db *sql.DB
	base     string
}

func onEach(t *testing.T, mode Mode, test func(r *rig)) {
	for _, k := range []struct {
		name, base string
		dsn        func(testing.TB) string
	}{
		{"sqlite", "sqlite", func(t testing.TB) string {
			return "file:" + filepath.Join(t.TempDir(), "db") + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)"
		}},
		{"mysql", "mysql", testserver.MySQL},
		{"mariadb", "mysql", testserver.MariaDB},
		{"postgres15", "postgres", testserver.Postgres15},
		{"postgres18", "postgres", testserver.Postgres18},
	} {
		t.Run(k.name, func(t *testing.T) {
			test(setup(t, mode, k.base, k.dsn(t)))
		})
	}
}

func setup(t *testing.T, mode Mode, base, dsn string) *rig {
	t.Helper()
	bus, err := natsbus.Embedded(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bus.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &rig{T: t, base: base}
	r.s = newSession(mode, bus, &r.out)
	if r.bare, err = sql.Open(base, dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.bare.Close() })
	r.db = r.open(dsn)
	t.Cleanup(func() { r.db.Close() })
	return r
}

// open opens the database as a suite does through package shim.
func (r *rig) open(dsn string) *sql.DB {
	r.Helper()
	db, err := sql.Open("gtx-"+r.base, "")
	if err != nil {
		r.Fatal(err)
	}
	c, err := db.Driver().(driver.DriverContext).OpenConnector(dsn)
	if err != nil {
		r.Fatal(err)
	}
	if err := db.Close(); err != nil {
		r.Fatal(err)
	}
	return sql.OpenDB(&connector{Connector: c, s: r.s, src: &source{base: r.base, open: func() (*sql.DB, error) { return sql.Open(r.base, dsn) }}})
}

// run runs a test of the suite and gives what the harness complained of.
func (r *rig) run(test func()) []string {
	t := &suiteT{T: r.T}
	r.s.test(t)
	test()
	t.end()
	return t.errors
}

func (r *rig) exec(db *sql.DB, query string, args ...any) {
	r.Helper()
	if _, err := db.ExecContext(context.Background(), r.holders(query), args...); err != nil {
		r.Fatalf("%s: %v", query, err)
	}
}

// holders numbers the question marks where the server wants numbers.
func (r *rig) holders(query string) string {
	for n := 1; r.base == "postgres" && strings.Contains(query, "?"); n++ {
		query = strings.Replace(query, "?", fmt.Sprintf("$%d", n), 1)
	}
	return query
}

func (r *rig) count(db *sql.DB, where string) int {
	r.Helper()
	var n int
	if err := db.QueryRow("SELECT count(*) FROM item WHERE " + where).Scan(&n); err != nil {
		r.Fatal(err)
	}
	return n
}

func (r *rig) prepare() {
	r.exec(r.bare, "CREATE TABLE item (id INT PRIMARY KEY, n INT, name VARCHAR(40))")
	for i := range 5 {
		r.exec(r.bare, "INSERT INTO item VALUES (?, ?, ?)", i, i*10, fmt.Sprint("item ", i))
	}
}

// suite is a test as others write them: several connections, local transactions,
// prepared statements, no context.
func (r *rig) suite() {
	r.exec(r.db, "UPDATE item SET n = n + 1 WHERE id = 0")
	r.exec(r.db, "DELETE FROM item WHERE id = 4")
	ins, err := r.db.Prepare(r.holders("INSERT INTO item VALUES (?, ?, ?)"))
	if err != nil {
		r.Fatal(err)
	}
	defer ins.Close()
	for i := 10; i < 13; i++ {
		if _, err := ins.Exec(i, i, "new"); err != nil {
			r.Fatal(err)
		}
	}
	for _, commit := range []bool{true, false} {
		tx, err := r.db.Begin()
		if err != nil {
			r.Fatal(err)
		}
		if _, err := tx.Exec(r.holders("UPDATE item SET name = ? WHERE id = 1"), fmt.Sprint("commit ", commit)); err != nil {
			r.Fatal(err)
		}
		if _, err := tx.Stmt(ins).Exec(20, 1, nil); err != nil {
			r.Fatal(err)
		}
		end := tx.Rollback
		if commit {
			end = tx.Commit
		}
		if err := end(); err != nil {
			r.Fatal(err)
		}
		if commit {
			r.exec(r.db, "DELETE FROM item WHERE id = 20")
		}
	}
	if n := r.count(r.db, "name = 'commit true'"); n != 1 {
		r.Fatalf("the test sees %d rows that it wrote, want 1", n)
	}
}

// segments gives how segments ended.
func (r *rig) segments() (ends []string) {
	for _, rec := range r.s.rec.all {
		if rec.Event == "segment" {
			ends = append(ends, rec.End)
		}
	}
	return ends
}

func (r *rig) want(what string, got, want any) {
	r.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		r.Errorf("%s: got %s, want %s", what, g, w)
	}
}

func TestCommit(t *testing.T) {
	onEach(t, Commit, func(r *rig) {
		r.prepare()
		r.want("complaints", r.run(r.suite), "[]")
		r.want("segments", r.segments(), "[commit]")
		r.want("rows", r.count(r.bare, "name = 'commit true' OR n = 1 OR id BETWEEN 10 AND 12"), 5)
		r.want("rows in all", r.count(r.bare, "1 = 1"), 7)
	})
}

func TestAbort(t *testing.T) {
	onEach(t, Abort, func(r *rig) {
		r.prepare()
		r.want("complaints", r.run(r.suite), "[]")
		r.want("segments", r.segments(), "[abort]")
		rec := r.s.rec.all[0]
		r.want("compared", []int{rec.Tables, rec.Rows}, "[1 5]")
		r.want("rows as before", r.count(r.bare, "name = 'item 1' OR id = 4 OR id = 0 AND n = 0"), 3)
	})
}

// TestAbortFindsAStranger: what is written beside the global transaction is not undone,
// and the comparison must see it.
func TestAbortFindsAStranger(t *testing.T) {
	onEach(t, Abort, func(r *rig) {
		r.prepare()
		got := r.run(func() {
			r.exec(r.db, "UPDATE item SET n = 7 WHERE id = 1")
			r.exec(r.bare, "UPDATE item SET n = 8 WHERE id = 2")
			r.exec(r.bare, "DELETE FROM item WHERE id = 3")
			r.exec(r.bare, "INSERT INTO item VALUES (99, 1, NULL)")
		})
		all := strings.Join(got, "\n")
		for _, want := range []string{"column n is ", "row is missing: ", "row is too many: "} {
			if !strings.Contains(all, want) {
				t.Errorf("%q is not among the complaints:\n%s", want, all)
			}
		}
		if strings.Contains(all, "id=\"1\"") || len(got) != 3 {
			t.Errorf("complaints:\n%s", all)
		}
		r.want("differences in the record", strings.Count(r.out.String(), "table "), 3)
	})
}

// TestAbortFindsADirtyRow: the same row, so that phase two stands still.
func TestAbortFindsADirtyRow(t *testing.T) {
	r := setup(t, Abort, "sqlite", "file:"+filepath.Join(t.TempDir(), "db")+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)")
	r.s.settle = settleTime / 30
	r.prepare()
	got := r.run(func() {
		r.exec(r.db, "UPDATE item SET n = 7 WHERE id = 1")
		r.exec(r.bare, "UPDATE item SET n = 8 WHERE id = 1")
	})
	if len(got) != 1 || !strings.Contains(got[0], "rows left in gtx_undo") {
		t.Errorf("complaints: %q", got)
	}
	r.want("complaints of the next test", r.run(r.suite), "[]")
}

func TestDefinitions(t *testing.T) {
	onEach(t, Abort, func(r *rig) {
		r.prepare()
		got := r.run(func() {
			r.exec(r.db, "UPDATE item SET n = 7 WHERE id = 1")
			r.exec(r.db, "CREATE TABLE other (id INT PRIMARY KEY)") // beside the segment
			r.exec(r.db, "INSERT INTO other VALUES (1)")
			r.want("seen", r.count(r.db, "n = 7"), 1)
			r.exec(r.db, "CREATE TABLE third AS SELECT 1 AS id") // its row is not the segment's
			r.exec(r.db, "DROP TABLE other")                     // ends it
			r.want("seen after the abort", r.count(r.db, "n = 7"), 0)
			r.exec(r.db, "UPDATE item SET n = 8 WHERE id = 1")
			r.exec(r.db, "ALTER TABLE item ADD extra INT") // commits
			r.want("seen after the cut", r.count(r.db, "n = 8"), 1)
			r.exec(r.db, "UPDATE item SET extra = 9 WHERE id = 1")
		})
		r.want("complaints", got, "[]")
		r.want("segments", r.segments(), "[abort cut abort]")
		r.want("rows", r.count(r.bare, "extra IS NULL"), 5)
	})
}

func TestOutsideOfTests(t *testing.T) {
	onEach(t, Abort, func(r *rig) {
		r.prepare()
		r.exec(r.db, "UPDATE item SET n = 7 WHERE id = 1")
		r.want("segments", r.segments(), "[]")
		r.want("rows", r.count(r.bare, "n = 7"), 1)
	})
}

func TestRefusalIsRecorded(t *testing.T) {
	onEach(t, Commit, func(r *rig) {
		r.exec(r.bare, "CREATE TABLE keyless (id INT)") // on the base driver, where MySQL adds no key
		got := r.run(func() {
			_, err := r.db.Exec("INSERT INTO keyless VALUES (1)")
			if !errors.Is(err, gtx.ErrUnsupported) {
				r.Errorf("got %v", err)
			}
		})
		r.want("complaints", got, "[]")
		rec := r.s.rec.all[0]
		r.want("record", []string{rec.Event, rec.Code, rec.Text}, "[refused no-key INSERT INTO keyless VALUES (1)]")
	})
}

// TestClosedEarly: a test closes its database before it ends, and opens it again.
func TestClosedEarly(t *testing.T) {
	for _, mode := range []Mode{Commit, Abort} {
		t.Run(string(mode), func(t *testing.T) {
			dsn := "file:" + filepath.Join(t.TempDir(), "db") + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)"
			r := setup(t, mode, "sqlite", dsn)
			r.prepare()
			got := r.run(func() {
				db := r.open(dsn)
				r.exec(db, "UPDATE item SET n = 7 WHERE id = 1")
				if err := db.Close(); err != nil {
					r.Fatal(err)
				}
				db = r.open(dsn)
				r.want("seen", r.count(db, "n = 7"), 1)
				r.exec(db, "UPDATE item SET n = 8 WHERE id = 1")
				if err := db.Close(); err != nil {
					r.Fatal(err)
				}
			})
			r.want("complaints", got, "[]")
			want := map[Mode]int{Commit: 1, Abort: 0}[mode]
			r.want("rows", r.count(r.bare, "n = 8"), want)
		})
	}
}

// TestLeftOpen: a test that forgets its local transaction fails nothing, and nothing
// of it stays.
func TestLeftOpen(t *testing.T) {
	onEach(t, Commit, func(r *rig) {
		r.prepare()
		var tx *sql.Tx
		got := r.run(func() {
			var err error
			if tx, err = r.db.Begin(); err != nil {
				r.Fatal(err)
			}
		})
		r.want("complaints", got, "[]")
		r.want("segments", r.segments(), "[open]")
		if err := tx.Rollback(); err != nil {
			r.Error(err)
		}
	})
}

// TestKeyed: a table without a key takes part where the server can have one that nobody
// sees.
func TestKeyed(t *testing.T) {
	for name, dsn := range map[string]func(testing.TB) string{"mysql": testserver.MySQL, "mariadb": testserver.MariaDB} {
		t.Run(name, func(t *testing.T) {
			r := setup(t, Abort, "mysql", dsn(t))
			got := r.run(func() {
				r.exec(r.db, "CREATE TABLE Keyless (id INT)")
				r.exec(r.db, "INSERT INTO Keyless VALUES (1), (1)")
				r.exec(r.db, "DELETE FROM Keyless LIMIT 1")
				rows, err := r.db.Query("SELECT * FROM Keyless")
				if err != nil {
					r.Fatal(err)
				}
				defer rows.Close()
				columns, err := rows.Columns()
				if err != nil {
					r.Fatal(err)
				}
				r.want("columns", columns, "[id]")
			})
			r.want("complaints", got, "[]")
			r.want("records", len(r.s.rec.all), 1)
			r.want("undo rows", r.s.rec.all[0].Undo, 2) // that of the deleted row, too
			r.want("tables compared", r.s.rec.all[0].Tables, 1)
		})
	}
}

// TestPatience: what the harness reads waits where somebody else has a file locked.
func TestPatience(t *testing.T) {
	r := setup(t, Abort, "sqlite", "file:"+filepath.Join(t.TempDir(), "db"))
	r.prepare()
	r.want("complaints", r.run(func() { r.exec(r.db, "UPDATE item SET n = 7 WHERE id = 1") }), "[]")
	for _, tg := range r.s.targets {
		c, err := tg.conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var ms int
		if err := c.QueryRowContext(t.Context(), "PRAGMA busy_timeout").Scan(&ms); err != nil {
			t.Fatal(err)
		}
		r.want("milliseconds", ms, 30000)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	r.want("databases", len(r.s.targets), 1)
}

// TestRemoved: a test that removes its database before it ends leaves nothing to wait for.
func TestRemoved(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	r := setup(t, Abort, "sqlite", "file:"+file)
	r.s.settle = settleTime / 30
	r.prepare()
	got := r.run(func() {
		r.exec(r.db, "UPDATE item SET n = 7 WHERE id = 1")
		if err := r.db.Close(); err != nil {
			r.Fatal(err)
		}
		if err := os.Remove(file); err != nil {
			r.Fatal(err)
		}
	})
	r.want("complaints", got, "[]")
	r.want("segments", r.segments(), "[abort]")
}
