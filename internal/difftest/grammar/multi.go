package grammar

import (
	"slices"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// planned is a table that a DELETE lists before its references name it.
type planned struct {
	table       sqltext.Table
	name, alias []token // as the references write it
}

// exposed is the name by which the rest of a statement knows a table.
func exposed(t sqltext.Table) string {
	if t.Alias != "" {
		return t.Alias
	}
	return t.Name.Table
}

// mostTables keeps plan from looking for a free name when there is none.
const mostTables = 8

// plan draws a table whose exposed name is not among the used ones.
func (g *Generator) plan(used *[]string) planned {
	for {
		p := planned{}
		p.name = g.apart(func() { p.table.Name, _ = g.tableName() })
		p.alias = g.apart(func() { p.table.Alias, _ = g.alias(60) })
		if name := strings.ToLower(exposed(p.table)); !slices.Contains(*used, name) {
			*used = append(*used, name)
			return p
		}
	}
}

// multiDelete emits the list and the references of a DELETE of several tables.
func (g *Generator) multiDelete(st *sqltext.Statement) {
	st.Multi = true
	using := g.chance(50)
	if using {
		g.emit("FROM")
	}
	var plans []planned
	var used []string
	for i := 0; i == 0 || i < 4 && g.chance(40); i++ {
		if i > 0 {
			g.emit(",")
		}
		p := g.plan(&used)
		plans = append(plans, p)
		listed := p.alias
		if len(listed) == 0 {
			listed = p.name
		}
		if p.table.Alias != "" {
			listed = listed[len(listed)-1:] // without AS
		}
		g.tokens = append(g.tokens, listed...)
		if g.chance(25) {
			g.emit(". *")
		}
	}
	g.emit(map[bool]string{true: "USING", false: "FROM"}[using])
	st.From = g.within(func() { st.Targets = g.references(plans)[:len(plans)] })
}

// references emits a list of joined tables of the MySQL family, the planned ones
// first, and gives every table in it that can be changed.
func (g *Generator) references(plans []planned) (all []sqltext.Table) {
	var used []string
	for _, p := range plans {
		used = append(used, strings.ToLower(exposed(p.table)))
	}
	table := func() {
		p := planned{}
		if len(all) < len(plans) {
			p = plans[len(all)]
		} else {
			p = g.plan(&used)
		}
		t := p.table
		t.NameSpan = g.within(func() { g.tokens = append(g.tokens, p.name...) })
		t.Partition = g.partition()
		g.tokens = append(g.tokens, p.alias...)
		if n := len(g.tokens); len(p.alias) > 0 {
			t.AliasSpan = sqltext.Span{Start: n - 1, End: n}
		}
		t.IndexHint = g.indexHint()
		all = append(all, t)
	}
	table()
	for i := 0; len(all) < len(plans) || i == 0 || len(used) < mostTables && g.chance(30); i++ {
		g.joined(table)
	}
	return all
}

// joined emits one more member of a list of references.
func (g *Generator) joined(table func()) {
	factor := func() {
		switch g.rnd.IntN(8) {
		case 0:
			g.emit("( {query} ) AS {name}")
		case 1:
			g.emit("(")
			table()
			g.emit("JOIN")
			table()
			g.emit("ON {pred} )")
		default:
			table()
		}
	}
	switch g.rnd.IntN(5) {
	case 0:
		g.emit(",")
		factor()
	case 1:
		g.emit("LEFT JOIN")
		factor()
		g.emit("USING ( {col} )")
	default:
		g.emit(pick(g, []string{"JOIN", "INNER JOIN", "LEFT OUTER JOIN", "RIGHT JOIN", "STRAIGHT_JOIN"}))
		factor()
		g.emit("ON {bool}")
	}
}

// changed are the tables that an UPDATE of several can change: those that its
// columns name, or all when one column names none.
func changed(all []sqltext.Table, set []sqltext.Column) (some []sqltext.Table) {
	for _, t := range all {
		if slices.ContainsFunc(set, func(c sqltext.Column) bool {
			return c.Table == "" || strings.EqualFold(c.Table, exposed(t))
		}) {
			some = append(some, t)
		}
	}
	return some
}
