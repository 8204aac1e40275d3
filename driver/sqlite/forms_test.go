package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// shapes are tables with the same columns and other keys. The rows K1, K2, K3 are
// there; K8 and K9 are free.
var shapes = []struct {
	name, ddl string
	keys      map[string]string
}{
	{
		"rowid", "CREATE TABLE \"order\" (k INTEGER PRIMARY KEY, u TEXT UNIQUE, v, r REAL DEFAULT 1, g TEXT NOT NULL DEFAULT 'g' CHECK (g <> 'bad'))",
		map[string]string{"K1": "1", "K2": "2", "K3": "3", "K8": "8", "K9": "9"},
	},
	{
		"text", "CREATE TABLE \"order\" (k TEXT COLLATE NOCASE PRIMARY KEY, u TEXT UNIQUE, v, r REAL DEFAULT 1, g TEXT NOT NULL DEFAULT 'g' CHECK (g <> 'bad'))",
		map[string]string{"K1": "''", "K2": "'ß ☃'", "K3": "'O''B \"q\"'", "K8": "'h'", "K9": "'9'"},
	},
	{
		"blob without rowid", "CREATE TABLE \"order\" (k BLOB PRIMARY KEY, u TEXT UNIQUE, v, r REAL DEFAULT 1, g TEXT NOT NULL DEFAULT 'g' CHECK (g <> 'bad')) WITHOUT ROWID",
		map[string]string{"K1": "x''", "K2": "x'00'", "K3": "x'ff00fe'", "K8": "2.5", "K9": "'text'"},
	},
	{
		"composite", "CREATE TABLE \"order\" (k REAL, u TEXT UNIQUE, v, r REAL DEFAULT 1, g TEXT NOT NULL DEFAULT 'g' CHECK (g <> 'bad'), PRIMARY KEY (g, k))",
		map[string]string{"K1": "1", "K2": "-2.5", "K3": "1e300", "K8": "8", "K9": "9.0"},
	},
	{
		"composite without rowid", "CREATE TABLE \"order\" (k TEXT, u TEXT UNIQUE, v, r REAL DEFAULT 1, g TEXT NOT NULL DEFAULT 'g' COLLATE RTRIM CHECK (g <> 'bad'), PRIMARY KEY (k, g)) WITHOUT ROWID",
		map[string]string{"K1": "'a' || char(0) || 'b'", "K2": "'a'", "K3": "'12'", "K8": "'h'", "K9": "'a' || char(0)"},
	},
}

// forms are statements on "order" with the columns k, u, v, r, g.
var forms = []do{
	{text: "INSERT INTO \"order\" (k, u, v) VALUES (K9, 'u9', 9)"},
	{text: "INSERT INTO \"order\" (k, u) VALUES (K9, 'u9') RETURNING *, rowid_or(k) AS x", rows: true},
	{text: "UPDATE \"order\" SET v = v || 'x', r = 5 WHERE k <> K2 RETURNING k, r, v", rows: true},
	{text: "DELETE FROM \"order\" AS o WHERE o.u IN (?, ?)", args: []any{"u1", "u3"}},
	// WITH.
	{text: "WITH w(x) AS (VALUES (K1), (K3)) UPDATE \"order\" AS o SET v = 'w' WHERE k IN w"},
	{text: "WITH w AS (SELECT k FROM \"order\" WHERE u > ?1) DELETE FROM \"order\" WHERE k IN (SELECT k FROM w) RETURNING u, v -- end", args: []any{"u1"}, rows: true},
	{text: "WITH RECURSIVE w(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM w WHERE n < 2) INSERT INTO \"order\" (k, u, v) SELECT iif(n = 1, K8, K9), 'n' || n, n FROM w;"},
	{text: "WITH w AS (SELECT 'u9' AS u) INSERT INTO \"order\" (k, u) VALUES (K9, (SELECT u FROM w))"},
	// UPDATE ... FROM.
	{text: "UPDATE \"order\" SET v = o.v || s.x, r = s.n FROM \"order\" AS o JOIN (SELECT 'u1' AS u, 'p' AS x, 3 AS n UNION ALL SELECT 'u2', 'q', 4) AS s ON s.u = o.u WHERE \"order\".k = o.k"},
	{text: "UPDATE main.[order] AS t SET v = s.x FROM (SELECT 1 AS x UNION ALL SELECT 1) AS s WHERE t.u >= :from RETURNING *", args: []any{sql.Named("from", "u2")}, rows: true},
	{text: "UPDATE \"order\" SET v = s.v FROM \"order\" AS s WHERE s.u = 'nobody'"},
	{text: "UPDATE \"order\" INDEXED BY by_v SET r = 7 WHERE v = 'v1'"},
	{text: "DELETE FROM \"order\" NOT INDEXED WHERE u = 'u2'"},
	// OR.
	{text: "INSERT OR ABORT INTO \"order\" (k, u) VALUES (K8, 'u8'), (K9, 'u9')"},
	{text: "INSERT OR FAIL INTO \"order\" (k, u) VALUES (K8, 'u8'), (K9, 'u9')"},
	{text: "UPDATE OR FAIL \"order\" SET v = 1"},
	{text: "INSERT OR IGNORE INTO \"order\" (k, u) VALUES (K1, 'new'), (K9, 'u2'), (K8, 'u8'), (K9, 'u9'), (K9, 'again') RETURNING k, u", rows: true},
	{text: "INSERT OR IGNORE INTO \"order\" (k, u, g) VALUES (K8, 'u8', NULL), (K9, 'u9', 'bad')"},
	{text: "INSERT OR IGNORE INTO \"order\" (k) VALUES (K1)"},
	{text: "UPDATE OR IGNORE \"order\" SET u = 'u2', v = 'i'"},
	{text: "UPDATE OR IGNORE \"order\" SET k = K2"},
	{text: "UPDATE OR IGNORE \"order\" SET g = iif(u = 'u1', 'bad', 'fine')"},
	// INSERT ... SELECT.
	{text: "INSERT INTO \"order\" (k, u, v) SELECT K9, u || '+', v FROM \"order\" WHERE k = K1 RETURNING u, k, r", rows: true},
	{text: "INSERT INTO \"order\" (k, u) SELECT K9, 'x' WHERE 0"},
	{text: "INSERT INTO \"order\" (k, u, v) SELECT K8, ?2, ?1 UNION ALL SELECT K9, 'é', 1.0", args: []any{[]byte{0}, "a\x00b"}},
	// ON CONFLICT.
	{text: "INSERT INTO \"order\" (k, u, v) VALUES (K1, 'n', 0), (K9, 'u9', 9) ON CONFLICT DO NOTHING RETURNING k", rows: true},
	{text: "INSERT INTO \"order\" (k, u, v) VALUES (K9, 'u1', 5), (K8, 'u8', 5), (K8, 'u8', 6) ON CONFLICT (u) DO UPDATE SET v = excluded.v, r = r + 1"},
	{text: "INSERT INTO \"order\" AS t (k, u, v) SELECT K9, 'u3', 5 WHERE 1 ON CONFLICT (u) DO UPDATE SET v = t.v || excluded.v RETURNING *", rows: true},
	{text: "INSERT INTO \"order\" (k, u, v) VALUES (K9, 'u1', 5), (K8, 'u2', 6), (K9, 'u3', 7) ON CONFLICT (u) DO UPDATE SET v = 'w' WHERE excluded.v > 5 ON CONFLICT DO NOTHING"},
	{text: "INSERT INTO \"order\" (k, u, v) VALUES (K9, 'u1', 5) ON CONFLICT (u) DO UPDATE SET k = excluded.k, u = 'moved'"},
	{text: "INSERT INTO \"order\" (k, u, v) VALUES (K1, 'zz', 1), (K9, 'u2', 2), (K8, 'u8', 3) ON CONFLICT (u) DO UPDATE SET v = 'u' ON CONFLICT DO UPDATE SET v = 'k', u = excluded.u"},
	// REPLACE.
	{text: "REPLACE INTO \"order\" (k, u, v) VALUES (K1, 'u1', 'again')"},
	{text: "REPLACE INTO \"order\" (k, u, v) VALUES (K9, 'u9', 'new')"},
	{text: "INSERT OR REPLACE INTO \"order\" (k, u, v) VALUES (K1, 'u2', 'two rows go') RETURNING *", rows: true},
	{text: "INSERT OR REPLACE INTO \"order\" (k, u, v) VALUES (K9, 'u2', 1), (K8, 'u3', 2), (K9, 'u1', 3)"},
	{text: "REPLACE INTO \"order\" (k, u, g) SELECT k, u, NULL FROM \"order\" WHERE u > 'u1'"},
	{text: "UPDATE OR REPLACE \"order\" SET u = 'u1' WHERE k = K3"},
	{text: "UPDATE OR REPLACE \"order\" SET u = 'u2'"},
	{text: "UPDATE OR REPLACE \"order\" SET k = K2 WHERE u = 'u3' RETURNING u", rows: true},
	// Keys that move.
	{text: "UPDATE \"order\" SET k = K9 WHERE k = K1"},
	{text: "UPDATE \"order\" SET k = CASE u WHEN 'u1' THEN K9 WHEN 'u2' THEN K8 ELSE k END, v = 'm' RETURNING k, v", rows: true},
	{text: "UPDATE \"order\" SET g = 'other'"},
	{text: "UPDATE \"order\" SET k = k"},
	{text: "UPDATE \"order\" SET (k, v) = (K9, 'row') WHERE u = 'u1'"},
	{text: "DELETE FROM \"order\" WHERE u = 'u1' AND abs(random()) >= 0"},
	{text: "DELETE FROM \"order\""},
}

// inShape puts the keys of a shape into a statement.
func inShape(s do, keys map[string]string) do {
	for k, v := range keys {
		s.text = strings.ReplaceAll(s.text, k, v)
	}
	s.text = strings.ReplaceAll(s.text, "rowid_or(k)", "typeof(k)")
	return s
}

const noSync = "?_pragma=synchronous(off)"

// fast is a house that does not wait for its disk.
func fast(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, dsn: "file:" + filepath.Join(t.TempDir(), "t.db") + noSync}
	h.open()
	return h
}

// fill makes the table of a shape and its rows.
func fill(h *house, ddl string, keys map[string]string) {
	h.plain(ddl)
	h.plain("CREATE INDEX by_v ON \"order\" (v)")
	h.plain(inShape(do{text: "INSERT INTO \"order\" (k, u, v, r) VALUES (K1, 'u1', 'v1', 1), (K2, 'u2', x'00ff', -0.0), (K3, 'u3', NULL, 2.5)"}, keys).text)
}

// touch changes every row without changing what the forms look at.
const touch = "UPDATE \"order\" SET r = r + 1"

func TestEveryFormOnEveryShape(t *testing.T) {
	for _, shape := range shapes {
		t.Run(shape.name, func(t *testing.T) {
			// Conflicts and re-entry do not depend on the kind of key: each form meets
			// them on one of two shapes.
			all := map[string]int{"rowid": 0, "composite without rowid": 1}
			h := fast(t)
			fill(h, shape.ddl, shape.keys)
			before := h.dump("order")
			for i, f := range forms {
				f := inShape(f, shape.keys)
				h.asTheBareDriver(f)
				// Alone.
				xid := h.xid()
				h.must(xid, f)
				old := 0
				if err := h.db.QueryRow("SELECT count(*) FROM gtx_undo WHERE op <> 'I'").Scan(&old); err != nil {
					t.Fatal(err)
				}
				h.undone(xid, "order", before)
				if turn, ok := all[shape.name]; !ok || i%2 != turn {
					continue
				}
				// Between other statements of the same transaction, in one branch and in several.
				xid = h.xid()
				h.must(xid, do{text: touch}, f, do{text: touch}, do{text: "DELETE FROM \"order\" WHERE r > 3"})
				h.undone(xid, "order", before)
				xid = h.xid()
				h.must(xid, do{text: "DELETE FROM \"order\" WHERE u = 'u2'"})
				h.must(xid, f)
				h.must(xid, do{text: touch})
				h.undone(xid, "order", before)
				// Another transaction holds every row, as it was.
				holder := h.xid()
				h.must(holder, do{text: "UPDATE \"order\" SET r = r"})
				if _, err := h.branch(h.xid(), f); errors.Is(err, gtx.ErrConflict) != (old > 0) || old == 0 && err != nil {
					t.Fatalf("%s: %d rows are held: %v", f.text, old, err)
				}
				if old > 0 {
					h.undone(holder, "order", before)
				} else {
					h.undoneAll("order", before)
				}
				// A foreign write between two branches.
				xid = h.xid()
				h.must(xid, do{text: "UPDATE \"order\" SET r = r"})
				h.plain("UPDATE \"order\" SET r = r + 0.25")
				if _, err := h.branch(xid, f); errors.Is(err, gtx.ErrDirty) != (old > 0) {
					t.Fatalf("%s: %d rows are dirty: %v", f.text, old, err)
				}
				h.plain("UPDATE \"order\" SET r = r - 0.25 WHERE u IN ('u1', 'u2', 'u3')")
				h.plain("UPDATE \"order\" SET r = -0.0 WHERE r = 0.0")
				h.undone(xid, "order", before)
			}
		})
	}
}

// undoneAll aborts every transaction that has undo rows.
func (h *house) undoneAll(table, before string) {
	h.t.Helper()
	for seq := uint64(1); seq <= h.seq; seq++ {
		if err := h.abort(gtx.XID{Log: 1, Epoch: 1, Seq: seq}); err != nil {
			h.t.Fatal(err)
		}
	}
	if after := h.dump(table); after != before {
		h.t.Fatalf("after the aborts\n got %s\nwant %s", after, before)
	}
	h.nothingLeft()
}

// asTheBareDriver runs a statement captured and bare, each in a transaction that
// is rolled back, and compares answers and tables.
func (h *house) asTheBareDriver(f do) {
	h.t.Helper()
	var got [2]string
	for i := range got {
		l := h.begin(h.xid())
		l.exec("BEGIN")
		// So that last_insert_rowid is something.
		l.exec("INSERT INTO \"order\" (k, u) VALUES (77.0, 'u77')")
		run := l.bareAnswer
		if i == 1 {
			l.begun, run = true, l.answer
		}
		answer, err := run(f)
		if err != nil {
			h.t.Fatalf("%s: %v", f.text, err)
		}
		got[i] = answer + "\n" + fmt.Sprint(l.lines("SELECT last_insert_rowid()")) + "\n" + fmt.Sprint(l.lines(h.dumpText("order")))
		l.exec("ROLLBACK")
		l.c.Close()
	}
	if got[0] != got[1] {
		h.t.Fatalf("%s\n got %s\nwant %s", f.text, got[1], got[0])
	}
}

// answer gives what a captured statement returned.
func (l *local) answer(f do) (string, error) {
	out, err := l.capture(f)
	if err != nil {
		return "", err
	}
	if f.rows {
		return rowsAnswer(out.Rows)
	}
	return fmt.Sprint(out.RowsAffected, out.LastInsertID), nil
}

// bareAnswer gives what the bare driver returns.
func (l *local) bareAnswer(f do) (string, error) {
	if f.rows {
		rows, err := l.c.(driver.QueryerContext).QueryContext(context.Background(), f.text, l.h.values(f.args))
		if err != nil {
			return "", err
		}
		defer rows.Close()
		return rowsAnswer(rows)
	}
	res, err := l.c.(driver.ExecerContext).ExecContext(context.Background(), f.text, l.h.values(f.args))
	if err != nil {
		return "", err
	}
	n, nerr := res.RowsAffected()
	id, ierr := res.LastInsertId()
	return fmt.Sprint(n, id), errors.Join(nerr, ierr)
}

func rowsAnswer(rows driver.Rows) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%q", rows.Columns())
	for {
		line := make([]driver.Value, len(rows.Columns()))
		if err := rows.Next(line); errors.Is(err, io.EOF) {
			return b.String(), nil
		} else if err != nil {
			return "", err
		}
		for i, v := range line {
			fmt.Fprintf(&b, " %T:%#v", v, v)
			if t, ok := rows.(driver.RowsColumnTypeDatabaseTypeName); ok {
				b.WriteString(t.ColumnTypeDatabaseTypeName(i))
			}
		}
	}
}
