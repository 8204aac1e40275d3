package sqltext

import (
	"slices"
	"strings"
)

// everywhere refuses what may stand at no place and no depth, for the clause
// splitter does not look into brackets, and a query is hardly split at all.
func (p *parser) everywhere() *Refusal {
	var within [maxDepth]int32 // the brackets around token i
	depth := 0
	for i := p.first; i < p.last; i++ {
		t := p.toks[i]
		switch t.kind {
		case tOpen:
			within[depth] = int32(i)
			depth++
		case tClose:
			depth--
		}
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
			if p.d != Postgres && !p.is(i+1, tOpen, '(') || p.toks[i+1].word == wInto { // else the function of MySQL, or a name
				return rNestedWrite
			}
		case wDelete:
			if p.d != Postgres || p.toks[i+1].word == wFrom {
				return rNestedWrite
			}
		case wUpdate:
			if k := p.toks[i+1].kind; p.d != Postgres || k == tWord || k == tQuoted { // else a name
				return rNestedWrite
			}
		case wMerge:
			if p.toks[i+1].word == wInto { // else a name
				return rNestedWrite
			}
		case wReplace:
			if prev := p.toks[i-1].kind; (prev == tOpen || prev == tClose) && !p.is(i+1, tOpen, '(') {
				return rNestedWrite
			}
		case wFor, wLock:
			if n := p.lockWords(i); n > 0 {
				p.st.Locking = p.st.Locking || depth == 0 || p.locksQuery(int(within[depth-1]))
				i += n - 1
			}
		}
	}
	return nil
}

// locksQuery tells whether the bracket at token i may hold a query, which a FOR
// then locks: in other brackets it belongs to substring and overlay, whose first
// argument may be a query in brackets of its own.
func (p *parser) locksQuery(i int) bool {
	return p.queryAt(i) && (i == p.first || !p.says(i-1, "substring") && !p.says(i-1, "overlay"))
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
		default:
			all.add(p.unquote(t))
		}
	}
	return all.list
}

// keywordBefore tells whether the word at i, with a bracket behind it, calls
// nothing. Some of these words are names of functions in other places.
func (p *parser) keywordBefore(i int) bool {
	last := p.toks[max(i-1, p.first)]
	switch w := p.toks[i].word; w {
	case wOver, wFilter: // behind a call
		return last.kind == tClose && last.op == ')' && !p.callBegins(i)
	case wMaterialized:
		return last.word == wAs || last.word == wNot && i > p.first+1 && p.toks[i-2].word == wAs
	case wBy:
		return p.family || last.word == wOrder || last.word == wGroup || last.word == wPartition
	case wSet, wIs: // the word SET of a clause is known
		return p.d != Postgres
	case wJoin: // behind another word of joins, or with a query in the brackets
		return p.d != Postgres || joinWord[last.word] || p.says(max(i-1, p.first), "outer") ||
			!p.is(i+2, tOpen, '(') && p.queryAt(i+2)
	case wAny, wSome, wWith:
		return p.d != SQLite
	case wLateral:
		return p.d == MySQL || p.d == Postgres
	case wPartition, wKey:
		return p.family
	case wRow:
		return p.d != SQLite
	case wNone:
		return p.family && p.says(i, "index") && last.op != '.'
	default:
		return notCall[w]
	}
}

// joinWord are the words of PostgreSQL that only a JOIN can follow directly.
var joinWord = set(wCross, wFull, wInner, wLeft, wNatural, wRight)

// callBegins tells whether a call may begin at i, behind a bracket: that of
// DISTINCT ON (...), OPERATOR(...) or RETURNING WITH (...).
func (p *parser) callBegins(i int) bool {
	word := int(p.toks[i-1].mate) - 1
	if p.d != Postgres || word < p.first {
		return false
	}
	w := p.toks[word].word
	return w == wOn || w == wWith || p.says(word, "operator")
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
