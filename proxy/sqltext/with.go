package sqltext

// with reads WITH [RECURSIVE] name [(columns)] AS [[NOT] MATERIALIZED] (...), ...
// and stands on the statement behind it.
func (p *parser) with() *Refusal {
	from := p.i
	p.i++
	if p.word() == wRecursive && p.toks[p.i+1].word != wAs && !p.is(p.i+1, tOpen, '(') {
		p.i++
	}
	for {
		cte, r := p.cte()
		if r != nil {
			return r
		}
		p.st.CTEs = append(p.st.CTEs, cte)
		if !p.is(p.i, tOp, ',') {
			break
		}
		p.i++
	}
	p.st.With = p.span(from, p.i)
	return p.targetsOfCTEs()
}

// targetsOfCTEs refuses a member that writes a table with the name of a member:
// the server means the table, but in a query of the same list the name is the
// member.
func (p *parser) targetsOfCTEs() *Refusal {
	for _, c := range p.st.CTEs {
		if w := c.Write; w != nil && w.Kind != Insert && p.isCTE(w.Target().Name) {
			return rTargetCTE
		}
	}
	return nil
}

// cte reads one member of the list.
func (p *parser) cte() (CTE, *Refusal) {
	if !p.nameAt(p.i) {
		return CTE{}, rCTEForm
	}
	name := p.unquote(p.toks[p.i])
	p.i++
	if p.open() {
		p.known(p.i - 1)
		p.i = p.skip(p.i)
	}
	if p.word() != wAs {
		return CTE{}, rCTEForm
	}
	p.i++
	if p.word() == wNot && p.toks[p.i+1].word == wMaterialized {
		p.i++
	}
	if p.word() == wMaterialized {
		p.i++
	}
	open := p.i
	if !p.open() || p.is(p.i+1, tClose, ')') {
		return CTE{}, rCTEForm
	}
	p.i = p.skip(p.i)
	end := p.i - 1
	cte := CTE{Name: name, Body: p.span(open+1, end)}
	if r := p.searchCycle(); r != nil {
		return CTE{}, r
	}
	if !p.queryAt(open+1) && !verb[p.toks[open+1].word] {
		return CTE{}, rCTEForm
	}
	if p.d != Postgres || p.inner || !p.writeAt(open+1) {
		return cte, nil // everywhere finds what writes here
	}
	var r *Refusal
	cte.Write, r = p.nested(open+1, end, true)
	if r == nil {
		p.st.Locking = p.st.Locking || cte.Write.Locking
	}
	return cte, r
}

// writeAt tells whether the statement at i, with or without its own WITH list,
// writes.
func (p *parser) writeAt(i int) bool {
	if p.toks[i].word == wWith {
		i++
		for i < p.last && p.toks[i].kind != tClose && !verb[p.toks[i].word] {
			i = p.skip(i)
		}
	}
	switch p.toks[i].word {
	case wInsert, wUpdate, wDelete:
		return true
	case wMerge:
		return p.toks[i+1].word == wInto
	}
	return false
}

// verb are the words that end a WITH list. PostgreSQL takes those that write for
// names too: then the text is refused.
var verb = set(wSelect, wValues, wTable, wInsert, wUpdate, wDelete, wMerge)

// searchCycle reads SEARCH ... SET name and CYCLE ... behind a member of the
// list, in PostgreSQL, and CYCLE columns RESTRICT of MariaDB.
func (p *parser) searchCycle() *Refusal {
	if p.d == Postgres && p.accept("search") {
		if !p.accept("depth") && !p.accept("breadth") {
			return rCTEForm
		}
		if !p.accept("first") || p.word() != wBy {
			return rCTEForm
		}
		p.i++
		if !p.columnNames() || !p.setName() {
			return rCTEForm
		}
	}
	if p.d != Postgres && p.d != MariaDB || !p.accept("cycle") {
		return nil
	}
	if !p.columnNames() {
		return rCTEForm
	}
	if p.d == MariaDB {
		if !p.accept("restrict") {
			return rCTEForm
		}
		return nil
	}
	if !p.setName() {
		return rCTEForm
	}
	if p.accept("to") {
		for p.word() != wUsing {
			if p.at(tEnd) || p.at(tClose) {
				return rCTEForm
			}
			p.i = p.skip(p.i)
		}
	}
	if p.word() != wUsing || !p.nameAt(p.i+1) {
		return rCTEForm
	}
	p.i += 2
	return nil
}

// columnNames reads name, ...
func (p *parser) columnNames() bool {
	for {
		if !p.nameAt(p.i) {
			return false
		}
		p.i++
		if !p.is(p.i, tOp, ',') {
			return true
		}
		p.i++
	}
}

// setName reads SET name.
func (p *parser) setName() bool {
	if p.word() != wSet || !p.nameAt(p.i+1) {
		return false
	}
	p.i += 2
	return true
}
