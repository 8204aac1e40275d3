package sqltext

import "slices"

// update reads UPDATE table SET ... and the clauses behind, also of several
// tables in the MySQL family.
func (p *parser) update() *Refusal {
	if r := p.updateModifiers(); r != nil {
		return r
	}
	from := p.i
	if !p.family || !p.open() && p.word() != wLateral {
		if r := p.oneTarget(); r != nil {
			return r
		}
	}
	var rs refs
	if p.word() != wSet {
		if !p.family {
			return p.afterTable(rUpdateForm)
		}
		p.i = from
		if r := p.severalTables(&rs); r != nil {
			return r
		}
		if p.word() != wSet || len(rs.base)+rs.other < 2 {
			return p.afterTable(rUpdateForm)
		}
	}
	p.known(p.i)
	p.i++
	var r *Refusal
	if p.st.Set, p.st.SetColumns, r = p.assignments(); r != nil {
		return r
	}
	if p.st.Multi {
		if p.st.Targets, r = p.assignedTables(rs.base); r != nil {
			return r
		}
	}
	return p.tail()
}

// delete reads DELETE FROM table and the clauses behind, and the two forms with
// several tables of the MySQL family.
func (p *parser) delete() *Refusal {
	for p.family && (p.word() == wLowPriority || p.word() == wQuick || p.word() == wIgnore) {
		if p.word() == wIgnore {
			p.st.Or = OrIgnore
		}
		p.i++
	}
	switch {
	case p.d == MariaDB && p.word() == wHistory:
		return rDeleteHistory
	case p.word() != wFrom && p.family:
		return p.deleteSeveral(wFrom)
	case p.word() != wFrom:
		return rDeleteForm
	}
	p.i++
	if p.family && p.listedBefore(wUsing) {
		return p.deleteSeveral(wUsing)
	}
	if r := p.oneTarget(); r != nil {
		return r
	}
	if !p.at(tEnd) && !p.clauseAt(p.i) || p.word() == wFor {
		return p.afterTable(rDeleteForm)
	}
	return p.tail()
}

// deleteSeveral reads the list of tables to delete from, the word behind it, the
// table references, and the clauses.
func (p *parser) deleteSeveral(behind word) *Refusal {
	names, next := p.tableList(p.i)
	if len(names) == 0 || p.toks[next].word != behind {
		return rDeleteForm
	}
	p.i = next + 1
	var rs refs
	if r := p.severalTables(&rs); r != nil {
		return r
	}
	for _, name := range names {
		i, r := find(rs.base, name)
		if r != nil {
			return r
		}
		if slices.Contains(p.st.Targets, rs.base[i]) {
			return rTargetName // named twice, which the servers refuse
		}
		p.st.Targets = append(p.st.Targets, rs.base[i])
	}
	if !p.at(tEnd) && !p.clauseAt(p.i) {
		return p.afterTable(rDeleteForm)
	}
	return p.tail()
}

func (p *parser) listedBefore(w word) bool {
	names, next := p.tableList(p.i)
	return len(names) > 0 && p.toks[next].word == w
}

// tableList reads table[.*], schema.table[.*], ... and gives the token behind,
// or nothing.
func (p *parser) tableList(i int) (names []Name, next int) {
	for {
		if !p.nameAt(i) {
			return nil, i
		}
		n := Name{Table: p.unquote(p.toks[i])}
		i++
		if p.is(i, tOp, '.') && p.nameAt(i+1) {
			n.Schema, n.Table = n.Table, p.unquote(p.toks[i+1])
			i += 2
		}
		if p.is(i, tOp, '.') && p.is(i+1, tOp, '*') {
			i += 2
		}
		names = append(names, n)
		if !p.is(i, tOp, ',') {
			return names, i
		}
		i++
	}
}

// updateModifiers reads the words between UPDATE and the table.
func (p *parser) updateModifiers() *Refusal {
	if p.d == SQLite && p.word() == wOr {
		return p.orClause()
	}
	if p.family && p.word() == wLowPriority {
		p.i++
	}
	if p.family && p.word() == wIgnore {
		p.st.Or = OrIgnore
		p.i++
	}
	return nil
}

// oneTarget reads the table of a statement that changes one.
func (p *parser) oneTarget() *Refusal {
	p.st.Targets = []Table{{}}
	if r := p.table(p.st.Target()); r != nil {
		return r
	}
	if p.isCTE(p.st.Target().Name) {
		return rTargetCTE
	}
	return nil
}

// severalTables reads the references of a Multi.
func (p *parser) severalTables(rs *refs) *Refusal {
	p.st.Multi = true
	p.st.Targets = nil
	from := p.i
	if r := p.references(rs); r != nil {
		return r
	}
	p.st.From = p.span(from, p.i)
	return nil
}

// assignedTables gives the tables that a Multi update may change: those named in
// front of the columns, or all when a column has no table in front.
func (p *parser) assignedTables(base []Table) ([]Table, *Refusal) {
	all := false
	named := make([]bool, len(base))
	for _, c := range p.st.SetColumns {
		if c.Table == "" {
			all = true
			continue
		}
		i, r := find(base, Name{Table: c.Table})
		if r != nil {
			return nil, r
		}
		named[i] = true
	}
	if all && len(base) == 0 {
		return nil, rTargetName
	}
	var targets []Table
	for i, t := range base {
		if all || named[i] {
			targets = append(targets, t)
		}
	}
	return targets, nil
}

// afterTable says why a statement cannot go on like this behind its tables.
func (p *parser) afterTable(form *Refusal) *Refusal {
	switch p.word() {
	case wFor:
		return rPortion
	case wUse, wForce, wIgnore, wIndexed, wNot:
		return rHintForm
	}
	return form
}

// assignments reads what stands behind SET and the columns that are assigned.
func (p *parser) assignments() (Span, []Column, *Refusal) {
	from := p.i
	body, r := p.body()
	if r != nil {
		return Span{}, nil, r
	}
	columns, r := p.assignedColumns(from, p.i)
	return body, columns, r
}

// assignedColumns reads the targets of the assignments between tokens i and end.
func (p *parser) assignedColumns(i, end int) ([]Column, *Refusal) {
	var columns []Column
	for {
		var r *Refusal
		if columns, i, r = p.setTarget(columns, i); r != nil {
			return nil, r
		}
		if !p.is(i, tOp, '=') || p.is(i+1, tOp, '=') {
			return nil, rSetTarget
		}
		i++
		value := i
		for i < end && !p.is(i, tOp, ',') {
			i = p.skip(i)
		}
		if i == value {
			return nil, rMissingClause
		}
		if i == end {
			return columns, nil
		}
		i++
	}
}

// setTarget reads what is assigned: a column, or a list of columns in brackets.
func (p *parser) setTarget(columns []Column, i int) ([]Column, int, *Refusal) {
	list := p.is(i, tOpen, '(')
	if list && p.family {
		return nil, 0, rSetTarget
	}
	for {
		if list {
			i++
		}
		c, next, ok := p.assigned(i)
		if !ok {
			return nil, 0, rSetTarget
		}
		columns = append(columns, c)
		switch i = next; {
		case !list:
			return columns, i, nil
		case p.is(i, tClose, ')'):
			return columns, i + 1, nil
		case !p.is(i, tOp, ','):
			return nil, 0, rSetTarget
		}
	}
}
