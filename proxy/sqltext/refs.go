package sqltext

// maxJoined is how many tables the servers join at most.
const maxJoined = 61

// refs collects the table references of a multi-table statement of the MySQL
// family.
type refs struct {
	base  []Table // in text order
	other int     // how many are no tables: derived ones, functions, names of the WITH list
	// Of the brackets that stand side by side up to token run, those from token
	// query on hold a query.
	query, run int
}

// references reads table references with commas and joins between them.
func (p *parser) references(rs *refs) *Refusal {
	for {
		if r := p.reference(rs); r != nil {
			return r
		}
		if r := p.joinConditions(); r != nil {
			return r
		}
		switch {
		case p.is(p.i, tOp, ','):
			p.i++
		case p.joinAt(p.i):
			if r := p.join(); r != nil {
				return r
			}
		default:
			return nil
		}
	}
}

// reference reads one table, derived table or bracket with references.
func (p *parser) reference(rs *refs) *Refusal {
	switch {
	case p.word() == wLateral && p.is(p.i+1, tOpen, '('):
		p.i++
		return p.derived(rs)
	case p.open() && p.holdsQuery(rs):
		return p.derived(rs)
	case p.open():
		end := p.skip(p.i) - 1
		p.i++
		if r := p.references(rs); r != nil {
			return r
		}
		if p.i != end {
			return rTableRefs
		}
		p.i++
		return nil
	case p.at(tWord) && p.is(p.i+1, tOpen, '('):
		if !p.accept("json_table") {
			return rTableRefs
		}
		return p.derived(rs)
	}
	var t Table
	if r := p.table(&t); r != nil {
		return r
	}
	switch {
	case p.isCTE(t.Name):
		rs.other++
	case len(rs.base) == maxJoined:
		return rTableRefs
	default:
		rs.base = append(rs.base, t)
	}
	return nil
}

// derived reads (...) [AS] alias [(columns)].
func (p *parser) derived(rs *refs) *Refusal {
	p.i = p.skip(p.i)
	var t Table
	if r := p.aliasOf(&t, false); r != nil {
		return r
	}
	if t.Alias == "" {
		return rTableRefs
	}
	if p.open() {
		p.known(p.i - 1)
		p.i = p.skip(p.i)
	}
	rs.other++
	return nil
}

// holdsQuery tells whether the bracket at p.i holds a query, not references.
// In ((SELECT ...) x JOIN t) only the inner one does, so brackets that stand
// side by side are followed from inside to outside, once.
func (p *parser) holdsQuery(rs *refs) bool {
	if p.i >= rs.run {
		i := p.i
		for p.is(i, tOpen, '(') {
			i++
		}
		rs.run, rs.query = i, i
		if p.queryAt(i) {
			rs.query--
			for rs.query > p.i && p.queryGoesOn(p.skip(rs.query)) {
				rs.query--
			}
		}
	}
	return p.i >= rs.query
}

// queryGoesOn tells whether token i, behind a bracket with a query, makes the
// bracket a part of a larger query.
func (p *parser) queryGoesOn(i int) bool {
	switch p.toks[i].word {
	case wUnion, wExcept, wIntersect, wOrder, wLimit, wOffset, wFetch, wFor:
		return true
	}
	return p.toks[i].kind == tClose
}

// joinAt tells whether token i begins the words between two joined tables. LEFT
// and RIGHT are functions too.
func (p *parser) joinAt(i int) bool {
	switch p.toks[i].word {
	case wJoin, wStraightJoin, wInner, wCross, wNatural:
		return true
	case wLeft, wRight:
		return !p.is(i+1, tOpen, '(')
	}
	return false
}

// join reads [NATURAL] [INNER | CROSS | LEFT [OUTER] | RIGHT [OUTER]] JOIN, or
// STRAIGHT_JOIN.
func (p *parser) join() *Refusal {
	if p.word() == wStraightJoin {
		p.known(p.i)
		p.i++
		return nil
	}
	if p.word() == wNatural {
		p.i++
	}
	switch p.word() {
	case wInner, wCross:
		p.i++
	case wLeft, wRight:
		p.i++
		p.accept("outer")
	}
	if p.word() != wJoin {
		return rTableRefs
	}
	p.i++
	return nil
}

// joinConditions reads ON condition and USING (columns). Several may follow each
// other: a JOIN b JOIN c ON ... ON ...
func (p *parser) joinConditions() *Refusal {
	for {
		switch {
		case p.word() == wUsing && p.is(p.i+1, tOpen, '('):
			p.i = p.skip(p.i + 1)
		case p.word() == wOn:
			p.i++
			from := p.i
			for !p.at(tEnd) && !p.at(tClose) && !p.is(p.i, tOp, ',') && !p.joinAt(p.i) && !p.clauseAt(p.i) {
				p.i = p.skip(p.i)
			}
			if p.i == from {
				return rMissingClause
			}
			if p.danglingOperator(p.i - 1) {
				return rOperatorEnd
			}
		default:
			return nil
		}
	}
}
