package sqltext

import (
	"strconv"
	"strings"
)

// The most parameters that the servers take: MySQL and PostgreSQL count them in
// 16 bits, SQLite is built with 32766.
const (
	maxParam       = 65535
	maxParamSQLite = 32766
)

// number reads a number. One that runs into a word or a second dot is refused:
// dialects and versions cut such text differently.
func (l *lexer) number() *Refusal {
	if last := l.last(); l.text[l.pos] == '.' && int(last.end) == l.pos && last.kind != tOp && last.kind != tOpen {
		return rNumber
	}
	i, op := l.radix()
	if op == 0 {
		i = l.digits(l.pos)
		if i < len(l.text) && l.text[i] == '.' {
			i = l.digits(i + 1)
		}
		i = l.exponent(i)
	}
	if i < len(l.text) && (inName(l.text[i]) || l.text[i] == '.') {
		return rNumber
	}
	l.add(tNumber, op, i)
	return nil
}

func (l *lexer) digits(i int) int {
	for i < len(l.text) && isDigit(l.text[i]) {
		i++
	}
	return i
}

func (l *lexer) exponent(i int) int {
	if i >= len(l.text) || lower(l.text[i]) != 'e' {
		return i
	}
	j := i + 1
	if j < len(l.text) && (l.text[j] == '+' || l.text[j] == '-') {
		j++
	}
	if end := l.digits(j); end > j {
		return end
	}
	return i
}

// radix reads 0x1F and 0b01 where the dialect has them in every version. In
// MySQL 0X1F is a name, in PostgreSQL before 16 it is 0 and a name.
func (l *lexer) radix() (end int, op byte) {
	if l.text[l.pos] != '0' {
		return 0, 0
	}
	c := l.peek(1)
	i := l.pos + 2
	switch {
	case l.d != Postgres && (c == 'x' || c == 'X' && l.d == SQLite):
		op = 'X'
		for i < len(l.text) && isHex(l.text[i]) {
			i++
		}
	case l.family && c == 'b':
		op = 'B'
		for i < len(l.text) && (l.text[i] == '0' || l.text[i] == '1') {
			i++
		}
	}
	if i == l.pos+2 {
		return 0, 0
	}
	return i, op
}

func isHex(c byte) bool {
	return isDigit(c) || lower(c) >= 'a' && lower(c) <= 'f'
}

// addParam adds the marker from pos to end.
func (l *lexer) addParam(end, ordinal int, name string) *Refusal {
	limit := maxParam
	if l.d == SQLite {
		limit = maxParamSQLite
	}
	if ordinal < 1 || ordinal > limit {
		return rPlaceholder
	}
	l.params = append(l.params, Placeholder{Span: Span{l.pos, end}, Ordinal: ordinal, Name: name})
	l.add(tParam, 0, end)
	l.toks[len(l.toks)-1].mate = int32(len(l.params) - 1)
	return nil
}

// question reads ? and SQLite's ?NNN.
func (l *lexer) question() *Refusal {
	end := l.pos + 1
	if l.d == SQLite {
		end = l.digits(end)
	}
	if end < len(l.text) && inName(l.text[end]) {
		return rPlaceholder
	}
	if end == l.pos+1 {
		l.nvar++
		return l.addParam(end, l.nvar, "")
	}
	n, ok := ordinal(l.text[l.pos+1 : end])
	if !ok {
		return rPlaceholder
	}
	l.nvar = max(l.nvar, n)
	return l.addParam(end, n, "")
}

// ordinal reads a parameter's number.
func ordinal(digits string) (n int, ok bool) {
	n, err := strconv.Atoi(digits)
	return n, err == nil && n >= 1 && n <= maxParam
}

// dollar reads $1 and dollar quotes of PostgreSQL.
func (l *lexer) dollar() *Refusal {
	if isDigit(l.peek(1)) {
		end := l.digits(l.pos + 1)
		n, ok := ordinal(l.text[l.pos+1 : end])
		if !ok || end < len(l.text) && inName(l.text[end]) {
			return rPlaceholder
		}
		return l.addParam(end, n, "")
	}
	i := l.pos + 1
	for i < len(l.text) && inName(l.text[i]) && l.text[i] != '$' {
		i++
	}
	if i == len(l.text) || l.text[i] != '$' {
		return rCharacter
	}
	tag := l.text[l.pos : i+1]
	n := strings.Index(l.text[i+1:], tag)
	if n < 0 {
		return rUnterminated
	}
	l.add(tString, '$', i+1+n+len(tag))
	return nil
}

// sqliteNamed reads :name, @name and $name. A name keeps its number when it
// comes again. The Go drivers give $NNN the argument with that number, as they
// do for ?NNN, though SQLite itself takes it for a name.
func (l *lexer) sqliteNamed() *Refusal {
	end := l.pos + 1 + nameLen(l.text[l.pos+1:])
	marker := l.text[l.pos:end]
	rest := l.text[end:]
	if len(marker) == 1 || strings.HasPrefix(rest, "(") || strings.HasPrefix(rest, "::") { // Tcl's names
		return rPlaceholder
	}
	n, again := l.named[marker]
	if !again {
		l.nvar++
		n = l.nvar
		if l.named == nil {
			l.named = map[string]int{}
		}
		l.named[marker] = n
	}
	name := marker[1:]
	if arg, ok := ordinal(name); ok && marker[0] == '$' && name[0] != '0' && len(name) == len(strconv.Itoa(arg)) {
		n, name = arg, ""
	}
	return l.addParam(end, n, name)
}
