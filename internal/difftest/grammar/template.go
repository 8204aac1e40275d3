package grammar

import (
	"slices"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// A template is terms parted by space:
//
//	{x}      the rule x, or the Go function that makes x
//	WORD     a keyword
//	WORD(    a keyword that reads like a function, and its bracket
//	name(    a function called, and its bracket
//	!name    a function called without brackets
//	\        the next token stands right behind the last
//	other    a number, a string, an operator or punctuation, as it is

// rules maps a rule to its alternatives.
type rules map[string][]string

// alternatives are those of one rule, parted into terms; the first flat ones
// hold no rule that may hold itself, and are what is left deep down.
type alternatives struct {
	all  [][]string
	flat int
}

// emit expands a template.
func (g *Generator) emit(template string) {
	for _, term := range terms(template) {
		g.term(term)
	}
}

// terms parts a template at its spaces, but not inside a string.
func terms(template string) []string {
	inside := false
	return strings.FieldsFunc(template, func(r rune) bool {
		if r == '\'' {
			inside = !inside
		}
		return r == ' ' && !inside
	})
}

func (g *Generator) term(term string) {
	first := term[0]
	bracket := len(term) > 1 && strings.HasSuffix(term, "(") && letter(first)
	variable := strings.TrimLeft(term, "@")
	switch {
	case first == '{':
		g.rule(term[1 : len(term)-1])
	case term == `\`:
		g.glueNext = true
	case first == '!' && len(term) > 2 && letter(term[1]):
		g.put(g.cased(term[1:]), classWord)
		g.tokens[len(g.tokens)-1].calls = strings.ToLower(term[1:])
	case bracket:
		name := term[:len(term)-1]
		g.put(g.cased(name), classWord)
		if name == strings.ToLower(name) {
			g.tokens[len(g.tokens)-1].calls = name
		}
		g.glueNext = g.mysqlFamily() // what stands off its bracket is a column for some names
		g.put("(", classPunct)
	case first == '@' && variable != "" && letter(variable[0]):
		g.put(g.cased(term), classWord)
		g.tokens[len(g.tokens)-1].calls = term
	case letter(first), first == '_':
		g.put(g.cased(term), classWord)
	case '0' <= first && first <= '9', first == '.' && len(term) > 1:
		g.put(term, classNumber)
	case first == '\'', first == '"':
		g.put(term, classString)
	case strings.Contains("()[],;.", term):
		g.put(term, classPunct)
	default:
		g.put(term, classOperator)
	}
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// rule expands one alternative of a rule.
func (g *Generator) rule(name string) {
	if f, ok := natives[name]; ok {
		f(g)
		return
	}
	of, ok := g.rules[name]
	if !ok {
		panic("grammar: no rule " + name) // a mistake in this package's tables
	}
	all := of.all
	if g.depth <= 0 && of.flat > 0 {
		all = all[:of.flat]
	}
	g.depth--
	for _, term := range pick(g, all) {
		g.term(term)
	}
	g.depth++
}

// deep tells whether an alternative holds a rule that may hold itself.
func deep(terms []string) bool {
	for _, term := range terms {
		if term[0] == '{' && !flatRules[term] {
			return true
		}
	}
	return false
}

var flatRules = map[string]bool{
	"{num}": true, "{str}": true, "{col}": true, "{param}": true, "{unit}": true, "{type}": true,
	"{qcol}": true, "{table}": true, "{prim}": true, "{name}": true, "{const}": true, "{dirs}": true, "{count}": true, "{tab}": true,
	"{pred}": true, "{val}": true, "{limitcount}": true, "{label}": true, "{name0}": true,
}

// merge gives the rules of every table in one; later ones add alternatives.
func merge(tables ...rules) map[string]alternatives {
	merged := map[string]alternatives{}
	for _, t := range tables {
		for name, templates := range t {
			a := merged[name]
			for _, template := range templates {
				split := terms(template)
				if deep(split) {
					a.all = append(a.all, split)
					continue
				}
				a.all = slices.Insert(a.all, a.flat, split)
				a.flat++
			}
			merged[name] = a
		}
	}
	return merged
}

var tables = map[sqltext.Dialect]map[string]alternatives{
	sqltext.MySQL:    merge(common, mysqlFamily, mysqlOnly),
	sqltext.MariaDB:  merge(common, mysqlFamily, mariaOnly),
	sqltext.Postgres: merge(common, postgres),
	sqltext.SQLite:   merge(common, sqlite),
}

// rare are expressions that are known to be refused; most draws give a column.
var rare = map[sqltext.Dialect][]string{
	sqltext.MySQL:    {"( @x := {expr} )", "( @x := @x + 1 )"},
	sqltext.MariaDB:  {"( @x := {expr} )", "{nextvalue}"},
	sqltext.Postgres: {"COLLATION FOR ( {prim} )"},
	sqltext.SQLite:   {"1_000"},
}

func (g *Generator) rare() {
	if g.chance(90) {
		g.qualifiedColumn()
		return
	}
	g.emit(pick(g, rare[g.dialect]))
}

// rareReference emits a member of FROM that is known to be refused, or mostly a table.
func (g *Generator) rareReference() {
	if g.chance(90) {
		g.tab()
		return
	}
	g.emit("ROWS FROM ( f( 1 ) , g( 2 ) )")
}

// natives are the rules that tables cannot say.
var natives map[string]func(*Generator)

func init() {
	natives = map[string]func(*Generator){
		"num": (*Generator).number, "str": (*Generator).str, "param": (*Generator).param,
		"col": func(g *Generator) { g.column() }, "qcol": (*Generator).qualifiedColumn,
		"table": func(g *Generator) { g.tableName() }, "name": func(g *Generator) { g.name() },
		"scalar": func(g *Generator) { g.query(1) }, "query": func(g *Generator) { g.query(1 + g.rnd.IntN(3)) },
		"query2": func(g *Generator) { g.query(2) }, "tab": (*Generator).tab,
		"limitcount": (*Generator).limitCount, "nextvalue": (*Generator).nextValue, "rare": (*Generator).rare, "rareref": (*Generator).rareReference,
	}
}
