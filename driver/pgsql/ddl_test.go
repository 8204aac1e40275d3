package pgsql

import (
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// What another connection does to a table between the reading of its catalogue and
// the statement: the statement fails and is worth a new look at the catalogue, or
// its undo rows carry a fingerprint that is not the table's any more, so that
// nothing is restored by guess.
func TestTableChangedBeforeCapture(t *testing.T) { onEach(t, testTableChangedBeforeCapture) }

func testTableChangedBeforeCapture(t *testing.T) {
	tests := []struct {
		ddl, back string
		seen      bool // else by the fingerprint alone
	}{
		{"ALTER TABLE x ADD COLUMN more int", "ALTER TABLE x DROP COLUMN more", true},
		{"ALTER TABLE x ADD COLUMN more int DEFAULT 7 NOT NULL", "ALTER TABLE x DROP COLUMN more", true},
		{"ALTER TABLE x DROP COLUMN c", "ALTER TABLE x ADD COLUMN c text", true},
		{"ALTER TABLE x DROP COLUMN c; ALTER TABLE x ADD COLUMN c text", "SELECT 1", true}, // reordered
		{"ALTER TABLE x ALTER COLUMN b TYPE bigint", "ALTER TABLE x ALTER COLUMN b TYPE int", true},
		{"ALTER TABLE x ALTER COLUMN c TYPE varchar(9) COLLATE \"C\"", "ALTER TABLE x ALTER COLUMN c TYPE text COLLATE pg_catalog.\"default\"", true},
		{"ALTER TABLE x ALTER COLUMN d TYPE varchar(30)", "ALTER TABLE x ALTER COLUMN d TYPE varchar(20)", false}, // not rewritten
		{"ALTER TABLE x RENAME COLUMN d TO dd", "ALTER TABLE x RENAME COLUMN dd TO d", true},
		{"ALTER TABLE x RENAME COLUMN c TO t; ALTER TABLE x RENAME COLUMN d TO c; ALTER TABLE x RENAME COLUMN t TO d", "ALTER TABLE x RENAME COLUMN c TO t; ALTER TABLE x RENAME COLUMN d TO c; ALTER TABLE x RENAME COLUMN t TO d", false},
		{"ALTER TABLE x DROP CONSTRAINT x_pkey, ADD PRIMARY KEY (id, b)", "ALTER TABLE x DROP CONSTRAINT x_pkey, ADD PRIMARY KEY (id)", true},
		{"ALTER TABLE x DROP CONSTRAINT x_pkey", "ALTER TABLE x ADD PRIMARY KEY (id)", true},
		{"ALTER TABLE x RENAME TO y; CREATE TABLE x (LIKE y INCLUDING ALL); INSERT INTO x SELECT * FROM y", "DROP TABLE y", true},
		{"ALTER TABLE x RENAME TO y; CREATE VIEW x AS SELECT * FROM y", "DROP VIEW x; ALTER TABLE y RENAME TO x", true},
		{"TRUNCATE x; INSERT INTO x VALUES (1, 1, 'c', 'd')", "SELECT 1", true},
	}
	b := setup(t, "CREATE TABLE x (id int PRIMARY KEY, b int NOT NULL, c text, d varchar(20))", "INSERT INTO x VALUES (1, 1, 'c', 'd')")
	texts := []string{"UPDATE x SET b = b + 1 WHERE id = 1", "DELETE FROM public.x", "INSERT INTO x (id, b) VALUES (2, 2)", "WITH u AS (UPDATE x SET b = 0 RETURNING id) SELECT * FROM u"}
	for n, tt := range tests {
		for k, text := range texts {
			xid := uint64(100*n + k + 1)
			stale, err := b.parse(text)
			if err != nil {
				t.Fatal(err)
			}
			start := b.read("SELECT id, b FROM x")
			b.run(tt.ddl)
			br := b.begin(xid)
			stale.XID, stale.Branch, stale.Header, stale.Seq = br.xid, br.id, true, 1
			_, err = br.Capture(t.Context(), br.conn, stale)
			switch {
			case err != nil && !tt.seen:
				t.Errorf("%s, %s: %v", tt.ddl, text, err)
			case err == nil && tt.seen:
				t.Errorf("%s, %s: not seen", tt.ddl, text)
			case err != nil && (!stale.Stale || errors.Is(err, gtx.ErrUnsupported)):
				t.Errorf("%s, %s: %v does not lead to a new look at the catalogue", tt.ddl, text, err)
			}
			if err != nil {
				br.rollback()
				b.run(tt.back)
				b.want("SELECT id, b FROM x", start)
				continue
			}
			br.commit()
			id := `"public"."x"`
			now, err := b.Table(t.Context(), queryDB(b.db), id)
			if err != nil {
				t.Fatal(err)
			}
			if b.read("SELECT DISTINCT schema_fp FROM gtx_undo") == now.Fingerprint {
				t.Errorf("%s, %s: the undo row has the fingerprint of the changed table", tt.ddl, text)
			}
			b.run(tt.back)
			switch err := b.abort(xid); { // back again it fits, or is not touched
			case errors.Is(err, gtx.ErrDirty) && strings.Contains(tt.ddl, "TO t;"): // names exchanged
				b.run("TRUNCATE gtx_undo, gtx_branch, x", "INSERT INTO x VALUES (1, 1, 'c', 'd')")
			case err != nil:
				t.Errorf("%s, %s, %s: %v", tt.ddl, text, tt.back, err)
				b.run("TRUNCATE gtx_undo, gtx_branch")
			}
			b.want("SELECT id, b FROM x", start)
		}
	}
}

// Between capture and commit the server itself holds a change of the table up.
func TestTableChangedBeforeCommit(t *testing.T) {
	b := setup(t, "CREATE TABLE x (id int PRIMARY KEY, b int)", "INSERT INTO x VALUES (1, 1)")
	br := b.begin(1).exec(1, "UPDATE x SET b = 2")
	for _, ddl := range []string{"ALTER TABLE x ADD COLUMN c int", "ALTER TABLE x RENAME COLUMN b TO c", "ALTER TABLE x ALTER COLUMN b TYPE text", "DROP TABLE x"} {
		if _, err := b.db.Exec("SET lock_timeout = '20ms'; " + ddl); b.Classify(err) == 0 {
			t.Errorf("%s: got %v, want a lock timeout", ddl, err)
		}
	}
	br.commit()
	b.undone(1)
	b.want("SELECT * FROM x", "1|1")
}

// A column whose values take part in a change made before and after it was there.
func TestColumnAddedAndDropped(t *testing.T) { onEach(t, testColumnAddedAndDropped) }

func testColumnAddedAndDropped(t *testing.T) {
	b := setup(t, "CREATE TABLE x (id int PRIMARY KEY, b int)", "INSERT INTO x VALUES (1, 1)")
	b.begin(1).exec(1, "UPDATE x SET b = 2").commit()
	b.run("ALTER TABLE x ADD COLUMN c int", "ALTER TABLE x DROP COLUMN c")
	b.undone(1)
	b.want("SELECT * FROM x", "1|1")
}

// Statements of a session that were planned before a change are planned anew.
func TestPreparedAndSearchPath(t *testing.T) { onEach(t, testPreparedAndSearchPath) }

func testPreparedAndSearchPath(t *testing.T) {
	b := setup(t, "CREATE TABLE x (id int PRIMARY KEY, b int)", "INSERT INTO x VALUES (1, 1), (2, 2)", "CREATE SCHEMA other", "CREATE TABLE other.x (id int PRIMARY KEY, b int)", "INSERT INTO other.x VALUES (1, 10)")
	br := b.begin(1)
	for _, arg := range []int{1, 2} {
		if _, err := br.capture(false, "UPDATE x SET b = 5 WHERE id = $1", arg); err != nil {
			t.Fatal(err)
		}
	}
	r, err := b.parse("UPDATE x SET b = 6 WHERE id = 1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := br.conn.(driver.ExecerContext).ExecContext(t.Context(), "SET LOCAL search_path = other, public", nil); err != nil {
		t.Fatal(err)
	}
	r.XID, r.Branch, r.Seq = br.xid, br.id, 9
	if _, err := br.Capture(t.Context(), br.conn, r); err == nil || !r.Stale || r.Kept || !strings.Contains(err.Error(), `"x"`) {
		t.Errorf("another table of that name: got %v", err)
	}
	br.rollback()
	b.want("SELECT (SELECT count(*) FROM gtx_undo), (SELECT sum(b) FROM x), (SELECT sum(b) FROM other.x)", "0|3|10")
}
