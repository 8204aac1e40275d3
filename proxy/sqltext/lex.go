package sqltext

import (
	"strings"
	"unicode/utf8"
)

const (
	maxText  = 1 << 20
	maxDepth = 500
)

// kind of a token.
type kind uint8

const (
	tEnd    kind = iota // after the last token
	tWord               // an unquoted name or a word of SQL
	tQuoted             // a quoted name
	tString             // op is the letter in front, '$' for dollar quotes, 0 for none
	tNumber             // op is 'X' or 'B' for 0x and 0b, else 0
	tParam              // mate is the index into the placeholders
	tVar                // @x and @@x of the MySQL family; op is '@' for @@
	tOpen               // op is ( or [
	tClose              // op is ) or ]
	tOp                 // op is one character of an operator or a separator
)

type token struct {
	kind       kind
	op         byte
	word       word // of an unquoted word; wNone after a dot, and after AS
	known      bool // set by parser.known
	start, end int32
	mate       int32 // of a bracket: the index of its partner
}

// lexer cuts a text into tokens. What it does not know in this dialect it
// refuses; comments leave no token.
type lexer struct {
	text   string
	d      Dialect
	m      Mode
	family bool // MySQL or MariaDB
	pos    int
	toks   []token
	open   []int32 // the brackets not yet closed
	params []Placeholder
	nvar   int            // the highest number of a parameter so far
	named  map[string]int // SQLite: the number of each named parameter
}

func (l *lexer) run() *Refusal {
	switch {
	case l.d < MySQL || l.d > SQLite:
		return rDialect
	case len(l.text) > maxText:
		return rTooLong
	case strings.IndexByte(l.text, 0) >= 0:
		return rNUL
	case !utf8.ValidString(l.text):
		return rEncoding
	}
	l.family = l.d == MySQL || l.d == MariaDB
	for l.pos < len(l.text) {
		if r := l.next(); r != nil {
			return r
		}
	}
	if len(l.open) > 0 {
		return rBrackets
	}
	l.toks = append(l.toks, token{kind: tEnd, start: int32(l.pos), end: int32(l.pos)})
	return nil
}

// next reads one token, comment or space at pos.
func (l *lexer) next() *Refusal {
	c := l.text[l.pos]
	switch {
	case l.space(c):
		l.pos++
		return nil
	case c == '-' && l.peek(1) == '-' && l.dashComment(), c == '#' && l.family:
		l.lineComment()
		return nil
	case c == '/' && l.peek(1) == '*':
		return l.blockComment()
	case c == '\'':
		return l.str(0)
	case c == '"' && l.family && !l.m.ANSIQuotes:
		return l.str(0)
	case c == '"', c == '`' && l.d != Postgres, c == '[' && l.d == SQLite:
		return l.quotedName()
	case c >= 0x80, c == '_', isLetter(c):
		return l.word()
	case isDigit(c), c == '.' && isDigit(l.peek(1)):
		return l.number()
	case c == '(', c == '[' && l.d == Postgres:
		return l.openBracket(c)
	case c == ')', c == ']' && l.d == Postgres:
		return l.closeBracket(c)
	case c == '?' && l.d != Postgres:
		return l.question()
	case c == '$' && l.d == Postgres:
		return l.dollar()
	case c == '@' && l.family:
		return l.variable()
	case l.d == SQLite && (c == '$' || c == '@' || c == ':'):
		return l.sqliteNamed()
	case c == ':' && l.family && l.peek(1) == '=':
		return rAssignment
	case c == ';':
		l.semicolon()
		return nil
	case c == ':' && l.d == Postgres, c == '?', isOperator(c, l.d):
		l.add(tOp, c, l.pos+1)
		return nil
	}
	return rCharacter
}

// add appends the token from pos to end and moves on.
func (l *lexer) add(k kind, op byte, end int) {
	l.toks = append(l.toks, token{kind: k, op: op, start: int32(l.pos), end: int32(end)})
	l.pos = end
}

// semicolon ends a statement. SQLite is given one statement after the other,
// each with all arguments, and numbers the parameters of each from 1.
func (l *lexer) semicolon() {
	l.add(tOp, ';', l.pos+1)
	if l.d == SQLite && len(l.open) == 0 {
		l.nvar, l.named = 0, nil
	}
}

func (l *lexer) last() token {
	if len(l.toks) == 0 {
		return token{start: -1, end: -1}
	}
	return l.toks[len(l.toks)-1]
}

// peek gives the byte n after pos, 0 behind the end.
func (l *lexer) peek(n int) byte {
	if l.pos+n < len(l.text) {
		return l.text[l.pos+n]
	}
	return 0
}

// space follows the servers: only the MySQL family takes a vertical tab in
// every version (PostgreSQL does since 16, SQLite does not).
func (l *lexer) space(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v' && l.family
}

// dashComment tells whether -- at pos begins a comment. In the MySQL family it
// does only before a space or control character: 5--1 is a subtraction.
func (l *lexer) dashComment() bool {
	c := l.peek(2)
	return !l.family || c <= ' ' || c == 0x7f
}

// lineComment skips to the end of the line. Only PostgreSQL ends it at \r.
func (l *lexer) lineComment() {
	for l.pos < len(l.text) && l.text[l.pos] != '\n' && (l.text[l.pos] != '\r' || l.d != Postgres) {
		l.pos++
	}
}

// blockComment skips /* */, which nests in PostgreSQL only.
func (l *lexer) blockComment() *Refusal {
	rest := l.text[l.pos+2:]
	if l.family && (strings.HasPrefix(rest, "!") || len(rest) > 1 && lower(rest[0]) == 'm' && rest[1] == '!') {
		return rVersionComment
	}
	from := l.pos + 3
	hints := l.d != SQLite && strings.HasPrefix(rest, "+")
	depth := 1
	for i := l.pos + 2; i+1 < len(l.text); i++ {
		switch {
		case l.text[i] == '*' && l.text[i+1] == '/':
			if depth--; depth == 0 {
				l.pos = i + 2
				if hints {
					return l.hintComment(l.text[from:i])
				}
				return nil
			}
			i++
		case l.d == Postgres && l.text[i] == '/' && l.text[i+1] == '*':
			depth++
			i++
		}
	}
	return rUnterminated
}

func (l *lexer) openBracket(c byte) *Refusal {
	if len(l.open) == maxDepth {
		return rDepth
	}
	l.open = append(l.open, int32(len(l.toks)))
	l.add(tOpen, c, l.pos+1)
	return nil
}

func (l *lexer) closeBracket(c byte) *Refusal {
	if len(l.open) == 0 {
		return rBrackets
	}
	from := l.open[len(l.open)-1]
	if (l.toks[from].op == '(') != (c == ')') {
		return rBrackets
	}
	l.open = l.open[:len(l.open)-1]
	l.toks[from].mate = int32(len(l.toks))
	l.add(tClose, c, l.pos+1)
	l.toks[len(l.toks)-1].mate = from
	return nil
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

// inName tells whether c goes on a name that has begun.
func inName(c byte) bool {
	return isLetter(c) || isDigit(c) || c == '_' || c == '$' || c >= 0x80
}

// nameLen counts the bytes at the beginning of s that go on a name.
func nameLen(s string) int {
	n := 0
	for n < len(s) && inName(s[n]) {
		n++
	}
	return n
}

// isOperator tells whether c is a character of an operator or a separator.
// Operators are kept as single characters: nothing depends on where one ends.
func isOperator(c byte, d Dialect) bool {
	switch c {
	case '+', '-', '*', '/', '%', '<', '>', '=', '!', '~', '&', '|', ',', '.':
		return true
	case '^':
		return d != SQLite
	case '@', '#', '`':
		return d == Postgres
	}
	return false
}
