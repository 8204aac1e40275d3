package pgsql

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// The server tells where in the text an error is, and that text is not the user's: it
// stands around pieces of it. When an error comes, the captured statement is written
// once more, with marks around the pieces. So a statement without an error pays
// nothing, and a piece that stands in the text twice has one origin.

var _ proxy.Relocating = Dialect{}

// pieceMark is in no text that the server can be sent.
const pieceMark = "\x00"

// piece gives a part of the user's text, in marks where v asks for them: where it
// begins in front of it, nothing behind.
func (v own) piece(s *sqltext.Statement, sp sqltext.Span) string {
	text := s.Slice(sp)
	if !v.marked || text == "" {
		return text
	}
	return pieceMark + strconv.Itoa(sp.Start) + pieceMark + text + pieceMark + pieceMark
}

func (w *writer) piece(sp sqltext.Span) string { return w.own.piece(w.Stmt, sp) }

// line is a piece that a comment at its end does not reach beyond; "" where there
// is none.
func (w *writer) line(sp sqltext.Span) string {
	if sp.Start == sp.End {
		return ""
	}
	return w.piece(sp) + "\n"
}

// word is the one in front of a clause, in the letters of the user where it stands
// right there: an error of syntax at the end of the clause before shows it.
func (w *writer) word(word string, clause sqltext.Span) string {
	end := len(strings.TrimRight(w.Stmt.Text[:clause.Start], " \t\r\n\f\v"))
	sp := sqltext.Span{Start: end - len(word), End: end}
	if sp.Start < 0 || !strings.EqualFold(w.Stmt.Slice(sp), word) {
		return word
	}
	return w.piece(sp)
}

// place is where a piece stands in the captured text, and where it comes from.
type place struct{ at, end, origin int }

// places takes the marks out of a text.
func places(marked string) (sql string, all []place) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(marked, pieceMark)
		out.WriteString(before)
		if !found {
			return out.String(), all
		}
		var number string
		number, marked, _ = strings.Cut(rest, pieceMark)
		if origin, err := strconv.Atoi(number); err == nil {
			all = append(all, place{at: out.Len(), origin: origin})
		} else if len(all) > 0 {
			all[len(all)-1].end = out.Len()
		}
	}
}

// placed gives an error of the captured statement t as the bare statement's, as far
// as its place in the text goes: none, where that is not in the user's part.
func (d Dialect) placed(err error, r *proxy.Capture, t *text) error {
	return d.Relocate(err, t.sql, r.Stmt.Text, t.origins(r))
}

// origins gives where in the user's text an offset of t comes from, -1 for nowhere.
func (t *text) origins(r *proxy.Capture) func(at int) int {
	var all []place
	return func(at int) int {
		if all == nil {
			v := t.values
			v.marked = true
			marked, err := build(r, v)
			if err != nil {
				return -1
			}
			var sql string
			if sql, all = places(marked.sql); sql != t.sql {
				all = []place{}
			}
		}
		for _, p := range all {
			if p.at <= at && at < p.end {
				return p.origin + at - p.at
			}
		}
		return -1
	}
}

// Relocate counts characters, as the server does: bytes where its encoding is
// SQL_ASCII.
func (d Dialect) Relocate(err error, sent, text string, at func(offset int) int) error {
	if d.base.Relocate == nil {
		return err
	}
	bytes := d.bytes != nil && d.bytes.Load()
	return d.base.Relocate(err, text, func(position int) int {
		offset := position - 1
		if !bytes {
			offset = offsetOf(sent, position)
		}
		switch offset = at(offset); {
		case offset < 0 || offset > len(text):
			return 0
		case bytes:
			return offset + 1
		}
		return utf8.RuneCountInString(text[:offset]) + 1
	})
}

// offsetOf gives where the character with this number begins, counted from 1; the end of
// the text where there is none.
func offsetOf(text string, position int) int {
	for i := range text {
		if position--; position == 0 {
			return i
		}
	}
	return len(text)
}
