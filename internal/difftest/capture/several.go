package capture

import (
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// several is UPDATE and DELETE of joined tables, in the MySQL family.
func (g *generator) several() (form, string) {
	n := 1 + g.r.IntN(2)*g.r.IntN(2)
	var targets []source
	var refs []string
	g.avoid = map[*table]bool{}
	bare := g.chance(25)
	for len(targets) < n {
		t := tables[g.r.IntN(len(tables))]
		if g.avoid[t] {
			continue
		}
		g.avoid[t] = true
		name := g.ident(t.name)
		s := source{qualifier: name, cols: t.cols, table: t}
		if !bare {
			s.qualifier = g.newAlias()
			name += g.pick(" AS ", " ") + s.qualifier
		}
		targets = append(targets, s)
		refs = append(refs, name)
	}
	var with string
	if g.d == sqltext.MySQL && g.chance(15) {
		with = g.with()
	}
	update := g.chance(50)
	g.avoidNesting(update)
	from, all := g.chain(refs, targets, bare)
	sc := &scope{sources: all}
	if update {
		return "update-several", with + "UPDATE " + from + " SET " + g.setSeveral(sc, targets) + g.where(sc)
	}
	var names []string
	for _, t := range targets {
		names = append(names, t.qualifier)
	}
	if g.chance(40) {
		return "delete-several", with + "DELETE FROM " + strings.Join(names, ", ") + " USING " + from + g.where(sc)
	}
	star := g.pick("", "", ".*")
	return "delete-several", with + "DELETE " + strings.Join(names, star+", ") + star + " FROM " + from + g.where(sc)
}

// chain joins the targets with each other and with more.
func (g *generator) chain(refs []string, targets []source, bare bool) (string, []source) {
	from, all := refs[0], targets[:1:1]
	type next struct {
		ref string
		s   source
	}
	var more []next
	for i := 1; i < len(targets); i++ {
		more = append(more, next{refs[i], targets[i]})
	}
	for range g.r.IntN(2) + 1 - len(more) {
		if bare && g.chance(50) {
			// The same table again, which is only read.
			ref, s := g.named(targets[0].table, false)
			more = append(more, next{ref, s})
			continue
		}
		ref, s := g.reading()
		more = append(more, next{ref, s})
	}
	for i, m := range more {
		kind := g.pick(" JOIN ", " INNER JOIN ", " LEFT JOIN ", " RIGHT JOIN ", " STRAIGHT_JOIN ", " CROSS JOIN ")
		if i == len(more)-1 && g.chance(25) {
			kind = ", " // last, since what follows may not look back over it in ON
		}
		from += kind + m.ref
		before := all
		all = append(all, m.s)
		switch kind {
		case ", ", " CROSS JOIN ":
		default:
			from += " ON " + g.link(before, m.s)
		}
	}
	return from, all
}

// setSeveral assigns touched in every target, and more.
func (g *generator) setSeveral(sc *scope, targets []source) string {
	var list []string
	for _, t := range targets {
		list = append(list, g.assignments(sc, t, t.qualifier+"."))
	}
	return strings.Join(list, ", ")
}
