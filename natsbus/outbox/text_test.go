package outbox

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/driver"
	_ "github.com/globaltx/globaltx/driver/sqlite"
)

// oldSchema is what SQLite had before messages were one tree.
var oldSchema = []string{
	"CREATE TABLE gtx_outbox (id TEXT NOT NULL PRIMARY KEY, slot INTEGER NOT NULL, pos INTEGER NOT NULL, subject TEXT NOT NULL," +
		" okey TEXT NOT NULL, header TEXT, size INTEGER NOT NULL, body BLOB NOT NULL) WITHOUT ROWID",
	"CREATE INDEX gtx_outbox_order ON gtx_outbox (slot, pos, id)",
}

var scans, searches = regexp.MustCompile(`(?m)^SCAN (main\.gtx_outbox|gtx_outbox|o)\b|TEMP B-TREE`), regexp.MustCompile(`(?m)^SEARCH (main\.gtx_outbox|o) USING (PRIMARY KEY|(COVERING )?INDEX) `)

// TestSQLitePlans: no statement of a relay reads more of gtx_outbox than the messages it is
// about, in a table of the old form neither.
func TestSQLitePlans(t *testing.T) {
	for name, before := range map[string][]string{"new": nil, "old": oldSchema} {
		t.Run(name, func(t *testing.T) {
			db := openSQLite(t, before...)
			about, err := driver.DatabaseOf(db)
			if err != nil {
				t.Fatal(err)
			}
			o, err := Open(t.Context(), db, Config{})
			if err != nil {
				t.Fatal(err)
			}
			held, err := about.Held(t.Context(), o.text.box, "o")
			if err != nil {
				t.Fatal(err)
			}
			const id = "0123456789abcdef0123456789abcdef"
			r := &row{id: id, slot: 3, pos: 4}
			for what, text := range map[string]string{
				"body":    o.text.body(r),
				"bury":    o.text.bury(r, "why", 1),
				"busy":    o.text.busy(),
				"page":    o.text.page(1<<3|1<<5, held, inlineBody, 10),
				"remove":  o.text.remove([]*row{r, r}),
				"rewrite": o.text.rewrite(r, "{}", true),
				"tell":    o.text.tell(r, id, "a", "{}", 1, true),
			} {
				plan := planOf(t, db, text)
				if scans.MatchString(plan) || !searches.MatchString(plan) {
					t.Errorf("%s does not search:\n%s\n%s", what, text, plan)
				}
			}
			if plan := planOf(t, db, "SELECT * FROM gtx_outbox"); !scans.MatchString(plan) {
				t.Errorf("a scan would not have been seen: %s", plan)
			}
		})
	}
}

// TestSQLiteRemove removes many messages at once, and no others:
// neither those that share an id, nor those that share a place.
func TestSQLiteRemove(t *testing.T) {
	db := openSQLite(t)
	o, err := Open(t.Context(), db, Config{})
	if err != nil {
		t.Fatal(err)
	}
	const many = 2_000
	if _, err := db.ExecContext(t.Context(), fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"+
		" INSERT INTO gtx_outbox (%s) SELECT printf('%%032d', i), i %% 64, i, 'a', '', NULL, 0, x'' FROM n", many, columns)); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), fmt.Sprintf("INSERT INTO gtx_outbox (%s) VALUES ('%032d', 7, 8, 'same id', '', NULL, 0, x''), ('f', 7, 7, 'same place', '', NULL, 0, x'')", columns, 7)); err != nil {
		t.Fatal(err)
	}
	list := make([]*row, many)
	for i := range list {
		list[i] = &row{id: fmt.Sprintf("%032d", i+1), slot: (i + 1) % 64, pos: uint64(i + 1)}
	}
	res, err := db.ExecContext(t.Context(), o.text.remove(list))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := res.RowsAffected(); n != many || err != nil {
		t.Errorf("removed %d, %v, want %d", n, err, many)
	}
	if b, err := o.desk().Backlog(t.Context()); err != nil || b.Waiting != 2 {
		t.Errorf("got %+v, %v, want two messages", b, err)
	}
}

func openSQLite(t *testing.T, before ...string) *sql.DB {
	t.Helper()
	db, err := sql.Open("gtx-sqlite", "file:"+filepath.Join(t.TempDir(), "db.sqlite")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, text := range before {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

// planOf gives a line for each step.
func planOf(t *testing.T, db *sql.DB, text string) string {
	t.Helper()
	lines, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer lines.Close()
	var plan strings.Builder
	for lines.Next() {
		var id, parent, unused int
		var detail string
		if err := lines.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(detail + "\n")
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}
