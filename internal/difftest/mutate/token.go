package mutate

import (
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// class sorts tokens: one is replaced by another of its class.
type class uint8

const (
	space   class = iota // and comments
	keyword              // a word of structure
	name                 // any other word
	quoted               // a name in quotes
	number
	str // a string of any form
	param
	compare // an operator between two operands
	op      // any other character
	open
	closing
	nClasses
)

type token struct {
	class class
	text  string
}

// reader cuts a text into tokens. It shares nothing with the lexer under test
// and need not be right about every text: what it gets wrong becomes a stranger
// mutant.
type reader struct {
	d    sqltext.Dialect
	m    sqltext.Mode
	text string
	i    int
}

// tokens gives the tokens of a text; together they are the text.
func tokens(text string, d sqltext.Dialect, m sqltext.Mode) []token {
	r := reader{d: d, m: m, text: text}
	var toks []token
	for r.i < len(text) {
		start := r.i
		c := r.next()
		toks = append(toks, token{c, text[start:r.i]})
	}
	return toks
}

func (r *reader) family() bool { return r.d == sqltext.MySQL || r.d == sqltext.MariaDB }

func (r *reader) starts(s string) bool { return strings.HasPrefix(r.text[r.i:], s) }

// next moves behind one token and gives its class.
func (r *reader) next() class {
	switch c := r.text[r.i]; {
	case strings.IndexByte(" \t\n\r\f\v", c) >= 0:
		r.while(func(c byte) bool { return strings.IndexByte(" \t\n\r\f\v", c) >= 0 })
		return space
	case r.starts("--"), c == '#' && r.family():
		r.behind("\n")
		return space
	case r.starts("/*"):
		r.comment()
		return space
	case c == '\'':
		r.quote('\'', r.family() && !r.m.NoBackslashEscapes || r.m.BackslashStrings)
		return str
	case c == '"' && r.family() && !r.m.ANSIQuotes:
		r.quote('"', !r.m.NoBackslashEscapes)
		return str
	case c == '"', c == '`':
		r.quote(c, false)
		return quoted
	case c == '[' && r.d == sqltext.SQLite:
		r.behind("]")
		return quoted
	case c == '$' && r.d == sqltext.Postgres:
		return r.dollar()
	case c == '?' && r.d != sqltext.Postgres, r.d == sqltext.SQLite && strings.IndexByte(":@$", c) >= 0:
		r.i++
		r.while(wordByte)
		return param
	case digit(c), c == '.' && r.i+1 < len(r.text) && digit(r.text[r.i+1]):
		r.number()
		return number
	case wordByte(c):
		return r.word()
	case c == '(':
		r.i++
		return open
	case c == ')':
		r.i++
		return closing
	}
	for _, o := range []string{"<=>", "->>", "||", "<=", ">=", "<>", "!=", "::", ":=", "->", "@>", "<@", "<", ">", "=", "+", "/", "%"} {
		if r.starts(o) {
			r.i += len(o)
			return compare
		}
	}
	r.i++
	return op
}

func (r *reader) while(ok func(byte) bool) {
	for r.i < len(r.text) && ok(r.text[r.i]) {
		r.i++
	}
}

// behind moves behind the next end, or to the end of the text.
func (r *reader) behind(end string) {
	if n := strings.Index(r.text[r.i+1:], end); n >= 0 {
		r.i += 1 + n + len(end)
		return
	}
	r.i = len(r.text)
}

func (r *reader) comment() {
	depth := 0
	for r.i < len(r.text) {
		switch {
		case r.starts("/*") && (depth == 0 || r.d == sqltext.Postgres):
			depth++
			r.i += 2
		case r.starts("*/"):
			depth--
			r.i += 2
		default:
			r.i++
		}
		if depth == 0 {
			return
		}
	}
}

func (r *reader) quote(q byte, backslash bool) {
	for r.i++; r.i < len(r.text); r.i++ {
		switch r.text[r.i] {
		case '\\':
			if backslash {
				r.i++
			}
		case q:
			if r.i+1 < len(r.text) && r.text[r.i+1] == q {
				r.i++
				continue
			}
			r.i++
			return
		}
	}
	r.i = min(r.i, len(r.text))
}

// dollar reads $1 and $tag$ ... $tag$ of Postgres.
func (r *reader) dollar() class {
	start := r.i
	r.i++
	if r.i < len(r.text) && digit(r.text[r.i]) {
		r.while(digit)
		return param
	}
	r.while(func(c byte) bool { return wordByte(c) && c != '$' })
	if r.i >= len(r.text) || r.text[r.i] != '$' {
		return op
	}
	tag := r.text[start : r.i+1]
	r.behind(tag)
	return str
}

func (r *reader) number() {
	r.while(func(c byte) bool { return digit(c) || c == '.' || c == '_' })
	if r.i+1 < len(r.text) && (r.text[r.i] == 'e' || r.text[r.i] == 'E') {
		switch c := r.text[r.i+1]; {
		case digit(c):
			r.i++
		case (c == '+' || c == '-') && r.i+2 < len(r.text) && digit(r.text[r.i+2]):
			r.i += 2
		}
	}
	r.while(wordByte)
}

// word reads a word, and a string with its prefix: E'a', N'a', X'41'.
func (r *reader) word() class {
	start := r.i
	r.while(wordByte)
	w := r.text[start:r.i]
	if r.i < len(r.text) && r.text[r.i] == '\'' && len(w) == 1 && strings.Contains("EeNnXxBb", w) {
		r.quote('\'', w == "E" || w == "e" || r.family() && !r.m.NoBackslashEscapes)
		return str
	}
	if structure[strings.ToLower(w)] {
		return keyword
	}
	return name
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || digit(c) || c == '_' || c == '$' || c >= 0x80
}

// structure are the words that hold a statement together.
var structure = func() map[string]bool {
	m := make(map[string]bool)
	for w := range strings.FieldsSeq(`all and any as asc between by case conflict cross current default delete desc
		distinct do duplicate else end escape except exists explain false for from full group having ignore in index
		inner insert intersect into is join key lateral left like limit merge natural not nothing null of offset on or
		order outer over partition recursive release replace returning right rollback row savepoint select set share
		straight_join table then to true union update using values when where window with`) {
		m[w] = true
	}
	return m
}()
