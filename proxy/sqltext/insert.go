package sqltext

// insert reads INSERT INTO t [AS alias] [(columns)] VALUES (...), ... [RETURNING ...].
func (p *parser) insert() *Refusal {
	p.st.Kind = Insert
	if r := p.modifier(rInsertForm); r != nil {
		return r
	}
	switch {
	case p.word() == wInto:
		p.intoAt = p.i
		p.i++
	case !p.family: // MySQL lets INTO out
		return rInsertForm
	}
	if r := p.target(); r != nil {
		return r
	}
	if p.word() == wAs && !p.family {
		if r := p.alias(true); r != nil {
			return r
		}
	}
	if p.open() && !p.queryAt(p.i+1) {
		if r := p.columnList(); r != nil {
			return r
		}
	}
	switch {
	case p.word() == wValues, p.word() == wValue && p.family:
		p.valuesAt = p.i
		p.i++
	default:
		return p.notValues()
	}
	if r := p.rows(); r != nil {
		return r
	}
	return p.insertTail()
}

// queryAt tells whether the words at i begin a query inside a bracket.
func (p *parser) queryAt(i int) bool {
	for p.is(i, tOpen, '(') {
		i++
	}
	switch p.toks[i].word {
	case wSelect, wWith, wValues, wTable:
		return true
	}
	return false
}

// columnList reads the names in brackets.
func (p *parser) columnList() *Refusal {
	p.listAt = p.i
	p.i++
	if p.at(tClose) {
		return rDefaultValues
	}
	for {
		name, next, ok := p.column(p.i)
		if !ok {
			return rInsertColumn
		}
		p.st.Columns = append(p.st.Columns, name)
		p.i = next + 1
		if p.is(next, tClose, ')') {
			return nil
		}
		if !p.is(next, tOp, ',') {
			return rInsertColumn
		}
	}
}

// notValues says why an INSERT without VALUES is refused.
func (p *parser) notValues() *Refusal {
	switch p.word() {
	case wDefault:
		return rDefaultValues
	case wSelect, wWith, wTable:
		return rInsertSelect
	case wSet:
		return rInsertSet
	case wOverriding:
		return rOverriding
	case wPartition:
		return rPartition
	}
	if p.open() && p.queryAt(p.i) {
		return rInsertSelect
	}
	return rInsertForm
}

// rows reads the rows of VALUES.
func (p *parser) rows() *Refusal {
	if p.word() == wRow {
		return rValuesRow
	}
	for {
		if !p.open() {
			return rValuesForm
		}
		row, r := p.row()
		if r != nil {
			return r
		}
		want := len(p.st.Columns)
		if len(p.st.Rows) > 0 {
			want = len(p.st.Rows[0])
		}
		if want > 0 && len(row) != want {
			return rValuesCount
		}
		p.st.Rows = append(p.st.Rows, row)
		if !p.is(p.i, tOp, ',') {
			return nil
		}
		p.i++
	}
}

// row reads one row in brackets.
func (p *parser) row() ([]Value, *Refusal) {
	end := int(p.toks[p.i].mate)
	from := p.i + 1
	if from == end {
		return nil, rDefaultValues
	}
	row := make([]Value, 0, len(p.st.Columns))
	for i := from; ; i = p.skip(i) {
		if i < end && !p.is(i, tOp, ',') {
			continue
		}
		if i == from {
			return nil, rValuesForm
		}
		if p.danglingOperator(i - 1) {
			return nil, rOperatorEnd
		}
		row = append(row, p.value(from, i))
		if i == end {
			p.i = end + 1
			return row, nil
		}
		from = i + 1
	}
}

// value sorts the expression from token i to before token j.
func (p *parser) value(i, j int) Value {
	v := Value{Span: p.span(i, j)}
	t := p.toks[i]
	switch {
	case j == i+2 && (p.is(i, tOp, '-') || p.is(i, tOp, '+')) && p.is(i+1, tNumber, 0):
		v.Kind = ValueLiteral
	case j > i+1:
	case t.kind == tNumber && t.op == 0, t.kind == tString && literalString(t.op), t.word == wTrue, t.word == wFalse:
		v.Kind = ValueLiteral
	case t.word == wNull:
		v.Kind = ValueNull
	case t.word == wDefault:
		v.Kind = ValueDefault
	case t.kind == tParam:
		v.Kind = ValuePlaceholder
		v.Placeholder = int(t.mate)
	}
	return v
}

// literalString tells whether a string with this letter in front is text. N has
// a type of its own, X is bytes, B is bits.
func literalString(letter byte) bool {
	return letter == 0 || letter == 'E' || letter == 'U' || letter == '$'
}

// insertTail reads what follows VALUES.
func (p *parser) insertTail() *Refusal {
	switch p.word() {
	case wOn:
		switch p.toks[p.i+1].word {
		case wDuplicate:
			return rOnDuplicate
		case wConflict:
			return rOnConflict
		}
	case wAs:
		return rRowAlias
	case wReturning:
		return p.returning()
	}
	if !p.at(tEnd) {
		return p.strayClause()
	}
	return nil
}
