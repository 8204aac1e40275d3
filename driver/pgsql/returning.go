package pgsql

import (
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// returning is the user's RETURNING, cut at WITH (OLD AS o, NEW AS n).
type returning struct {
	with string // with the word; "" when there is none
	old  string // the names it gives, as written
	new  string
	list string
	at   int // where the list begins in the statement's text
}

// splitReturning reads the list of s. What it cannot read stays in the list, for the
// server to refuse.
func splitReturning(s *sqltext.Statement) returning {
	trim := func(sp sqltext.Span) returning {
		list := strings.TrimSpace(s.Slice(sp))
		return returning{list: list, at: sp.Start + strings.Index(s.Slice(sp), list)}
	}
	r := trim(s.Returning)
	i, word := 0, ""
	next := func() string {
		i = skipBlank(r.list, i)
		if i >= len(r.list) {
			return ""
		}
		n := token(r.list[i:])
		word = r.list[i : i+n]
		i += n
		return word
	}
	if !strings.EqualFold(next(), "with") || next() != "(" {
		return r
	}
	for {
		row := next()
		if !strings.EqualFold(next(), "as") {
			return r
		}
		switch name := next(); {
		case strings.EqualFold(row, "old"):
			r.old = name
		case strings.EqualFold(row, "new"):
			r.new = name
		default:
			return r
		}
		switch next() {
		case ",":
		case ")":
			list := trim(sqltext.Span{Start: r.at + i, End: r.at + len(r.list)})
			list.with, list.old, list.new = r.list[:i]+" ", r.old, r.new
			return list
		default:
			return r
		}
	}
}

// nameRows chooses the names of the rows before and after the change. A name the
// user relies on stays: one given in WITH, or "old" and "new" where the list says
// so and no table is called that.
func (w *writer) nameRows() {
	s := w.Stmt
	tables := s.Slice(s.Target().NameSpan) + " " + s.Slice(s.Target().AliasSpan) + " " + s.Slice(s.From)
	var as []string
	name := func(row, given string) string {
		switch {
		case given != "":
			as = append(as, row+" AS "+given)
			return given
		case mentions(w.ret.list, row) && !mentions(tables, row):
			return row
		}
		as = append(as, row+" AS "+w.p+row)
		return w.p + row
	}
	w.old, w.new = name("old", w.ret.old), name("new", w.ret.new)
	w.ret.with = ""
	if as != nil {
		w.ret.with = "WITH (" + strings.Join(as, ", ") + ") "
	}
}

// mentions tells whether a name stands in text, quoted or not, in any case.
func mentions(text, name string) bool {
	for i := 0; i < len(text); {
		n := token(text[i:])
		if n == 0 {
			return true
		}
		if strings.EqualFold(strings.Trim(text[i:i+n], `"`), name) {
			return true
		}
		i += n
	}
	return false
}
