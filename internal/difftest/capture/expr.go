package capture

import (
	"fmt"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// generator writes random statements that the server accepts.
type generator struct {
	*wardrobe
	version int // major, of Postgres
	aliases int
	ctes    []source
	// avoid are the tables that a subquery may not read, because the statement
	// changes them.
	avoid map[*table]bool
	// shallow: no subquery in a subquery.
	shallow bool
}

// source is what columns can be taken from.
type source struct {
	qualifier string // sketch
	cols      []column
	table     *table // nil for a derived table or a CTE
}

// scope holds the sources of one query, those of the queries around it above.
type scope struct {
	sources []source
	outer   *scope
}

// deepest bounds how far expressions nest.
const deepest = 3

func (g *generator) chance(percent int) bool       { return g.r.IntN(100) < percent }
func (g *generator) pick(options ...string) string { return options[g.r.IntN(len(options))] }

// newAlias gives a name that no other alias of the statement has.
func (g *generator) newAlias() string {
	g.aliases++
	dotted := "z.%d"
	if g.d == sqltext.SQLite { // UPDATE ... FROM does not find the columns of such a one
		dotted = "z-%d"
	}
	return g.ident(fmt.Sprintf(g.pick("a%d", "a%d", "set %d", `x"y%d`, dotted, "b`%d"), g.aliases))
}

func (g *generator) number() string {
	if g.chance(30) {
		return g.arg(int64(g.r.IntN(10)))
	}
	return g.pick("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "-1", "12")
}

// typed is an argument whose type Postgres could not tell from its place.
func (g *generator) typed(t typ, v any) string {
	if g.d != sqltext.Postgres {
		return g.arg(v)
	}
	name := "text"
	if t == integer {
		name = "int"
	}
	if g.chance(50) {
		return g.arg(v) + "::" + name
	}
	return "CAST(" + g.arg(v) + " AS " + name + ")"
}

func (g *generator) words() string {
	s := texts[g.r.IntN(len(texts))]
	if g.chance(40) {
		return g.arg(s)
	}
	return g.literal(s)
}

// ref gives a column of a type, and whether there is one. A column that is not
// of the innermost query is qualified, since an inner one could hide it.
func (g *generator) ref(sc *scope, t typ) (string, bool) {
	at := sc
	for at.outer != nil && g.chance(35) {
		at = at.outer
	}
	s := at.sources[g.r.IntN(len(at.sources))]
	var fit []column
	for _, c := range s.cols {
		if c.typ == t && (c.name != touched || g.chance(20)) { // it is the same in all rows
			fit = append(fit, c)
		}
	}
	if len(fit) == 0 {
		return "", false
	}
	name := g.ident(fit[g.r.IntN(len(fit))].name)
	if at == sc && len(sc.sources) == 1 && g.chance(60) {
		return name, true
	}
	return s.qualifier + "." + name, true
}

func (g *generator) intExpr(sc *scope, depth int) string {
	col, ok := g.ref(sc, integer)
	if !ok || depth <= 0 {
		if ok && g.chance(70) {
			return col
		}
		return g.pick("1", "3", g.typed(integer, int64(g.r.IntN(10))))
	}
	switch g.r.IntN(12) {
	case 0:
		return "(" + col + " + " + g.pick("1", "2") + ")"
	case 1:
		return col + " % " + g.pick("3", "7")
	case 2:
		return "coalesce(" + col + ", " + g.pick("0", "-1", g.typed(integer, int64(3))) + ")"
	case 3:
		return "abs(" + col + " - " + g.pick("4", "20") + ")"
	case 4:
		return "CASE WHEN " + g.boolean(sc, depth-1) + " THEN " + g.intExpr(sc, depth-1) + " ELSE " + g.intExpr(sc, 0) + " END"
	case 5:
		return g.scalar(sc, integer, depth-1)
	case 6:
		return "length(" + g.textExpr(sc, depth-1) + ")"
	case 7:
		return g.pick("2", "5", g.typed(integer, int64(g.r.IntN(10))))
	}
	return col
}

func (g *generator) textExpr(sc *scope, depth int) string {
	col, ok := g.ref(sc, text)
	if !ok || depth <= 0 {
		if ok && g.chance(70) {
			return col
		}
		return g.typed(text, texts[g.r.IntN(len(texts))])
	}
	switch g.r.IntN(8) {
	case 0:
		return "lower(" + col + ")"
	case 1:
		return "coalesce(" + col + ", " + g.literal(texts[g.r.IntN(len(texts))]) + ")"
	case 2:
		if g.family() {
			return "concat(" + col + ", " + g.word() + ")"
		}
		return col + " || " + g.word()
	case 3:
		return "nullif(" + col + ", " + g.word() + ")"
	case 4:
		return "CASE " + g.intExpr(sc, 0) + " WHEN 3 THEN " + col + " WHEN 5 THEN " + g.literal("x ' y") + " ELSE " + col + " END"
	case 5:
		return g.scalar(sc, text, depth-1)
	}
	return col
}

// word is a string with a type, and without a character set of its own.
func (g *generator) word() string {
	s := texts[g.r.IntN(len(texts))]
	if g.chance(40) {
		return g.typed(text, s)
	}
	return g.bare(s)
}

// scalar is a subquery that gives one value.
func (g *generator) scalar(sc *scope, t typ, depth int) string {
	if g.shallow {
		depth = 0
	}
	from, s := g.reading()
	in := &scope{sources: []source{s}, outer: sc}
	col, ok := g.ref(&scope{sources: []source{s}}, t)
	if !ok && t == text {
		return g.bare("a")
	} else if !ok {
		return "3"
	}
	return "(SELECT " + g.pick("min", "max") + "(" + col + ") FROM " + from + " WHERE " + g.boolean(in, depth) + ")"
}

// boolean is a condition. An operator that binds as weakly as OR may stand bare.
func (g *generator) boolean(sc *scope, depth int) string {
	if depth > 0 {
		switch g.r.IntN(9) {
		case 0, 1:
			return g.boolean(sc, depth-1) + " AND " + g.boolean(sc, depth-1)
		case 2:
			return g.boolean(sc, depth-1) + " OR " + g.boolean(sc, depth-1)
		case 3:
			return "(" + g.boolean(sc, depth-1) + " OR " + g.boolean(sc, depth-1) + ") AND " + g.boolean(sc, depth-1)
		case 4:
			return "NOT (" + g.boolean(sc, depth-1) + ")"
		case 5:
			return g.subquery(sc, depth-1)
		case 6:
			return g.own(sc, depth-1)
		}
	}
	if g.chance(45) {
		if s, ok := g.aboutText(sc, depth); ok {
			return s
		}
	}
	return g.aboutInt(sc, depth)
}

func (g *generator) aboutInt(sc *scope, depth int) string {
	col, ok := g.ref(sc, integer)
	if !ok {
		return "1 = 1"
	}
	switch g.r.IntN(9) {
	case 0:
		return col + g.pick(" IS NULL", " IS NOT NULL")
	case 1:
		return col + g.pick("", " NOT") + " BETWEEN " + g.number() + " AND " + g.number()
	case 2:
		return col + g.pick("", " NOT") + " IN (" + g.number() + ", " + g.number() + g.pick("", ", NULL", ", 7") + ")"
	case 3:
		return g.distinct(col, g.pick(g.number(), "NULL"))
	case 4:
		other, ok := g.ref(sc, integer)
		if !ok {
			return col + " = 3"
		}
		return "(" + col + ", " + other + ") " + g.pick("=", "<", ">=", "<>") + " (" + g.number() + ", " + g.number() + ")"
	}
	return col + g.pick(" = ", " < ", " > ", " <= ", " >= ", " <> ", " != ") + g.pick(g.number(), g.number(), g.intExpr(sc, depth))
}

func (g *generator) aboutText(sc *scope, depth int) (string, bool) {
	col, ok := g.ref(sc, text)
	if !ok {
		return "", false
	}
	switch g.r.IntN(9) {
	case 0:
		return col + g.pick(" IS NULL", " IS NOT NULL"), true
	case 1:
		return col + g.pick("", " NOT") + " LIKE " + g.literal(g.pick("%a%", "_", "%?%", "b'%", "%--%", "%;%", "%")), true
	case 2:
		return col + " LIKE " + g.literal(g.pick("%!%", "!_%", "%!!")) + " ESCAPE '!'", !strings.Contains(col, "!")
	case 3:
		return col + g.pick("", " NOT") + " IN (" + g.words() + ", " + g.words() + g.pick("", ", NULL") + ")", true
	case 4:
		return g.distinct(col, g.word()), true
	case 5:
		return g.textExpr(sc, depth) + " = " + g.word(), true
	}
	return col + g.pick(" = ", " <> ", " < ", " >= ") + g.words(), true
}

func (g *generator) distinct(a, b string) string {
	if g.family() {
		return g.pick("", "NOT ") + "(" + a + " <=> " + b + ")"
	}
	return a + g.pick(" IS DISTINCT FROM ", " IS NOT DISTINCT FROM ") + b
}

// own is a condition in words of the dialect.
func (g *generator) own(sc *scope, depth int) string {
	b := "(" + g.boolean(sc, depth) + ")"
	if g.chance(40) {
		if doc, ok := g.ref(sc, document); ok {
			switch {
			case g.d == sqltext.Postgres:
				return g.pick(doc+" ->> 'a' = "+g.words(), doc+" ? 'b'", doc+" @> "+g.literal(`{"b": 1}`), doc+" ->> 'b' IS NULL")
			case g.d == sqltext.MariaDB:
				return "JSON_VALUE(" + doc + ", '$.a') = " + g.words()
			}
			return doc + " ->> '$.a' = " + g.words()
		}
	}
	switch {
	case g.family():
		return g.pick("(1 = 0) XOR "+b, b+" IS TRUE", b+" IS NOT FALSE", "NOT "+b)
	case g.d == sqltext.Postgres:
		if s, ok := g.ref(sc, text); ok && g.chance(50) {
			return s + g.pick(" ~ ", " !~* ") + g.literal(g.pick("^a", "[a-c]'?", "--"))
		}
		if i, ok := g.ref(sc, integer); ok && g.chance(70) {
			return i + " = ANY (ARRAY[" + g.number() + ", 2, 5])"
		}
		return g.pick(b+" IS TRUE", b+" IS NOT FALSE", b+" IS UNKNOWN")
	}
	if s, ok := g.ref(sc, text); ok && g.chance(50) {
		return s + " GLOB " + g.literal(g.pick("*a*", "?", "*[-]*"))
	}
	return g.pick(b+" IS 1", b+" IS NOT 0", "NOT "+b)
}

// subquery is a condition with a query inside.
func (g *generator) subquery(sc *scope, depth int) string {
	if g.shallow {
		depth = 0
	}
	from, s := g.reading()
	in := &scope{sources: []source{s}, outer: sc}
	inner := &scope{sources: []source{s}}
	where := g.boolean(in, depth)
	switch g.r.IntN(4) {
	case 0:
		mine, ok1 := g.ref(sc, integer)
		col, ok2 := g.ref(inner, integer)
		if ok1 && ok2 {
			return mine + g.pick("", " NOT") + " IN (SELECT " + col + " FROM " + from + " WHERE " + where + g.pick("", "", " AND "+col+" IS NOT NULL") + ")"
		}
	case 1:
		mine, ok1 := g.ref(sc, text)
		col, ok2 := g.ref(inner, text)
		if ok1 && ok2 {
			return mine + " IN (SELECT " + col + " FROM " + from + " WHERE " + where + " GROUP BY " + col + " HAVING count(*) < 9)"
		}
	case 2:
		mine, ok := g.ref(sc, integer)
		if ok {
			return mine + g.pick(" < ", " = ") + "(SELECT count(*) FROM " + from + " WHERE " + where + ")"
		}
	}
	return g.pick("", "NOT ") + "EXISTS (SELECT 1 FROM " + from + " WHERE " + where + ")"
}
