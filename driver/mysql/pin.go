package mysql

import (
	"slices"

	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// pinCount is how many rows of a REPLACE met a captured one or were pinned.
const pinCount = "@gtx_pin"

// pin keeps the keys of the new rows of a REPLACE free. Where the primary key is the
// only one, the server does not count a row that is replaced by its equal, so no
// count tells of a row that came behind the capture, as READ COMMITTED allows. So the
// rows are inserted once before, which tells, and deleted again: what is deleted and
// not committed locks its key. Rows that refer to each other go in any order, without
// a look at foreign keys. rows adds the INSERT IGNORE, keys the condition for the new
// rows.
func pin(p *packet, r *proxy.Capture, ref string, rows, keys func()) {
	id := slices.Contains(r.Stmt.Functions, "last_insert_id")
	if id {
		p.next()
		p.add("SET @gtx_id=LAST_INSERT_ID()")
	}
	p.next()
	rows()
	p.next()
	p.add("SET ", pinCount, "=ROW_COUNT()+(SELECT COUNT(*) FROM gtx_undo AS ", undoAlias, " FORCE INDEX (gtx_undo_xid) WHERE ", mine(r), ")")
	p.next()
	if r.Stmt.Dialect == sqltext.MariaDB {
		p.add("SET STATEMENT foreign_key_checks=0 FOR DELETE FROM ")
	} else {
		p.add("DELETE /*+ SET_VAR(foreign_key_checks=OFF) */ FROM ")
	}
	p.add(ref, " WHERE (")
	keys()
	p.add(") AND ", exists(r, ref), " IS NULL")
	if id { // the user's statement asks for it, or sets it, once
		p.next()
		p.add("SET @gtx_id=LAST_INSERT_ID(@gtx_id)")
	}
}

// checkPin fails the packet unless all rows of the REPLACE were captured or pinned. It
// stands behind the user's statement, which has errors of its own.
func checkPin(p *packet, r *proxy.Capture, n string) {
	refuseIf(p, r, alarmCount, pinCount+"<>"+n)
}

// pinRows pins VALUES. A generated key meets nothing.
func pinRows(p *packet, r *proxy.Capture, from [][]source, ref string) bool {
	for _, src := range from[0] {
		if src != given {
			return false
		}
	}
	pin(p, r, ref, func() {
		p.add("INSERT IGNORE INTO ")
		p.user(sqltext.Span{Start: r.Stmt.Target().NameSpan.Start, End: r.Stmt.Span.End})
	}, func() { newRows(p, r, ref, from, "") })
	return true
}

// pin pins the rows of the temporary table.
func (q *fromQuery) pin() {
	s := q.r.Stmt
	pin(q.packet, q.r, q.ref, func() {
		q.add("INSERT IGNORE INTO ")
		q.user(sqltext.Span{Start: s.Target().NameSpan.Start, End: s.Query.Start})
		q.rows()
	}, func() {
		q.add("EXISTS (SELECT 1 FROM ", newRowsTable, " WHERE ", q.same(q.r.Table.Key), ")")
	})
}
