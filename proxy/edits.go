package proxy

import (
	"database/sql/driver"
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// edits changes a text by putting more in, in the order of the text. Parts of the
// statement that stand in it twice take their arguments twice.
type edits struct {
	s     *sqltext.Statement
	args  []driver.NamedValue
	at    int // the text up to here has been taken
	text  strings.Builder
	taken []driver.NamedValue
	from  []copied
	// numbered: markers of SQLite are written with their numbers, for one of them
	// comes twice. Those in the list stay: they may be in the name of a column.
	numbered bool
}

func (e *edits) add(text string) { e.text.WriteString(text) }

// upTo takes the text up to here.
func (e *edits) upTo(pos int) {
	e.take(sqltext.Span{Start: e.at, End: pos})
	e.at = pos
}

// take writes a part of the text with its arguments.
func (e *edits) take(sp sqltext.Span) {
	at := sp.Start
	for _, h := range e.s.In(sp) {
		switch {
		case e.s.Dialect == sqltext.Postgres: // $1 says which
		case e.s.Dialect == sqltext.SQLite:
			if e.numbered && e.s.Slice(h.Span) == "?" {
				e.copy(sqltext.Span{Start: at, End: h.Span.Start})
				e.add("?" + strconv.Itoa(h.Ordinal))
				at = h.Span.End
			}
		case h.Ordinal <= len(e.args):
			v := e.args[h.Ordinal-1]
			v.Ordinal = len(e.taken) + 1
			e.taken = append(e.taken, v)
		}
	}
	e.copy(sqltext.Span{Start: at, End: sp.End})
}

func (e *edits) copy(sp sqltext.Span) {
	e.from = append(e.from, copied{e.text.Len(), sp})
	e.add(e.s.Slice(sp))
}

// column puts a column behind the list; what follows belongs to it.
func (e *edits) column(p *plan, read *sqltext.Read, id, expression string, hash bool) {
	e.upTo(read.List.End)
	p.extra = append(p.extra, extra{id, hash})
	e.add(", " + expression)
}

// again writes a part that also stands elsewhere; nothing when it is empty.
func (e *edits) again(before string, sp sqltext.Span, behind string) {
	if !some(sp) {
		return
	}
	e.add(before)
	e.take(sp)
	e.add(behind)
}

// condition adds to the statement's own.
func (e *edits) condition(read *sqltext.Read, more []string) {
	if more == nil {
		return
	}
	all := strings.Join(more, " AND ")
	if !some(read.Where) {
		e.upTo(read.From.End)
		e.add(" WHERE " + all)
		return
	}
	e.upTo(read.Where.Start)
	e.add("(")
	e.upTo(read.Where.End)
	e.add("\n) AND " + all)
}

// result gives the text and its arguments.
func (e *edits) result() (string, []driver.NamedValue) {
	e.upTo(len(e.s.Text))
	if e.s.Dialect == sqltext.Postgres || e.s.Dialect == sqltext.SQLite || len(e.taken) < len(e.args) {
		return e.text.String(), e.args
	}
	return e.text.String(), e.taken
}
