package sqltext

import (
	"slices"
	"strings"
	"sync"
)

// Parse reads one statement, with at most one semicolon behind it. The error is
// always a *Refusal: the text is not fully understood and must not run inside a
// global transaction. Parse does not validate: a text that it understands may
// still be an error to the server, but it never means something else there.
// Parse is safe for concurrent use; Cache saves doing the work again.
func Parse(text string, d Dialect, m Mode) (*Statement, error) {
	st, r := parse(text, d, m)
	if r != nil {
		return nil, r
	}
	return st, nil
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
	p := parser{
		text: text, d: d, family: l.family, toks: l.toks,
		st: &Statement{Text: text, Dialect: d, Placeholders: l.params},
	}
	if r := p.statement(); r != nil {
		return nil, r
	}
	return p.st, nil
}

// parser reads the tokens of one statement. The last token is tEnd, so the
// token behind any other can be looked at.
type parser struct {
	text   string
	d      Dialect
	family bool
	toks   []token
	i      int
	st     *Statement

	intoAt   int // the token INTO of INSERT, 0 for none
	listAt   int // the bracket of INSERT's column list, 0 for none
	valuesAt int // the token VALUES or VALUE of INSERT, 0 for none
}

func (p *parser) statement() *Refusal {
	if r := p.single(); r != nil {
		return r
	}
	first := p.toks[0]
	var r *Refusal
	switch {
	case first.kind == tEnd:
		return rEmpty
	case first.kind == tOpen && first.op == '(':
		r = p.selectInBrackets()
	case first.kind != tWord:
		return rUnknown
	default:
		r = p.byFirstWord(first)
	}
	if r != nil {
		return r
	}
	if r := p.everywhere(); r != nil {
		return r
	}
	p.calls()
	return nil
}

// single ends the tokens at a last semicolon and refuses any other.
func (p *parser) single() *Refusal {
	if n := len(p.toks) - 2; n >= 0 && p.is(n, tOp, ';') {
		p.toks[n].kind = tEnd
		p.toks = p.toks[:n+1]
	}
	for i := range p.toks {
		if p.is(i, tOp, ';') {
			if i == 0 {
				return rEmpty
			}
			return rSeveral
		}
	}
	return nil
}

func (p *parser) byFirstWord(first token) *Refusal {
	p.i = 1
	switch first.word {
	case wSelect:
		p.st.Kind = Select
		return nil
	case wWith:
		return p.with()
	case wShow:
		if p.d == SQLite {
			return rUnknown
		}
		p.st.Kind = Select
		return nil
	case wInsert:
		return p.insert()
	case wUpdate:
		return p.update()
	case wDelete:
		return p.delete()
	}
	return p.otherStatement(first)
}

func (p *parser) is(i int, k kind, op byte) bool {
	return p.toks[i].kind == k && p.toks[i].op == op
}

func (p *parser) word() word            { return p.toks[p.i].word }
func (p *parser) at(k kind) bool        { return p.toks[p.i].kind == k }
func (p *parser) open() bool            { return p.is(p.i, tOpen, '(') }
func (p *parser) source(t token) string { return p.text[t.start:t.end] }

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

// everywhere refuses what may stand at no place and no depth: the clause
// splitter does not look into brackets, and a SELECT is not split at all.
func (p *parser) everywhere() *Refusal {
	for i := 1; i < len(p.toks); i++ {
		switch p.toks[i].word {
		case wInto:
			if i != p.intoAt {
				return rInto
			}
		case wInsert:
			if !p.is(i+1, tOpen, '(') { // the function of MySQL
				return rNestedWrite
			}
		case wDelete:
			return rNestedWrite
		case wUpdate:
			if !p.lockingUpdate(i) {
				return rNestedWrite
			}
		case wMerge:
			if p.d == Postgres {
				return rNestedWrite
			}
		case wReplace:
			if prev := p.toks[i-1].kind; (prev == tOpen || prev == tClose) && !p.is(i+1, tOpen, '(') {
				return rNestedWrite
			}
		}
	}
	return nil
}

// lockingUpdate tells whether UPDATE at i belongs to FOR UPDATE or FOR NO KEY
// UPDATE.
func (p *parser) lockingUpdate(i int) bool {
	return p.toks[i-1].word == wFor ||
		i >= 3 && p.toks[i-1].word == wKey && p.toks[i-2].word == wNo && p.toks[i-3].word == wFor
}

// calls lists the functions.
func (p *parser) calls() {
	for i, t := range p.toks {
		switch {
		case t.kind == tVar && t.op == '@':
			p.call(p.source(t))
		case t.kind == tWord && niladic[p.d][t.word]:
			p.call(wordText[t.word])
		case t.word == wNext && p.toks[i+1].word == wValue && p.toks[i+2].word == wFor:
			p.call("nextval")
		case t.kind != tWord && t.kind != tQuoted, !p.is(i+1, tOpen, '('), i+1 == p.listAt, p.keywordBefore(i):
		case t.kind == tQuoted:
			p.call(p.unquote(t))
		default:
			p.call(p.source(t))
		}
	}
}

// keywordBefore tells whether the word at i, with a bracket behind it, calls
// nothing. Some of these words are names of functions in other places.
func (p *parser) keywordBefore(i int) bool {
	switch w := p.toks[i].word; w {
	case wOver, wFilter:
		return p.is(i-1, tClose, ')')
	case wMaterialized:
		return p.toks[i-1].word == wAs || p.toks[i-1].word == wNot
	case wValue:
		return i == p.valuesAt
	default:
		return notCall[w]
	}
}

func (p *parser) call(name string) {
	name = strings.ToLower(name)
	if !slices.Contains(p.st.Functions, name) {
		p.st.Functions = append(p.st.Functions, name)
	}
}
