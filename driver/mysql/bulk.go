package mysql

import (
	"errors"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/undo"
)

// Bulk gives the statements for several rows. There is no Exchange: InnoDB checks
// foreign keys row by row.
func (d Dialect) Bulk(t *undo.Table, rows []undo.Row) undo.Bulk {
	where, args := severalRows(rows), severalArgs(rows)
	b := undo.Bulk{Lock: lockRows(t, rows), Restore: restoreRows(t, rows), Restored: restoredRows(t, rows)}
	if rows[0].Op == undo.Update {
		b.TakeOut = undo.Statement{
			Text: "DELETE " + rowAlias + " FROM " + joined(t) + " WHERE " + where + " AND " + undoAlias + ".op='U' AND " +
				digest(image(rowAlias, t)) + "=" + undoAlias + ".after_img AND " + undoAlias + ".after_img<>" + digest(undoAlias+".before_img"),
			Args: args,
		}
		b.PutBack = undo.Statement{Text: insertBefore(t, where+" AND "+undoAlias+".op='U'"), Args: args}
	}
	return b
}

// lockRows locks data rows. The keys come from a derived table, whose rows a
// locking read does not lock: the undo rows are locked after the data rows (rule W1).
// LIMIT keeps the server from merging it.
func lockRows(t *undo.Table, rows []undo.Row) undo.Statement {
	var keys, on []string
	for n, k := range t.Key {
		c, name := &t.Columns[k], "k"+strconv.Itoa(n)
		keys = append(keys, asKey(c, text(undoAlias, t, k), true)+" AS "+name)
		on = append(on, column(rowAlias, c)+"=gtx_k."+name)
	}
	return undo.Statement{
		Text: "SELECT COUNT(*) FROM (SELECT " + strings.Join(keys, ",") + " FROM gtx_undo AS " + undoAlias + " FORCE INDEX (PRIMARY) WHERE " + severalRows(rows) +
			" LIMIT 1000000) AS gtx_k STRAIGHT_JOIN " + t.Name + " AS " + rowAlias + " FORCE INDEX (PRIMARY) ON " + strings.Join(on, " AND ") + " FOR UPDATE",
		Args: severalArgs(rows),
	}
}

// Refusal gives the server's message. Only that of a duplicate holds values; the
// name of the key stands behind them.
func (Dialect) Refusal(err error) string {
	var my *mysql.MySQLError
	switch {
	case !errors.As(err, &my):
		return err.Error()
	case my.Number != errDuplicate && my.Number != errDuplicateName:
		return my.Message
	}
	const behind = " for key "
	if i := strings.LastIndex(my.Message, behind); i >= 0 {
		return "another row has the values of the unique key " + my.Message[i+len(behind):]
	}
	return "another row has the values of a unique key"
}
