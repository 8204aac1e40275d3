package sqlite

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// hostile are values of every storage class.
func hostile() []any {
	return []any{
		nil, int64(0), int64(1), int64(-1), int64(math.MaxInt64), int64(math.MinInt64), int64(1<<53 + 1),
		0.0, math.Copysign(0, -1), 1.0, 0.1, -2.5e-300, math.MaxFloat64, math.SmallestNonzeroFloat64, 1e15, 9007199254740993.0,
		math.Inf(1), math.Inf(-1), math.NaN(),
		"", "x", "O'Brien", `"q"`, "a\x00b", "\x00", "\xff\xfe bad utf-8 \xc3", "12", "1e3", "9e999", "héllo ☃", "]\",\"[", "2024-01-02 03:04:05",
		[]byte{},
		[]byte{0},
		[]byte("text as blob"),
		[]byte{0xff, 0, 0xfe},
	}
}

const kinds = `CREATE TABLE kinds (id INTEGER PRIMARY KEY, any BLOB, txt TEXT, num NUMERIC, i INTEGER, r REAL, none, dt DATETIME, bo BOOLEAN,
	"odd ""name]" TEXT, g TEXT AS (txt || '!') VIRTUAL, gs AS (r * 2) STORED)`

func TestRestoresEveryStorageClass(t *testing.T) {
	h := setup(t, kinds)
	all := "any, txt, num, i, r, none, dt, bo, \"odd \"\"name]\""
	for _, v := range hostile() {
		h.plain("INSERT INTO kinds ("+all+") VALUES (?1, ?1, ?1, ?1, ?1, ?1, ?1, ?1, ?1)", v)
	}
	before := h.dump("kinds")
	for what, s := range map[string][]do{
		"update": {{text: "UPDATE kinds SET any = 'x', txt = 'y', num = 7, i = 8, r = 9, none = NULL, dt = 1, bo = 2, \"odd \"\"name]\" = 3"}},
		"delete": {{text: "DELETE FROM kinds"}},
		"both":   {{text: "UPDATE kinds SET any = txt, txt = any, none = -r, r = none"}, {text: "DELETE FROM kinds WHERE id % 2 = 0"}},
	} {
		t.Run(what, func(t *testing.T) {
			h.t = t
			xid := h.xid()
			h.must(xid, s...)
			if h.dump("kinds") == before {
				t.Fatal("nothing changed")
			}
			h.undone(xid, "kinds", before)
		})
	}
	t.Run("insert", func(t *testing.T) {
		h.t = t
		xid := h.xid()
		for _, v := range hostile() {
			h.must(xid, do{text: "INSERT INTO kinds (" + all + ") VALUES (?1, ?1, ?1, ?1, ?1, ?1, ?1, ?1, ?1)", args: []any{v}})
		}
		h.undone(xid, "kinds", before)
	})
}

func TestRestoresRandomReals(t *testing.T) {
	h := setup(t, "CREATE TABLE f (id INTEGER PRIMARY KEY, a REAL, b)")
	seed := rand.Uint64()
	t.Log("seed", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	for range 150 {
		h.plain("INSERT INTO f (a, b) VALUES (?, ?)", math.Float64frombits(rnd.Uint64()), math.Float64frombits(rnd.Uint64()))
	}
	before := h.dump("f")
	xid := h.xid()
	h.must(xid, do{text: "UPDATE f SET a = b, b = a"}, do{text: "DELETE FROM f"})
	h.undone(xid, "f", before)
}

func TestKeysOfEveryKind(t *testing.T) {
	for what, ddl := range map[string]string{
		"text":          "CREATE TABLE k (a TEXT PRIMARY KEY, v)",
		"none":          "CREATE TABLE k (a PRIMARY KEY, v)",
		"real":          "CREATE TABLE k (a REAL PRIMARY KEY, v)",
		"numeric":       "CREATE TABLE k (a NUMERIC PRIMARY KEY, v) WITHOUT ROWID",
		"nocase":        "CREATE TABLE k (a TEXT COLLATE NOCASE PRIMARY KEY, v)",
		"index nocase":  "CREATE TABLE k (a TEXT, v, PRIMARY KEY (a COLLATE NOCASE))",
		"rtrim":         "CREATE TABLE k (a TEXT COLLATE RTRIM PRIMARY KEY, v)",
		"composite":     "CREATE TABLE k (v, a TEXT, b INTEGER DEFAULT 5, PRIMARY KEY (b, a)) WITHOUT ROWID",
		"autoincrement": "CREATE TABLE k (n INTEGER PRIMARY KEY AUTOINCREMENT, a, v)",
		"strict":        "CREATE TABLE k (a ANY PRIMARY KEY, v ANY) STRICT",
	} {
		t.Run(what, func(t *testing.T) {
			h := setup(t, ddl)
			for _, v := range []any{int64(1), 2.5, "x", "Y ", "1e400 x", []byte("b"), math.Inf(1)} {
				h.plain("INSERT INTO k (a, v) VALUES (?, 'old')", v)
			}
			before := h.dump("k")
			xid := h.xid()
			h.must(xid, do{text: "UPDATE k SET v = 'new' WHERE a <> ?", args: []any{"x"}})
			h.must(xid, do{text: "DELETE FROM k"}, do{text: "INSERT INTO k (a, v) VALUES (?, 1), (?, 2), (7, 3), (-0.5, 4)", args: []any{"y", 1.0}})
			h.must(xid, do{text: "UPDATE k SET v = 'again'"})
			h.undone(xid, "k", before)
		})
	}
}

func TestReturnsWhatTheBareDriverReturns(t *testing.T) {
	h := setup(t, "CREATE TABLE a (id INTEGER PRIMARY KEY, v TEXT, at DATETIME)")
	xid := h.xid()
	out := h.must(xid,
		do{text: "INSERT INTO a (v) VALUES ('x'), ('y') -- two\n;"},
		do{text: "INSERT INTO a (v, at) VALUES (?, '2024-01-02 03:04:05') RETURNING *, id AS again", args: []any{"z"}, rows: true},
		do{text: "UPDATE a SET v = v || '!' WHERE id >= @from /* c */ AND v <> :not -- end", args: []any{sql.Named("not", "y"), sql.Named("from", 1)}},
		do{text: "DELETE FROM a AS x WHERE x.id = ?1 OR x.id = ?1", args: []any{2}, rows: true},
		do{text: "UPDATE a SET v = ? WHERE id = ?", args: []any{"none", 99}},
	)
	if out[0].RowsAffected != 2 || out[0].LastInsertID != 2 {
		t.Errorf("insert: %+v", out[0])
	}
	if got := out[1].Rows.Columns(); strings.Join(got, " ") != "id v at again" {
		t.Errorf("columns %v", got)
	}
	line := make([]driver.Value, 4)
	if err := out[1].Rows.Next(line); err != nil || line[0] != int64(3) || line[1] != "z" || line[3] != int64(3) {
		t.Errorf("row %v, %v", line, err)
	}
	if err := out[1].Rows.Next(line); !errors.Is(err, io.EOF) {
		t.Errorf("end of rows: %v", err)
	}
	if out[2].RowsAffected != 2 || out[3].RowsAffected != 1 || out[4].RowsAffected != 0 {
		t.Errorf("affected %d %d %d", out[2].RowsAffected, out[3].RowsAffected, out[4].RowsAffected)
	}
	if out[3].Rows == nil || len(out[3].Rows.Columns()) != 0 || out[3].LastInsertID != 3 {
		t.Errorf("query without RETURNING: %+v", out[3])
	}
	h.undone(xid, "a", "[]")
}

// TestTransitions walks rule T4's table, the statements in one branch and in one
// branch each.
func TestTransitions(t *testing.T) {
	const ins, ins2 = "INSERT INTO a VALUES (2, 'new')", "INSERT INTO a VALUES (1, 'other')"
	const upd, del = "UPDATE a SET v = v || '+' WHERE id = 2", "DELETE FROM a WHERE id = 2"
	const upd1, del1 = "UPDATE a SET v = v || '+' WHERE id = 1", "DELETE FROM a WHERE id = 1"
	for _, c := range []struct {
		steps []string
		op    string
	}{
		{[]string{ins, upd}, "I"},
		{[]string{ins, del}, "I"},
		{[]string{ins, del, ins}, "I"},
		{[]string{ins, upd, del, ins, upd}, "I"},
		{[]string{upd1, upd1}, "U"},
		{[]string{upd1, del1}, "D"},
		{[]string{del1, ins2}, "U"},
		{[]string{del1, ins2, upd1}, "U"},
		{[]string{del1, ins2, del1}, "D"},
		{[]string{upd1, del1, ins2, del1, ins2}, "U"},
	} {
		for _, oneBranch := range []bool{true, false} {
			h := setup(t, "CREATE TABLE a (id INTEGER PRIMARY KEY, v)", "INSERT INTO a VALUES (1, 'old')")
			before := h.dump("a")
			xid := h.xid()
			var all []do
			for _, s := range c.steps {
				all = append(all, do{text: s})
			}
			if oneBranch {
				h.must(xid, all...)
			} else {
				for _, s := range all {
					h.must(xid, s)
				}
			}
			var op string
			if err := h.db.QueryRow("SELECT group_concat(op) FROM gtx_undo").Scan(&op); err != nil || op != c.op {
				t.Fatalf("%q: op %s (%v), want %s", c.steps, op, err, c.op)
			}
			h.undone(xid, "a", before)
		}
	}
}

func TestAnotherTransactionHoldsTheRow(t *testing.T) {
	h := setup(t, "CREATE TABLE a (id INTEGER PRIMARY KEY, v)", "INSERT INTO a VALUES (1, 'old'), (2, 'old')")
	first, second := h.xid(), h.xid()
	h.must(first, do{text: "UPDATE a SET v = 'first' WHERE id = 1"}, do{text: "DELETE FROM a WHERE id = 2"})
	before := h.dump("a")
	for _, s := range []string{"UPDATE a SET v = 'second'", "DELETE FROM a WHERE id = 1", "INSERT INTO a VALUES (2, 'second')"} {
		_, err := h.branch(second, do{text: s})
		if !errors.Is(err, gtx.ErrConflict) || !strings.Contains(err.Error(), first.String()) {
			t.Errorf("%s: %v", s, err)
		}
	}
	if after := h.dump("a"); after != before {
		t.Errorf("got %s", after)
	}
	// Equal keys of different types are one lock.
	if _, err := h.branch(second, do{text: "INSERT INTO a VALUES (2.0, 'second')"}); !errors.Is(err, gtx.ErrConflict) {
		t.Errorf("key 2.0: %v", err)
	}
}

func TestForeignWriteBetweenBranchesIsDirty(t *testing.T) {
	for _, s := range []string{"UPDATE a SET v = 'mine'", "DELETE FROM a"} {
		h := setup(t, "CREATE TABLE a (id INTEGER PRIMARY KEY, v)", "INSERT INTO a VALUES (1, 'old')")
		xid := h.xid()
		h.must(xid, do{text: "UPDATE a SET v = 'new'"})
		h.plain("UPDATE a SET v = 'foreign'")
		if _, err := h.branch(xid, do{text: s}); !errors.Is(err, gtx.ErrDirty) {
			t.Errorf("%s: %v", s, err)
		}
		if err := h.abort(xid); !errors.Is(err, gtx.ErrDirty) || !strings.Contains(err.Error(), xid.String()) {
			t.Errorf("abort: %v", err)
		}
		if h.count("gtx_undo") != 1 {
			t.Error("the lock is gone")
		}
		h.plain("UPDATE a SET v = 'new'")
		h.undone(xid, "a", "[[integer:1 text:6F6C64]]")
	}
}

func TestUserErrorsComeUnchanged(t *testing.T) {
	h := setup(t, "CREATE TABLE a (id INTEGER PRIMARY KEY, v NOT NULL)", "INSERT INTO a VALUES (1, 'old')")
	for _, s := range []string{"INSERT INTO a VALUES (1, 'x')", "UPDATE a SET v = NULL", "UPDATE a SET nix = 1"} {
		_, bare := h.db.Exec(s)
		_, err := h.branch(h.xid(), do{text: s})
		if bare == nil || err == nil || err.Error() != bare.Error() {
			t.Errorf("%s: %v, bare %v", s, err, bare)
		}
	}
	h.nothingLeft()
}

func TestBusyIsAConflict(t *testing.T) {
	h := setup(t, "CREATE TABLE a (id INTEGER PRIMARY KEY, v)")
	h.dsn = strings.Replace(h.dsn, "5000", "1", 1)
	holder := h.begin(h.xid())
	defer holder.c.Close()
	holder.exec("BEGIN IMMEDIATE")
	if _, err := h.branch(h.xid(), do{text: "INSERT INTO a VALUES (1, 1)"}); !errors.Is(err, gtx.ErrConflict) {
		t.Errorf("%v", err)
	}
}

func TestLiteralsAreNotEvaluated(t *testing.T) {
	h := setup(t, "CREATE TABLE `order` (`select` TEXT PRIMARY KEY, `group``x` TEXT)")
	for _, s := range []string{`'; DROP TABLE "order"; --`, `')) OR 1=1 --`, "?", ":a", "/*", "-- ", `\'`, "''"} {
		lit := "'" + strings.ReplaceAll(s, "'", "''") + "'"
		xid := h.xid()
		h.must(xid, do{text: "INSERT INTO \"order\" VALUES (" + lit + ", " + lit + ")"},
			do{text: "UPDATE [order] AS o SET \"group`x\" = 'n' WHERE o.`select` = " + lit + " AND 'a' = ?", args: []any{"a"}},
			do{text: "DELETE FROM `main`.`order` WHERE `select` = " + lit + " -- end"})
		h.undone(xid, "order", "[]")
	}
}

// TestManyColumns is beyond what a chain of concatenations could hold: SQLite
// limits the depth of expressions to 1000.
func TestManyColumns(t *testing.T) {
	h := setup(t)
	var names []string
	for i := range 600 {
		names = append(names, fmt.Sprintf("c%d", i))
	}
	h.plain("CREATE TABLE wide (id INTEGER PRIMARY KEY, " + strings.Join(names, ", ") + ")")
	h.plain("INSERT INTO wide (id, c0, c599) VALUES (1, 'first', 'last')")
	before := h.dump("wide")
	xid := h.xid()
	h.must(xid, do{text: "UPDATE wide SET c0 = 1, c599 = 2"}, do{text: "DELETE FROM wide"})
	h.undone(xid, "wide", before)
}

func TestUTF16(t *testing.T) {
	h := setup(t)
	h.db.Close()
	h.dsn = strings.Replace(h.dsn, "t.db?", "t16.db?_pragma=encoding('UTF-16le')&", 1)
	h.open()
	h.plain("CREATE TABLE k (a TEXT COLLATE NOCASE PRIMARY KEY, v)")
	for _, v := range hostile() {
		if _, isText := v.(string); isText {
			h.plain("INSERT INTO k VALUES (replace(?1, char(0), '0'), ?1)", v)
		}
	}
	before := h.dump("k")
	xid := h.xid()
	h.must(xid, do{text: "UPDATE k SET v = a WHERE a = 'O''BRIEN' OR v <> a"}, do{text: "DELETE FROM k WHERE a LIKE '%l%'"},
		do{text: "INSERT INTO k VALUES ('HéLLO ☃', 1)"})
	h.undone(xid, "k", before)
}
