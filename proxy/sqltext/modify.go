package sqltext

// update reads UPDATE t [[AS] alias] SET ... [WHERE ...] [RETURNING ...].
func (p *parser) update() *Refusal {
	p.st.Kind = Update
	if r := p.modifier(rUpdateForm); r != nil {
		return r
	}
	if r := p.target(); r != nil {
		return r
	}
	if r := p.notTable(rUpdateForm); r != nil {
		return r
	}
	if r := p.alias(p.d == SQLite); r != nil {
		return r
	}
	if p.word() != wSet {
		return p.afterTable(rUpdateForm)
	}
	p.i++
	from := p.i
	body, r := p.body()
	if r != nil {
		return r
	}
	p.st.Set = body
	if r := p.setColumns(from, p.i); r != nil {
		return r
	}
	return p.whereReturning()
}

// delete reads DELETE FROM t [[AS] alias] [WHERE ...] [RETURNING ...].
func (p *parser) delete() *Refusal {
	p.st.Kind = Delete
	if r := p.modifier(rDeleteForm); r != nil {
		return r
	}
	switch {
	case p.word() == wFrom:
		p.i++
	case p.word() == wHistory && p.d == MariaDB:
		return rDeleteHistory
	case p.family && p.nameAt(p.i):
		return rSeveralTables // DELETE t FROM ...
	default:
		return rDeleteForm
	}
	if p.word() == wOnly {
		return rOnly
	}
	if r := p.target(); r != nil {
		return r
	}
	if r := p.notTable(rDeleteForm); r != nil {
		return r
	}
	if r := p.alias(p.d == SQLite); r != nil {
		return r
	}
	if w := p.word(); w != wWhere && w != wReturning && !p.at(tEnd) {
		return p.afterTable(rDeleteForm)
	}
	return p.whereReturning()
}

// modifier refuses the words between the verb and the table.
func (p *parser) modifier(form *Refusal) *Refusal {
	switch p.word() {
	case wLowPriority, wHighPriority, wDelayed, wQuick:
		return rModifier
	case wIgnore:
		return rIgnore
	case wOr:
		return rOrConflict
	case wOnly:
		return rOnly
	}
	if p.at(tOpen) {
		return form
	}
	return nil
}

// notTable refuses what can stand behind a table name but is no alias.
func (p *parser) notTable(form *Refusal) *Refusal {
	switch p.word() {
	case wAs, wSet, wWhere, wReturning:
		return nil
	}
	if p.at(tOp) || p.at(tOpen) || notName[p.word()] {
		return p.afterTable(form)
	}
	return nil
}

// afterTable says why a statement cannot go on like this behind its table.
func (p *parser) afterTable(form *Refusal) *Refusal {
	if p.is(p.i, tOp, ',') {
		return rSeveralTables
	}
	switch p.word() {
	case wJoin, wInner, wLeft, wRight, wCross, wNatural, wFull, wStraightJoin:
		return rJoin
	case wUsing:
		if p.st.Kind == Delete {
			return rDeleteUsing
		}
	case wUse, wForce, wIgnore, wIndexed, wNot:
		return rIndexHint
	case wPartition:
		return rPartition
	case wFor:
		return rPortion
	case wOrder:
		return rOrderBy
	case wLimit:
		return rLimit
	}
	return form
}

// whereReturning reads the tail of UPDATE and DELETE.
func (p *parser) whereReturning() *Refusal {
	if p.word() == wWhere {
		p.i++
		if p.word() == wCurrent && p.toks[p.i+1].word == wOf {
			return rCurrentOf
		}
		from := p.i
		body, r := p.body()
		if r != nil {
			return r
		}
		for i := from; i < p.i; i = p.skip(i) {
			if p.is(i, tOp, ',') {
				return rUnknownClause // no condition holds a list outside brackets
			}
		}
		p.st.Where = body
	}
	return p.returning()
}

// returning reads RETURNING and the end of the statement.
func (p *parser) returning() *Refusal {
	if p.word() == wReturning {
		if p.d == MySQL {
			return rReturning
		}
		p.i++
		if p.word() == wWith {
			return rReturningWith
		}
		body, r := p.body()
		if r != nil {
			return r
		}
		p.st.Returning = body
	}
	if !p.at(tEnd) {
		return p.strayClause()
	}
	return nil
}

// body reads up to the next clause at this level and stands on its word.
// A body may be put in front of other text, so it must not end in an operator:
// MySQL reads the -- of "a=1--;" as two signs, but as a comment before a space.
func (p *parser) body() (Span, *Refusal) {
	from := p.i
	for !p.at(tEnd) && !p.clauseAt(p.i) {
		p.i = p.skip(p.i)
	}
	if p.i == from {
		return Span{}, rMissingClause
	}
	if p.danglingOperator(p.i - 1) {
		return Span{}, rOperatorEnd
	}
	return p.span(from, p.i), nil
}

// danglingOperator tells whether a part may not end at token i. A star ends
// RETURNING *.
func (p *parser) danglingOperator(i int) bool {
	return p.toks[i].kind == tOp && p.toks[i].op != '*'
}

// clauseAt tells whether token i begins a clause. The FROM of IS DISTINCT FROM
// does not.
func (p *parser) clauseAt(i int) bool {
	w := p.toks[i].word
	if w == wFrom && p.toks[i-1].word == wDistinct && !p.family {
		return false
	}
	return clause[p.d][w]
}

// strayClause refuses the clause at i, which nothing has asked for.
func (p *parser) strayClause() *Refusal {
	switch p.word() {
	case wFrom:
		if p.st.Kind == Update {
			return rUpdateFrom
		}
	case wUsing:
		if p.st.Kind == Delete {
			return rDeleteUsing
		}
	case wJoin, wStraightJoin:
		return rJoin
	case wOrder:
		return rOrderBy
	case wLimit, wOffset, wFetch:
		return rLimit
	case wSet, wWhere, wReturning:
		return rClauseOrder
	}
	return rUnknownClause
}

// setColumns reads the targets of the assignments between tokens i and end.
func (p *parser) setColumns(i, end int) *Refusal {
	for {
		var r *Refusal
		if i, r = p.setTarget(i); r != nil {
			return r
		}
		if !p.is(i, tOp, '=') || p.is(i+1, tOp, '=') {
			return rSetTarget
		}
		i++
		value := i
		for i < end && !p.is(i, tOp, ',') {
			i = p.skip(i)
		}
		if i == value {
			return rMissingClause
		}
		if i == end {
			return nil
		}
		i++
	}
}

// setTarget reads what is assigned: a column, or a list of columns in brackets.
func (p *parser) setTarget(i int) (int, *Refusal) {
	if !p.is(i, tOpen, '(') {
		return p.setColumn(i)
	}
	if p.family {
		return 0, rSetTarget
	}
	for {
		var r *Refusal
		if i, r = p.setColumn(i + 1); r != nil {
			return 0, r
		}
		if p.is(i, tClose, ')') {
			return i + 1, nil
		}
		if !p.is(i, tOp, ',') {
			return 0, rSetTarget
		}
	}
}

func (p *parser) setColumn(i int) (int, *Refusal) {
	name, i, ok := p.column(i)
	if !ok {
		return 0, rSetTarget
	}
	p.st.SetColumns = append(p.st.SetColumns, name)
	return i, nil
}

// column reads a column name. Only the MySQL family lets the table stand in
// front; elsewhere a.b is a part of a column.
func (p *parser) column(i int) (name string, next int, ok bool) {
	for parts := 1; ; parts++ {
		t := p.toks[i]
		if t.kind != tWord && t.kind != tQuoted {
			return "", 0, false
		}
		if !p.is(i+1, tOp, '.') {
			return p.unquote(t), i + 1, true
		}
		if !p.family || parts == 3 {
			return "", 0, false
		}
		i += 2
	}
}
