package mysql

import (
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// source is where the value of a key column of a new row comes from.
type source uint8

const (
	given     source = iota // as written
	zero                    // 0 in an auto_increment column: generated, unless NO_AUTO_VALUE_ON_ZERO
	generated               // by auto_increment
)

func insert(p *packet, r *proxy.Capture) (form, error) {
	s := r.Stmt
	if s.Source == sqltext.SourceQuery {
		return insertQuery(p, r)
	}
	from, err := sources(r)
	if err != nil {
		return form{}, err
	}
	if s.Or != sqltext.OrFail || s.Upserts != nil {
		return upsert(p, r, from)
	}
	user := p.next()
	p.user(s.Span)
	taken := captureNew(p, r, from, "", false)
	assert(p, r, "", strconv.Itoa(len(s.Rows)))
	if returns(s) {
		countReturned(p, r, "")
	}
	return form{user: user, agree: func(rows []int64) bool {
		return rows[taken] >= rows[user] && rows[user] == int64(len(s.Rows))
	}}, nil
}

// captureNew adds the capture of the rows that the user's statement inserted.
func captureNew(p *packet, r *proxy.Capture, from [][]source, fresh string, again bool) int {
	ref := r.Stmt.Slice(r.Stmt.Target().NameSpan)
	now := digest(image(ref, r.Table))
	n := capture(p, r, undo.Insert, keyImage(ref, r.Table), now, ref, ref+" FORCE INDEX (PRIMARY)")
	p.add(" WHERE ")
	newRows(p, r, ref, from, fresh)
	p.add(" FOR UPDATE", takeOver(r, undo.Insert, again))
	return n
}

// assert fails the packet unless this statement has as many undo rows as said.
func assert(p *packet, r *proxy.Capture, and, want string) { check(p, r, and, "=", want) }

// check compares the number of undo rows of this statement. The count of a capture
// cannot tell one undo row met again from two new ones, so the server counts.
func check(p *packet, r *proxy.Capture, and, as, want string) {
	refuseIf(p, r, alarmCount, "IF((SELECT COUNT(*) FROM gtx_undo AS "+undoAlias+" FORCE INDEX (gtx_undo_xid) WHERE "+mine(r)+and+")"+as+want+",FALSE,TRUE)")
}

// refuseIf fails the packet where the condition is true, with an error that repeats
// the alarm: no locale has such a name, and the session's own stays. SET reads with
// locks; a SELECT would fix what the user's later SELECTs see at REPEATABLE READ.
func refuseIf(p *packet, r *proxy.Capture, what, condition string) {
	p.next()
	p.add("SET SESSION lc_time_names=IF(", condition, ",'", alarm(r.Branch, what), "',@@lc_time_names)")
}

// newRows adds the condition that finds the new rows by their keys. Rows of one
// simple insert have consecutive generated values; fresh, if not empty, is how
// many there are at most.
func newRows(p *packet, r *proxy.Capture, ref string, from [][]source, fresh string) {
	t := r.Table
	value := func(row, k int) {
		c := &t.Columns[t.Key[k]]
		next := "LAST_INSERT_ID()"
		if fresh != "" {
			next = "IF(" + fresh + ">" + strconv.Itoa(row) + ",LAST_INSERT_ID(),NULL)"
		}
		if row > 0 {
			next += "+" + strconv.Itoa(row) + "*@@auto_increment_increment"
		}
		switch from[row][k] {
		case generated:
			p.add(next)
		case zero:
			p.add("IF(FIND_IN_SET('NO_AUTO_VALUE_ON_ZERO',@@sql_mode),0,", next, ")")
		default:
			// The value stands between the two halves of its conversion.
			const hole = "\x00"
			head, tail, _ := strings.Cut(asKey(c, hole, false), hole)
			p.add(head)
			p.user(r.Stmt.Rows[row][place(r, t.Key[k])].Span)
			p.add(tail)
		}
	}
	if len(t.Key) == 1 {
		p.add(column(ref, &t.Columns[t.Key[0]]), " IN (")
		for row := range from {
			if row > 0 {
				p.add(",")
			}
			value(row, 0)
		}
		p.add(")")
		return
	}
	for row := range from {
		if row > 0 {
			p.add(" OR ")
		}
		p.add("(")
		for k := range t.Key {
			if k > 0 {
				p.add(" AND ")
			}
			p.add(column(ref, &t.Columns[t.Key[k]]), "=")
			value(row, k)
		}
		p.add(")")
	}
}

// place gives the position of a column in the rows of VALUES, -1 when absent.
func place(r *proxy.Capture, col int) int {
	if r.Stmt.Columns == nil {
		n := 0
		for i := range r.Table.Columns {
			if attrOf(&r.Table.Columns[i]).invisible {
				if i == col {
					return -1
				}
				continue
			}
			if i == col {
				return n
			}
			n++
		}
		return -1
	}
	for i, name := range r.Stmt.Columns {
		if strings.EqualFold(name, r.Table.Columns[col].Name) {
			return i
		}
	}
	return -1
}

// sources tells for every row and key column where the value comes from, and
// refuses rows that could not be found again.
func sources(r *proxy.Capture) ([][]source, error) {
	t := r.Table
	all := make([][]source, len(r.Stmt.Rows))
	for row, values := range r.Stmt.Rows {
		all[row] = make([]source, len(t.Key))
		for k, col := range t.Key {
			c := &t.Columns[col]
			at := place(r, col)
			if r.Stmt.Source == sqltext.SourceDefaults {
				at = -1
			}
			if at >= len(values) {
				return nil, unsupported("values-count", "a row of VALUES has too few values", "")
			}
			src, err := sourceOf(r, c, at, values)
			if err != nil {
				return nil, err
			}
			if all[row][k] = src; (src == given) != (all[0][k] == given) {
				return nil, unsupported("mixed-keys", "some rows give "+c.Name+" and others leave it to auto_increment", "use two statements")
			}
		}
	}
	return all, nil
}

func sourceOf(r *proxy.Capture, c *undo.Column, at int, values []sqltext.Value) (source, error) {
	expression := unsupported("key-expression", "the value of the key column "+c.Name+" is not a plain literal or argument, so the new row could not be found again",
		"compute the value in the program")
	if at < 0 || values[at].Kind == sqltext.ValueDefault {
		if c.Auto {
			return generated, nil
		}
		return 0, unsupported("key-default", "the key column "+c.Name+" has no value in the statement", "give its value")
	}
	v := values[at]
	switch v.Kind {
	case sqltext.ValueNull:
		if c.Auto {
			return generated, nil
		}
		return given, nil // the server refuses it
	case sqltext.ValueLiteral:
		if !c.Auto {
			return given, nil
		}
		if src, ok := integer(strings.Trim(r.Stmt.Slice(v.Span), `'"`)); ok {
			return src, nil
		}
	case sqltext.ValuePlaceholder:
		arg := r.Args[r.Stmt.Placeholders[v.Placeholder].Ordinal-1].Value
		if !c.Auto {
			return given, nil
		}
		switch a := arg.(type) {
		case nil:
			return generated, nil
		case int64:
			return zeroIf(a == 0), nil
		case uint64:
			return zeroIf(a == 0), nil
		case bool:
			return zeroIf(!a), nil
		case string:
			if src, ok := integer(a); ok {
				return src, nil
			}
		case []byte:
			if a == nil {
				return generated, nil
			}
			if src, ok := integer(string(a)); ok {
				return src, nil
			}
		}
	}
	return 0, expression
}

// integer reads the value for an auto_increment column. What only becomes an
// integer by rounding is not read.
func integer(text string) (source, bool) {
	switch strings.ToUpper(text) {
	case "TRUE":
		return given, true
	case "FALSE":
		return zero, true
	}
	digits := strings.TrimLeft(text, "+-")
	if digits == "" || len(text)-len(digits) > 1 || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	return zeroIf(strings.Trim(digits, "0") == ""), true
}

func zeroIf(is bool) source {
	if is {
		return zero
	}
	return given
}
