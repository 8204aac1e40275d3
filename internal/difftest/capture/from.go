package capture

import (
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// readable gives a table that a subquery may read.
func (g *generator) readable() *table {
	for {
		if t := tables[g.r.IntN(len(tables))]; !g.avoid[t] {
			return t
		}
	}
}

// named gives a reference to a table, with an alias mostly. Without one the name
// may be taken already, so it is for where only one source stands.
func (g *generator) named(t *table, mayBare bool) (string, source) {
	name := g.ident(t.name)
	if mayBare && g.chance(25) {
		return name, source{qualifier: name, cols: t.cols, table: t}
	}
	alias := g.newAlias()
	as := " AS "
	if g.chance(30) {
		as = " "
	}
	return name + as + alias, source{qualifier: alias, cols: t.cols, table: t}
}

// derivedCols are the columns of what is no table.
var derivedCols = []column{{"k", integer}, {"s", text}}

// body is a query whose columns are derivedCols.
func (g *generator) body(depth int) string {
	from, s := g.named(g.readable(), false)
	sc := &scope{sources: []source{s}}
	k, _ := g.ref(sc, integer)
	var str string
	for ok := false; !ok; {
		str, ok = g.ref(sc, text)
	}
	distinct := g.pick("", "", "DISTINCT ")
	return "SELECT " + distinct + k + " AS k, " + str + " AS s FROM " + from + " WHERE " + g.boolean(sc, depth)
}

// reading gives what a query reads: a table, a CTE or a derived table.
func (g *generator) reading() (string, source) {
	if len(g.ctes) > 0 && g.chance(50) {
		c := g.ctes[g.r.IntN(len(g.ctes))]
		alias := g.newAlias()
		return c.qualifier + " AS " + alias, source{qualifier: alias, cols: c.cols}
	}
	if g.chance(12) {
		alias := g.newAlias()
		return "(" + g.body(0) + ") AS " + alias, source{qualifier: alias, cols: derivedCols}
	}
	return g.named(g.readable(), false)
}

// with writes a WITH list and makes its members readable.
func (g *generator) with() string { return g.withList(g.pick("", "", "RECURSIVE ")) }

func (g *generator) withList(recursive string) string {
	var members []string
	for range 1 + g.r.IntN(2) {
		name := g.newAlias()
		as := " AS "
		if !g.family() && g.chance(30) {
			as = " AS " + g.pick("", "NOT ") + "MATERIALIZED "
		}
		cols := g.pick("", " (k, s)")
		members = append(members, name+cols+as+"("+g.body(1)+")")
		g.ctes = append(g.ctes, source{qualifier: name, cols: derivedCols})
	}
	if recursive != "" {
		name := g.newAlias()
		members = append(members, name+" (k) AS (SELECT 1 UNION ALL SELECT k + 2 FROM "+name+" WHERE k < 8)")
		g.ctes = append(g.ctes, source{qualifier: name, cols: derivedCols[:1]})
	}
	return "WITH " + recursive + strings.Join(members, ", ") + " "
}

// join goes on from the sources of one chain of joins.
func (g *generator) join(first string, s source) (string, []source) {
	from, all := first, []source{s}
	for range g.r.IntN(2) {
		next, s := g.reading()
		all = append(all, s)
		kind := g.pick(" JOIN ", " INNER JOIN ", " LEFT JOIN ", " JOIN ", " LEFT JOIN ", " RIGHT JOIN ", " CROSS JOIN ")
		from += kind + next
		if kind != " CROSS JOIN " {
			from += " ON " + g.link(all[:len(all)-1], s)
		}
	}
	return from, all
}

// link is a condition that ties a source to one of those before it.
func (g *generator) link(before []source, s source) string {
	left, ok1 := g.ref(&scope{sources: []source{before[g.r.IntN(len(before))], before[0]}}, integer)
	right, ok2 := g.ref(&scope{sources: []source{s, s}}, integer)
	if !ok1 || !ok2 {
		return "1 = 1"
	}
	both := &scope{sources: append(append([]source{}, before...), s)}
	return left + " = " + right + g.pick("", "", " AND "+g.boolean(both, 0))
}

// others writes what stands behind FROM of UPDATE or USING of DELETE.
func (g *generator) others() (string, []source) {
	var list []string
	var all []source
	for range 1 + g.r.IntN(3)/2 {
		first, s := g.reading()
		chain, in := g.join(first, s)
		list = append(list, chain)
		all = append(all, in...)
	}
	return strings.Join(list, ", "), all
}

// returning lists what a statement gives back, or nothing.
func (g *generator) returning(s source) string {
	if g.d == sqltext.MySQL || !g.chance(25) {
		return ""
	}
	key := s.qualifier + "." + g.ident(s.table.cols[0].name)
	if g.family() || g.d == sqltext.SQLite { // they know no alias there
		key = g.ident(s.table.cols[0].name)
	}
	return " RETURNING " + g.pick("*", key, key+" AS k, "+g.typed(integer, int64(3)), "'WHERE', "+key)
}
