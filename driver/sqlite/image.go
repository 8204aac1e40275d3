package sqlite

import (
	"fmt"
	"strings"

	"github.com/globaltx/globaltx/undo"
)

// An image is a row as a JSON array of strings, made and read by SQL inside the
// database, so that no value passes through Go. One string for each column:
//
//	n           NULL
//	i<decimal>  INTEGER
//	r<number>   REAL, 17 significant digits: SQLite reads back the same bits
//	t<hex>      TEXT, its bytes in the encoding of the database (NUL and invalid
//	            sequences included)
//	b<hex>      BLOB
//
// The full image has the columns of storedColumns, a key image those of Table.Key
// in key order. The encoding is stored: do not change.

// name quotes an identifier with backticks: an unknown name in double quotes is
// silently a string to SQLite.
func name(id string) string { return "`" + strings.ReplaceAll(id, "`", "``") + "`" }

// storedColumns are the indexes of the columns that are written.
func storedColumns(t *undo.Table) []int {
	var in []int
	for i, c := range t.Columns {
		if !c.Generated {
			in = append(in, i)
		}
	}
	return in
}

// encodeReal writes a REAL. The formatting function has no infinities that can be
// read back and drops the sign of zero, which atan2 shows.
func encodeReal(c string) string {
	return "CASE WHEN " + c + " > 1.7976931348623157e308 THEN 'r9e999' WHEN " + c + " < -1.7976931348623157e308 THEN 'r-9e999'" +
		" WHEN " + c + " = 0.0 AND atan2(" + c + ", -1.0) < 0.0 THEN 'r-0.0'" +
		" ELSE 'r' || format('%!.17g', " + c + ") END"
}

// encode is the expression that writes the value of the expression c.
func encode(c string) string {
	return "CASE typeof(" + c + ") WHEN 'null' THEN 'n' WHEN 'integer' THEN 'i' || " + c +
		" WHEN 'text' THEN 't' || hex(CAST(" + c + " AS BLOB)) WHEN 'blob' THEN 'b' || hex(" + c + ")" +
		" ELSE " + encodeReal(c) + " END"
}

// decode is the expression that reads element i of the image img.
func decode(img string, i int) string {
	v := fmt.Sprintf("(%s ->> '$[%d]')", img, i)
	tail := "substr(" + v + ", 2)"
	return "CASE substr(" + v + ", 1, 1) WHEN 'i' THEN CAST(" + tail + " AS INTEGER)" +
		" WHEN 'r' THEN CASE " + tail + " WHEN '-0.0' THEN -0.0 ELSE CAST(" + tail + " AS REAL) END" +
		" WHEN 't' THEN CAST(unhex(" + tail + ") AS TEXT) WHEN 'b' THEN unhex(" + tail + ") END"
}

// same encodes a key value so that two values get one text exactly when the
// unique index of the key holds them for equal: 1 is 1.0, and texts compare by
// the collation. 'z' stands for a text that NOCASE compares up to its NUL only.
func same(c, collation string) string {
	text := c
	nul := ""
	switch collation {
	case "NOCASE":
		text = "lower(" + c + ")"
		nul = " WHEN typeof(" + c + ") = 'text' AND instr(" + c + ", char(0)) > 0 THEN 'z'"
	case "RTRIM":
		text = "rtrim(" + c + ", ' ')"
	}
	return "CASE" + nul +
		" WHEN typeof(" + c + ") = 'text' THEN 't' || hex(CAST(" + text + " AS BLOB))" +
		" WHEN typeof(" + c + ") = 'real' AND " + c + " BETWEEN -9.2e18 AND 9.2e18 AND CAST(" + c + " AS INTEGER) = " + c +
		" THEN 'i' || CAST(" + c + " AS INTEGER) ELSE " + encode(c) + " END"
}

// array joins encoded values to an image.
func array(elems []string) string {
	return `'["' || ` + join(elems) + ` || '"]'`
}

// join concatenates in a balanced tree: SQLite limits the depth of expressions.
func join(elems []string) string {
	if len(elems) == 1 {
		return elems[0]
	}
	half := len(elems) / 2
	return "(" + join(elems[:half]) + ` || '","' || ` + join(elems[half:]) + ")"
}

// column qualifies a column by the alias q, or not where q is empty.
func column(t *undo.Table, q string, i int) string {
	if q == "" {
		return name(t.Columns[i].Name)
	}
	return q + "." + name(t.Columns[i].Name)
}

// fullImage is the expression for the image of the row q.
func fullImage(t *undo.Table, q string) string {
	var elems []string
	for _, i := range storedColumns(t) {
		elems = append(elems, encode(column(t, q, i)))
	}
	return array(elems)
}

// keyImage is the expression for the key image of the row q.
func keyImage(t *undo.Table, q string) string {
	var elems []string
	for _, i := range t.Key {
		elems = append(elems, encode(column(t, q, i)))
	}
	return array(elems)
}

// keyIdentity is the expression whose digest is gtx_undo.keyh.
func keyIdentity(t *undo.Table, q string) string {
	var elems []string
	for _, i := range t.Key {
		elems = append(elems, same(column(t, q, i), t.Columns[i].Attr))
	}
	return array(elems)
}

// hasKey is the condition that row q has the key of the key image img.
func hasKey(t *undo.Table, q, img string) string {
	var conds []string
	for n, i := range t.Key {
		conds = append(conds, matches(t, q, i, decode(img, n)))
	}
	return strings.Join(conds, " AND ")
}

// hasKeyOf is the condition that row q has the key of the full image img.
func hasKeyOf(t *undo.Table, q, img string) string {
	place := map[int]int{}
	for n, i := range storedColumns(t) {
		place[i] = n
	}
	var conds []string
	for _, i := range t.Key {
		conds = append(conds, matches(t, q, i, decode(img, place[i])))
	}
	return strings.Join(conds, " AND ")
}

func matches(t *undo.Table, q string, i int, value string) string {
	return column(t, q, i) + " COLLATE " + t.Columns[i].Attr + " = " + value
}
