package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"modernc.org/sqlite"

	"github.com/globaltx/globaltx/gtx"
)

const accounts = "CREATE TABLE a (id INTEGER PRIMARY KEY, u UNIQUE, v NOT NULL CHECK (v <> 'bad'))"

// failing statements meet the rows (1, 'u1', 'v1'), (2, 'u2', 'v2'), (3, 'u3', 'v3').
var failing = []do{
	{text: "INSERT INTO a VALUES (1, 'x', 'x')"},
	{text: "INSERT INTO a VALUES (8, 'u8', 'x'), (9, 'u2', 'x'), (10, 'u10', 'x')"},
	{text: "INSERT OR ABORT INTO a VALUES (8, 'u8', 'x'), (9, 'u2', 'x') RETURNING id", rows: true},
	{text: "UPDATE a SET v = NULL WHERE id > 1"},
	{text: "UPDATE a SET u = 'u8'"},
	{text: "UPDATE a SET nix = 1"},
	{text: "UPDATE a SET v = 'x' WHERE nix = 1"},
	{text: "DELETE FROM a WHERE json_extract(v, '$.x') = 1"},
	{text: "DELETE FROM a WHERE id = ?"},
	{text: "WITH w AS (SELECT 1 AS x) UPDATE a SET u = 'u8' FROM w"},
	{text: "UPDATE a SET id = 4 - id"},
	{text: "UPDATE a SET id = id + 1 RETURNING id", rows: true},
	{text: "INSERT INTO a SELECT id + 1, u || 'x', v FROM a"},
	{text: "INSERT INTO a VALUES (8, 'u8', 'x'), (9, 'u2', 'bad') ON CONFLICT (u) DO UPDATE SET v = excluded.v"},
	{text: "INSERT INTO a VALUES (8, 'u2', 'x') ON CONFLICT (u) DO UPDATE SET v = 'x', u = 'u3'"},
	{text: "INSERT OR IGNORE INTO a VALUES (8, 'u8', json('{'))"},
	{text: "REPLACE INTO a VALUES (8, 'u2', 'x'), (1, 'u1', 'bad')"},
	{text: "UPDATE OR REPLACE a SET u = 'u2', v = iif(id = 3, 'bad', 'x')"},
	{text: "INSERT OR IGNORE INTO a (nix) VALUES (1)"},
	{text: "INSERT OR IGNORE INTO a VALUES (?, ?, ?)", args: []any{1}},
	// The rows before the one that fails stay.
	{text: "INSERT OR FAIL INTO a VALUES (8, 'u8', 'x'), (9, 'u2', 'x'), (10, 'u10', 'x')"},
	{text: "INSERT OR FAIL INTO a VALUES (1, 'u8', 'x')"},
	{text: "UPDATE OR FAIL a SET id = id + 7, u = iif(id < 3, u || 'x', 'u1x') RETURNING id", rows: true},
	{text: "INSERT OR FAIL INTO a VALUES (8, 'u8', 'x'), (9, 'u9', NULL)"},
}

// TestFailedStatementLeavesTheTransaction runs statements that fail, first and in
// the middle, beside the bare driver.
func TestFailedStatementLeavesTheTransaction(t *testing.T) {
	h := fast(t)
	h.plain(accounts)
	h.plain("INSERT INTO a VALUES (1, 'u1', 'v1'), (2, 'u2', 'v2'), (3, 'u3', 'v3')")
	before := h.dump("a")
	const ok1, ok2 = "UPDATE a SET v = v || '+' WHERE id = 1", "INSERT INTO a VALUES (20, 'u20', 'x')"
	for _, f := range failing {
		for _, first := range []bool{true, false} {
			bare := h.begin(h.xid())
			bare.exec("BEGIN")
			if !first {
				bare.exec(ok1)
			}
			_, want := bare.bareAnswer(f)
			bare.exec(ok2)
			wantTable := fmt.Sprint(bare.lines(h.dumpText("a")))
			bare.exec("ROLLBACK")
			bare.c.Close()

			l := h.begin(h.xid())
			if !first {
				if _, err := l.capture(do{text: ok1}); err != nil {
					t.Fatal(err)
				}
			}
			_, err := l.capture(f)
			if err == nil || want == nil || err.Error() != want.Error() {
				t.Fatalf("%s: %v, bare %v", f.text, err, want)
			}
			if !l.kept || l.wrote != first {
				t.Fatalf("%s: kept %v, wrote %v, first %v", f.text, l.kept, l.wrote, first)
			}
			if left := l.lines("SELECT name FROM temp.sqlite_schema WHERE type = 'trigger'"); len(left) > 0 {
				t.Fatalf("%s: %v is left", f.text, left)
			}
			if _, err := l.capture(do{text: ok2}); err != nil {
				t.Fatalf("%s: then: %v", f.text, err)
			}
			l.exec("COMMIT")
			l.c.Close()
			if got := h.dump("a"); got != wantTable {
				t.Fatalf("%s\n got %s\nwant %s", f.text, got, wantTable)
			}
			if h.count("gtx_branch") != 1 {
				t.Fatalf("%s: headers %d", f.text, h.count("gtx_branch"))
			}
			h.undone(l.xid, "a", before)
		}
	}
}

// TestFailureThatEndsTheTransaction is kept by nobody: SQLite or the capture
// gives the local transaction up.
func TestFailureThatEndsTheTransaction(t *testing.T) {
	h := fast(t)
	h.plain("CREATE TABLE a (id INTEGER PRIMARY KEY, f UNIQUE ON CONFLICT FAIL, r UNIQUE ON CONFLICT ROLLBACK, v)")
	h.plain("INSERT INTO a VALUES (1, 1, 1, 1), (2, 2, 2, 2)")
	before := h.dump("a")
	holder := h.xid()
	h.must(holder, do{text: "UPDATE a SET v = v WHERE id = 2"})
	for _, f := range []struct {
		text string
		kept bool
	}{
		{"INSERT INTO a VALUES (3, 3, 1, 3)", false},                             // rolls back
		{"INSERT INTO a SELECT 3, 3, 1, 3", false},                               // rolls back
		{"INSERT INTO a VALUES (3, 3, 3, 3), (4, 1, 4, 4), (5, 5, 5, 5)", false}, // one row stays, not captured
		{"UPDATE a SET v = 3 WHERE id = 2", false},                               // held
		{"WITH w AS (SELECT 1) UPDATE a SET v = 3 WHERE id = 2", false},          // held
		{"UPDATE OR FAIL a SET v = 3 WHERE id = 2", false},                       // held
		{"UPDATE OR FAIL a SET v = 7, f = 1", true},                              // row 1 stays and is captured
		{"UPDATE OR FAIL a SET v = 7, r = 2 WHERE id = 1", true},                 // nothing stays
		{"INSERT OR FAIL INTO a SELECT 1, 7, 7, 7", true},                        // nothing stays
		{"INSERT INTO a SELECT 3, 3, 3, 3 UNION ALL SELECT 4, 1, 4, 4", true},    // FAIL of the table: row 3 stays and is captured
	} {
		l := h.begin(h.xid())
		if _, err := l.capture(do{text: "INSERT INTO a VALUES (20, 20, 20, 20)"}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.capture(do{text: f.text}); err == nil || l.kept != f.kept {
			t.Fatalf("%s: %v, kept %v", f.text, err, l.kept)
		}
		if l.kept {
			l.exec("COMMIT")
		} else {
			l.exec("ROLLBACK")
		}
		l.c.Close()
		if !l.kept && h.count("a") != 2 {
			t.Fatalf("%s: rows are left", f.text)
		}
		if err := h.abort(l.xid); err != nil {
			t.Fatalf("%s: %v", f.text, err)
		}
		if after := h.dump("a"); after != before {
			t.Fatalf("%s\n got %s\nwant %s", f.text, after, before)
		}
	}
	h.undone(holder, "a", before)
}

func TestCancelledStatementIsNotKept(t *testing.T) {
	h := fast(t)
	h.plain(accounts)
	for _, text := range []string{
		"INSERT INTO a VALUES (1, 1, 1)",
		"INSERT INTO a WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT i, i, i FROM n",
	} {
		l := h.begin(h.xid())
		if _, err := l.capture(do{text: "INSERT INTO a VALUES (1000000000, 'u', 1)"}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if strings.HasPrefix(text, "INSERT INTO a VALUES") {
			cancel()
		} else {
			// Cancelled in the middle of its changes.
			changes := 0
			l.c.(sqlite.HookRegisterer).RegisterPreUpdateHook(func(sqlite.SQLitePreUpdateData) {
				if changes++; changes == 10 {
					cancel()
				}
			})
		}
		l.ctx = ctx
		if _, err := l.capture(do{text: text}); !errors.Is(err, context.Canceled) || l.kept {
			t.Errorf("%s: %v, kept %v", text, err, l.kept)
		}
		cancel()
		l.exec("ROLLBACK")
		l.c.Close()
		if h.count("a") != 0 {
			t.Errorf("%s: rows are left", text)
		}
	}
	h.nothingLeft()
}

func TestSavepoints(t *testing.T) {
	for _, c := range []struct {
		steps []string
		want  string // of v by id after the local commit
	}{
		{[]string{"SAVEPOINT s", "UPDATE a SET v = 'x'", "ROLLBACK TO s"}, "v1 v2 v3"},
		{[]string{"SAVEPOINT s", "UPDATE a SET v = 'x'", "RELEASE s"}, "x x x"},
		{[]string{"UPDATE a SET v = 'x' WHERE id = 1", "SAVEPOINT s", "UPDATE a SET v = 'y' WHERE id < 3", "ROLLBACK TRANSACTION TO SAVEPOINT s"}, "x v2 v3"},
		{[]string{"SAVEPOINT s", "UPDATE a SET v = 'x' WHERE id = 1", "ROLLBACK TO s", "UPDATE a SET v = 'y' WHERE id = 1", "RELEASE SAVEPOINT s"}, "y v2 v3"},
		{[]string{"SAVEPOINT s", "DELETE FROM a WHERE id = 1", "SAVEPOINT t", "INSERT INTO a VALUES (1, 'n', 'n')", "ROLLBACK TO t", "RELEASE s"}, "v2 v3"},
		{[]string{"SAVEPOINT s", "DELETE FROM a WHERE id = 1", "SAVEPOINT t", "INSERT INTO a VALUES (1, 'n', 'n')", "RELEASE t", "ROLLBACK TO s", "DELETE FROM a WHERE id = 2"}, "v1 v3"},
		{[]string{"SAVEPOINT s", "REPLACE INTO a VALUES (1, 'u2', 'r')", "ROLLBACK TO s", "REPLACE INTO a VALUES (1, 'u3', 'r')"}, "r v2"},
		{[]string{"SAVEPOINT gtx_capture", "REPLACE INTO a VALUES (1, 'u2', 'r')", "UPDATE a SET v = 'x' WHERE id = 1", "RELEASE gtx_capture"}, "x v3"},
		{[]string{"UPDATE a SET v = 'x' WHERE id = 1", "SAVEPOINT s", "UPDATE a SET id = 9 WHERE id = 1", "ROLLBACK TO s", "UPDATE a SET id = 8 WHERE id = 1"}, "v2 v3 x"},
	} {
		h := fast(t)
		h.plain(accounts)
		h.plain("INSERT INTO a VALUES (1, 'u1', 'v1'), (2, 'u2', 'v2'), (3, 'u3', 'v3')")
		before := h.dump("a")
		xid := h.xid()
		var all []do
		for i, s := range c.steps {
			all = append(all, do{text: s, rows: i%2 == 0})
		}
		h.must(xid, all...)
		if h.count("gtx_branch") != 1 {
			t.Errorf("%q: no header", c.steps)
		}
		var got string
		if err := h.db.QueryRow("SELECT group_concat(v, ' ') FROM (SELECT v FROM a ORDER BY id)").Scan(&got); err != nil || got != c.want {
			t.Errorf("%q: %s (%v), want %s", c.steps, got, err, c.want)
		}
		h.undone(xid, "a", before)
	}
}

func TestSavepointErrorsAreKept(t *testing.T) {
	h := fast(t)
	h.plain(accounts)
	l := h.begin(h.xid())
	defer l.c.Close()
	for i, text := range []string{"ROLLBACK TO nix", "RELEASE nix", "RELEASE gtx_capture"} {
		if _, err := l.capture(do{text: text}); err == nil || !l.kept || l.wrote != (i == 0) {
			t.Fatalf("%s: %v, kept %v, wrote %v", text, err, l.kept, l.wrote)
		}
	}
	if _, err := l.capture(do{text: "INSERT INTO a VALUES (5, 5, 5)"}); err != nil {
		t.Fatal(err)
	}
	if out, err := l.capture(do{text: "SAVEPOINT s"}); err != nil || out.LastInsertID != 5 || out.RowsAffected != 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	l.exec("COMMIT")
	h.undone(l.xid, "a", "[]")
}

// TestRowsStayOpen reads on while captured statements run on the connection, as
// the bare driver allows, also past a statement that fails.
func TestRowsStayOpen(t *testing.T) {
	h := fast(t)
	h.plain(accounts)
	h.plain("INSERT INTO a VALUES (1, 'u1', 'v1'), (2, 'u2', 'v2'), (3, 'u3', 'v3')")
	l := h.begin(h.xid())
	defer l.c.Close()
	if _, err := l.capture(do{text: "UPDATE a SET v = 'x' WHERE id = 1"}); err != nil {
		t.Fatal(err)
	}
	rows, err := l.c.(driver.QueryerContext).QueryContext(t.Context(), "SELECT id FROM a", nil)
	if err != nil {
		t.Fatal(err)
	}
	line := make([]driver.Value, 1)
	for i, s := range []do{
		{text: "INSERT INTO a VALUES (9, 'u3', 'x') ON CONFLICT DO UPDATE SET v = 'y'"},
		{text: "INSERT INTO a SELECT 9, 'u1', 'x'"},
		{text: "INSERT INTO a VALUES (9, 'u1', 'x')"},
	} {
		if err := rows.Next(line); err != nil || line[0] != int64(i+1) {
			t.Fatalf("row %d: %v, %v", i, line, err)
		}
		if _, err := l.capture(s); (err != nil) != (i > 0) || err != nil && !l.kept {
			t.Fatalf("%s: %v", s.text, err)
		}
	}
	if err := rows.Next(line); !errors.Is(err, io.EOF) {
		t.Fatalf("end: %v, %v", line, err)
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	l.exec("COMMIT")
	h.undone(l.xid, "a", "[[integer:1 text:7531 text:7631] [integer:2 text:7532 text:7632] [integer:3 text:7533 text:7633]]")
}

func TestConflictIsNotKept(t *testing.T) {
	h := fast(t)
	h.plain(accounts)
	h.plain("INSERT INTO a VALUES (1, 'u1', 'v1')")
	holder := h.xid()
	h.must(holder, do{text: "UPDATE a SET v = 'held'"})
	for _, text := range []string{"UPDATE a SET v = 1", "DELETE FROM a RETURNING id", "REPLACE INTO a VALUES (9, 'u1', 1)", "UPDATE a SET id = 2"} {
		l := h.begin(h.xid())
		if _, err := l.capture(do{text: text}); !errors.Is(err, gtx.ErrConflict) || l.kept || l.wrote {
			t.Errorf("%s: %v, kept %v", text, err, l.kept)
		}
		l.exec("ROLLBACK")
		l.c.Close()
	}
	h.undone(holder, "a", "[[integer:1 text:7531 text:7631]]")
}
