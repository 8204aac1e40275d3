package sqltext

import (
	"slices"
	"strings"
)

// everywhere refuses what may stand at no place and no depth, for the clause
// splitter does not look into brackets, and a query is hardly split at all.
func (p *parser) everywhere() *Refusal {
	for i := p.first; i < p.last; i++ {
		t := p.toks[i]
		if t.known {
			continue
		}
		switch t.word {
		case wNone:
			if t.kind == tOp && t.op == ';' {
				return rSemicolon
			}
		case wInto:
			return rInto
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
			p.st.Locking = p.st.Locking || p.inQuery(i)
		case wMerge:
			if p.toks[i+1].word == wInto { // else a name
				return rNestedWrite
			}
		case wReplace:
			if prev := p.toks[i-1].kind; (prev == tOpen || prev == tClose) && !p.is(i+1, tOpen, '(') {
				return rNestedWrite
			}
		case wShare:
			p.st.Locking = p.st.Locking || p.lockingShare(i) && p.inQuery(i)
		}
	}
	return nil
}

// lockingUpdate tells whether UPDATE at i belongs to FOR UPDATE or FOR NO KEY
// UPDATE.
func (p *parser) lockingUpdate(i int) bool {
	if i == p.first {
		return false
	}
	return p.toks[i-1].word == wFor ||
		i >= p.first+3 && p.toks[i-1].word == wKey && p.toks[i-2].word == wNo && p.toks[i-3].word == wFor
}

// lockingShare tells whether SHARE at i belongs to FOR SHARE, FOR KEY SHARE or
// LOCK IN SHARE MODE.
func (p *parser) lockingShare(i int) bool {
	if i < p.first+2 {
		return false
	}
	return p.toks[i-1].word == wFor ||
		p.toks[i-1].word == wKey && p.toks[i-2].word == wFor ||
		p.toks[i-1].word == wIn && p.says(i-2, "lock")
}

// inQuery tells whether the innermost bracket around token i, if any, may hold a
// query: a FOR inside other brackets belongs to substring and overlay.
func (p *parser) inQuery(i int) bool {
	for i--; i >= p.first; i-- {
		switch p.toks[i].kind {
		case tClose:
			i = int(p.toks[i].mate)
		case tOpen:
			return p.queryAt(i)
		}
	}
	return true
}

// calls lists the functions.
func (p *parser) calls() []string {
	var all names
	for i := p.first; i < p.last; i++ {
		t := p.toks[i]
		switch {
		case t.kind == tVar:
			all.add(p.source(t))
		case t.known:
		case t.kind == tWord && niladic[p.d][t.word]:
			all.add(wordText[t.word])
		case t.word == wNext && p.toks[i+1].word == wValue && p.toks[i+2].word == wFor:
			all.add("nextval")
		case t.kind == tString && p.d == SQLite && p.is(i+1, tOpen, '('): // a table function, quoted as a string
			all.add(strings.ReplaceAll(p.text[t.start+1:t.end-1], "''", "'"))
		case t.kind != tWord && t.kind != tQuoted, !p.is(i+1, tOpen, '('), p.keywordBefore(i):
		case t.kind == tQuoted:
			all.add(p.unquote(t))
		default:
			all.add(p.source(t))
		}
	}
	return all.list
}

// keywordBefore tells whether the word at i, with a bracket behind it, calls
// nothing. Some of these words are names of functions in other places.
func (p *parser) keywordBefore(i int) bool {
	switch w := p.toks[i].word; w {
	case wOver, wFilter:
		return i > 0 && p.is(i-1, tClose, ')')
	case wMaterialized:
		return i > 0 && (p.toks[i-1].word == wAs || p.toks[i-1].word == wNot)
	case wBy:
		return p.family || i > 0 && (p.toks[i-1].word == wOrder || p.toks[i-1].word == wGroup || p.toks[i-1].word == wPartition)
	case wSet, wIs: // the word SET of a clause is known
		return p.d != Postgres
	case wJoin: // also a function of PostgreSQL, but not behind a table
		return p.d != Postgres || i > 0 && p.tableEnds(i-1) && !p.is(i+2, tClose, ')')
	case wAny, wSome, wWith:
		return p.d != SQLite
	case wLateral:
		return p.d == MySQL || p.d == Postgres
	case wPartition, wKey:
		return p.family
	case wRow:
		return p.d != SQLite
	case wNone:
		return p.family && p.says(i, "index")
	default:
		return notCall[w]
	}
}

// tableEnds tells whether token i may end a table, or belong to a join.
func (p *parser) tableEnds(i int) bool {
	t := p.toks[i]
	return t.kind == tQuoted || t.kind == tClose || t.kind == tWord && !notCall[t.word]
}

// fewNames are found faster in a list than in a map.
const fewNames = 16

// names is a list of lower-case names, each once.
type names struct {
	list []string
	seen map[string]bool // nil while they are few
}

func (n *names) add(name string) {
	name = strings.ToLower(name)
	switch {
	case n.seen[name], n.seen == nil && slices.Contains(n.list, name):
		return
	case n.seen != nil:
		n.seen[name] = true
	case len(n.list) == fewNames:
		n.seen = map[string]bool{name: true}
		for _, have := range n.list {
			n.seen[have] = true
		}
	}
	n.list = append(n.list, name)
}
