package pgsql

import (
	"errors"
	"strings"

	"github.com/globaltx/globaltx/undo"
)

// Bulk gives the statements for several rows.
func (Dialect) Bulk(t *undo.Table, rows []undo.Row) undo.Bulk {
	op := rows[0].Op
	images, args := storedRows(t, op), bulkArgs(rows)
	of := func(text string) undo.Statement { return undo.Statement{Text: text, Args: args} }
	b := undo.Bulk{
		Lock:     of("SELECT 1 FROM " + images + " JOIN " + t.Name + " AS _gtx_q ON " + sameKey(t) + " FOR UPDATE OF _gtx_q"),
		Restore:  of(restoreRows(t, op, images)),
		Restored: of(restoredRows(t, op, images)),
	}
	if op == undo.Update {
		from := images + " WHERE " + sameKey(t) + " AND " + digest("_gtx_q.*") + " = _gtx_x.after_img AND _gtx_x.after_img <> _gtx_x.before_sum AND " + exact
		b.TakeOut = of("DELETE FROM " + t.Name + " AS _gtx_q USING " + from)
		b.PutBack = of(insertBefore(t, images+" WHERE "+exact))
		b.Exchange = of(exchange(t, from))
	}
	return b
}

// bulkArgs gives the hashes, which are numbers and colons, as the literal of an array.
func bulkArgs(rows []undo.Row) []any {
	var b strings.Builder
	b.WriteByte('{')
	for i := range rows {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + rows[i].KeyHash + `"`)
	}
	b.WriteByte('}')
	return []any{rows[0].Table, b.String(), rows[0].XID.String()}
}

// Refusal gives the server's message, which names the constraint; the values are in
// its details, which are no part of the error's text.
func (Dialect) Refusal(err error) string {
	var server interface {
		error
		SQLState() string
	}
	if errors.As(err, &server) {
		text := strings.TrimPrefix(strings.TrimPrefix(server.Error(), "pq: "), "ERROR: ")
		return strings.TrimSuffix(text, " (SQLSTATE "+server.SQLState()+")")
	}
	return err.Error()
}
