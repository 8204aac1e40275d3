package mysql

import (
	"context"
	"database/sql/driver"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// undoAlias names gtx_undo where a statement has it beside the user's table.
const undoAlias = "gtx_u"

// Capture sends everything in one packet: BEGIN and the header where they are
// due, the capture, the user's statement, the after stamp.
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
	s, t := r.Stmt, r.Table
	if err := refuse(r); err != nil {
		return nil, err
	}
	p := &packet{stmt: s, in: r.Args}
	begin(p, r)
	var taken, user, stamp int
	var err error
	switch s.Kind {
	case sqltext.Update:
		taken, user, stamp = update(p, r)
	case sqltext.Delete:
		taken, user = remove(p, r)
	default:
		taken, user, err = insert(p, r)
	}
	if err != nil {
		return nil, err
	}
	res, err := p.exec(ctx, c)
	if err != nil {
		return nil, explain(err, &packetError{branch: r.Branch, table: t.ID, counted: s.Kind == sqltext.Insert})
	}
	rows, ids := res.AllRowsAffected(), res.AllLastInsertIds()
	out := &proxy.Captured{RowsAffected: rows[user], LastInsertID: ids[user]}
	if r.WantRows {
		out.Rows = noRows{}
	}
	// The capture's own count is 1 for a new undo row and 2 for one met again.
	bad := rows[taken] < rows[user]
	switch s.Kind {
	case sqltext.Update:
		bad = bad || rows[stamp] < rows[user] || rows[stamp] > rows[taken] || rows[taken] > 2*rows[stamp]
	case sqltext.Delete:
		bad = bad || rows[taken] > 2*rows[user]
	default:
		bad = bad || rows[user] != int64(len(s.Rows))
	}
	if bad {
		return nil, fmt.Errorf("capture rows of %s: counts do not agree (undo %d, statement %d, stamp %d)", t.ID, rows[taken], rows[user], rows[stamp])
	}
	return out, nil
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
	if s.Returning != (sqltext.Span{}) {
		return unsupported("returning", "RETURNING is not captured", "read the row with SELECT")
	}
	if strings.HasPrefix(strings.ToLower(s.Target().Alias), "gtx_") {
		return unsupported("alias", "the alias "+s.Target().Alias+" begins with gtx_, which is reserved", "choose another alias")
	}
	for _, column := range s.SetColumns {
		name := column.Name
		for _, k := range r.Table.Key {
			if strings.EqualFold(name, r.Table.Columns[k].Name) {
				return unsupported("key-update", "the statement assigns the primary key column "+name, "delete the row and insert it again")
			}
		}
	}
	return checkFunctions(s)
}

// begin adds what the first statement of a branch brings along (rule T1).
func begin(p *packet, r *proxy.Capture) {
	if r.Begin != "" {
		p.next()
		p.add(r.Begin)
		p.n += strings.Count(r.Begin, ";")
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

// target gives the table as the user wrote it, with its alias, and how its
// columns are reached.
func target(s *sqltext.Statement) (from, ref string) {
	from = s.Slice(s.Target().NameSpan)
	ref = from
	if s.Target().AliasSpan != (sqltext.Span{}) {
		ref = s.Slice(s.Target().AliasSpan)
		from += " AS " + ref
	}
	return from, ref
}

// capture adds the INSERT that takes the images and the global locks; the
// caller adds what selects the rows, and then takeOver.
func capture(p *packet, r *proxy.Capture, op undo.Op, before, after, ref, from string) int {
	n := p.next()
	p.add("INSERT INTO gtx_undo (tbl,keyh,xid,branch,seq,op,before_img,after_img,schema_fp) SELECT ",
		tableLiteral(r.Table), ",", keyHash(ref, r.Table), ",'", r.XID.String(), "',", number(int64(r.Branch)), ",", number(r.Seq), ",'", string(op), "',",
		before, ",", after, ",'", r.Table.Fingerprint, "' FROM ", from)
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

// captured adds the rest of the user's UPDATE or DELETE from after head on.
func captured(p *packet, r *proxy.Capture, ref string) {
	condition(p, r.Stmt)
	if r.Stmt.Where == (sqltext.Span{}) {
		p.add("\nWHERE ")
	} else {
		p.add(" AND ")
	}
	p.add("EXISTS (SELECT 1 FROM gtx_undo AS ", undoAlias, " FORCE INDEX (PRIMARY) WHERE ", undoAlias, ".tbl=", tableLiteral(r.Table), " AND ",
		undoAlias, ".keyh=", keyHash(ref, r.Table), " AND ", mine(r), ")")
}

func update(p *packet, r *proxy.Capture) (taken, user, stamp int) {
	s, t := r.Stmt, r.Table
	from, ref := target(s)
	taken = capture(p, r, undo.Update, image(ref, t), "NULL", ref, from)
	condition(p, s)
	p.add(" FOR UPDATE", takeOver(r, undo.Update, digest(image(ref, t))))

	user = p.next()
	p.user(sqltext.Span{Start: 0, End: s.Set.End})
	captured(p, r, ref)

	stamp = p.next()
	const row = "gtx_t"
	p.add("UPDATE gtx_undo AS ", undoAlias, " FORCE INDEX (gtx_undo_xid) STRAIGHT_JOIN ", t.Name, " AS ", row, " FORCE INDEX (PRIMARY) ON ",
		matches(row, undoAlias, t), " SET ", undoAlias, ".after_img=", digest(image(row, t)), " WHERE ", mine(r))
	return taken, user, stamp
}

func remove(p *packet, r *proxy.Capture) (taken, user int) {
	s, t := r.Stmt, r.Table
	from, ref := target(s)
	taken = capture(p, r, undo.Delete, image(ref, t), "NULL", ref, from)
	condition(p, s)
	p.add(" FOR UPDATE", takeOver(r, undo.Delete, digest(image(ref, t))))

	user = p.next()
	p.user(sqltext.Span{Start: 0, End: max(s.Target().NameSpan.End, s.Target().AliasSpan.End)})
	captured(p, r, ref)
	return taken, user
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
func takeOver(r *proxy.Capture, op undo.Op, now string) string {
	left, becomes, after := "gtx_undo.after_img<=>"+now, "gtx_undo.op", "NULL"
	switch op {
	case undo.Insert:
		left, after = "gtx_undo.after_img IS NULL", now
		becomes = "IF(gtx_undo.op='D','U',gtx_undo.op)"
	case undo.Delete:
		becomes = "IF(gtx_undo.op='I','I','D')"
	}
	return fmt.Sprintf(" ON DUPLICATE KEY UPDATE gtx_undo.seq=IF(gtx_undo.xid<>'%s',CONCAT('%s',gtx_undo.xid),"+
		"IF(gtx_undo.schema_fp='%s' AND %s,%d,'%s')),gtx_undo.branch=%d,gtx_undo.op=%s,gtx_undo.after_img=%s",
		r.XID, alarm(r.Branch, alarmHeld), r.Table.Fingerprint, left, r.Seq, alarm(r.Branch, alarmDirty), r.Branch, becomes, after)
}
