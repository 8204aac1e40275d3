package sqltext

// insert reads INSERT behind its verb.
func (p *parser) insert() *Refusal {
	if p.family {
		switch p.word() {
		case wLowPriority, wDelayed, wHighPriority:
			p.i++
		}
		if p.word() == wIgnore {
			p.st.Or = OrIgnore
			p.i++
		}
	}
	if p.word() == wOr && p.d == SQLite {
		if r := p.orClause(); r != nil {
			return r
		}
	}
	return p.insertInto()
}

// replace reads REPLACE of the MySQL family and SQLite behind its verb.
func (p *parser) replace() *Refusal {
	p.st.Replace, p.st.Or = true, OrReplace
	if w := p.word(); p.family && (w == wLowPriority || w == wDelayed) {
		p.i++
	}
	return p.insertInto()
}

// orClause reads OR and what follows it in SQLite.
func (p *parser) orClause() *Refusal {
	p.i++
	switch {
	case p.accept("abort"):
		p.st.Or = OrAbort
	case p.accept("fail"):
		p.st.Or = OrFailHere
	case p.accept("ignore"):
		p.st.Or = OrIgnore
	case p.accept("replace"):
		p.st.Or = OrReplace
	case p.accept("rollback"):
		p.st.Or = OrRollback
	default:
		return rOrConflict
	}
	return nil
}

// insertInto reads [INTO] t [AS alias] [PARTITION (...)] [(columns)] and the rest.
func (p *parser) insertInto() *Refusal {
	switch {
	case p.word() == wInto:
		p.known(p.i)
		p.i++
	case !p.family: // MySQL lets INTO out
		return rInsertForm
	}
	if r := p.insertTable(); r != nil {
		return r
	}
	if p.open() {
		p.known(p.i - 1)
	}
	switch {
	case !p.open() || p.d != SQLite && p.queryAt(p.i+1):
	case p.family && p.is(p.i+1, tClose, ')'):
		p.i += 2 // () is no list: all columns
	default:
		var r *Refusal
		if p.st.Columns, r = p.columnList(); r != nil {
			return r
		}
	}
	if r := p.overriding(&p.st.Overriding); r != nil {
		return r
	}
	if r := p.insertSource(); r != nil {
		return r
	}
	return p.insertTail()
}

func (p *parser) insertTable() *Refusal {
	p.st.Targets = []Table{{}}
	t := p.st.Target()
	if r := p.name(t); r != nil {
		return r
	}
	if p.word() == wAs && !p.family {
		return p.aliasOf(t, true)
	}
	p.partition(t)
	return nil
}

// queryAt tells whether the words at i begin a query inside a bracket. VALUES
// is also the name of a column in PostgreSQL.
func (p *parser) queryAt(i int) bool {
	for p.is(i, tOpen, '(') {
		i++
	}
	switch p.toks[i].word {
	case wSelect, wWith, wTable:
		return true
	case wValues:
		return p.is(i+1, tOpen, '(') || p.toks[i+1].word == wRow
	}
	return false
}

// columnList reads the names in brackets.
func (p *parser) columnList() ([]string, *Refusal) {
	var list []string
	p.i++
	for {
		name, next, ok := p.column(p.i)
		if !ok {
			return nil, rInsertColumn
		}
		list = append(list, name)
		p.i = next + 1
		if p.is(p.i-1, tClose, ')') {
			return list, nil
		}
		if !p.is(p.i-1, tOp, ',') {
			return nil, rInsertColumn
		}
	}
}

// overriding reads OVERRIDING SYSTEM|USER VALUE.
func (p *parser) overriding(sp *Span) *Refusal {
	if p.word() != wOverriding || p.d != Postgres {
		return nil
	}
	if !p.says(p.i+1, "system") && !p.says(p.i+1, "user") || p.toks[p.i+2].word != wValue {
		return rInsertForm
	}
	p.known(p.i + 1)
	p.known(p.i + 2)
	*sp = p.span(p.i, p.i+3)
	p.i += 3
	return nil
}

// insertSource reads where the rows come from.
func (p *parser) insertSource() *Refusal {
	switch w := p.word(); {
	case w == wValues, w == wValue && p.family:
		return p.values()
	case w == wDefault && !p.family && p.toks[p.i+1].word == wValues:
		if p.d == Postgres && (p.st.Columns != nil || p.st.Overriding != (Span{})) {
			return rInsertForm
		}
		p.st.Source = SourceDefaults
		p.i += 2
		return nil
	case w == wSet && p.family && p.st.Columns == nil:
		return p.insertSet()
	case w == wSelect, w == wWith, w == wTable, p.open() && p.d != SQLite && p.queryAt(p.i):
		return p.insertQuery()
	}
	return rInsertForm
}

// insertQuery reads a query up to what belongs to INSERT again. A join on a
// function named conflict looks like ON CONFLICT here, and is refused there for
// the DO that it lacks.
func (p *parser) insertQuery() *Refusal {
	from := p.i
	for ; !p.at(tEnd); p.i = p.skip(p.i) {
		switch w := p.word(); {
		case w == wReturning && p.d != MySQL, p.upsertAt():
		default:
			continue
		}
		break
	}
	var r *Refusal
	p.st.Source = SourceQuery
	p.st.Query, r = p.bodyFrom(from)
	return r
}

// insertSet reads SET column = value, ... of the MySQL family.
func (p *parser) insertSet() *Refusal {
	var row []Value
	for {
		p.i++
		name, next, ok := p.column(p.i)
		if !ok || !p.is(next, tOp, '=') {
			return rSetTarget
		}
		p.i = next + 1
		from := p.i
		for !p.at(tEnd) && !p.is(p.i, tOp, ',') && p.word() != wAs && !p.clauseAt(p.i) {
			p.i = p.skip(p.i)
		}
		if _, r := p.bodyFrom(from); r != nil {
			return r
		}
		p.st.Columns = append(p.st.Columns, name)
		row = append(row, p.value(from, p.i))
		if !p.is(p.i, tOp, ',') {
			break
		}
	}
	p.st.Source, p.st.Rows = SourceSet, [][]Value{row}
	return nil
}

// insertTail reads what follows the rows.
func (p *parser) insertTail() *Refusal {
	if p.word() == wAs {
		if r := p.rowAlias(); r != nil {
			return r
		}
	}
	if r := p.upserts(); r != nil {
		return r
	}
	return p.returning()
}

// rowAlias reads AS new [(columns)] of MySQL.
func (p *parser) rowAlias() *Refusal {
	from := p.i
	if p.d != MySQL || p.st.Source == SourceQuery || p.st.Replace || !p.nameAt(p.i+1) {
		return rRowAlias
	}
	p.i += 2
	if p.open() {
		p.known(p.i - 1)
		p.i = p.skip(p.i)
	}
	p.st.RowAlias = p.span(from, p.i)
	return nil
}
