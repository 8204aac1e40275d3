package sqlite

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/undo"
)

// looking opens as gtx doctor does.
func looking(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	b, err := OpenExisting(dsn)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(b.Connector)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	return db
}

func TestOpenExistingOnlyLooks(t *testing.T) {
	dir := t.TempDir()
	if err := looking(t, filepath.Join(dir, "none.db")).Ping(); err == nil {
		t.Error("a file that is not there was opened")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("made %v, %v", left, err)
	}
	for _, name := range []string{"plain.db", "a b%20c#d.db"} {
		path := filepath.Join(dir, name)
		made, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := made.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY)"); err != nil {
			t.Fatal(err)
		}
		made.Close()
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		db := looking(t, path+"?_pragma=journal_mode(WAL)&_pragma=foreign_keys%281%29&_pragma=user_version=3&_busy_timeout=77")
		for query, want := range map[string]string{
			"PRAGMA journal_mode": "delete", "PRAGMA foreign_keys": "1", "PRAGMA busy_timeout": "77", "PRAGMA query_only": "1",
			"SELECT count(*) FROM t": "0",
		} {
			var got string
			if err := db.QueryRow(query).Scan(&got); err != nil || got != want {
				t.Errorf("%s: %s: got %q, want %q: %v", name, query, got, want, err)
			}
		}
		if _, err := db.Exec("INSERT INTO t VALUES (1)"); (Dialect{}).Classify(err) != undo.Denied {
			t.Errorf("%s: a write: %v", name, err)
		}
		if _, err := (Dialect{}).Diagnose(t.Context(), undo.QueryDB(db)); err != nil {
			t.Error(err)
		}
		if _, err := db.Exec("INSERT INTO t VALUES (1)"); (Dialect{}).Classify(err) != undo.Denied {
			t.Errorf("%s: a write after Diagnose: %v", name, err)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
			t.Errorf("%s has changed: %v", name, err)
		}
	}
}

func TestDiagnose(t *testing.T) {
	h := setup(t, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
	diagnose := func(dsn, name string) string {
		t.Helper()
		found, err := Dialect{}.Diagnose(t.Context(), undo.QueryDB(looking(t, dsn)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if f.Name == name {
				return string(f.Level) + " " + f.Value
			}
		}
		return ""
	}
	file, _, _ := strings.Cut(h.dsn, "?")
	for _, tc := range []struct{ params, check, want string }{
		{"", "gtx_tables", "info there"},
		{"", "busy_timeout", "info 5000 ms"},
		{"", "read_only", ""},
		{"?_busy_timeout=0", "busy_timeout", "warn 0 ms"},
		{"?mode=ro", "read_only", "fail on"},
		{"?mode=ro", "gtx_tables", "info there"},
		{"?mode=rwc", "read_only", ""},
	} {
		if got := diagnose(file+tc.params, tc.check); got != tc.want {
			t.Errorf("%s: %s: got %q, want %q", tc.params, tc.check, got, tc.want)
		}
	}
	h.plain("DROP TABLE gtx_undo")
	if got := diagnose(file+"?mode=ro", "gtx_tables"); got != "fail missing" {
		t.Errorf("read-only without tables: %q", got)
	}
	// Somebody who writes proves that it can be written.
	conn, err := h.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	if got := diagnose(file+"?_busy_timeout=1", "gtx_tables"); got != "info incomplete" {
		t.Errorf("while another writes: %q", got)
	}
	if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
}

func TestRelations(t *testing.T) {
	h := setup(t, "CREATE TABLE counted (id INTEGER PRIMARY KEY, n INT)", "CREATE INDEX counted_n ON counted (n)",
		"INSERT INTO counted VALUES (1, 1), (2, 1), (3, 2)", "ANALYZE", `CREATE TABLE "a.b" (id INTEGER PRIMARY KEY)`,
		"CREATE VIRTUAL TABLE search USING fts5(body)", "CREATE VIEW seen AS SELECT 1")
	rels, err := Dialect{}.Relations(t.Context(), undo.QueryDB(h.db))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range rels {
		names = append(names, r.Name+":"+r.Kind)
		if want := map[string]int64{"counted": 3}[r.Name]; want > 0 && r.Count != want || want == 0 && r.Count != undo.Unknown {
			t.Errorf("%s has about %d rows", r.Name, r.Count)
		}
		if r.Rows != (r.Kind != "view") {
			t.Errorf("got %+v", r)
		}
	}
	if got, want := strings.Join(names, " "), `"a.b":table counted:table search:virtual seen:view`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
