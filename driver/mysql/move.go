package mysql

import (
	"fmt"
	"strings"

	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// assignedKey gives the first column of the primary key that is assigned, or nil.
func assignedKey(set []sqltext.Column, t *undo.Table) *undo.Column {
	for _, s := range set {
		for _, k := range t.Key {
			if strings.EqualFold(s.Name, t.Columns[k].Name) {
				return &t.Columns[k]
			}
		}
	}
	return nil
}

// newKey gives the expression that an UPDATE of the primary key assigns. It is
// evaluated twice, on the row before the change, so nothing else may be assigned.
func newKey(r *proxy.Capture) (sqltext.Span, error) {
	s, c := r.Stmt, assignedKey(r.Stmt.SetColumns, r.Table)
	refusal := func(why string) error {
		return unsupported("key-update", "the statement assigns the primary key column "+c.Name+" "+why, "assign it in a statement of its own, or delete the row and insert it again")
	}
	if len(s.SetColumns) != 1 {
		return sqltext.Span{}, refusal("and other columns")
	}
	switch b := baseType(c); b {
	case "tinyint", "smallint", "mediumint", "int", "bigint", "char", "varchar":
	default:
		return sqltext.Span{}, refusal("of the type " + b)
	}
	name, _, _ := strings.Cut(s.Slice(s.Set), "=")
	if strings.ContainsAny(name, "/#-'") {
		return sqltext.Span{}, refusal("behind a comment")
	}
	from := s.Set.Start + len(name) + 1
	if strings.Count(name, "`")%2 != 0 || strings.Count(name, `"`)%2 != 0 || from >= s.Set.End {
		return sqltext.Span{}, refusal("in a form that is not understood")
	}
	return sqltext.Span{Start: from, End: s.Set.End}, nil
}

// move gives the form of an UPDATE that changes keys: the row leaves its old key,
// which is a deletion there, and comes to the new one, which is an insertion.
//
//	capture of the rows by their old keys
//	undo rows for the new keys, without after images; the key of another captured
//	row is an update there
//	the user's statement
//	the after images of the rows that are at their keys now
//	count: as many rows at new keys as were captured, none at an old one
func move(p *packet, r *proxy.Capture) (form, error) {
	s, t := r.Stmt, r.Table
	expr, err := newKey(r)
	if err != nil {
		return form{}, err
	}
	from, ref := target(s)
	capture(p, r, undo.Delete, image(ref, t), "NULL", ref, from)
	condition(p, s)
	order(p, s)
	p.add(" FOR UPDATE", takeOver(r, undo.Delete, digest(image(ref, t)), false))

	p.next()
	p.add("SET @gtx_was=(SELECT COUNT(*) FROM gtx_undo AS ", undoAlias, " FORCE INDEX (gtx_undo_xid) WHERE ", mine(r), ")")

	arrive(p, r, expr, from, ref)

	user := p.next()
	p.user(sqltext.Span{Start: s.Span.Start, End: s.Set.End})
	captured(p, r, ref)

	stamp(p, r)
	assert(p, r, " AND "+undoAlias+".after_img IS NOT NULL", "@gtx_was")
	assert(p, r, " AND "+undoAlias+".after_img IS NOT NULL AND "+undoAlias+".op='D'", "0")
	return form{user: user, agree: func([]int64) bool { return true }}, nil
}

// arrive adds the undo rows for the new keys. Where the undo row of an own row says
// that the new key is taken, it stays as it is: the server says so, too, or the
// count does not agree.
func arrive(p *packet, r *proxy.Capture, expr sqltext.Span, from, ref string) {
	t := r.Table
	moved := assignedKey(r.Stmt.SetColumns, t)
	const hole = "\x00"
	value := func(c *undo.Column) string {
		if c == moved {
			return asKey(c, "("+hole+"\n)", false)
		}
		return column(ref, c)
	}
	add := func(text string) {
		for i, part := range strings.Split(text, hole) {
			if i > 0 {
				p.user(expr)
			}
			p.add(part)
		}
	}
	p.next()
	p.add("INSERT INTO gtx_undo (tbl,keyh,xid,branch,seq,op,before_img,after_img,schema_fp) ")
	if r.Stmt.With != (sqltext.Span{}) {
		p.user(r.Stmt.With)
		p.add("\n")
	}
	p.add("SELECT ", tableLiteral(t), ",")
	add(keyHashOf(t, value))
	p.add(",'", r.XID.String(), "',", number(int64(r.Branch)), ",", number(r.Seq), ",'I',")
	add(keyImageOf(t, value))
	p.add(",NULL,'", t.Fingerprint, "' FROM ", from)
	condition(p, r.Stmt)
	if r.Stmt.Where == (sqltext.Span{}) {
		p.add(" WHERE ")
	} else {
		p.add(" AND ")
	}
	p.add(exists(r, ref), " FOR UPDATE")
	const gone = "gtx_undo.after_img IS NULL"
	p.add(fmt.Sprintf(" ON DUPLICATE KEY UPDATE gtx_undo.seq=IF(gtx_undo.xid<>'%s',CONCAT('%s',gtx_undo.xid),"+
		"IF(gtx_undo.schema_fp='%s',IF(%s,%d,gtx_undo.seq),'%s')),gtx_undo.branch=IF(%s,%d,gtx_undo.branch),gtx_undo.op=IF(%s AND gtx_undo.op='D','U',gtx_undo.op)",
		r.XID, alarm(r.Branch, alarmHeld), t.Fingerprint, gone, r.Seq, alarm(r.Branch, alarmDirty), gone, r.Branch, gone))
}
