package sqltext

// merge reads MERGE INTO t [alias] USING source ON condition WHEN ... of
// PostgreSQL behind its verb.
func (p *parser) merge() *Refusal {
	if p.word() != wInto {
		return rMergeForm
	}
	p.known(p.i)
	p.i++
	if r := p.oneTarget(); r != nil {
		return r
	}
	if p.word() != wUsing {
		return rMergeForm
	}
	p.i++
	if r := p.mergeSource(); r != nil {
		return r
	}
	p.i++
	var r *Refusal
	if p.st.On, r = p.mergeExpr(); r != nil {
		return r
	}
	for p.word() == wWhen {
		w, r := p.when()
		if r != nil {
			return r
		}
		p.st.Whens = append(p.st.Whens, w)
	}
	if len(p.st.Whens) == 0 {
		return rMergeForm
	}
	return p.returning()
}

// mergeSource reads up to the ON of MERGE: one that no join before it takes.
func (p *parser) mergeSource() *Refusal {
	from := p.i
	joins := 0    // that wait for their ON or USING
	free := false // NATURAL and CROSS have none
	cases := 0
	for ; !p.at(tEnd); p.i = p.skip(p.i) {
		if cases += p.caseAt(p.i, cases); cases > 0 {
			continue
		}
		switch p.word() {
		case wNatural, wCross:
			free = true
		case wJoin:
			if !free {
				joins++
			}
			free = false
		case wOn, wUsing:
			if joins > 0 {
				joins--
				continue
			}
			if p.word() == wUsing || p.i == from || p.danglingOperator(p.i-1) {
				return rMergeForm
			}
			p.st.From = p.span(from, p.i)
			return nil
		case wWhen, wWhere, wSet, wSelect, wReturning:
			return rMergeForm
		}
	}
	return rMergeForm
}

// caseAt tells what token i adds to the number of CASE that are open.
func (p *parser) caseAt(i, open int) int {
	switch {
	case p.toks[i].word == wCase:
		return 1
	case open > 0 && p.says(i, "end") && !p.is(i-1, tOp, '.') && p.toks[i-1].word != wAs:
		return -1
	}
	return 0
}

// when reads WHEN [NOT] MATCHED [BY ...] [AND condition] THEN action.
func (p *parser) when() (When, *Refusal) {
	var w When
	from := p.i
	p.i++
	w.Match = Matched
	if p.word() == wNot {
		w.Match = NotMatched
		p.i++
	}
	if !p.accept("matched") {
		return w, rMergeForm
	}
	if w.Match == NotMatched && p.word() == wBy {
		p.i++
		if p.accept("source") {
			w.Match = NotMatchedBySource
		} else if !p.accept("target") {
			return w, rMergeForm
		}
	}
	if p.word() == wAnd {
		p.i++
		var r *Refusal
		if w.Cond, r = p.mergeExpr(); r != nil {
			return w, r
		}
	}
	if p.word() != wThen {
		return w, rMergeForm
	}
	p.i++
	if r := p.action(&w); r != nil {
		return w, r
	}
	w.Span = p.span(from, p.i)
	if p.word() != wWhen && p.word() != wReturning && !p.at(tEnd) {
		return w, rMergeForm
	}
	return w, nil
}

// action reads what stands behind THEN.
func (p *parser) action(w *When) *Refusal {
	verb := p.i
	p.i++
	switch p.toks[verb].word {
	case wDelete:
		w.Kind = Delete
	case wUpdate:
		w.Kind = Update
		if p.word() != wSet {
			return rMergeForm
		}
		p.known(p.i)
		p.i++
		from := p.i
		var r *Refusal
		if w.Set, r = p.mergeExpr(); r != nil {
			return r
		}
		if w.SetColumns, r = p.assignedColumns(from, p.i); r != nil {
			return r
		}
	case wInsert:
		w.Kind = Insert
		if r := p.mergeInsert(w); r != nil {
			return r
		}
	default:
		if !p.says(verb, "do") || !p.accept("nothing") {
			return rMergeForm
		}
	}
	p.known(verb)
	return nil
}

// mergeInsert reads [(columns)] [OVERRIDING ... VALUE] VALUES (...), or DEFAULT
// VALUES.
func (p *parser) mergeInsert(w *When) *Refusal {
	if p.word() == wDefault && p.toks[p.i+1].word == wValues {
		p.i += 2
		return nil
	}
	if p.open() {
		var r *Refusal
		if w.Columns, r = p.columnList(); r != nil {
			return r
		}
	}
	var overriding Span
	if r := p.overriding(&overriding); r != nil {
		return r
	}
	if p.word() != wValues || !p.is(p.i+1, tOpen, '(') {
		return rMergeForm
	}
	p.i++
	_, r := p.row(len(w.Columns))
	return r
}

// mergeExpr reads up to the WHEN or THEN that belongs to no CASE, or up to a
// clause.
func (p *parser) mergeExpr() (Span, *Refusal) {
	from := p.i
	cases := 0
	for ; !p.at(tEnd) && !p.clauseAt(p.i); p.i = p.skip(p.i) {
		cases += p.caseAt(p.i, cases)
		if w := p.word(); cases == 0 && (w == wWhen || w == wThen) {
			return p.bodyFrom(from)
		}
	}
	if cases > 0 {
		return Span{}, rMergeForm
	}
	return p.bodyFrom(from)
}
