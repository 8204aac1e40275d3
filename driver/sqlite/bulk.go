package sqlite

import (
	"errors"
	"strings"

	"modernc.org/sqlite"

	"github.com/globaltx/globaltx/undo"
)

const undoRows = "u.tbl = ?1 AND u.keyh IN (SELECT value FROM json_each(?2)) AND u.xid = ?3"

// Bulk gives the statements for several rows. There is no Exchange: foreign keys
// wait for COMMIT in any case, but for ON ... RESTRICT.
func (Dialect) Bulk(t *undo.Table, rows []undo.Row) undo.Bulk {
	op, args := rows[0].Op, bulkArgs(rows)
	of := func(text string) undo.Statement { return undo.Statement{Text: text, Args: args} }
	key := keyCondition(t, &rows[0])
	left := fullImage(t, "d") + " = u.after_img"
	cond, same := "NOT EXISTS", ""
	if op != undo.Insert {
		cond, same = "EXISTS", " AND "+fullImage(t, "d")+" = u.before_img"
	}
	b := undo.Bulk{
		Lock: deferForeignKeys,
		Restored: of("SELECT COUNT(*) FROM main.gtx_undo AS u WHERE " + undoRows +
			" AND " + cond + " (SELECT 1 FROM " + t.Name + " AS d WHERE " + key + same + ")"),
	}
	names, values := assignments(t)
	// OR ABORT, whatever the constraint says: ROLLBACK would end the transaction.
	insert := of("INSERT OR ABORT INTO " + t.Name + " (" + strings.Join(names, ", ") + ") SELECT " + strings.Join(values, ", ") +
		" FROM main.gtx_undo AS u WHERE " + undoRows + " AND NOT EXISTS (SELECT 1 FROM " + t.Name + " AS d WHERE " + key + ")")
	switch op {
	case undo.Insert:
		b.Restore = of(deleteRows(t, key+" AND "+left))
	case undo.Delete:
		b.Restore = insert
	default:
		set := make([]string, len(names))
		for i := range names {
			set[i] = names[i] + " = " + values[i]
		}
		b.Restore = of("UPDATE OR ABORT " + t.Name + " AS d SET " + strings.Join(set, ", ") + " FROM main.gtx_undo AS u WHERE " + undoRows +
			" AND " + key + " AND " + left)
		b.TakeOut = of(deleteRows(t, key+" AND "+left+" AND u.after_img <> u.before_img"))
		b.PutBack = insert
	}
	return b
}

// deleteRows deletes the rows d that meet cond with their undo row u. DELETE has no
// FROM clause, so they are found by their key first, in the collation of the key's
// index: by that of the column it could be another row's too. Where the key has
// several columns, only a condition without collations goes through the index.
func deleteRows(t *undo.Table, cond string) string {
	var names, exact, found []string
	for _, i := range t.Key {
		names = append(names, name(t.Columns[i].Name))
		exact = append(exact, name(t.Columns[i].Name)+" COLLATE "+t.Columns[i].Attr)
		found = append(found, column(t, "d", i))
	}
	rows := "SELECT " + strings.Join(found, ", ") + " FROM main.gtx_undo AS u CROSS JOIN " + t.Name + " AS d WHERE " + undoRows + " AND " + cond
	if len(t.Key) == 1 {
		return "DELETE FROM " + t.Name + " WHERE " + exact[0] + " IN (" + rows + ")"
	}
	return "WITH gtx_found AS MATERIALIZED (" + rows + ") DELETE FROM " + t.Name +
		" WHERE (" + strings.Join(names, ", ") + ") IN (SELECT * FROM gtx_found)" +
		" AND (" + strings.Join(exact, ", ") + ") IN (SELECT * FROM gtx_found)"
}

// bulkArgs gives the hashes, which are letters and digits, as a JSON array.
func bulkArgs(rows []undo.Row) []any {
	var b strings.Builder
	b.WriteByte('[')
	for i := range rows {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + rows[i].KeyHash + `"`)
	}
	b.WriteByte(']')
	return []any{rows[0].Table, b.String(), rows[0].XID.String()}
}

// Refusal gives SQLite's message, which names columns and no values.
func (Dialect) Refusal(err error) string {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Error()
	}
	return err.Error()
}
