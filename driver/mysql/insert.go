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

func insert(p *packet, r *proxy.Capture) (taken, user int, err error) {
	s, t := r.Stmt, r.Table
	from, err := sources(r)
	if err != nil {
		return 0, 0, err
	}
	user = p.next()
	p.user(sqltext.Span{Start: 0, End: statementEnd(s)})

	ref := s.Slice(s.Target().NameSpan)
	taken = capture(p, r, undo.Insert, keyImage(ref, t), digest(image(ref, t)), ref, ref+" FORCE INDEX (PRIMARY)")
	p.add(" WHERE ")
	newRows(p, r, ref, from)
	p.add(" FOR UPDATE", takeOver(r, undo.Insert, digest(image(ref, t))))

	// The count of the capture cannot tell one undo row met again from two new
	// ones, so the server counts: the subquery with two rows is an error.
	p.next()
	p.add("DO IF((SELECT COUNT(*) FROM gtx_undo AS ", undoAlias, " FORCE INDEX (gtx_undo_xid) WHERE ", mine(r), ")=", strconv.Itoa(len(s.Rows)),
		",0,(SELECT 1 UNION ALL SELECT 2))")
	return taken, user, nil
}

// newRows adds the condition that finds the new rows by their keys. Rows of one
// simple insert have consecutive generated values.
func newRows(p *packet, r *proxy.Capture, ref string, from [][]source) {
	t := r.Table
	value := func(row, k int) {
		c := &t.Columns[t.Key[k]]
		next := "LAST_INSERT_ID()"
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

// statementEnd is where the text of an INSERT ends, without a semicolon and
// what stands behind it.
func statementEnd(s *sqltext.Statement) int {
	i := s.Target().NameSpan.End
	if last := s.Rows[len(s.Rows)-1]; len(last) > 0 {
		i = last[len(last)-1].Span.End
	}
	for ; i < len(s.Text); i++ {
		rest := s.Text[i:]
		switch {
		case rest[0] == ';':
			return i
		case rest[0] == '`':
			i = after(s.Text, i+1, "`")
		case rest[0] == '#', strings.HasPrefix(rest, "--"):
			// The line end is needed: more statements follow. Behind VALUES only a
			// comment can begin like this.
			j := after(s.Text, i, "\n")
			if j >= len(s.Text) {
				return i
			}
			i = j
		case strings.HasPrefix(rest, "/*"):
			i = after(s.Text, i+2, "*/")
		}
	}
	return len(s.Text)
}
