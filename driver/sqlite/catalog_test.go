package sqlite

import (
	"errors"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

func code(err error) string {
	var u *gtx.UnsupportedError
	if errors.As(err, &u) {
		return u.Code
	}
	return ""
}

func TestTablesThatAreRefused(t *testing.T) {
	h := setup(t,
		"CREATE TABLE nokey (a)",
		"CREATE TABLE trig (id INTEGER PRIMARY KEY)", "CREATE TRIGGER tr AFTER DELETE ON trig BEGIN SELECT 1; END",
		"CREATE VIEW vw AS SELECT 1 AS a",
		"CREATE VIRTUAL TABLE virt USING fts5(a)",
		"CREATE TABLE repl (id INTEGER PRIMARY KEY, u UNIQUE /* x */ ON Conflict\n REPLACE)",
		"CREATE TABLE fine (id INTEGER PRIMARY KEY, u DEFAULT 'on conflict replace', v NOT NULL ON CONFLICT ABORT) -- ON CONFLICT IGNORE",
	)
	q := undo.QueryDB(h.db)
	for table, want := range map[string]string{
		"nokey": "no-key", "trig": "trigger", "vw": "view", "virt": "virtual", "virt_data": "shadow", "repl": "on-conflict", "nix": "no-table", "fine": "",
	} {
		_, err := Dialect{}.Table(t.Context(), q, table)
		if got := code(err); got != want || want == "" && err != nil {
			t.Errorf("%s: %v, want code %q", table, err, want)
		}
	}
}

func TestCascadeIsRefusedWhereItWorks(t *testing.T) {
	h := setup(t, "CREATE TABLE p (id INTEGER PRIMARY KEY)", "CREATE TABLE c (id INTEGER PRIMARY KEY, p REFERENCES P ON DELETE CASCADE)")
	conn, err := h.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, on := range []bool{false, true} {
		pragma := "PRAGMA foreign_keys = OFF"
		want := ""
		if on {
			pragma, want = "PRAGMA foreign_keys = ON", "cascade"
		}
		if _, err := conn.ExecContext(t.Context(), pragma); err != nil {
			t.Fatal(err)
		}
		_, err := Dialect{}.Table(t.Context(), undo.QueryDB(conn), "p")
		if got := code(err); got != want {
			t.Errorf("%s: %v", pragma, err)
		}
	}
}

func TestResolveNames(t *testing.T) {
	h := setup(t, "CREATE TABLE Account (id INTEGER PRIMARY KEY)")
	conn, err := h.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	q := undo.QueryDB(conn)
	if _, err := conn.ExecContext(t.Context(), "CREATE TEMP TABLE tmp (id INTEGER PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[sqltext.Name]string{{Table: "ACCOUNT"}: "Account", {Schema: "Main", Table: "account"}: "Account"} {
		if got, err := (Dialect{}).Resolve(t.Context(), q, in); err != nil || got != want {
			t.Errorf("%v: %s, %v", in, got, err)
		}
	}
	for in, want := range map[sqltext.Name]string{{Table: "tmp"}: "temporary", {Schema: "temp", Table: "tmp"}: "attached", {Schema: "other", Table: "account"}: "attached"} {
		if _, err := (Dialect{}).Resolve(t.Context(), q, in); code(err) != want {
			t.Errorf("%v: %v", in, err)
		}
	}
	if _, err := (Dialect{}).Resolve(t.Context(), q, sqltext.Name{Table: "nix"}); err == nil || !strings.Contains(err.Error(), "no such table") {
		t.Errorf("nix: %v", err)
	}
}

func TestStatementsThatAreRefused(t *testing.T) {
	h := setup(t, "CREATE TABLE a (id INTEGER PRIMARY KEY, v)", "CREATE TABLE b (id TEXT PRIMARY KEY, v)", "INSERT INTO a VALUES (1, 1)")
	for text, want := range map[string]string{
		"UPDATE b SET rowid = 2": "key-update",
		"INSERT INTO b VALUES ('x', 1) ON CONFLICT DO UPDATE SET v = 1, oid = 2": "key-update",
		"INSERT INTO a (v) VALUES (changes())":                                   "volatile",
		"INSERT INTO a (v) VALUES (last_insert_rowid()), (2)":                    "volatile",
		"INSERT INTO a SELECT NULL, last_insert_rowid()":                         "volatile",
		"UPDATE OR ROLLBACK a SET v = 2":                                         "or-rollback",
		"INSERT OR ROLLBACK INTO a VALUES (1, 2)":                                "or-rollback",
	} {
		if _, err := h.branch(h.xid(), do{text: text}); code(err) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	h.nothingLeft()
}

func TestNullKeyIsAnError(t *testing.T) {
	h := setup(t, "CREATE TABLE a (id TEXT PRIMARY KEY, v)", "INSERT INTO a VALUES (NULL, 1)")
	for _, text := range []string{
		"UPDATE a SET v = 2", "DELETE FROM a", "INSERT INTO a (v) VALUES (3)",
		"INSERT INTO a SELECT NULL, 1", "REPLACE INTO a VALUES (NULL, 2)", "UPDATE a SET id = 'x'", "INSERT INTO a SELECT 'x', 1 UNION ALL SELECT NULL, 2",
		"WITH w AS (SELECT 1) DELETE FROM a",
	} {
		if _, err := h.branch(h.xid(), do{text: text}); err == nil || !strings.Contains(err.Error(), "NULL") {
			t.Errorf("%s: %v", text, err)
		}
	}
	h.nothingLeft()
}

func TestChangedTableIsNotRestored(t *testing.T) {
	h := setup(t, "CREATE TABLE a (id INTEGER PRIMARY KEY, v)", "INSERT INTO a VALUES (1, 1)")
	xid := h.xid()
	h.must(xid, do{text: "UPDATE a SET v = 2"})
	h.plain("ALTER TABLE a ADD COLUMN w")
	if err := h.abort(xid); !errors.Is(err, gtx.ErrDirty) {
		t.Errorf("%v", err)
	}
	h.plain("ALTER TABLE a DROP COLUMN w")
	h.undone(xid, "a", "[[integer:1 integer:1]]")
}

// TestRestoreUsesTheKey looks at the plans: a scan for each row would make a
// rollback quadratic.
func TestRestoreUsesTheKey(t *testing.T) {
	h := setup(t, "CREATE TABLE i (id INTEGER PRIMARY KEY, v)", "CREATE TABLE x (a TEXT COLLATE NOCASE, b, PRIMARY KEY (a, b))",
		"CREATE TABLE w (a INTEGER PRIMARY KEY, b) WITHOUT ROWID")
	q := undo.QueryDB(h.db)
	d := Dialect{}
	for _, id := range []string{"i", "x", "w"} {
		table, err := d.Table(t.Context(), q, id)
		if err != nil {
			t.Fatal(err)
		}
		for _, op := range []undo.Op{undo.Insert, undo.Update, undo.Delete} {
			r := &undo.Row{Table: id, KeyHash: "k", XID: h.xid(), Op: op}
			for _, s := range []undo.Statement{d.IsBefore(table, r), d.Restore(table, r)} {
				plan, err := q(t.Context(), "EXPLAIN QUERY PLAN "+s.Text, s.Args...)
				if err != nil {
					t.Fatalf("%s\n%v", s.Text, err)
				}
				for _, line := range plan {
					if strings.HasPrefix(line[3], "SCAN") && !strings.HasPrefix(line[3], "SCAN CONSTANT") && !strings.HasPrefix(line[3], "SCAN i") {
						t.Errorf("%s %s: %s", id, op, line[3])
					}
				}
			}
		}
	}
}
