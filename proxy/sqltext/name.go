package sqltext

import (
	"strings"
	"unicode/utf8"
)

// maxPostgresName is NAMEDATALEN - 1: PostgreSQL cuts longer names, quoted ones
// too, at the last whole character.
const maxPostgresName = 63

// unquote gives the name that a word or quoted name means to the server.
func (p *parser) unquote(t token) string {
	s := p.source(t)
	if t.kind == tQuoted {
		quote := s[:1]
		s = s[1 : len(s)-1]
		if quote != "[" {
			s = strings.ReplaceAll(s, quote+quote, quote)
		}
	} else if p.d == Postgres {
		s = lowerASCII(s)
	}
	if p.d == Postgres && len(s) > maxPostgresName {
		n := maxPostgresName
		for !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	return s
}

// lowerASCII folds as PostgreSQL does in a UTF-8 database.
func lowerASCII(s string) string {
	for i := range len(s) {
		if s[i] == lower(s[i]) {
			continue
		}
		b := []byte(s)
		for j := i; j < len(b); j++ {
			b[j] = lower(b[j])
		}
		return string(b)
	}
	return s
}

// nameAt tells whether token i can name a table or be an alias.
func (p *parser) nameAt(i int) bool {
	t := p.toks[i]
	if p.d == Postgres && niladic[p.d][t.word] {
		return false
	}
	return t.kind == tQuoted || t.kind == tWord && !notName[t.word]
}

// name reads table or schema.table.
func (p *parser) name(t *Table) *Refusal {
	from := p.i
	if !p.nameAt(p.i) {
		return rName
	}
	t.Name.Table = p.unquote(p.toks[p.i])
	p.i++
	if p.is(p.i, tOp, '.') {
		p.i++
		if !p.nameAt(p.i) {
			return rName
		}
		t.Name.Schema, t.Name.Table = t.Name.Table, p.unquote(p.toks[p.i])
		p.i++
	}
	if p.is(p.i, tOp, '.') {
		return rNameParts
	}
	t.NameSpan = p.span(from, p.i)
	return nil
}

// aliasOf reads AS alias, or an alias alone where the dialect has that.
func (p *parser) aliasOf(t *Table, needAs bool) *Refusal {
	switch {
	case p.word() == wAs:
		p.i++
		if !p.nameAt(p.i) {
			return rName
		}
	case !p.nameAt(p.i), p.family && p.word() == wLock: // LOCK IN SHARE MODE
		return nil
	case needAs:
		return rMissingAliasAs
	}
	t.Alias = p.unquote(p.toks[p.i])
	t.AliasSpan = p.span(p.i, p.i+1)
	p.i++
	return nil
}

// column reads the name of a column and gives the token behind it.
func (p *parser) column(i int) (name string, next int, ok bool) {
	c, next, ok := p.assigned(i)
	return c.Name, next, ok
}

// assigned reads a column that gets a value. The MySQL family lets the table
// stand in front; in PostgreSQL a.b and a[1] are parts of the column a.
func (p *parser) assigned(i int) (c Column, next int, ok bool) {
	if k := p.toks[i].kind; k != tWord && k != tQuoted {
		return c, 0, false
	}
	c.Name = p.unquote(p.toks[i])
	i++
	for parts := 1; ; parts++ {
		dot := p.is(i, tOp, '.')
		switch {
		case p.d == Postgres && p.is(i, tOpen, '['):
			i = p.skip(i)
			continue
		case !dot:
			return c, i, true
		case p.d == SQLite, p.family && parts == 3:
			return c, 0, false
		}
		if k := p.toks[i+1].kind; k != tWord && k != tQuoted {
			return c, 0, false
		}
		if p.family {
			c.Table, c.Name = c.Name, p.unquote(p.toks[i+1])
		}
		i += 2
	}
}
