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
	return t.kind == tQuoted || t.kind == tWord && !notName[t.word]
}

// target reads table or schema.table.
func (p *parser) target() *Refusal {
	from := p.i
	if !p.nameAt(p.i) {
		return rName
	}
	p.st.Target.Table = p.unquote(p.toks[p.i])
	p.i++
	if p.is(p.i, tOp, '.') {
		p.i++
		if !p.nameAt(p.i) {
			return rName
		}
		p.st.Target.Schema, p.st.Target.Table = p.st.Target.Table, p.unquote(p.toks[p.i])
		p.i++
	}
	if p.is(p.i, tOp, '.') {
		return rNameParts
	}
	p.st.TargetSpan = p.span(from, p.i)
	return nil
}

// alias reads AS alias, or an alias alone where the dialect has that.
func (p *parser) alias(needAs bool) *Refusal {
	switch {
	case p.word() == wAs:
		p.i++
		if !p.nameAt(p.i) {
			return rName
		}
	case !p.nameAt(p.i):
		return nil
	case needAs:
		return rMissingAliasAs
	}
	p.st.Alias = p.unquote(p.toks[p.i])
	p.st.AliasSpan = p.span(p.i, p.i+1)
	p.i++
	return nil
}
