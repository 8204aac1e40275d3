package mysql

import (
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// assignment is one column = expression of an UPDATE.
type assignment struct {
	column sqltext.Column
	expr   sqltext.Span
}

// assignments cuts the assignments of a statement, which stand in set and go to
// columns, into their parts. It gives nil where that is not sure: with comments, and
// backslashes in strings, which the session's mode gives a meaning.
func assignments(s *sqltext.Statement, set sqltext.Span, columns []sqltext.Column) []assignment {
	var all []assignment
	part, equals, depth := set.Start, -1, 0
	end := func(at int) bool {
		if equals < 0 || len(all) == len(columns) {
			return false
		}
		all = append(all, assignment{columns[len(all)], sqltext.Span{Start: equals + 1, End: at}})
		part, equals = at+1, -1
		return strings.TrimSpace(s.Slice(all[len(all)-1].expr)) != ""
	}
	for i := part; i < set.End; i++ {
		switch c := s.Text[i]; c {
		case '\'', '"', '`':
			n := strings.IndexByte(s.Text[i+1:set.End], c)
			if n < 0 || c != '`' && strings.Contains(s.Text[i+1:i+1+n], `\`) {
				return nil
			}
			i += n + 1
		case '#':
			return nil
		case '-', '/':
			if i+1 < set.End && (s.Text[i+1] == '-' || s.Text[i+1] == '*') {
				return nil
			}
		case '(':
			depth++
		case ')':
			depth--
		case '=':
			if equals < 0 {
				equals = i
			}
		case ',':
			if depth == 0 && !end(i) {
				return nil
			}
		}
	}
	if !end(set.End) || len(all) != len(columns) {
		return nil
	}
	return all
}

// mentions tells whether text may use a column: its name stands there as a word.
func mentions(text, name string) bool {
	text, name = strings.ToLower(text), strings.ToLower(name)
	word := func(i int) bool {
		return i >= 0 && i < len(text) && (text[i] == '_' || text[i] == '$' || text[i] >= '0' && text[i] <= '9' || text[i] >= 'a' && text[i] <= 'z' || text[i] >= 0x80)
	}
	for from := 0; ; {
		i := strings.Index(text[from:], name)
		if i < 0 {
			return false
		}
		i += from
		if !word(i-1) && !word(i+len(name)) {
			return true
		}
		from = i + 1
	}
}
