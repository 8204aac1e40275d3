package mysql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// undoAlias names gtx_undo where a statement has it beside the user's table.
const undoAlias = "gtx_u"

// Capture sends everything in one packet: BEGIN and the header where they are
// due, else a look whether the local transaction is still open; a savepoint, the
// capture, the user's statement, the after stamp.
//
//	UPDATE  capture under the row locks; UPDATE of captured rows only; stamp
//	DELETE  capture under the row locks; DELETE of captured rows only
//	INSERT  INSERT; capture of the new rows by their keys; count
//
// "Captured rows only" means that the user's condition gets AND EXISTS (the undo
// row of this statement): a row that comes to match after the capture, which
// READ COMMITTED allows, is not changed without an image. The capture locks the
// user's row first and then writes the undo row, by which it asks for the
// global lock (rules T1, W1).
func (Dialect) Capture(ctx context.Context, c driver.Conn, r *proxy.Capture) (*proxy.Captured, error) {
	switch r.Stmt.Kind {
	case sqltext.Savepoint, sqltext.RollbackTo, sqltext.Release:
		return savepoint(ctx, c, r)
	}
	if err := refuse(r); err != nil {
		return nil, err
	}
	p := &packet{stmt: r.Stmt, in: r.Args, described: r.Described}
	begin(p, r)
	p.next()
	p.add("SAVEPOINT ", ownSavepoint)
	mark(p, r.XID)
	f, err := compose(p, r)
	if err != nil {
		return nil, err
	}
	unmark(p)
	a, err := p.run(ctx, c)
	if err != nil {
		p.cleanUp(ctx, c, err)
		return nil, failed(ctx, c, r, err)
	}
	out := &proxy.Captured{}
	switch {
	case a.returned != nil: // the base driver knows no counts then
		if n := int64(len(a.returned.Lines)); a.counted != n && a.counted != notCounted {
			err := fmt.Errorf("capture rows of %s: the statement gave %d rows, but %d were captured", r.Table.ID, n, a.counted)
			if raced(r.Stmt) {
				err = fmt.Errorf("%w: %w", err, gtx.ErrConflict)
			}
			return nil, err
		}
		if r.Described {
			asPrepared(a.returned.Lines)
		}
		out.Rows = a.returned
	case !f.agree(a.rows):
		return nil, fmt.Errorf("capture rows of %s: counts do not agree (statement %d, all %d)", r.Table.ID, a.rows[f.user], a.rows)
	default:
		out.RowsAffected, out.LastInsertID, out.Rows = a.rows[f.user], a.ids[f.user], noRows{}
	}
	return out, nil
}

// form says where in the packet the user's statement stands, and whether the
// affected rows of all statements account for its own.
type form struct {
	user  int
	agree func(rows []int64) bool
}

// compose adds the capture and the user's statement.
func compose(p *packet, r *proxy.Capture) (form, error) {
	switch {
	case r.Stmt.Multi:
		return several(p, r)
	case r.Stmt.Kind == sqltext.Update:
		if assignedKey(r.Stmt.SetColumns, r.Table) != nil {
			return move(p, r)
		}
		return update(p, r), nil
	case r.Stmt.Kind == sqltext.Delete:
		return remove(p, r), nil
	default:
		return insert(p, r)
	}
}

// refuse looks for what can be known before anything is sent.
func refuse(r *proxy.Capture) error {
	s := r.Stmt
	want := 0
	for _, h := range s.Placeholders {
		want = max(want, h.Ordinal)
	}
	if len(r.Args) != want {
		return unsupported("arguments", fmt.Sprintf("the statement has %d placeholders, but %d arguments were given", want, len(r.Args)), "")
	}
	if r.Described {
		if err := checkDescribed(r); err != nil {
			return err
		}
	}
	if returns(s) && s.Replace {
		return unsupported("returning", "RETURNING of REPLACE does not tell how many rows were replaced", "read the rows with SELECT")
	}
	if s.Or == sqltext.OrIgnore && s.Kind != sqltext.Insert {
		return unsupported("ignore", "IGNORE hides rows that were not written", "remove it and handle the error")
	}
	if strings.HasPrefix(strings.ToLower(s.Target().Alias), "gtx_") {
		return unsupported("alias", "the alias "+s.Target().Alias+" begins with gtx_, which is reserved", "choose another alias")
	}
	for _, u := range s.Upserts {
		if c := assignedKey(u.SetColumns, r.Table); c != nil && !keepsKey(r, u) {
			return unsupported("key-update", "the statement assigns the primary key column "+c.Name, "delete the row and insert it again")
		}
	}
	twice := ""
	if s.Kind == sqltext.Update && !s.Multi && assignedKey(s.SetColumns, r.Table) != nil {
		keys, err := newKeys(r)
		if err != nil {
			return err
		}
		for _, expr := range keys {
			twice += " " + s.Slice(expr)
		}
	}
	return checkFunctions(s, twice)
}

// begin adds what the first statement of a branch brings along (rule T1).
func begin(p *packet, r *proxy.Capture) {
	if r.Begin != "" {
		p.next()
		p.add(r.Begin)
		p.n += strings.Count(r.Begin, ";")
	} else {
		p.next()
		p.add(stillOpen)
		p.n += strings.Count(stillOpen, ";")
	}
	if r.Header {
		p.next()
		p.add("INSERT INTO gtx_branch (xid,branch,mode,state,payload,created) VALUES ('", r.XID.String(), "',", number(int64(r.Branch)), ",",
			strconv.Itoa(undo.ModeAT), ",", strconv.Itoa(undo.StateOpen), ",NULL,", number(time.Now().UnixMicro()), ")")
	}
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// mine is the condition for the undo rows of this statement.
func mine(r *proxy.Capture) string {
	return fmt.Sprintf("%s.xid='%s' AND %s.branch=%d AND %s.seq=%d", undoAlias, r.XID, undoAlias, r.Branch, undoAlias, r.Seq)
}

// target gives the table as the user wrote it, with partitions, alias and index
// hints, and how its columns are reached.
func target(s *sqltext.Statement) (from, ref string) {
	t := s.Target()
	from = s.Slice(t.NameSpan)
	ref = from
	if t.Partition != (sqltext.Span{}) {
		from += " " + s.Slice(t.Partition)
	}
	if t.AliasSpan != (sqltext.Span{}) {
		ref = s.Slice(t.AliasSpan)
		from += " AS " + ref
	}
	if t.IndexHint != (sqltext.Span{}) {
		from += " " + s.Slice(t.IndexHint)
	}
	return from, ref
}

// capture adds the INSERT that takes the images and the global locks; the
// caller adds what selects the rows, and then takeOver. The columns have names
// that no ORDER BY of a user means.
func capture(p *packet, r *proxy.Capture, op undo.Op, before, after, ref, from string) int {
	n := p.next()
	p.add("INSERT INTO gtx_undo (tbl,keyh,xid,branch,seq,op,before_img,after_img,schema_fp) ")
	if r.Stmt.With != (sqltext.Span{}) {
		p.user(r.Stmt.With)
		p.add("\n")
	}
	p.add("SELECT ", tableLiteral(r.Table), " AS gtx_1,", keyHash(ref, r.Table), " AS gtx_2,'", r.XID.String(), "' AS gtx_3,", number(int64(r.Branch)),
		" AS gtx_4,", number(r.Seq), " AS gtx_5,'", string(op), "' AS gtx_6,", before, " AS gtx_7,", after, " AS gtx_8,'", r.Table.Fingerprint,
		"' AS gtx_9 FROM ", from)
	return n
}

// condition adds the user's condition, in brackets: a comment may end it.
func condition(p *packet, s *sqltext.Statement) {
	if s.Where == (sqltext.Span{}) {
		return
	}
	p.add(" WHERE (")
	p.user(s.Where)
	p.add("\n)")
}

// order adds ORDER BY and LIMIT. The user's statement keeps both: no more rows are
// captured than LIMIT says, so that it ends none of them early, and the server
// need not read on.
func order(p *packet, s *sqltext.Statement) {
	if s.OrderBy != (sqltext.Span{}) {
		p.add(" ORDER BY ")
		p.user(s.OrderBy)
		p.add("\n")
	}
	if s.Limit != (sqltext.Span{}) {
		p.add(" LIMIT ")
		p.user(s.Limit)
		p.add("\n")
	}
}

// captured adds the rest of the user's UPDATE or DELETE from after head on.
func captured(p *packet, r *proxy.Capture, ref string) {
	condition(p, r.Stmt)
	if r.Stmt.Where == (sqltext.Span{}) {
		p.add("\nWHERE ")
	} else {
		p.add(" AND ")
	}
	p.add(exists(r, ref))
	order(p, r.Stmt)
}

// exists is true for the rows that this statement has captured, else NULL. A scalar
// subquery is not turned into a join: with EXISTS the server may execute an UPDATE as
// one of several tables, where an assignment sees the old values of others.
func exists(r *proxy.Capture, ref string) string {
	return "(SELECT 1 FROM gtx_undo AS " + undoAlias + " FORCE INDEX (PRIMARY) WHERE " + undoAlias + ".tbl=" + tableLiteral(r.Table) +
		" AND " + undoAlias + ".keyh=" + keyHash(ref, r.Table) + " AND " + mine(r) + ")"
}

// update gives the form of UPDATE. The count of a capture is 1 for a new undo row
// and 2 for one met again; that of a stamp 1 for each.
func update(p *packet, r *proxy.Capture) form {
	s, t := r.Stmt, r.Table
	from, ref := target(s)
	taken := capture(p, r, undo.Update, image(ref, t), "NULL", ref, from)
	condition(p, s)
	order(p, s)
	p.add(" FOR UPDATE", takeOver(r, undo.Update, false))

	user := p.next()
	p.user(sqltext.Span{Start: s.Span.Start, End: s.Set.End})
	captured(p, r, ref)

	stamped := stamp(p, r)
	return form{user: user, agree: func(rows []int64) bool {
		return rows[taken] >= rows[user] && rows[stamped] >= rows[user] && rows[stamped] <= rows[taken] && rows[taken] <= 2*rows[stamped]
	}}
}

// stamp adds the after images of the rows that an UPDATE captured.
func stamp(p *packet, r *proxy.Capture) int {
	n := p.next()
	p.add("UPDATE gtx_undo AS ", undoAlias, " FORCE INDEX (gtx_undo_xid) STRAIGHT_JOIN ", r.Table.Name, " AS ", rowAlias, " FORCE INDEX (PRIMARY) ON ",
		matches(rowAlias, undoAlias, r.Table), " SET ", undoAlias, ".after_img=", digest(image(rowAlias, r.Table)), " WHERE ", mine(r),
		" AND ", undoAlias, ".tbl=", tableLiteral(r.Table))
	return n
}

func remove(p *packet, r *proxy.Capture) form {
	s, t := r.Stmt, r.Table
	from, ref := target(s)
	taken := capture(p, r, undo.Delete, image(ref, t), "NULL", ref, from)
	condition(p, s)
	order(p, s)
	p.add(" FOR UPDATE", takeOver(r, undo.Delete, false))

	user := p.next()
	to := s.Target()
	p.user(sqltext.Span{Start: s.Span.Start, End: max(to.NameSpan.End, to.AliasSpan.End, to.Partition.End, to.IndexHint.End)})
	captured(p, r, ref)
	returning(p, r)
	if returns(s) {
		countReturned(p, r, "")
	}
	return form{user: user, agree: func(rows []int64) bool {
		return rows[taken] >= rows[user] && rows[taken] <= 2*rows[user]
	}}
}

// returning adds RETURNING, if the user's statement has it.
func returning(p *packet, r *proxy.Capture) {
	if returns(r.Stmt) {
		p.add("\nRETURNING ")
		p.user(r.Stmt.Returning)
	}
}

// countReturned counts the undo rows that account for the rows which RETURNING gives.
func countReturned(p *packet, r *proxy.Capture, and string) {
	p.next()
	p.add("SET @gtx_got=(SELECT COUNT(*) FROM gtx_undo AS ", undoAlias, " FORCE INDEX (gtx_undo_xid) WHERE ", mine(r), and, ")")
}

// noRows is what a statement without rows gives to Query.
type noRows struct{}

func (noRows) Columns() []string         { return nil }
func (noRows) Close() error              { return nil }
func (noRows) Next([]driver.Value) error { return io.EOF }

var _ driver.Rows = noRows{}

// takeOver gives what happens when the undo row exists (rule T4). The row that
// is locked must be the one that this global transaction left, which after_img
// says (NULL: no row):
//
//	undo row        statement   becomes
//	none            I U D       I U D
//	I, row there    UPDATE      I, row there
//	I, row there    DELETE      I, no row      abort has nothing to do
//	I, no row       INSERT      I, row there
//	U               UPDATE      U
//	U               DELETE      D              the first before image stays
//	D               INSERT      U              the first before image stays
//	any other: the row is not what was left    gtx.ErrDirty
//	of another xid                             gtx.ErrConflict
//
// Each assignment reads only columns that are not assigned before it, as MySQL
// shows new values from left to right and MariaDB may not. An UPDATE clears
// after_img, so that the stamp changes every captured row and can be counted.
//
// again lets the statement meet an undo row of its own, which says nothing about
// what the row was before the statement.
//
// The row is not read a second time here: an expression of this clause reaches
// its columns indirectly, and MySQL then takes UNIX_TIMESTAMP through the
// session's time zone, where an hour can be there twice.
func takeOver(r *proxy.Capture, op undo.Op, again bool) string {
	left, becomes, after := "gtx_undo.after_img<=>"+digest("VALUES(before_img)"), "gtx_undo.op", "NULL"
	switch op {
	case undo.Insert:
		left, after = "gtx_undo.after_img IS NULL", "VALUES(after_img)"
		becomes = "IF(gtx_undo.op='D','U',IF(gtx_undo.op='d','u',gtx_undo.op))"
	case undo.Delete:
		becomes = "IF(gtx_undo.op='I','I','D')"
	case met(undo.Update):
		becomes = "LOWER(gtx_undo.op)"
	case met(undo.Delete):
		becomes = "IF(gtx_undo.op IN ('I','i'),'i','d')"
	}
	if again {
		left = fmt.Sprintf("(gtx_undo.branch=%d AND gtx_undo.seq=%d OR %s)", r.Branch, r.Seq, left)
	}
	return fmt.Sprintf(" ON DUPLICATE KEY UPDATE gtx_undo.seq=IF(gtx_undo.xid<>'%s',CONCAT('%s',gtx_undo.xid),"+
		"IF(gtx_undo.schema_fp='%s' AND %s,%d,'%s')),gtx_undo.branch=%d,gtx_undo.op=%s,gtx_undo.after_img=%s",
		r.XID, alarm(r.Branch, alarmHeld), r.Table.Fingerprint, left, r.Seq, alarm(r.Branch, alarmDirty), r.Branch, becomes, after)
}
