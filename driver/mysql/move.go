package mysql

import (
	"fmt"
	"strconv"
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

// newKeys gives the expressions that an UPDATE assigns to columns of the primary
// key, by their indexes in Table.Columns. They are evaluated twice, first on the row
// as it was; the server shows them what was assigned before them.
func newKeys(r *proxy.Capture) (map[int]sqltext.Span, error) {
	s, t := r.Stmt, r.Table
	refusal := func(why string) error {
		return unsupported("key-update", "the statement assigns the primary key column "+assignedKey(s.SetColumns, t).Name+" "+why,
			"assign it in a statement of its own, or delete the row and insert it again")
	}
	all := assignments(s, s.Set, s.SetColumns)
	if all == nil {
		return nil, refusal("in a form that is not understood: without comments and backslashes it is")
	}
	keys := map[int]sqltext.Span{}
	for i, a := range all {
		col := index(t, a.column.Name)
		if col < 0 || !isKey(t, col) {
			continue
		}
		switch b := baseType(&t.Columns[col]); b {
		case "tinyint", "smallint", "mediumint", "int", "bigint", "char", "varchar":
		default:
			return nil, refusal("of the type " + b)
		}
		text := s.Slice(a.expr)
		if strings.EqualFold(strings.TrimSpace(text), "default") {
			return nil, refusal("with DEFAULT")
		}
		for _, before := range all[:i] {
			if mentions(text, before.column.Name) {
				return nil, refusal("from the column " + before.column.Name + ", which it assigns before")
			}
		}
		if _, twice := keys[col]; twice {
			return nil, refusal("twice")
		}
		keys[col] = a.expr
	}
	return keys, nil
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
	keys, err := newKeys(r)
	if err != nil {
		return form{}, err
	}
	from, ref := target(s)
	capture(p, r, undo.Delete, image(ref, t), "NULL", ref, from)
	condition(p, s)
	order(p, s)
	p.add(" FOR UPDATE", takeOver(r, undo.Delete, false))

	p.next()
	p.add("SET @gtx_was=(SELECT COUNT(*) FROM gtx_undo AS ", undoAlias, " FORCE INDEX (gtx_undo_xid) WHERE ", mine(r), ")")

	arrive(p, r, keys, from, ref)

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
func arrive(p *packet, r *proxy.Capture, keys map[int]sqltext.Span, from, ref string) {
	t := r.Table
	const hole = "\x00" // on both sides of the index of a key column
	value := func(c *undo.Column) string {
		col := index(t, c.Name)
		if _, moved := keys[col]; moved {
			return asKey(c, "("+hole+strconv.Itoa(col)+hole+"\n)", false)
		}
		return column(ref, c)
	}
	add := func(text string) {
		for i, part := range strings.Split(text, hole) {
			if i%2 == 0 {
				p.add(part)
				continue
			}
			p.user(keys[atoi(part)])
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
