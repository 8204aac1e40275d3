package mysql

import (
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// generated gives the auto_increment column of the key when the query does not give
// its value, else nil.
func (q *fromQuery) generated() *undo.Column {
	for _, k := range q.r.Table.Key {
		if q.place(k) < 0 {
			return &q.r.Table.Columns[k]
		}
	}
	return nil
}

// numbered gives the form for generated keys. LAST_INSERT_ID() is the first, and the
// others are above it, so all new rows are among those from there on; if the rows
// there are as many as the statement has inserted, they are those. With
// innodb_autoinc_lock_mode 0 and 1 they follow each other and end where their number
// says. With 2, the default of MySQL, rows of other sessions may stand between and
// behind: the count does not agree then, and the statement fails with a conflict.
// At REPEATABLE READ the lock on the end of the table keeps them away.
func (q *fromQuery) numbered(auto *undo.Column) (form, error) {
	s, t := q.r.Stmt, q.r.Table
	if s.Or != sqltext.OrFail || s.Upserts != nil {
		return form{}, unsupported("insert-select", "IGNORE, REPLACE and ON DUPLICATE KEY UPDATE with a query are not captured where the key column "+auto.Name+
			" is generated", "give its value in the query, or read the rows and insert them with VALUES")
	}
	id := column(q.ref, auto)
	q.next()
	q.add("SET @gtx_max=IF(@@innodb_autoinc_lock_mode=2,(SELECT MAX(", id, ") FROM ", q.ref, " FOR UPDATE),NULL)")
	var f form
	if returns(s) {
		// ROW_COUNT() does not tell the number then: the query's rows do, all of them
		// are inserted, or none.
		q.take()
		q.fits()
		q.next()
		q.add("SET @gtx_did=(SELECT COUNT(*) FROM ", newRowsTable, ")")
		f.user = q.statement()
		returning(q.packet, q.r)
	} else {
		f.user = q.next()
		q.user(s.Span)
		q.next()
		q.add("SET @gtx_did=ROW_COUNT()")
	}
	now := digest(image(q.ref, t))
	capture(q.packet, q.r, undo.Insert, keyImage(q.ref, t), now, q.ref, q.ref)
	q.add(" WHERE @gtx_did>0 AND ", id, ">=LAST_INSERT_ID() AND (@@innodb_autoinc_lock_mode=2 OR ", id,
		"<=LAST_INSERT_ID()+(@gtx_did-1)*@@auto_increment_increment) FOR UPDATE", takeOver(q.r, undo.Insert, false))
	assert(q.packet, q.r, "", "@gtx_did")
	if returns(s) {
		countReturned(q.packet, q.r, "")
		q.drop()
	}
	f.agree = func([]int64) bool { return true }
	return f, nil
}
