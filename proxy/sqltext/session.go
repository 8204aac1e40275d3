package sqltext

// savepoint reads SAVEPOINT name, ROLLBACK [WORK | TRANSACTION] TO [SAVEPOINT]
// name, and RELEASE [SAVEPOINT] name. Every other way to control a transaction
// is refused.
func (p *parser) savepoint() *Refusal {
	switch {
	case p.accept("savepoint"):
		p.st.Kind = Savepoint
		return p.savepointName()
	case p.accept("release"):
		p.st.Kind = Release
	case p.accept("rollback"):
		p.st.Kind = RollbackTo
		if !p.accept("work") {
			p.accept("transaction")
		}
		if !p.accept("to") {
			return rTransaction
		}
	}
	if !p.at(tEnd) && p.toks[p.i+1].kind != tEnd { // a savepoint can have that name
		if !p.accept("savepoint") {
			return rTransaction
		}
	}
	return p.savepointName()
}

func (p *parser) savepointName() *Refusal {
	if !p.nameAt(p.i) || p.toks[p.i+1].kind != tEnd {
		return rTransaction
	}
	p.st.Savepoint = p.unquote(p.toks[p.i])
	p.i++
	return nil
}

// explain reads EXPLAIN of a statement that is understood, unless the server
// would run it.
func (p *parser) explain() *Refusal {
	p.st.Kind = Explain
	p.known(p.i)
	p.i++
	if p.at(tEnd) {
		return rExplain
	}
	switch p.d {
	case SQLite:
		if p.accept("query") && !p.accept("plan") {
			return rExplain
		}
	case Postgres:
		if r := p.explainOptions(); r != nil {
			return r
		}
	default:
		if done, r := p.explainTable(); done {
			return r
		}
	}
	if !p.open() && !explained[p.word()] {
		return rExplain
	}
	st, r := p.nested(p.i, p.last, p.inner)
	if r != nil {
		return r
	}
	p.st.Locking = st.Locking
	return nil
}

// explained are the first words of what EXPLAIN can take.
var explained = set(wSelect, wInsert, wUpdate, wDelete, wMerge, wReplace, wWith, wTable, wValues)

// explainOption are the options of PostgreSQL that do not run the statement.
var explainOption = map[string]bool{
	"verbose": true, "costs": true, "settings": true, "generic_plan": true,
	"buffers": true, "summary": true, "memory": true, "format": true,
}

// explainOptions reads VERBOSE, or (option [value], ...).
func (p *parser) explainOptions() *Refusal {
	if p.accept("verbose") {
		return nil
	}
	if !p.open() || p.queryAt(p.i) {
		return nil
	}
	p.i++
	for {
		if !p.at(tWord) || !explainOption[lowerASCII(p.source(p.toks[p.i]))] {
			return rExplain
		}
		p.i++
		if p.at(tWord) || p.at(tString) || p.at(tNumber) {
			p.i++
		}
		p.i++
		if p.is(p.i-1, tClose, ')') {
			return nil
		}
		if !p.is(p.i-1, tOp, ',') {
			return rExplain
		}
	}
}

// explainTable reads what stands before the statement in the MySQL family, or
// the table alone that EXPLAIN, DESCRIBE and DESC take there.
func (p *parser) explainTable() (done bool, r *Refusal) {
	if p.says(p.i, "format") && p.is(p.i+1, tOp, '=') {
		p.i += 2
		if !p.at(tWord) && !p.at(tString) {
			return true, rExplain
		}
		p.i++
		return false, nil
	}
	if next := p.toks[p.i+1]; next.kind == tWord && explained[next.word] &&
		(p.accept("extended") || p.accept("partitions")) {
		return false, nil
	}
	if p.open() || explained[p.word()] {
		return false, nil
	}
	var t Table
	if p.says(p.i, "analyze") || p.name(&t) != nil {
		return true, rExplain
	}
	if p.at(tWord) || p.at(tQuoted) || p.at(tString) {
		p.i++ // a column, or a pattern for their names
	}
	if !p.at(tEnd) {
		return true, rExplain
	}
	return true, nil
}
