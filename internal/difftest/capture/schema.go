package capture

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// typ is the type of a column or expression, as far as the generator keeps them
// apart so that no server has to convert.
type typ uint8

const (
	integer typ = iota
	text
	document // JSON; only read
)

type column struct {
	name string
	typ  typ
}

// table is a table of the schema that every engine gets.
type table struct {
	name string
	key  []string
	cols []column
	rows int
	// parts: it is partitioned in the MySQL family and has a child table in
	// Postgres.
	parts bool
	// unique is a column beside the key that is unique; "" when none.
	unique string
}

// touched counts up with every UPDATE that the generator writes, so that each row
// that a statement matches is changed by it.
const touched = "touched"

var (
	acct = &table{
		name: "acct", key: []string{"id"}, rows: 40, unique: "u",
		cols: []column{
			{"id", integer},
			{"u", integer},
			{"grp", integer},
			{"value", integer},
			{"name", text},
			{"order", integer},
			{`we"ird`, text},
			{"doc", document},
			{touched, integer},
		},
	}
	line = &table{
		name: "line", key: []string{"id"}, rows: 60,
		cols: []column{
			{"id", integer},
			{"acct_id", integer},
			{"qty", integer},
			{"tag", text},
			{"select", text},
			{touched, integer},
		},
	}
	odd = &table{
		name: `wh"ere.x`, key: []string{"a key", "b"}, rows: 30,
		cols: []column{
			{"a key", integer},
			{"b", text},
			{"value", integer},
			{"limit", integer},
			{"name", text},
			{touched, integer},
		},
	}
	part = &table{
		name: "part", key: []string{"id"}, rows: 36, parts: true,
		cols: []column{
			{"id", integer},
			{"grp", integer},
			{"value", integer},
			{"name", text},
			{touched, integer},
		},
	}
	tables = []*table{acct, line, odd, part}
)

// find gives the table of a name that a statement was read to hold.
func find(d sqltext.Dialect, name string) (*table, error) {
	for _, t := range tables {
		if t.name == name || d == sqltext.SQLite && strings.EqualFold(t.name, name) {
			return t, nil
		}
	}
	return nil, fmt.Errorf("find table %q: not in the schema", name)
}

func (t *table) isKey(col string) bool {
	for _, k := range t.key {
		if k == col {
			return true
		}
	}
	return false
}

// texts are the values of text columns: nothing in them may be taken for SQL.
var texts = []string{
	"", "a", "b", "b'c", `back\slash`, `end\`, "x -- y", "/* no */", "q?1", "$1 :a @b", `dq"x`, "bt`x", "é😀",
	"WHERE", "50%", ") OR (1=1", ";", "two\nlines", "$q$", "'' AND ''", "# no", " SET touched=0 WHERE ",
}

// docs are the values of the column doc.
var docs = []string{`{"a": "x"}`, `{"a": "y?", "b": 1}`, `{"b": 2}`, `{}`}

// create makes the tables and fills them, with the same rows every time.
func create(ctx context.Context, c *sql.Conn, d sqltext.Dialect) error {
	q := quoter{d: d}
	r := rand.New(rand.NewPCG(1, 2))
	for _, t := range tables {
		for _, ddl := range definition(t, q) {
			if _, err := c.ExecContext(ctx, ddl); err != nil {
				return fmt.Errorf("create table %s: %w", t.name, err)
			}
		}
		for id := 1; id <= t.rows; id++ {
			name := t.name
			if t.parts && d == sqltext.Postgres && id%2 == 0 {
				name = childName
			}
			var names, marks []string
			var args []any
			for i, col := range t.cols {
				names = append(names, q.always(col.name))
				marks = append(marks, q.mark(i+1))
				args = append(args, cell(r, t, col, id))
			}
			insert := "INSERT INTO " + q.always(name) + " (" + strings.Join(names, ", ") + ") VALUES (" + strings.Join(marks, ", ") + ")"
			if _, err := c.ExecContext(ctx, insert, args...); err != nil {
				return fmt.Errorf("fill table %s: %w", t.name, err)
			}
		}
	}
	return nil
}

// childName inherits from part in Postgres.
const childName = "part_kid"

// partitions are those of the table part in the MySQL family.
var partitions = []string{"p0", "p1", "p 2", "p3"}

// definition gives the DDL of a table.
func definition(t *table, q quoter) []string {
	var defs []string
	for _, c := range t.cols {
		def := q.always(c.name) + " " + q.typeName(c.typ)
		switch {
		case c.name == touched:
			def += " NOT NULL DEFAULT 0"
		case t.isKey(c.name):
			def += " NOT NULL"
		case c.name == t.unique:
			def += " NOT NULL UNIQUE"
		case c.name == "value":
			def += " DEFAULT 4"
		}
		defs = append(defs, def)
	}
	var key []string
	for _, k := range t.key {
		key = append(key, q.always(k))
	}
	defs = append(defs, "PRIMARY KEY ("+strings.Join(key, ", ")+")")
	indexed := "" // an index with an odd name, for hints
	if t == acct || t == line {
		indexed = t.cols[2].name
	}
	if indexed != "" && q.family() {
		defs = append(defs, "KEY "+q.always(indexName(t))+" ("+q.always(indexed)+")")
	}
	ddl := "CREATE TABLE " + q.always(t.name) + " (" + strings.Join(defs, ", ") + ")"
	if t.parts && q.family() {
		var list []string
		for i, p := range partitions {
			list = append(list, fmt.Sprintf("PARTITION %s VALUES LESS THAN (%d)", q.always(p), 10*(i+1)))
		}
		ddl += " PARTITION BY RANGE (id) (" + strings.Join(list, ", ") + ")"
	}
	all := []string{ddl}
	if t.parts && q.d == sqltext.Postgres {
		all = append(all, "CREATE TABLE "+childName+" (PRIMARY KEY (id)) INHERITS ("+t.name+")")
	}
	if indexed != "" && q.d == sqltext.SQLite {
		all = append(all, "CREATE INDEX "+q.always(indexName(t))+" ON "+q.always(t.name)+" ("+q.always(indexed)+")")
	}
	return all
}

func indexName(t *table) string { return t.name + " set" }

// cell gives the value of a column in row id.
func cell(r *rand.Rand, t *table, c column, id int) any {
	switch {
	case c.name == touched:
		return 0
	case c.name == "b":
		return texts[1+id%(len(texts)-1)]
	case t.isKey(c.name):
		return id
	case c.name == t.unique:
		return 100 + id
	case c.typ == document:
		return docs[r.IntN(len(docs))]
	case r.IntN(6) == 0:
		return nil
	case c.name == "acct_id":
		return r.IntN(acct.rows * 5 / 4) // some hang in the air
	case c.typ == integer:
		return r.IntN(10)
	}
	return texts[r.IntN(len(texts))]
}
