package grammar

import "github.com/globaltx/globaltx/proxy/sqltext"

// update emits UPDATE of one table, or of several in the MySQL family.
func (g *Generator) update(st *sqltext.Statement, inCTE bool) {
	st.Kind = sqltext.Update
	multi := g.mysqlFamily() && g.chance(35)
	g.emit("UPDATE")
	g.modifiers(st, "LOW_PRIORITY")
	switch {
	case multi:
		st.Multi = true
		st.From = g.within(func() { st.Targets = g.references(nil) })
	case g.dialect == sqltext.SQLite:
		st.Or = g.orClause()
		st.Targets = []sqltext.Table{g.target(sqltext.Update)}
	default:
		st.Targets = []sqltext.Table{g.target(sqltext.Update)}
	}
	g.emit("SET")
	st.Set = g.within(func() { st.SetColumns = g.assignments(st.Targets, multi) })
	if multi {
		st.Targets = changed(st.Targets, st.SetColumns)
	}
	if !g.mysqlFamily() && g.chance(25) {
		g.emit("FROM")
		st.From = g.within(func() { g.emit("{refs}") })
	}
	if g.chance(85) {
		g.emit("WHERE")
		st.Where = g.within(func() { g.emit("{bool}") })
	}
	g.orderLimit(st, multi, inCTE)
}

// del emits DELETE of one table, or of several in the MySQL family.
func (g *Generator) del(st *sqltext.Statement, inCTE bool) {
	st.Kind = sqltext.Delete
	g.emit("DELETE")
	if g.mysqlFamily() && g.chance(10) {
		g.emit("LOW_PRIORITY")
	}
	if g.mysqlFamily() && g.chance(10) {
		g.emit("QUICK")
	}
	if g.mysqlFamily() && g.chance(15) {
		g.emit("IGNORE")
		st.Or = sqltext.OrIgnore
	}
	multi := g.mysqlFamily() && g.chance(35)
	if multi {
		g.multiDelete(st)
	} else {
		g.emit("FROM")
		st.Targets = []sqltext.Table{g.target(sqltext.Delete)}
		if g.dialect == sqltext.Postgres && g.chance(25) {
			g.emit("USING")
			st.From = g.within(func() { g.emit("{refs}") })
		}
	}
	if g.chance(85) {
		g.emit("WHERE")
		st.Where = g.within(func() { g.emit("{bool}") })
	}
	g.orderLimit(st, multi, inCTE)
}

// orderLimit emits what may stand behind WHERE.
func (g *Generator) orderLimit(st *sqltext.Statement, multi, inCTE bool) {
	limits := g.mysqlFamily() && !multi || g.dialect == sqltext.MariaDB && st.Kind == sqltext.Update || g.dialect == sqltext.SQLite && g.mode.UpdateDeleteLimit
	returning := g.dialect == sqltext.Postgres || g.dialect == sqltext.SQLite ||
		g.dialect == sqltext.MariaDB && st.Kind == sqltext.Delete && !multi
	returns := func() {
		if !returning || !g.chance(35) && !inCTE {
			return
		}
		g.returning(st)
	}
	if g.dialect == sqltext.SQLite {
		returns() // in front of ORDER BY
	}
	if limits && g.chance(30) {
		g.emit("ORDER BY")
		st.OrderBy = g.within(func() { g.emit("{order}") })
	}
	if limits && g.chance(30) && (g.dialect != sqltext.SQLite || st.OrderBy != sqltext.Span{} || g.chance(60)) {
		g.emit("LIMIT")
		st.Limit = g.within(func() {
			g.emit("{limitcount}")
			if g.dialect == sqltext.SQLite && g.chance(40) {
				g.emit(pick(g, []string{",", "OFFSET"}) + " {limitcount}")
			}
		})
	}
	if g.dialect != sqltext.SQLite {
		returns()
	}
}

func (g *Generator) returning(st *sqltext.Statement) {
	g.emit("RETURNING")
	st.Returning = g.within(func() {
		if g.dialect == sqltext.Postgres && g.version >= 18 && g.chance(10) {
			g.emit(pick(g, []string{"WITH ( OLD AS o )", "WITH ( NEW AS n , OLD AS o )"}))
		}
		g.emit(pick(g, []string{"*", "{item}", "{item} , {item}", "{qcol}", "* , {item}"}))
	})
}

// modifiers emits the words behind a verb of the MySQL family.
func (g *Generator) modifiers(st *sqltext.Statement, words ...string) {
	if !g.mysqlFamily() {
		return
	}
	if g.chance(15) {
		g.emit(pick(g, words))
	}
	if g.chance(15) {
		g.emit("IGNORE")
		st.Or = sqltext.OrIgnore
	}
}

func (g *Generator) orClause() sqltext.Or {
	if !g.chance(25) {
		return sqltext.OrFail
	}
	ors := []sqltext.Or{sqltext.OrIgnore, sqltext.OrReplace, sqltext.OrAbort, sqltext.OrFailHere, sqltext.OrRollback}
	i := g.rnd.IntN(len(ors))
	g.emit("OR " + []string{"IGNORE", "REPLACE", "ABORT", "FAIL", "ROLLBACK"}[i])
	return ors[i]
}

// target emits the one table that UPDATE or DELETE changes.
func (g *Generator) target(k sqltext.Kind) (t sqltext.Table) {
	brackets := false
	if t.Only = g.dialect == sqltext.Postgres && g.chance(8); t.Only {
		g.emit("ONLY")
		if brackets = g.chance(20); brackets {
			g.emit("(")
		}
	}
	t.Name, t.NameSpan = g.tableName()
	if brackets {
		g.emit(")")
	} else if g.dialect == sqltext.Postgres && !t.Only && g.chance(4) {
		g.emit("*")
	}
	switch {
	case g.dialect == sqltext.SQLite:
		if g.chance(30) {
			t.Alias, t.AliasSpan = g.aliasAs()
		}
		t.IndexHint = g.indexHint()
	case g.dialect == sqltext.MariaDB && k == sqltext.Delete:
		t.Partition = g.partition()
	case g.dialect == sqltext.MySQL && k == sqltext.Delete:
		t.Alias, t.AliasSpan = g.alias(30)
		t.Partition = g.partition()
	default:
		t.Partition = g.partition()
		t.Alias, t.AliasSpan = g.alias(30)
		t.IndexHint = g.indexHint()
	}
	return t
}

func (g *Generator) partition() sqltext.Span {
	if !g.mysqlFamily() || !g.chance(6) {
		return sqltext.Span{}
	}
	return g.within(func() { g.emit(pick(g, []string{"PARTITION ( p0 )", "PARTITION ( p0 , p1 )"})) })
}

func (g *Generator) indexHint() sqltext.Span {
	hints := []string{"USE INDEX ( i1 )", "FORCE KEY ( PRIMARY )", "IGNORE INDEX FOR JOIN ( i1 , i2 )"}
	switch g.dialect {
	case sqltext.Postgres:
		return sqltext.Span{}
	case sqltext.SQLite:
		hints = []string{"INDEXED BY i1", "NOT INDEXED"}
	}
	if !g.chance(8) {
		return sqltext.Span{}
	}
	return g.within(func() { g.emit(pick(g, hints)) })
}

// assignments emits what stands behind SET.
func (g *Generator) assignments(targets []sqltext.Table, multi bool) (cols []sqltext.Column) {
	for i := 0; i == 0 || g.chance(40); i++ {
		if i > 0 {
			g.emit(",")
		}
		if !g.mysqlFamily() && g.chance(12) {
			cols = append(cols, g.assignSeveral()...)
			continue
		}
		c := sqltext.Column{}
		if g.mysqlFamily() && len(targets) > 0 && g.chance(map[bool]int{true: 60, false: 10}[multi]) {
			t := pick(g, targets)
			c.Table = exposed(t)
			g.sameName(t)
			g.emit(".")
		}
		c.Name = g.column()
		if g.dialect == sqltext.Postgres && g.chance(8) {
			g.emit(pick(g, []string{". f1", "[ 1 ]", "[ {num} : {num} ]", "[ {expr} ] . f1"}))
		}
		eq := "="
		if g.mysqlFamily() && g.chance(1) {
			eq = ":="
		}
		g.emit(eq)
		if g.dialect != sqltext.SQLite && g.chance(8) {
			g.emit("DEFAULT")
		} else {
			g.emit("{expr}")
		}
		cols = append(cols, c)
	}
	return cols
}

// assignSeveral emits (a, b) = of one source.
func (g *Generator) assignSeveral() (cols []sqltext.Column) {
	g.emit("(")
	cols = append(cols, sqltext.Column{Name: g.column()})
	g.emit(",")
	cols = append(cols, sqltext.Column{Name: g.column()})
	g.emit(") =")
	forms := []string{"( {expr} , {expr} )", "( {query2} )"}
	if g.dialect == sqltext.Postgres {
		forms = append(forms, "ROW( {expr} , {expr} )", "( {expr} , DEFAULT )")
	}
	g.emit(pick(g, forms))
	return cols
}
