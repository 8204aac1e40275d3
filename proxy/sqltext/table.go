package sqltext

import "strings"

// table reads a table with all that may stand around its name before the next
// clause: ONLY and * of PostgreSQL, PARTITION and index hints of the MySQL
// family, INDEXED BY of SQLite, and the alias.
func (p *parser) table(t *Table) *Refusal {
	if r := p.inheriting(t); r != nil {
		return r
	}
	p.partition(t)
	if r := p.aliasOf(t, p.d == SQLite); r != nil {
		return r
	}
	if t.Partition == (Span{}) {
		p.partition(t) // DELETE of MySQL has it behind the alias
	}
	return p.indexHints(t)
}

// inheriting reads the name, in PostgreSQL [ONLY] name, ONLY (name), name *.
func (p *parser) inheriting(t *Table) *Refusal {
	if p.d != Postgres {
		return p.name(t)
	}
	end := 0
	if p.word() == wOnly {
		t.Only = true
		p.i++
		if p.open() {
			p.known(p.i - 1)
			end = p.skip(p.i) - 1
			p.i++
		}
	}
	if r := p.name(t); r != nil {
		return r
	}
	switch {
	case end != 0 && p.i != end:
		return rName
	case end != 0, !t.Only && p.is(p.i, tOp, '*'):
		p.i++
	}
	return nil
}

// partition reads PARTITION (p, ...).
func (p *parser) partition(t *Table) {
	if !p.family || p.word() != wPartition || !p.is(p.i+1, tOpen, '(') {
		return
	}
	p.known(p.i)
	from := p.i
	p.i = p.skip(p.i + 1)
	t.Partition = p.span(from, p.i)
}

// indexHints reads the hints, of which the MySQL family takes several.
func (p *parser) indexHints(t *Table) *Refusal {
	from := p.i
	for p.family && (p.word() == wUse || p.word() == wForce || p.word() == wIgnore) {
		if r := p.indexHint(); r != nil {
			return r
		}
	}
	if p.d == SQLite {
		switch {
		case p.word() == wNot && p.toks[p.i+1].word == wIndexed:
			p.i += 2
		case p.word() == wIndexed && p.toks[p.i+1].word == wBy && p.nameAt(p.i+2):
			p.i += 3
		}
	}
	if p.i > from {
		t.IndexHint = p.span(from, p.i)
	}
	return nil
}

// indexHint reads USE INDEX [FOR JOIN] (i, ...) and its like.
func (p *parser) indexHint() *Refusal {
	p.i++
	if !p.accept("index") && !p.accept("key") {
		return rHintForm
	}
	p.known(p.i - 1)
	if p.word() == wFor {
		switch next := p.toks[p.i+1].word; {
		case next == wJoin:
			p.i += 2
		case (next == wOrder || next == wGroup) && p.toks[p.i+2].word == wBy:
			p.i += 3
		default:
			return rHintForm
		}
	}
	if !p.open() {
		return rHintForm
	}
	p.i = p.skip(p.i)
	return nil
}

// exposed is the name that other parts of the statement use for a table.
func (t *Table) exposed() string {
	if t.Alias != "" {
		return t.Alias
	}
	return t.Name.Table
}

// find gives the only table with this name. Whether case matters depends on a
// setting of the server, so the spelling must be the same, and no other table
// may differ from it by case alone.
func find(tables []Table, n Name) (int, *Refusal) {
	at := -1
	for i := range tables {
		t := &tables[i]
		if !strings.EqualFold(t.exposed(), n.Table) {
			continue
		}
		if n.Schema != "" && t.Alias == "" && t.Name.Schema != "" && !strings.EqualFold(t.Name.Schema, n.Schema) {
			continue
		}
		if at >= 0 {
			return 0, rTargetName
		}
		at = i
	}
	if at < 0 || tables[at].exposed() != n.Table {
		return 0, rTargetName
	}
	if n.Schema != "" && (tables[at].Alias != "" || tables[at].Name.Schema != n.Schema) {
		return 0, rTargetName
	}
	return at, nil
}

// isCTE tells whether a name may be one of the WITH list in front.
func (p *parser) isCTE(n Name) bool {
	if n.Schema != "" {
		return false
	}
	for _, c := range p.st.CTEs {
		if strings.EqualFold(c.Name, n.Table) {
			return true
		}
	}
	return false
}
