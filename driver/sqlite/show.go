package sqlite

import (
	"fmt"
	"strings"

	"github.com/globaltx/globaltx/undo"
)

// Show prints values as SQL literals, which tell 1 from '1' and text from blobs.
func (Dialect) Show(t *undo.Table, r *undo.Row) undo.Statement {
	of := func(expr string) string {
		return "(SELECT " + expr + " FROM " + t.Name + " AS d WHERE " + keyCondition(t, r) + ")"
	}
	exists := "EXISTS " + of("1")
	same, before := "NOT "+exists, "NULL"
	place := map[int]int{}
	if r.Op == undo.Insert {
		for n, i := range t.Key {
			place[i] = n
		}
	} else {
		var elems []string
		for n, i := range storedColumns(t) {
			place[i] = n
			elems = append(elems, printed(decode("u.before_img", n)))
		}
		same = "COALESCE(" + of(fullImage(t, "d")+" = u.before_img") + ", 0)"
		before = printedArray(elems)
	}
	var key, now []string
	for _, i := range t.Key {
		key = append(key, printed(decode("u.before_img", place[i])))
	}
	for _, i := range storedColumns(t) {
		now = append(now, printed(column(t, "d", i)))
	}
	left := "CASE WHEN " + exists + " THEN COALESCE(" + of(fullImage(t, "d")+" = u.after_img") + ", 0) ELSE u.after_img IS NULL END"
	return undo.Statement{
		Text: "SELECT " + strings.Join([]string{exists, left, same, printedArray(key), before, of(printedArray(now))}, ", ") +
			" FROM main.gtx_undo AS u WHERE " + undoRow,
		Args: ofRow(r),
	}
}

// printed gives a value as JSON string of its SQL literal, NULL as JSON null.
// quote() ends a text at its first NUL, and drops the sign of zero.
func printed(value string) string {
	const text = "CASE WHEN typeof(v) = 'text' AND instr(v, char(0)) > 0 THEN 'CAST(x''' || hex(CAST(v AS BLOB)) || ''' AS TEXT)'" +
		" WHEN typeof(v) = 'real' AND v = 0.0 AND atan2(v, -1.0) < 0.0 THEN '-0.0' ELSE quote(v) END"
	return fmt.Sprintf("(SELECT CASE WHEN v IS NULL THEN 'null' ELSE json_quote(%s) END FROM (SELECT %s AS v))", text, value)
}

func printedArray(elems []string) string {
	return "'[' || " + joinWith(elems, " || ',' || ") + " || ']'"
}

// joinWith makes a balanced tree, see join.
func joinWith(elems []string, between string) string {
	if len(elems) == 1 {
		return elems[0]
	}
	half := len(elems) / 2
	return "(" + joinWith(elems[:half], between) + between + joinWith(elems[half:], between) + ")"
}

// Force deletes the row of an insert. Else it changes the row that stands under
// the key and inserts it where none does.
func (d Dialect) Force(t *undo.Table, r *undo.Row) []undo.Statement {
	if r.Op == undo.Insert {
		return []undo.Statement{{
			Text: "DELETE FROM " + t.Name + " AS d WHERE EXISTS (SELECT 1 FROM main.gtx_undo AS u WHERE " + undoRow +
				" AND " + keyCondition(t, r) + ")" + narrow(t),
			Args: append(ofRow(r), narrowArgs(t, r)...),
		}}
	}
	names, values := assignments(t)
	for i := range names {
		names[i] += " = " + values[i]
	}
	missing := *r
	missing.Op = undo.Delete
	return []undo.Statement{
		{
			Text: "UPDATE " + t.Name + " AS d SET " + strings.Join(names, ", ") + " FROM main.gtx_undo AS u WHERE " + undoRow +
				" AND " + keyCondition(t, r),
			Args: ofRow(r),
		},
		d.Restore(t, &missing),
	}
}
