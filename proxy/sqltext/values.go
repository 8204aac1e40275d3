package sqltext

import "strings"

// values reads VALUES (...), ... with its word. VALUES is also a query that others
// may be joined to, in MySQL with the word ROW only.
func (p *parser) values() *Refusal {
	from := p.i
	p.known(from)
	p.i++
	word := p.word() == wRow && p.d == MySQL
	if r := p.rows(word); r != nil {
		return r
	}
	p.st.Source = SourceValues
	if len(p.st.Rows[0]) == 0 {
		p.st.Source = SourceDefaults
		return nil
	}
	switch p.word() {
	case wUnion, wIntersect, wExcept, wOrder, wLimit, wOffset, wFetch, wFor:
		if p.d != MySQL || word {
			p.i, p.st.Rows = from, nil
			return p.insertQuery()
		}
	}
	return nil
}

// rows reads the rows of VALUES, each with the word ROW in front or none.
func (p *parser) rows(word bool) *Refusal {
	for {
		if word {
			if p.word() != wRow {
				return rValuesForm
			}
			p.known(p.i)
			p.i++
		}
		if !p.open() {
			return rValuesForm
		}
		row, r := p.row(len(p.st.Columns))
		if r != nil {
			return r
		}
		want := len(row)
		switch {
		case len(p.st.Rows) > 0:
			want = len(p.st.Rows[0])
		case p.st.Columns != nil:
			want = len(p.st.Columns)
		}
		if len(row) != want {
			return rValuesCount
		}
		p.st.Rows = append(p.st.Rows, row)
		if !p.is(p.i, tOp, ',') {
			return nil
		}
		p.i++
	}
}

// row reads one row in brackets, for so many columns when they are listed. It may be empty in the MySQL family.
func (p *parser) row(columns int) ([]Value, *Refusal) {
	end := int(p.toks[p.i].mate)
	from := p.i + 1
	if from == end && p.family {
		p.i = end + 1
		return []Value{}, nil
	}
	row := make([]Value, 0, max(columns, 1))
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
		if strings.TrimSpace(p.text[t.end:p.toks[i+1].start]) == "" { // no comment between
			v.Kind = ValueLiteral
		}
	case j > i+1:
	case t.kind == tNumber && t.op == 0, t.kind == tString && literalString(t.op), t.word == wTrue, t.word == wFalse:
		v.Kind = ValueLiteral
	case t.word == wNull:
		v.Kind = ValueNull
	case t.word == wDefault:
		v.Kind = ValueDefault
	case t.kind == tParam:
		v.Kind = ValuePlaceholder
		v.Placeholder = int(t.mate) - p.marker
	}
	return v
}

// literalString tells whether a string with this letter in front is text. N has
// a type of its own, X is bytes, B is bits.
func literalString(letter byte) bool {
	return letter == 0 || letter == 'E' || letter == 'U' || letter == '$'
}
