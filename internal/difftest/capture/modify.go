package capture

import (
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// form is the shape of a generated statement, for the report.
type form string

// generated is a statement to run.
type generated struct {
	form form
	text string
	args []any
	rows bool // it gives back rows, one for each that it writes
	// perChanged is what the server counts for a row that was there and is changed.
	perChanged int64
}

// uncounted is perChanged of a statement whose count tells less than all.
const uncounted = -1

// statement writes one statement of a random form.
func (g *generator) statement() generated {
	var f form
	var sketch string
	switch n := g.r.IntN(100); {
	case n < 38:
		f, sketch = g.one(true)
	case n < 64:
		f, sketch = g.one(false)
	case n < 90:
		if g.family() {
			f, sketch = g.several()
		} else {
			f, sketch = g.joined()
		}
	case n < 95 || g.d != sqltext.Postgres:
		f, sketch = g.upsert()
	case n < 98:
		f, sketch = g.merge()
	default:
		f, sketch = g.writing()
	}
	out := generated{form: f, perChanged: 1}
	out.rows = strings.Contains(sketch, " RETURNING ")
	switch {
	case f == "upsert" && g.family():
		out.perChanged = 2
	case f == "writing-with", f == "merge": // lib/pq does not know the tag of MERGE
		out.perChanged = uncounted
	}
	out.text, out.args = g.dress(sketch)
	return out
}

// target picks the table of a statement on one table, and how it is named there.
// PARTITION stands behind the alias of DELETE, and in front of that of UPDATE.
func (g *generator) target(mayAlias, hintLast bool) (string, source) {
	t := tables[g.r.IntN(len(tables))]
	if g.d == sqltext.MySQL {
		g.avoid = map[*table]bool{t: true}
	}
	only, hint := "", ""
	name := g.ident(t.name)
	if g.d == sqltext.Postgres {
		only = g.pick("", "", "", "ONLY ")
		if g.chance(10) {
			name = "public." + name
		}
	}
	if g.d == sqltext.SQLite && g.chance(10) {
		name = "main." + name
	}
	s := source{qualifier: name, cols: t.cols, table: t}
	if t.parts && g.family() && g.chance(60) {
		hint = " PARTITION (" + g.ident("p1") + ", " + g.ident("p 2") + g.pick("", ", "+g.ident("p0")) + ")"
	}
	ref := only + name
	if !hintLast {
		ref += hint
	}
	if mayAlias && g.chance(45) {
		s.qualifier = g.newAlias()
		as := " AS "
		if g.d != sqltext.SQLite && g.chance(40) {
			as = " "
		}
		ref += as + s.qualifier
	}
	if hintLast {
		ref += hint
	}
	return ref, s
}

// hint is an index hint, or nothing. It changes no result.
func (g *generator) hint(t *table) string {
	if t != acct && t != line || !g.chance(15) {
		return ""
	}
	index := g.ident(indexName(t))
	switch {
	case g.family():
		return g.pick(" USE", " FORCE", " IGNORE") + g.pick(" INDEX", " KEY") + " (" + index + ")"
	case g.d == sqltext.SQLite: // INDEXED BY is an error where the index does not help
		return " NOT INDEXED"
	}
	return ""
}

// one is UPDATE or DELETE of one table.
func (g *generator) one(update bool) (form, string) {
	var with string
	if g.chance(20) && (g.d != sqltext.MariaDB) {
		g.avoidAll()
		with = g.with()
	}
	g.avoidNesting(update)
	// MariaDB has no alias for DELETE yet.
	ref, s := g.target(update || g.d != sqltext.MariaDB, !update)
	if with != "" && g.d == sqltext.MySQL && g.usedByWith(s.table) {
		g.ctes = nil
	}
	sc := &scope{sources: []source{s}}
	f := form("delete")
	head := "DELETE FROM " + ref
	if update {
		f = "update"
		head = "UPDATE " + g.or() + ref
	}
	if update || g.d != sqltext.MySQL && g.d != sqltext.MariaDB { // DELETE of one table takes no hint
		head += g.hint(s.table)
	}
	if update {
		head += " SET " + g.assignments(sc, s, "")
	}
	tail := g.where(sc)
	if g.mayLimit() && g.chance(35) {
		f += "-limit"
		tail += g.limit(sc, s.table)
	}
	if !g.family() || !update {
		tail += g.returning(s)
	}
	if with != "" {
		f = "with-" + f
	}
	return f, with + head + tail
}

// avoidAll keeps CTEs of MySQL off the tables that may be the target: all but one.
func (g *generator) avoidAll() {
	if g.d == sqltext.MySQL {
		g.avoid = map[*table]bool{acct: true, odd: true, part: true}
	}
}

// avoidNesting keeps DELETE of MariaDB 10.11 off correlated subqueries in a
// subquery: it deletes rows that the condition does not hold for, which no SELECT
// finds.
func (g *generator) avoidNesting(update bool) { g.shallow = g.d == sqltext.MariaDB && !update }

func (g *generator) usedByWith(t *table) bool { return t == line }

func (g *generator) mayLimit() bool { return g.family() || g.m.UpdateDeleteLimit }

// or are words in front of the table that change nothing here.
func (g *generator) or() string {
	switch {
	case !g.chance(6):
	case g.family():
		return g.pick("IGNORE ", "IGNORE ", "LOW_PRIORITY ")
	case g.d == sqltext.SQLite:
		return "OR " + g.pick("ABORT", "FAIL", "IGNORE", "ROLLBACK", "REPLACE") + " "
	}
	return ""
}

func (g *generator) where(sc *scope) string {
	if g.chance(4) {
		return ""
	}
	return " WHERE " + g.boolean(sc, 1+g.r.IntN(deepest))
}

// limit is ORDER BY and LIMIT. The key makes the order total.
func (g *generator) limit(sc *scope, t *table) string {
	s := sc.sources[0]
	var order []string
	for range g.r.IntN(3) {
		order = append(order, g.pick(g.intExpr(sc, 1)+" + 0", g.textExpr(sc, 1))+g.pick("", " ASC", " DESC"))
	}
	for _, k := range t.key {
		order = append(order, s.qualifier+"."+g.ident(k)+g.pick("", " DESC"))
	}
	n := g.pick("1", "3", "7", "12", g.arg(int64(g.r.IntN(9))))
	if g.d == sqltext.SQLite && g.chance(40) {
		n += g.pick(" OFFSET 2", ", 5")
	}
	return " ORDER BY " + strings.Join(order, ", ") + " LIMIT " + n
}

// assignments is a SET list with touched among it. Qualifier goes in front of the
// columns assigned, with its dot.
func (g *generator) assignments(sc *scope, s source, qualifier string) string {
	list := []string{}
	for i, c := range s.table.cols {
		if c.name == touched || c.typ == document || s.table.isKey(c.name) || c.name == s.table.unique || g.r.IntN(5) != 0 {
			continue
		}
		left := qualifier + g.ident(c.name)
		var value string
		switch {
		case c.name == "value" && g.chance(20):
			value = "DEFAULT"
			if g.d == sqltext.SQLite {
				value = "4"
			}
		case g.chance(15):
			value = "NULL"
		case c.typ == integer:
			value = g.pick(g.number(), g.intExpr(sc, 2))
		default:
			value = g.pick(g.words(), g.textExpr(sc, 2))
		}
		next := s.table.cols[i+1]
		if !g.family() && next.typ == c.typ && next.name != touched && next.name != s.table.unique && g.chance(30) {
			list = append(list, "("+left+", "+g.ident(next.name)+") = ("+value+", NULL)")
			break // the next column must not be assigned twice
		}
		list = append(list, left+" = "+value)
	}
	at := g.r.IntN(len(list) + 1)
	plus := s.qualifier + "." + g.ident(touched) + " + 1"
	if len(sc.sources) == 1 {
		plus = g.pick(plus, g.ident(touched)+" + 1", "1 + "+g.ident(touched))
	}
	list = append(list[:at], append([]string{qualifier + g.ident(touched) + " = " + plus}, list[at:]...)...)
	return strings.Join(list, ", ")
}

// joined is UPDATE ... FROM and DELETE ... USING.
func (g *generator) joined() (form, string) {
	var with string
	if g.chance(25) {
		with = g.with()
	}
	ref, s := g.target(true, false)
	if g.d == sqltext.SQLite || g.chance(60) {
		return "update-from", with + g.updateFrom(ref, s)
	}
	from, others := g.others()
	all := &scope{sources: append([]source{s}, others...)}
	return "delete-using", with + "DELETE FROM " + ref + " USING " + from + g.linked(s, others, all) + g.returning(s)
}

func (g *generator) updateFrom(ref string, s source) string {
	from, others := g.others()
	all := &scope{sources: append([]source{s}, others...)}
	return "UPDATE " + g.or() + ref + " SET " + g.assignments(all, s, "") + " FROM " + from + g.linked(s, others, all) + g.returning(s)
}

// linked is a condition on several sources that ties them together mostly.
func (g *generator) linked(s source, others []source, all *scope) string {
	where := g.boolean(all, g.r.IntN(deepest))
	if g.chance(90) {
		where = g.link(others, s) + " AND (" + where + ")"
	}
	return " WHERE " + where
}
