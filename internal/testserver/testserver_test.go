package testserver

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

func open(t *testing.T, dialect, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(dialect, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func mustExec(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	if _, err := db.Exec(query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func text(t *testing.T, db *sql.DB, query string) (s string) {
	t.Helper()
	if err := db.QueryRow(query).Scan(&s); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return s
}

func TestEachServerIsWhatItsNameSays(t *testing.T) {
	want := map[string][]string{
		NameMySQL:      {"9."},
		NameMariaDB:    {"10.11.", "MariaDB"},
		NamePostgres15: {"PostgreSQL 15."},
		NamePostgres18: {"PostgreSQL 18."},
	}
	All(t, func(t *testing.T, d Database) {
		got := text(t, open(t, d.Dialect, d.DSN), "SELECT version()")
		for _, part := range want[d.Server] {
			if !strings.Contains(got, part) {
				t.Errorf("version %q has no %q", got, part)
			}
		}
	})
}

func TestADatabaseIsDroppedWithItsTestWhateverIsOpenInIt(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			Need(t, name)
			var d Database
			t.Run("leaves a transaction open", func(t *testing.T) {
				d = Open(t, name)
				db, err := sql.Open(d.Dialect, d.DSN)
				if err != nil {
					t.Fatal(err)
				}
				mustExec(t, db, "CREATE TABLE gtx_undo (xid varchar(9), branch int, tbl varchar(9), seq int)")
				tx, err := db.Begin()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := tx.Exec("INSERT INTO gtx_undo VALUES ('x', 1, 't', 1)"); err != nil {
					t.Fatal(err)
				}
			})
			if err := open(t, d.Dialect, d.DSN).Ping(); err == nil {
				t.Error("the database is still there")
			}
		})
	}
}

// Two databases of one test do not see each other, and Clean tells a leftover.
func TestCleanTellsLeftovers(t *testing.T) {
	All(t, func(t *testing.T, d Database) {
		db := open(t, d.Dialect, d.DSN)
		Clean(t, d.Dialect, d.DSN) // no tables
		mustExec(t, db, "CREATE TABLE gtx_undo (xid varchar(9), branch int, tbl varchar(9), seq int)")
		mustExec(t, db, "CREATE TABLE gtx_branch (xid varchar(9), branch int, state int)")
		Clean(t, d.Dialect, d.DSN) // no rows
		mustExec(t, db, "INSERT INTO gtx_undo VALUES ('x1', 7, 't', 1)")
		mustExec(t, db, "INSERT INTO gtx_branch VALUES ('x2', 8, 0)")
		left, err := leftovers(t.Context(), db, d.Dialect)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(left, "\n")
		want := "gtx_branch: (xid, branch, state) = (x2, 8, 0)\ngtx_undo: (xid, branch, tbl) = (x1, 7, t)"
		if got != want {
			t.Errorf("leftovers:\ngot  %s\nwant %s", got, want)
		}
	})
}

func TestAKilledServerComesBackWithItsData(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			s := Private(t, name)
			db := open(t, s.kind.dialect, s.DSN())
			mustExec(t, db, "CREATE TABLE t (n int)")
			mustExec(t, db, "INSERT INTO t VALUES (41)")
			for _, end := range []func(){s.Kill, s.Stop} {
				end()
				if err := db.Ping(); err == nil {
					t.Fatal("a server that does not run answers")
				}
				s.Start()
				mustExec(t, db, "UPDATE t SET n = n + 1")
			}
			if got := text(t, db, "SELECT n FROM t"); got != "43" {
				t.Errorf("n = %s, want 43", got)
			}
		})
	}
}

// TestEnterable: started by root, Postgres runs as a user who cannot go into a
// private home, so its files must not lie below one.
func TestEnterable(t *testing.T) {
	home := t.TempDir() // below a directory of its owner
	private := filepath.Dir(home)
	if err := enterable(home); err == nil || !strings.Contains(err.Error(), "enter "+private) {
		t.Errorf("below a private directory: %v", err)
	}
	dir, unlock, err := makeDir(home)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		unlock()
		if err := removeAll(dir); err != nil {
			t.Error(err)
		}
	}()
	if err := enterable(dir); err != nil {
		t.Errorf("the servers' directory: %v", err)
	}
}
