package mysql

import (
	"strings"

	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// side is one table that a statement with several changes.
type side struct {
	r   *proxy.Capture // with the table of this side
	ref string
}

// here is true where the joined row has a row of this table.
func (d side) here() string {
	return column(d.ref, &d.r.Table.Columns[d.r.Table.Key[0]]) + " IS NOT NULL"
}

// several gives the form of an UPDATE or DELETE of several tables: a capture for
// each that is written, by the user's join; his statement for rows that all have
// images; the after images. A row that the join gives more than once meets its own
// undo row.
func several(p *packet, r *proxy.Capture) (form, error) {
	s := r.Stmt
	if s.OrderBy != (sqltext.Span{}) || s.Limit != (sqltext.Span{}) {
		return form{}, unsupported("limit", "ORDER BY or LIMIT in a statement that changes several tables is not captured", "select the keys first, then write by key")
	}
	sides, err := sidesOf(r)
	if err != nil {
		return form{}, err
	}
	op, end := undo.Update, s.Set.End
	if s.Kind == sqltext.Delete {
		op, end = undo.Delete, s.From.End
	}
	for _, d := range sides {
		captureSide(p, d, op)
	}
	user := p.next()
	p.user(sqltext.Span{Start: s.Span.Start, End: end})
	p.add("\n")
	condition(p, s)
	and := " AND "
	if s.Where == (sqltext.Span{}) {
		and = " WHERE "
	}
	for _, d := range sides {
		p.add(and, "(NOT ", d.here(), " OR ", exists(d.r, d.ref), ")")
		and = " AND "
	}
	if op == undo.Delete {
		p.next()
		p.add("SET @gtx_did=ROW_COUNT()")
		assert(p, r, "", "@gtx_did")
		return form{user: user, agree: func([]int64) bool { return true }}, nil
	}
	var stamps []int
	for _, d := range sides {
		stamps = append(stamps, stamp(p, d.r))
	}
	return form{user: user, agree: func(rows []int64) bool {
		var sum int64
		for _, i := range stamps {
			sum += rows[i]
		}
		return sum >= rows[user]
	}}, nil
}

func captureSide(p *packet, d side, op undo.Op) {
	t := d.r.Table
	capture(p, d.r, op, image(d.ref, t), "NULL", d.ref, "")
	p.user(d.r.Stmt.From)
	p.add("\n")
	condition(p, d.r.Stmt)
	if d.r.Stmt.Where == (sqltext.Span{}) {
		p.add(" WHERE ")
	} else {
		p.add(" AND ")
	}
	p.add(d.here(), " FOR UPDATE", takeOver(d.r, op, true))
}

// sidesOf gives the targets that are written. A column without a table in front is
// of every target that has one of its name.
func sidesOf(r *proxy.Capture) ([]side, error) {
	var sides []side
	for i := range r.Stmt.Targets {
		to := &r.Stmt.Targets[i]
		if strings.HasPrefix(strings.ToLower(to.Alias), "gtx_") {
			return nil, unsupported("alias", "the alias "+to.Alias+" begins with gtx_, which is reserved", "choose another alias")
		}
		one := *r
		one.Table = r.Tables[i]
		d := side{r: &one, ref: r.Stmt.Slice(to.NameSpan)}
		called := to.Name.Table
		if to.AliasSpan != (sqltext.Span{}) {
			d.ref, called = r.Stmt.Slice(to.AliasSpan), to.Alias
		}
		var set []sqltext.Column
		for _, c := range r.Stmt.SetColumns {
			if has(one.Table, c.Name) && (c.Table == "" || strings.EqualFold(c.Table, called)) {
				set = append(set, c)
			}
		}
		if c := assignedKey(set, one.Table); c != nil {
			return nil, unsupported("key-update", "the statement assigns the primary key column "+c.Name+" beside other tables", "assign it in a statement of its own")
		}
		if set != nil || r.Stmt.Kind == sqltext.Delete {
			sides = append(sides, d)
		}
	}
	if sides == nil {
		return nil, unsupported("several-tables", "no assigned column was found in the tables", "name the table in front of the column")
	}
	return sides, nil
}

func has(t *undo.Table, name string) bool { return index(t, name) >= 0 }

// index gives the place of a column in the table, -1 when it has none of the name.
func index(t *undo.Table, name string) int {
	for i := range t.Columns {
		if strings.EqualFold(t.Columns[i].Name, name) {
			return i
		}
	}
	return -1
}
