package pgsql

import (
	"strings"

	"github.com/globaltx/globaltx/undo"
)

// Show prints values as the server casts them to text under Session.
func (Dialect) Show(t *undo.Table, r *undo.Row) undo.Statement {
	const here = "_gtx_q.ctid IS NOT NULL" // a key of a composite type may be neither NULL nor NOT NULL
	flag := func(cond string) string { return "(CASE WHEN " + cond + " THEN 1 ELSE 0 END)" }
	same, before := flag("NOT "+here), "NULL"
	if r.Op != undo.Insert {
		same, before = flag(here+" AND "+digest("_gtx_q.*")+" = _gtx_x.before_sum"), texts(t, "(_gtx_x.b)")
	}
	var key []string
	for _, k := range t.Key {
		key = append(key, "(_gtx_x.b)."+ident(t.Columns[k].Name)+"::pg_catalog.text")
	}
	return statement("SELECT "+strings.Join([]string{
		flag(here),
		"(CASE WHEN " + here + " THEN " + flag(digest("_gtx_q.*")+" = _gtx_x.after_img") + " ELSE " + flag("_gtx_x.after_img IS NULL") + " END)",
		same,
		jsonTexts(key),
		before,
		"CASE WHEN " + here + " THEN " + texts(t, "_gtx_q") + " END",
	}, ", ")+" FROM "+stored(t, r.Op)+" LEFT JOIN "+t.Name+" AS _gtx_q ON "+sameKey(t), r)
}

func texts(t *undo.Table, ref string) string {
	var cols []string
	for _, c := range t.Columns {
		if !c.Generated {
			cols = append(cols, ref+"."+ident(c.Name)+"::pg_catalog.text")
		}
	}
	return jsonTexts(cols)
}

func jsonTexts(exprs []string) string {
	return "pg_catalog.to_json(ARRAY[" + strings.Join(exprs, ", ") + "]::pg_catalog.text[])::pg_catalog.text"
}

// Force deletes the row of an insert. Else it changes the row that stands under
// the key and inserts it where none does; nothing happens when the stored image
// does not read back exactly.
func (Dialect) Force(t *undo.Table, r *undo.Row) []undo.Statement {
	if r.Op == undo.Insert {
		return []undo.Statement{statement("DELETE FROM "+t.Name+" AS _gtx_q USING "+stored(t, r.Op)+" WHERE "+sameKey(t), r)}
	}
	from := stored(t, r.Op) + " WHERE " + sameKey(t) + " AND " + exact
	change := "WITH _gtx_d AS (DELETE FROM " + t.Name + " AS _gtx_q USING " + from + " RETURNING _gtx_x.b) " + reinsert(t) + " FROM _gtx_d AS _gtx_x"
	if !replaced(t) {
		change = "UPDATE " + t.Name + " AS _gtx_q SET " + strings.Join(assignments(t), ", ") + " FROM " + from
	}
	return []undo.Statement{
		statement(change, r),
		statement(reinsert(t)+" FROM "+stored(t, r.Op)+" WHERE "+exact+
			" ON CONFLICT ("+strings.Join(keyNames(t), ", ")+") DO NOTHING", r),
	}
}
