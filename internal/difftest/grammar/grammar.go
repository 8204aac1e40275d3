// Package grammar makes statements out of the grammars that the servers
// document, and knows the truth about each because it made it. It was written
// without a look at proxy/sqltext, so that the two can disagree.
package grammar

import (
	"math/rand/v2"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// Generator makes statements; the same seed makes the same ones. It is for one
// goroutine at a time.
type Generator struct {
	dialect sqltext.Dialect
	mode    sqltext.Mode
	rules   map[string]alternatives
	rnd     *rand.Rand
	version int // of Postgres

	// The style of the statement in the making, in percent.
	nasty, quoting, keywords int
	tight                    bool // nothing between tokens where that reads the same
	wordCase                 int

	tokens   []token
	locks    []int // tokens where a locking clause begins
	depth    int
	params   int
	glueNext bool
	noParams bool
}

// Statement is a text and the truth about it.
type Statement struct {
	Text string
	// Want is what Parse must say. Its Functions are those that must be told;
	// words that look like calls may be told too.
	Want *sqltext.Statement
	// AnyLock: a lock stands at the top of a Select of any shape, so that Want
	// does not tell whether it is split.
	AnyLock bool
}

// New gives a generator of texts for a server of this dialect in this mode.
func New(d sqltext.Dialect, m sqltext.Mode, seed uint64) *Generator {
	return &Generator{dialect: d, mode: m, rules: tables[d], rnd: rand.New(rand.NewPCG(seed, uint64(d))), version: 15}
}

// Version lets a generator for Postgres use what is new in a version; without
// it all is read by 15.
func (g *Generator) Version(v int) *Generator {
	g.version = v
	return g
}

// Next makes a statement.
func (g *Generator) Next() Statement {
	g.style()
	several := g.chance(2)
	g.noParams = several
	top, anyLock := &sqltext.Statement{Dialect: g.dialect}, false
	if several {
		top.Kind = sqltext.Several
		for i := range 2 + g.rnd.IntN(2) {
			if i > 0 {
				g.emit(";")
			}
			top.Parts = append(top.Parts, g.write(false))
		}
		top.Span = g.span(0)
	} else {
		top, anyLock = g.one()
	}
	if g.chance(15) {
		g.emit(";")
	}
	text, at := g.render()
	g.resolve(top, text, at)
	return Statement{Text: text, Want: top, AnyLock: anyLock}
}

// one emits one statement of any kind.
func (g *Generator) one() (st *sqltext.Statement, anyLock bool) {
	switch n := g.rnd.IntN(100); {
	case n < 76:
		return g.write(false), false
	case n < 94:
		st = &sqltext.Statement{Dialect: g.dialect}
		g.selectStatement(st)
		anyLock = !st.Locking && len(g.locks) > 0
	default:
		st = &sqltext.Statement{Dialect: g.dialect}
		g.small(st)
	}
	st.Span = g.span(0)
	return st, anyLock
}

// style draws how the next statement is written.
func (g *Generator) style() {
	g.tokens, g.locks, g.params, g.glueNext = nil, nil, 0, false
	g.depth = 1 + g.rnd.IntN(4)
	g.wordCase = pick(g, []int{0, 0, 0, 0, 1, 1, 1, 2})
	g.nasty = pick(g, []int{0, 0, 0, 2, 5, 30})
	g.quoting = pick(g, []int{0, 0, 5, 30})
	g.keywords = pick(g, []int{0, 0, 0, 5, 15})
	g.tight = g.chance(20)
}

func (g *Generator) mysqlFamily() bool {
	return g.dialect == sqltext.MySQL || g.dialect == sqltext.MariaDB
}

// chance tells true in so many of a hundred cases.
func (g *Generator) chance(percent int) bool { return g.rnd.IntN(100) < percent }

func pick[T any](g *Generator, of []T) T { return of[g.rnd.IntN(len(of))] }
