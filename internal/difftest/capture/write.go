package capture

import (
	"strconv"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// upsert is INSERT that changes rows which are in the way. It is on acct, which
// has two unique columns; the new rows meet others in one of them only.
func (g *generator) upsert() (form, string) {
	meet := g.pick("id", acct.unique)
	name := g.ident(acct.name)
	s := source{qualifier: name, cols: acct.cols, table: acct}
	head := "INSERT INTO " + name
	if !g.family() && g.chance(40) {
		s.qualifier = g.newAlias()
		head += " AS " + s.qualifier
	}
	cols := []column{{"id", integer}, {acct.unique, integer}, {"value", integer}, {"name", text}}
	var names []string
	for _, c := range cols {
		names = append(names, g.ident(c.name))
	}
	head += " (" + strings.Join(names, ", ") + ")"
	fresh := source{qualifier: "excluded", cols: cols}
	if g.chance(40) {
		head += " " + g.newFromQuery(meet)
		fresh.qualifier = ""
	} else {
		head += " VALUES " + g.newRows(meet)
		if g.d == sqltext.MySQL && g.chance(50) {
			fresh.qualifier = g.newAlias()
			head += " AS " + fresh.qualifier
		} else if g.family() {
			fresh.qualifier = ""
		}
	}
	if !g.family() {
		fresh.qualifier = "excluded"
	}
	set := s.qualifier + "." + g.ident(touched) + " + 1"
	set = g.ident(touched) + " = " + set
	if g.chance(60) {
		value := g.ident("value") + " = "
		if fresh.qualifier == "" {
			value += "VALUES(" + g.ident("value") + ")"
		} else {
			value += fresh.qualifier + "." + g.ident("value")
		}
		set = g.pick(set+", "+value, value+", "+set)
	}
	if g.family() {
		return "upsert", head + " ON DUPLICATE KEY UPDATE " + set
	}
	head += " ON CONFLICT (" + g.ident(meet) + ")"
	if g.chance(10) {
		return "upsert", head + " DO NOTHING"
	}
	sc := &scope{sources: []source{s, fresh}}
	if g.chance(60) {
		set += " WHERE " + g.boolean(sc, 2)
	}
	return "upsert", head + " DO UPDATE SET " + set + g.returning(s)
}

// newRows is a VALUES list in which some rows meet others.
func (g *generator) newRows(meet string) string {
	var rows []string
	for i, id := range g.r.Perm(acct.rows)[:1+g.r.IntN(5)] {
		id, u := id+1, 500+i
		if meet == acct.unique {
			id, u = 1000+i, 100+id
		}
		if g.chance(25) {
			id, u = 2000+i, 2000+i // meets none
		}
		value := g.pick("5", g.typed(integer, int64(g.r.IntN(9))))
		rows = append(rows, "("+g.int(id)+", "+g.int(u)+", "+value+", "+g.word()+")")
	}
	return strings.Join(rows, ", ")
}

func (g *generator) int(n int) string {
	if g.chance(50) {
		return g.typed(integer, int64(n))
	}
	return strconv.Itoa(n)
}

// newFromQuery takes the new rows from line, whose ids are as many and more.
func (g *generator) newFromQuery(meet string) string {
	from, s := g.named(line, false)
	sc := &scope{sources: []source{s}}
	id := s.qualifier + "." + g.ident("id")
	fresh := id + " + 1000"
	key, u := id, fresh
	if meet == acct.unique {
		key, u = fresh, id+" + 100"
	}
	return "SELECT " + key + ", " + u + ", " + s.qualifier + ".qty, " + s.qualifier + ".tag FROM " + from +
		" WHERE " + g.boolean(sc, 2)
}

// merge is MERGE of Postgres. Source and target meet in a key of both, since no
// row may be changed twice.
func (g *generator) merge() (form, string) {
	byID := []*table{acct, line, part}
	i := g.r.IntN(len(byID))
	t, u := byID[i], byID[(i+1+g.r.IntN(2))%len(byID)]
	var with string
	if g.chance(20) {
		with = g.withList("") // MERGE takes no RECURSIVE
	}
	target, s := g.named(t, true)
	using, other := g.named(u, false)
	both := &scope{sources: []source{s, other}}
	on := s.qualifier + ".id = " + other.qualifier + ".id"
	if g.chance(40) {
		on += " AND (" + g.boolean(both, 1) + ")"
	}
	sketch := with + "MERGE INTO " + target + " USING " + using + " ON " + on
	for range g.r.IntN(3) {
		sketch += " WHEN MATCHED AND " + g.boolean(both, 1) + " THEN " + g.action(both, s)
	}
	sketch += " WHEN MATCHED THEN " + g.action(both, s)
	if g.version >= 17 && g.chance(50) {
		alone := &scope{sources: []source{s}}
		sketch += " WHEN NOT MATCHED BY SOURCE AND " + g.boolean(alone, 1) + " THEN " + g.action(alone, s)
	}
	if g.chance(40) {
		by := ""
		if g.version >= 17 {
			by = g.pick("", " BY TARGET")
		}
		sketch += " WHEN NOT MATCHED" + by + " AND " + g.boolean(&scope{sources: []source{other}}, 0) + " THEN DO NOTHING"
	}
	return "merge", sketch
}

// action is what a WHEN clause does.
func (g *generator) action(sc *scope, s source) string {
	switch g.r.IntN(4) {
	case 0:
		return "DELETE"
	case 1:
		return "DO NOTHING"
	}
	return "UPDATE SET " + g.ident(touched) + " = " + s.qualifier + "." + g.ident(touched) + " + 1, " +
		g.ident(s.table.cols[len(s.table.cols)-3].name) + " = " + g.pick("DEFAULT", "NULL", g.ofColumn(sc, s.table.cols[len(s.table.cols)-3]))
}

func (g *generator) ofColumn(sc *scope, c column) string {
	if c.typ == integer {
		return g.intExpr(sc, 1)
	}
	return g.textExpr(sc, 1)
}

// writing is WITH whose members write, each another table, in Postgres. All of
// them see the rows as they were before.
func (g *generator) writing() (form, string) {
	var members []string
	order := g.r.Perm(len(tables))
	n := 1 + g.r.IntN(2)
	for _, i := range order[:n] {
		members = append(members, g.newAlias()+" AS ("+g.plainWrite(tables[i])+")")
	}
	tail := "SELECT 1 AS done"
	if g.chance(70) {
		tail = g.plainWrite(tables[order[n]])
	}
	return "writing-with", "WITH " + strings.Join(members, ", ") + " " + tail
}

// plainWrite changes rows of a table by a condition.
func (g *generator) plainWrite(t *table) string {
	ref, s := g.named(t, true)
	sc := &scope{sources: []source{s}}
	if g.chance(40) {
		return "DELETE FROM " + ref + " WHERE " + g.boolean(sc, 2)
	}
	return "UPDATE " + ref + " SET " + g.assignments(sc, s, "") + " WHERE " + g.boolean(sc, 2)
}
