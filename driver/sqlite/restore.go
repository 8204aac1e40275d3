package sqlite

import (
	"strings"

	"github.com/globaltx/globaltx/undo"
)

// In the statements below d is the data row and u its undo row. An undo row of op
// Insert keeps the key image as before_img, the others the full image; after_img
// is NULL when the row was deleted since.

// Lock has nothing to lock, since the local transaction holds the write lock. It
// lets foreign keys be checked at COMMIT, when all rows of the XID are back.
func (Dialect) Lock(*undo.Table, *undo.Row) []undo.Statement {
	return []undo.Statement{deferForeignKeys}
}

var deferForeignKeys = undo.Statement{Text: "PRAGMA defer_foreign_keys = ON"}

func ofRow(r *undo.Row) []any { return []any{r.Table, r.KeyHash, r.XID.String()} }

const undoRow = "u.tbl = ? AND u.keyh = ? AND u.xid = ?"

func keyCondition(t *undo.Table, r *undo.Row) string {
	if r.Op == undo.Insert {
		return hasKey(t, "d", "u.before_img")
	}
	return hasKeyOf(t, "d", "u.before_img")
}

// IsBefore compares images as texts: equal texts are equal values of equal types.
func (Dialect) IsBefore(t *undo.Table, r *undo.Row) undo.Statement {
	cond := "NOT EXISTS"
	same := ""
	if r.Op != undo.Insert {
		cond, same = "EXISTS", " AND "+fullImage(t, "d")+" = u.before_img"
	}
	return undo.Statement{
		Text: "SELECT " + cond + " (SELECT 1 FROM " + t.Name + " AS d WHERE " + keyCondition(t, r) + same + ")" +
			" FROM main.gtx_undo AS u WHERE " + undoRow,
		Args: ofRow(r),
	}
}

// Restore writes the before image where the after image stands.
func (Dialect) Restore(t *undo.Table, r *undo.Row) undo.Statement {
	switch r.Op {
	case undo.Insert:
		return undo.Statement{
			Text: "DELETE FROM " + t.Name + " AS d WHERE EXISTS (SELECT 1 FROM main.gtx_undo AS u WHERE " + undoRow +
				" AND " + keyCondition(t, r) + " AND " + fullImage(t, "d") + " = u.after_img)" + narrow(t),
			Args: append(ofRow(r), narrowArgs(t, r)...),
		}
	case undo.Delete:
		names, values := assignments(t)
		return undo.Statement{
			Text: "INSERT INTO " + t.Name + " (" + strings.Join(names, ", ") + ") SELECT " + strings.Join(values, ", ") +
				" FROM main.gtx_undo AS u WHERE " + undoRow +
				" AND NOT EXISTS (SELECT 1 FROM " + t.Name + " AS d WHERE " + keyCondition(t, r) + ")",
			Args: ofRow(r),
		}
	default:
		names, values := assignments(t)
		for i := range names {
			names[i] += " = " + values[i]
		}
		return undo.Statement{
			Text: "UPDATE " + t.Name + " AS d SET " + strings.Join(names, ", ") + " FROM main.gtx_undo AS u WHERE " + undoRow +
				" AND " + keyCondition(t, r) + " AND " + fullImage(t, "d") + " = u.after_img",
			Args: ofRow(r),
		}
	}
}

// narrow repeats the key condition with scalar subqueries, which DELETE can look
// up in the key's index; DELETE has no FROM clause to join the undo row.
func narrow(t *undo.Table) string {
	const img = "(SELECT u.before_img FROM main.gtx_undo AS u WHERE " + undoRow + ")"
	var b strings.Builder
	for n, i := range t.Key {
		b.WriteString(" AND " + column(t, "d", i) + " COLLATE " + t.Columns[i].Attr + " = (SELECT " + decode("i.img", n) +
			" FROM (SELECT " + img + " AS img) AS i)")
	}
	return b.String()
}

func narrowArgs(t *undo.Table, r *undo.Row) []any {
	var args []any
	for range t.Key {
		args = append(args, ofRow(r)...)
	}
	return args
}

// assignments gives the stored columns and the expressions of their before values.
func assignments(t *undo.Table) (names, values []string) {
	for n, i := range storedColumns(t) {
		names = append(names, name(t.Columns[i].Name))
		values = append(values, decode("u.before_img", n))
	}
	return names, values
}
