package sqltext

// tails are the clauses behind the tables and SET, in their order, each at most
// once, by dialect.
var tails = map[Kind][SQLite + 1][]word{
	Update: {
		MySQL:    {wWhere, wOrder, wLimit},
		MariaDB:  {wWhere, wOrder, wLimit, wReturning},
		Postgres: {wFrom, wWhere, wReturning},
		SQLite:   {wFrom, wWhere, wReturning, wOrder, wLimit},
	},
	Delete: {
		MySQL:    {wWhere, wOrder, wLimit},
		MariaDB:  {wWhere, wOrder, wLimit, wReturning},
		Postgres: {wUsing, wWhere, wReturning},
		SQLite:   {wWhere, wReturning, wOrder, wLimit},
	},
}

// tail reads the clauses of UPDATE and DELETE up to the end of the statement.
func (p *parser) tail() *Refusal {
	for _, w := range tails[p.st.Kind][p.d] {
		if p.word() != w {
			continue
		}
		if (w == wOrder || w == wLimit) && p.d == SQLite && !p.m.UpdateDeleteLimit {
			return rUpdateDeleteLimit
		}
		if r := p.clause(w); r != nil {
			return r
		}
	}
	if !p.at(tEnd) {
		return p.strayClause()
	}
	return nil
}

// clause reads the clause whose word stands at p.i.
func (p *parser) clause(w word) (r *Refusal) {
	p.i++
	switch w {
	case wFrom, wUsing:
		p.st.From, r = p.fromBody()
	case wWhere:
		p.st.Where, r = p.whereBody()
	case wOrder:
		if p.word() != wBy {
			return rUnknownClause
		}
		p.i++
		p.st.OrderBy, r = p.body()
	case wLimit:
		p.st.Limit, r = p.limit()
	case wReturning:
		if p.word() == wWith && p.d != Postgres {
			return rUnknownClause
		}
		p.st.Returning, r = p.body()
	}
	return r
}

// whereBody reads what stands behind WHERE.
func (p *parser) whereBody() (Span, *Refusal) {
	if p.word() == wCurrent && p.toks[p.i+1].word == wOf {
		return Span{}, rCurrentOf
	}
	from := p.i
	body, r := p.body()
	if r != nil {
		return body, r
	}
	for i := from; i < p.i; i = p.skip(i) {
		if p.is(i, tOp, ',') {
			return Span{}, rUnknownClause // no condition holds a list outside brackets
		}
	}
	return body, nil
}

// limit reads what stands behind LIMIT. In the MySQL family OFFSET is a part of
// it, and only numbers and markers are: whatever else follows is another clause.
func (p *parser) limit() (Span, *Refusal) {
	if !p.family {
		return p.body()
	}
	from := p.i
	if !p.count() {
		return Span{}, rUnknownClause
	}
	if p.is(p.i, tOp, ',') || p.word() == wOffset {
		p.i++
		if !p.count() {
			return Span{}, rUnknownClause
		}
	}
	return p.span(from, p.i), nil
}

func (p *parser) count() bool {
	if !p.at(tNumber) && !p.at(tParam) {
		return false
	}
	p.i++
	return true
}

// returning reads RETURNING and the end of the statement.
func (p *parser) returning() *Refusal {
	if p.word() == wReturning && p.d != MySQL {
		if r := p.clause(wReturning); r != nil {
			return r
		}
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
	return p.bodyFrom(from)
}

// fromBody reads like body, over the words of joins.
func (p *parser) fromBody() (Span, *Refusal) {
	from := p.i
	for !p.at(tEnd) && (!p.clauseAt(p.i) || p.joinWordAt(p.i)) {
		p.i = p.skip(p.i)
	}
	return p.bodyFrom(from)
}

func (p *parser) joinWordAt(i int) bool {
	switch p.toks[i].word {
	case wJoin, wOn:
		return true
	case wUsing:
		return p.is(i+1, tOpen, '(')
	case wFrom: // ROWS FROM (f(), g())
		return p.d == Postgres && p.says(i-1, "rows") && p.is(i+1, tOpen, '(')
	}
	return false
}

func (p *parser) bodyFrom(from int) (Span, *Refusal) {
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
// does not, nor does the GROUP of WITHIN GROUP (...).
func (p *parser) clauseAt(i int) bool {
	w := p.toks[i].word
	if w == wFrom && p.toks[i-1].word == wDistinct && !p.family {
		return false
	}
	if w == wGroup && p.d == Postgres && p.toks[i-1].word == wWithin && p.is(i+1, tOpen, '(') {
		return false
	}
	return clause[p.d][w] || p.st.Kind == Select && selectClause[w]
}

// strayClause refuses the clause at p.i, which nothing has asked for.
func (p *parser) strayClause() *Refusal {
	switch p.word() {
	case wSet, wWhere:
		return rClauseOrder
	case wReturning:
		if p.d == MySQL {
			return rReturning
		}
		return rClauseOrder
	}
	return rUnknownClause
}
