package sqltext

import "strings"

// selectInBrackets reads a query that begins with a bracket.
func (p *parser) selectInBrackets() *Refusal {
	if !p.queryAt(p.i) {
		return rFirstBracket
	}
	p.st.Kind = Select
	return nil
}

// selectStatement reads SELECT, and VALUES and TABLE as statements. It splits a
// SELECT that locks the rows of one table; of any other nothing is asked but
// what everywhere finds.
func (p *parser) selectStatement() *Refusal {
	p.st.Kind = Select
	if p.word() != wSelect || p.d == SQLite || !p.locksOutside() {
		return nil
	}
	p.i++
	var t Table
	if !p.lockingSelect(&t) {
		p.st.Where, p.st.OrderBy, p.st.Limit, p.st.Lock = Span{}, Span{}, Span{}, Span{}
		return nil
	}
	p.st.Targets = []Table{t}
	return nil
}

// locksOutside tells whether a locking clause stands outside all brackets.
func (p *parser) locksOutside() bool {
	for i := p.i; i < p.last; i = p.skip(i) {
		if p.lockWords(i) > 0 {
			return true
		}
	}
	return false
}

// lockingSelect reads [ALL] list FROM table [WHERE] [ORDER BY] [LIMIT] lock, and
// tells whether there is nothing else. Anything that lets LIMIT count other
// things than rows of the table is something else.
func (p *parser) lockingSelect(t *Table) bool {
	list := p.i
	if p.word() == wDistinct || p.says(p.i, "distinctrow") {
		return false
	}
	calls := false
	for !p.at(tEnd) && !p.clauseAt(p.i) {
		calls = calls || p.open()
		p.i = p.skip(p.i)
	}
	if p.word() != wFrom || p.i > list && p.danglingOperator(p.i-1) {
		return false
	}
	p.i++
	if p.table(t) != nil || p.isCTE(t.Name) || p.family && t.Name.Schema == "" && strings.EqualFold(t.Name.Table, "dual") {
		return false
	}
	for _, w := range [...]word{wWhere, wOrder, wLimit} {
		if p.word() == w && p.clause(w) != nil {
			return false
		}
	}
	if p.word() == wOffset && p.st.Limit != (Span{}) { // of PostgreSQL, for limit has read it elsewhere
		p.i++
		offset, r := p.body()
		if r != nil {
			return false
		}
		p.st.Limit.End = offset.End
	}
	from := p.i
	for p.lockWords(p.i) > 0 {
		p.i += p.lockWords(p.i)
		if !p.lockOptions() {
			return false
		}
	}
	if p.i == from || !p.at(tEnd) || calls && p.st.Limit != (Span{}) {
		return false
	}
	p.st.Lock = p.span(from, p.i)
	return true
}

// lockWords counts the words from token i on that say how to lock, 0 for none.
func (p *parser) lockWords(i int) int {
	switch {
	case p.toks[i].word == wFor:
		switch next := p.toks[i+1].word; {
		case next == wUpdate, next == wShare:
			return 2
		case next == wNo && p.toks[i+2].word == wKey && p.toks[i+3].word == wUpdate:
			return 4
		case next == wKey && p.toks[i+2].word == wShare:
			return 3
		}
	case p.family && p.toks[i].word == wLock && p.toks[i+1].word == wIn && p.toks[i+2].word == wShare && p.says(i+3, "mode"):
		return 4
	}
	return 0
}

// lockOptions reads [OF table, ...] [NOWAIT | SKIP LOCKED | WAIT n].
func (p *parser) lockOptions() bool {
	if p.word() == wOf {
		p.i++
		if !p.columnNames() {
			return false
		}
	}
	switch {
	case p.accept("nowait"):
	case p.accept("skip"):
		return p.accept("locked")
	case p.d == MariaDB && p.accept("wait"):
		return p.count()
	}
	return true
}
