package pgsql

import (
	"slices"
	"strings"

	"github.com/globaltx/globaltx/undo"
)

// stored is a FROM item x with the image of one undo row, read back as a row of
// the table in x.b. OFFSET 0 keeps the server from parsing it once per column.
func stored(t *undo.Table, op undo.Op) string { return storedAs(t, op, "u.keyh = $2") }

// storedRows is the same for several undo rows.
func storedRows(t *undo.Table, op undo.Op) string {
	return storedAs(t, op, "u.keyh = ANY ($2::pg_catalog.text[])")
}

func storedAs(t *undo.Table, op undo.Op, keys string) string {
	return "(SELECT u.before_img::" + t.Name + " AS b, u.before_sum, u.after_img FROM " + tableUndo +
		" AS u WHERE u.tbl = $1 AND " + keys + " AND u.xid = $3 AND u.op = " + literal(string(op)) + " OFFSET 0) AS _gtx_x"
}

// sameKey finds the data row q of x.
func sameKey(t *undo.Table) string {
	var eq []string
	for _, k := range t.Key {
		name := ident(t.Columns[k].Name)
		eq = append(eq, "_gtx_q."+name+" = (_gtx_x.b)."+name)
	}
	return strings.Join(eq, " AND ")
}

// exact holds when the image reads back as precisely the row that was captured:
// a restore that is not exact must not happen at all.
var exact = digest("_gtx_x.b") + " = _gtx_x.before_sum"

func statement(text string, r *undo.Row) undo.Statement {
	return undo.Statement{Text: text, Args: []any{r.Table, r.KeyHash, r.XID.String()}}
}

// Lock locks the data row, found by the key in the undo row as it stands in the
// database (rule P5), and then the undo row (rule W1).
func (Dialect) Lock(t *undo.Table, r *undo.Row) []undo.Statement {
	return []undo.Statement{
		statement("SELECT 1 FROM "+stored(t, r.Op)+" JOIN "+t.Name+" AS _gtx_q ON "+sameKey(t)+" FOR UPDATE OF _gtx_q", r),
		statement("SELECT 1 FROM "+tableUndo+" AS u WHERE u.tbl = $1 AND u.keyh = $2 AND u.xid = $3 FOR UPDATE", r),
	}
}

// IsBefore compares by digest: before_sum, or no row for an insert. It is 0 too
// when the undo row is not there.
func (Dialect) IsBefore(t *undo.Table, r *undo.Row) undo.Statement {
	return statement(restoredRows(t, r.Op, stored(t, r.Op)), r)
}

func restoredRows(t *undo.Table, op undo.Op, images string) string {
	from := "SELECT count(*) FROM " + images
	if op == undo.Insert {
		return from + " WHERE NOT EXISTS (SELECT FROM " + t.Name + " AS _gtx_q WHERE " + sameKey(t) + ")"
	}
	return from + " JOIN " + t.Name + " AS _gtx_q ON " + sameKey(t) + " WHERE " + digest("_gtx_q.*") + " = _gtx_x.before_sum"
}

// Restore affects one row, or none when the data row is not the after image or
// the stored image does not read back exactly.
func (Dialect) Restore(t *undo.Table, r *undo.Row) undo.Statement {
	return statement(restoreRows(t, r.Op, stored(t, r.Op)), r)
}

func restoreRows(t *undo.Table, op undo.Op, images string) string {
	switch op {
	case undo.Insert:
		return "DELETE FROM " + t.Name + " AS _gtx_q USING " + images + " WHERE " + sameKey(t) +
			" AND " + digest("_gtx_q.*") + " = _gtx_x.after_img"
	case undo.Delete:
		return insertBefore(t, images+" WHERE _gtx_x.after_img IS NULL AND "+exact)
	}
	from := images + " WHERE " + sameKey(t) + " AND " + digest("_gtx_q.*") + " = _gtx_x.after_img AND " + exact
	if replaced(t) {
		return exchange(t, from)
	}
	return "UPDATE " + t.Name + " AS _gtx_q SET " + strings.Join(assignments(t), ", ") + " FROM " + from
}

// exchange deletes rows and inserts their before images. All are deleted before the
// first is inserted, which sorting sees to, so they may take each other's values;
// foreign keys, but for ON ... RESTRICT, are checked at the end of the statement.
func exchange(t *undo.Table, from string) string {
	return "WITH _gtx_d AS (DELETE FROM " + t.Name + " AS _gtx_q USING " + from + " RETURNING _gtx_x.b, _gtx_q.ctid AS c) " +
		reinsert(t) + " FROM (SELECT b FROM _gtx_d ORDER BY c) AS _gtx_x"
}

// insertBefore inserts the before images where no row has the key.
func insertBefore(t *undo.Table, from string) string {
	return reinsert(t) + " FROM " + from + " ON CONFLICT (" + strings.Join(keyNames(t), ", ") + ") DO NOTHING"
}

// reinsert writes the row _gtx_x.b, with the identities it had.
func reinsert(t *undo.Table) string {
	var names, values []string
	for _, c := range t.Columns {
		if !c.Generated {
			names = append(names, ident(c.Name))
			values = append(values, "(_gtx_x.b)."+ident(c.Name))
		}
	}
	return "INSERT INTO " + t.Name + " (" + strings.Join(names, ", ") + ") OVERRIDING SYSTEM VALUE SELECT " + strings.Join(values, ", ")
}

func keyNames(t *undo.Table) []string {
	var names []string
	for _, k := range t.Key {
		names = append(names, ident(t.Columns[k].Name))
	}
	return names
}

// replaced tells that rows are restored by deleting and inserting them: where an
// identity GENERATED ALWAYS stands beside the key. No UPDATE can set it, and an
// undo row U can stand for a row deleted and inserted with another value there.
func replaced(t *undo.Table) bool {
	for i, c := range t.Columns {
		if hasAttr(c, attrAlways) && !slices.Contains(t.Key, i) {
			return true
		}
	}
	return len(assignments(t)) == 0
}

// assignments set every column that can be set. The key is among them: a row
// deleted and inserted again has an equal one, which may still look different
// (1.5 and 1.50, or letter case in citext).
func assignments(t *undo.Table) []string {
	var set []string
	for _, c := range t.Columns {
		if !c.Generated && !hasAttr(c, attrAlways) {
			set = append(set, ident(c.Name)+" = (_gtx_x.b)."+ident(c.Name))
		}
	}
	return set
}
