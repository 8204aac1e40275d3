package sqltext

import "strings"

// byteOrderMark is a space to SQLite and a letter to the others.
const byteOrderMark = "\ufeff"

// word reads a name or word of SQL, or the letter in front of a string.
func (l *lexer) word() *Refusal {
	end := l.pos + nameLen(l.text[l.pos:])
	s := l.text[l.pos:end]
	if len(s) == 1 {
		if done, r := l.prefixed(lower(s[0]), end); done {
			return r
		}
	}
	if strings.Contains(s, byteOrderMark) {
		return rCharacter
	}
	w := lookup(s)
	switch last := l.last(); {
	case last.kind == tOp && last.op == '.':
		// After a dot a word is a name. MySQL holds to that only without a space.
		if w != wNone && int(last.end) != l.pos {
			return rNameSpace
		}
		w = wNone
	case last.word == wAs && w != wNot && w != wMaterialized:
		w = wNone
	}
	l.add(tWord, 0, end)
	l.toks[len(l.toks)-1].word = w
	return nil
}

// prefixed reads the string behind a letter that ends at end, if the dialect
// knows such strings.
func (l *lexer) prefixed(letter byte, end int) (done bool, r *Refusal) {
	next := l.peek(1)
	if next == '&' && letter == 'u' && l.d == Postgres {
		switch l.peek(2) {
		case '"':
			return true, rUnicodeName
		case '\'':
			return true, l.strFrom('U', end+1)
		}
	}
	if next != '\'' {
		return false, nil
	}
	var known string
	switch l.d {
	case Postgres:
		known = "ebxn"
	case SQLite:
		known = "x"
	default:
		known = "bxn"
	}
	if strings.IndexByte(known, letter) < 0 {
		return false, nil
	}
	return true, l.strFrom(letter-'a'+'A', end)
}

// str reads a string whose quote stands at pos.
func (l *lexer) str(letter byte) *Refusal {
	// PostgreSQL goes on with a string behind a line end by the rules of its letter.
	if last := l.last(); l.d == Postgres && last.kind == tString {
		if last.op == 'E' || l.m.BackslashStrings && last.op != 0 && last.op != 'N' {
			return rStringJoin
		}
	}
	return l.strFrom(letter, l.pos)
}

// strFrom reads a string that begins at pos and whose quote stands at at.
func (l *lexer) strFrom(letter byte, at int) *Refusal {
	backslash := l.family && !l.m.NoBackslashEscapes || letter == 'E' ||
		l.d == Postgres && l.m.BackslashStrings && (letter == 0 || letter == 'N')
	quote := l.text[at]
	for i := at + 1; i < len(l.text); i++ {
		switch c := l.text[i]; {
		case c == '\\' && backslash:
			i++
		case c == quote && i+1 < len(l.text) && l.text[i+1] == quote:
			i++
		case c == quote:
			l.add(tString, letter, i+1)
			return nil
		}
	}
	return rUnterminated
}

// quotedName reads "name", `name` or [name].
func (l *lexer) quotedName() *Refusal {
	quote := l.text[l.pos]
	if quote == '[' { // no way to write ] inside
		i := strings.IndexByte(l.text[l.pos:], ']')
		if i < 0 {
			return rUnterminated
		}
		return l.addName(l.pos + i + 1)
	}
	for i := l.pos + 1; i < len(l.text); i++ {
		if l.text[i] != quote {
			continue
		}
		if i+1 < len(l.text) && l.text[i+1] == quote {
			i++
			continue
		}
		return l.addName(i + 1)
	}
	return rUnterminated
}

func (l *lexer) addName(end int) *Refusal {
	if end-l.pos == 2 {
		return rName
	}
	l.add(tQuoted, 0, end)
	return nil
}

// variable reads @x, @'x' and @@x of the MySQL family.
func (l *lexer) variable() *Refusal {
	var op byte
	i := l.pos + 1
	if l.peek(1) == '@' {
		op = '@'
		i++
	} else if q := l.peek(1); q == '\'' || q == '"' || q == '`' {
		for i++; i < len(l.text); i++ {
			switch c := l.text[i]; {
			case c == '\\':
				return rCharacter // whether it escapes depends on quote and mode
			case c == q && i+1 < len(l.text) && l.text[i+1] == q:
				i++
			case c == q:
				l.add(tVar, 0, i+1)
				return nil
			}
		}
		return rUnterminated
	}
	from := i
	for i < len(l.text) && (inName(l.text[i]) || l.text[i] == '.') {
		i++
	}
	if i == from {
		return rCharacter
	}
	l.add(tVar, op, i)
	return nil
}
