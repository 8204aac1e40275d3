package sqltext

import (
	"sort"
	"sync"
)

// Parse reads a text of one statement or several. The error is always a
// *Refusal: the text is not fully understood and must not run inside a global
// transaction. Parse does not validate: a text that it understands may still be
// an error to the server, but it never means something else there. Parse is
// safe for concurrent use; Cache saves doing the work again.
func Parse(text string, d Dialect, m Mode) (*Statement, error) {
	st, r := parse(text, d, m)
	if r != nil {
		return nil, r
	}
	return st, nil
}

// Alone reports whether a text is known to hold at most one statement, also one that Parse
// refuses. A body in BEGIN and END counts as many.
func Alone(text string, d Dialect, m Mode) bool {
	l := &lexer{text: text, d: d, m: m}
	if l.run() != nil {
		return false
	}
	for i := 0; i < len(l.toks); i++ {
		t := &l.toks[i]
		if t.kind == tOpen {
			i = int(t.mate)
			continue
		}
		if t.kind == tOp && t.op == ';' && i+1 < len(l.toks) && l.toks[i+1].kind != tEnd {
			return false
		}
	}
	return true
}

// lexers keeps the memory for tokens, which no statement refers to.
var lexers = sync.Pool{New: func() any { return new(lexer) }}

// maxKeptTokens bounds the memory that an exceptional text leaves behind.
const maxKeptTokens = 4096

func parse(text string, d Dialect, m Mode) (*Statement, *Refusal) {
	l := lexers.Get().(*lexer)
	*l = lexer{text: text, d: d, m: m, toks: l.toks[:0], open: l.open[:0]}
	defer func() {
		if cap(l.toks) <= maxKeptTokens {
			*l = lexer{toks: l.toks, open: l.open}
			lexers.Put(l)
		}
	}()
	if r := l.run(); r != nil {
		return nil, r
	}
	return l.statements()
}

// statements reads what stands between the semicolons outside brackets.
func (l *lexer) statements() (*Statement, *Refusal) {
	var parts []*Statement
	from := 0
	for i := 0; i < len(l.toks); i++ {
		t := &l.toks[i]
		if t.kind == tOpen {
			i = int(t.mate)
			continue
		}
		if t.kind == tOp && t.op == ';' {
			*t = token{kind: tEnd, start: t.start, end: t.start}
		}
		if t.kind != tEnd {
			continue
		}
		if i > from {
			p := l.parser(from, i)
			if r := p.statement(); r != nil {
				return nil, r
			}
			parts = append(parts, p.st)
		}
		from = i + 1
	}
	switch len(parts) {
	case 0:
		return nil, rEmpty
	case 1:
		return parts[0], nil
	}
	return several(parts, l.params), nil
}

func several(parts []*Statement, params []Placeholder) *Statement {
	first, last := parts[0], parts[len(parts)-1]
	st := &Statement{
		Text: first.Text, Dialect: first.Dialect, Kind: Several,
		Span:  Span{first.Span.Start, last.Span.End},
		Parts: parts, Placeholders: params,
	}
	var all names
	for _, part := range parts {
		st.Locking = st.Locking || part.Locking
		for _, name := range part.Functions {
			all.add(name)
		}
	}
	st.Functions = all.list
	return st
}

// parser reads the tokens of one statement, from first to before last. The token
// last is tEnd, so the token behind any other can be looked at.
type parser struct {
	text   string
	d      Dialect
	m      Mode
	family bool
	toks   []token
	params []Placeholder // of the whole text
	i      int
	first  int
	last   int
	inner  bool // the statement stands inside another
	marker int  // how many of params stand before first
	st     *Statement
}

// parser gives one for the tokens from i to before j, which is tEnd.
func (l *lexer) parser(i, j int) parser {
	p := parser{
		text: l.text, d: l.d, m: l.m, family: l.family, toks: l.toks, params: l.params,
		i: i, first: i, last: j,
	}
	p.begin()
	return p
}

func (p *parser) begin() {
	p.st = &Statement{Text: p.text, Dialect: p.d, Span: p.span(p.first, p.last)}
	if len(p.params) == 0 {
		return
	}
	p.marker = p.markersBefore(p.st.Span.Start)
	if end := p.markersBefore(p.st.Span.End); end > p.marker {
		p.st.Placeholders = p.params[p.marker:end:end]
	}
}

func (p *parser) markersBefore(pos int) int {
	return sort.Search(len(p.params), func(i int) bool { return p.params[i].Span.Start >= pos })
}

// nested reads the tokens from i to before j as a statement of its own, inner
// when it is a part of this one.
func (p *parser) nested(i, j int, inner bool) (*Statement, *Refusal) {
	q := *p
	q.i, q.first, q.last, q.inner, q.marker = i, i, j, inner, 0
	q.begin()
	behind := p.toks[j]
	p.toks[j] = token{kind: tEnd, start: behind.start, end: behind.start}
	r := q.statement()
	p.toks[j] = behind
	if r != nil {
		return nil, r
	}
	return q.st, nil
}

func (p *parser) statement() *Refusal {
	if r := p.byFirstWord(); r != nil {
		return r
	}
	if r := p.everywhere(); r != nil {
		return r
	}
	p.st.Functions = p.calls()
	return nil
}

func (p *parser) byFirstWord() *Refusal {
	if p.word() == wWith {
		if r := p.with(); r != nil {
			return r
		}
	}
	if p.open() {
		return p.selectInBrackets()
	}
	switch p.word() {
	case wSelect, wTable, wValues:
		return p.selectStatement()
	case wInsert:
		p.write(Insert)
		return p.insert()
	case wReplace:
		if p.d != Postgres {
			p.write(Insert)
			return p.replace()
		}
	case wUpdate:
		p.write(Update)
		return p.update()
	case wDelete:
		p.write(Delete)
		return p.delete()
	case wMerge:
		if p.d == Postgres {
			p.write(Merge)
			return p.merge()
		}
	}
	switch {
	case p.st.With != (Span{}):
		return rCTEForm
	case p.at(tWord):
		return p.otherStatement()
	}
	return rUnknown
}

// write takes the verb of the statement.
func (p *parser) write(k Kind) {
	p.st.Kind = k
	p.known(p.i)
	p.i++
}

func (p *parser) is(i int, k kind, op byte) bool {
	return p.toks[i].kind == k && p.toks[i].op == op
}

func (p *parser) word() word            { return p.toks[p.i].word }
func (p *parser) at(k kind) bool        { return p.toks[p.i].kind == k }
func (p *parser) open() bool            { return p.is(p.i, tOpen, '(') }
func (p *parser) source(t token) string { return p.text[t.start:t.end] }

// says tells whether token i is this word, which is given in lower case.
func (p *parser) says(i int, s string) bool {
	t := p.toks[i]
	if t.kind != tWord || int(t.end-t.start) != len(s) {
		return false
	}
	for j := range len(s) {
		if lower(p.text[int(t.start)+j]) != s[j] {
			return false
		}
	}
	return true
}

// accept moves over this word, which is given in lower case.
func (p *parser) accept(s string) bool {
	if p.says(p.i, s) {
		p.i++
		return true
	}
	return false
}

// span is from token i to before token j.
func (p *parser) span(i, j int) Span {
	return Span{int(p.toks[i].start), int(p.toks[j-1].end)}
}

// skip gives the token behind i, or behind its partner when i opens a bracket.
func (p *parser) skip(i int) int {
	if p.toks[i].kind == tOpen {
		i = int(p.toks[i].mate)
	}
	return i + 1
}

// known says that the word at i has been read as a part of its clause: it hides
// no statement that writes, and calls nothing.
func (p *parser) known(i int) { p.toks[i].known = true }
