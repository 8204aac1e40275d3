package mysql

import (
	"strings"

	"github.com/globaltx/globaltx/undo"
)

// rowAlias names the user's table in the statements of phase two.
const rowAlias = "gtx_t"

// undoRow is the condition for one undo row. The owner is part of it: the key
// alone could be the next owner's row (rule P2).
const undoRow = undoAlias + ".tbl=? AND " + undoAlias + ".keyh=? AND " + undoAlias + ".xid=?"

func undoArgs(r *undo.Row) []any { return []any{r.Table, r.KeyHash, r.XID.String()} }

// severalRows is the condition for all of rows.
func severalRows(rows []undo.Row) string {
	if len(rows) == 1 {
		return undoRow
	}
	return undoAlias + ".tbl=? AND " + undoAlias + ".keyh IN (?" + strings.Repeat(",?", len(rows)-1) + ") AND " + undoAlias + ".xid=?"
}

func severalArgs(rows []undo.Row) []any {
	args := make([]any, 0, len(rows)+2)
	args = append(args, rows[0].Table)
	for i := range rows {
		args = append(args, rows[i].KeyHash)
	}
	return append(args, rows[0].XID.String())
}

// joined gives the undo row with the data row that it protects. The order and
// the indexes are forced: near-empty undo tables otherwise make the server scan,
// and so lock, the user's table.
func joined(t *undo.Table) string {
	return "gtx_undo AS " + undoAlias + " FORCE INDEX (PRIMARY) STRAIGHT_JOIN " + t.Name + " AS " + rowAlias +
		" FORCE INDEX (PRIMARY) ON " + matches(rowAlias, undoAlias, t)
}

// Lock locks the data row and then the undo row (rules P3, W1). The first
// statement reads the key from the undo row without locking it.
func (Dialect) Lock(t *undo.Table, r *undo.Row) []undo.Statement {
	var where []string
	var args []any
	for _, k := range t.Key {
		c := &t.Columns[k]
		where = append(where, column(rowAlias, c)+"=(SELECT "+asKey(c, text(undoAlias, t, k), true)+
			" FROM gtx_undo AS "+undoAlias+" WHERE "+undoRow+")")
		args = append(args, undoArgs(r)...)
	}
	return []undo.Statement{
		{Text: "SELECT 1 FROM " + t.Name + " AS " + rowAlias + " FORCE INDEX (PRIMARY) WHERE " + strings.Join(where, " AND ") + " FOR UPDATE", Args: args},
		{Text: "SELECT 1 FROM gtx_undo AS " + undoAlias + " WHERE " + undoRow + " FOR UPDATE", Args: undoArgs(r)},
	}
}

// IsBefore compares digests of the encoded row. It also verifies a restore,
// since Session is not strict.
func (Dialect) IsBefore(t *undo.Table, r *undo.Row) undo.Statement {
	return restoredRows(t, []undo.Row{*r})
}

func restoredRows(t *undo.Table, rows []undo.Row) undo.Statement {
	where, args := severalRows(rows), severalArgs(rows)
	if rows[0].Op == undo.Insert {
		// Not with EXISTS, which the server may turn into a join over the whole table.
		return undo.Statement{
			Text: "SELECT (SELECT COUNT(*) FROM gtx_undo AS " + undoAlias + " FORCE INDEX (PRIMARY) WHERE " + where +
				")-(SELECT COUNT(*) FROM " + joined(t) + " WHERE " + where + ")",
			Args: append(args, args...),
		}
	}
	return undo.Statement{
		Text: "SELECT COUNT(*) FROM " + joined(t) + " WHERE " + where + " AND " +
			digest(image(rowAlias, t)) + "=" + digest(undoAlias+".before_img"),
		Args: args,
	}
}

// Restore compares with the after image and writes in one statement. A row that
// was inserted and deleted again has no after image, and nothing to restore.
func (Dialect) Restore(t *undo.Table, r *undo.Row) undo.Statement {
	return restoreRows(t, []undo.Row{*r})
}

func restoreRows(t *undo.Table, rows []undo.Row) undo.Statement {
	same := " AND " + digest(image(rowAlias, t)) + "=" + undoAlias + ".after_img"
	where, args := severalRows(rows), severalArgs(rows)
	switch rows[0].Op {
	case undo.Insert:
		return undo.Statement{Text: "DELETE " + rowAlias + " FROM " + joined(t) + " WHERE " + where +
			" AND " + undoAlias + ".op='I'" + same, Args: args}
	case undo.Update:
		var set []string
		for i := range t.Columns {
			if c := &t.Columns[i]; !c.Generated {
				set = append(set, column(rowAlias, c)+"="+decode(undoAlias, t, i))
			}
		}
		return undo.Statement{Text: "UPDATE " + joined(t) + " SET " + strings.Join(set, ",") + " WHERE " + where +
			" AND " + undoAlias + ".op='U'" + same, Args: args}
	}
	return undo.Statement{Text: insertBefore(t, where+" AND "+undoAlias+".op='D' AND "+undoAlias+".after_img IS NULL"), Args: args}
}

// insertBefore inserts the before images where no row has the key.
func insertBefore(t *undo.Table, where string) string {
	var names, values []string
	for i := range t.Columns {
		if c := &t.Columns[i]; !c.Generated {
			names = append(names, ident(c.Name))
			values = append(values, decode(undoAlias, t, i))
		}
	}
	return "INSERT INTO " + t.Name + " (" + strings.Join(names, ",") + ") SELECT " + strings.Join(values, ",") +
		" FROM gtx_undo AS " + undoAlias + " FORCE INDEX (PRIMARY) WHERE " + where +
		" AND NOT EXISTS (SELECT 1 FROM " + t.Name + " AS " + rowAlias + " FORCE INDEX (PRIMARY) WHERE " + matches(rowAlias, undoAlias, t) + ")"
}
