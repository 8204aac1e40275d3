package grammar

import "github.com/globaltx/globaltx/proxy/sqltext"

// query emits a query of n columns, for a place in brackets.
func (g *Generator) query(n int) {
	g.depth--
	defer func() { g.depth++ }()
	g.depth-- // a query is worth two levels
	defer func() { g.depth++ }()
	switch {
	case g.depth > 0 && g.chance(8):
		g.with(false)
		g.compound(n)
	case g.chance(6):
		g.values(n)
	default:
		g.compound(n)
	}
}

// compound emits a query of n columns, perhaps several joined by UNION.
func (g *Generator) compound(n int) {
	if g.depth > 0 && g.chance(15) {
		// The parts of a compound carry no ORDER BY of their own.
		for range 1 + g.rnd.IntN(2) {
			g.plainSelect(n)
			g.emit(pick(g, []string{"UNION", "UNION ALL", "EXCEPT", "INTERSECT", "UNION ALL"}))
		}
		g.plainSelect(n)
		if g.chance(30) {
			g.emit("ORDER BY 1")
			if g.dialect == sqltext.Postgres && g.chance(20) {
				g.emit("FETCH FIRST 3 ROWS WITH TIES")
			}
		}
		return
	}
	g.plainSelect(n)
	if g.chance(30) {
		g.emit("ORDER BY {order}")
	}
	switch {
	case g.chance(20):
		g.limit()
	case g.dialect == sqltext.Postgres && g.chance(6):
		g.emit(pick(g, []string{"FETCH FIRST {limitcount} ROWS ONLY", "OFFSET {limitcount} ROWS FETCH NEXT ROW ONLY", "OFFSET 2 LIMIT 1"}))
	}
	if g.dialect != sqltext.SQLite && g.chance(4) {
		g.lock()
	}
}

func (g *Generator) lock() {
	g.locks = append(g.locks, g.mark())
	clauses := []string{"FOR UPDATE", "LOCK IN SHARE MODE", "FOR UPDATE NOWAIT", "FOR UPDATE SKIP LOCKED"}
	switch g.dialect {
	case sqltext.MySQL:
		clauses = append(clauses, "FOR SHARE", "FOR SHARE NOWAIT", "FOR SHARE SKIP LOCKED")
	case sqltext.MariaDB:
		clauses = append(clauses, "FOR UPDATE WAIT 5", "LOCK IN SHARE MODE NOWAIT")
	case sqltext.Postgres:
		clauses = []string{"FOR UPDATE", "FOR SHARE", "FOR NO KEY UPDATE", "FOR KEY SHARE", "FOR UPDATE NOWAIT", "FOR SHARE SKIP LOCKED"}
	}
	g.emit(pick(g, clauses))
}

// limit emits LIMIT with its word, and gives the span behind it.
func (g *Generator) limit() sqltext.Span {
	g.emit("LIMIT")
	return g.within(func() {
		switch g.rnd.IntN(4) {
		case 0:
			g.emit("{limitcount} OFFSET {limitcount}")
		case 1:
			if g.dialect != sqltext.Postgres {
				g.emit("{limitcount} , {limitcount}")
				return
			}
			g.emit("ALL")
		default:
			g.emit("{limitcount}")
		}
	})
}

// limitCount is a count that every dialect takes behind LIMIT.
func (g *Generator) limitCount() {
	if g.chance(50) {
		g.param()
		return
	}
	g.put(pick(g, []string{"1", "10", "100"}), classNumber)
}

func (g *Generator) values(n int) {
	row := func() {
		switch g.dialect {
		case sqltext.MySQL:
			g.emit("ROW (")
		default:
			g.emit("(")
		}
		for i := range n {
			if i > 0 {
				g.emit(",")
			}
			g.emit("{expr}")
		}
		g.emit(")")
	}
	g.emit("VALUES")
	row()
	for g.chance(30) {
		g.emit(",")
		row()
	}
}

// plainSelect emits SELECT up to GROUP BY.
func (g *Generator) plainSelect(n int) {
	g.emit("SELECT")
	if g.chance(8) {
		g.emit(pick(g, []string{"DISTINCT", "ALL"}))
	}
	for i := range n {
		if i > 0 {
			g.emit(",")
		}
		g.emit("{item}")
	}
	if g.chance(10) && n == 1 && g.dialect == sqltext.Postgres {
		// Nothing more: a query without FROM.
		return
	}
	g.emit("FROM {refs}")
	if g.chance(60) {
		g.emit("WHERE {bool}")
	}
	if g.chance(12) {
		g.groupBy()
	}
	if g.dialect == sqltext.Postgres && g.chance(5) {
		g.emit("WINDOW w AS ( PARTITION BY {prim} ORDER BY {prim} )")
	}
}

func (g *Generator) groupBy() {
	clauses := []string{"{prim}", "{qcol} , {qcol}"}
	switch g.dialect {
	case sqltext.Postgres:
		clauses = append(clauses, "GROUPING SETS ( ( {qcol} ) , ( {qcol} , {qcol} ) , ( ) )", "ROLLUP ( {qcol} , {qcol} )", "CUBE ( {qcol} )", "DISTINCT {qcol}")
	case sqltext.MySQL, sqltext.MariaDB:
		clauses = append(clauses, "{qcol} WITH ROLLUP")
	}
	g.emit("GROUP BY " + pick(g, clauses))
	if g.chance(50) {
		g.emit("HAVING {bool}")
	}
}

// tab emits a table with an alias or none.
func (g *Generator) tab() {
	g.tableName()
	g.alias(60)
}

// with emits a WITH list, and gives it as the truth tells it; writing members only
// where the caller is at the top and the server takes them.
func (g *Generator) with(writes bool) (all sqltext.Span, ctes []sqltext.CTE) {
	all = g.within(func() {
		g.emit("WITH")
		if g.chance(15) {
			g.emit("RECURSIVE")
		}
		for i := 0; i == 0 || g.chance(25); i++ {
			if i > 0 {
				g.emit(",")
			}
			ctes = append(ctes, g.cte(writes))
		}
	})
	return all, ctes
}

func (g *Generator) cte(writes bool) (c sqltext.CTE) {
	c.Name = g.word([]string{"w1", "w2", "moved", "src"})
	n := 1 + g.rnd.IntN(2)
	if g.chance(25) {
		n = 2
		g.emit("( x , y )")
	}
	g.emit("AS")
	if g.dialect == sqltext.Postgres || g.dialect == sqltext.SQLite {
		if g.chance(15) {
			g.emit(pick(g, []string{"MATERIALIZED", "NOT MATERIALIZED"}))
		}
	}
	g.emit("(")
	c.Body = g.within(func() {
		if writes && g.dialect == sqltext.Postgres && g.chance(40) {
			c.Write = g.write(true)
			c.Write.Span = sqltext.Span{Start: c.Write.Span.Start, End: g.mark()}
			return
		}
		g.query(n)
	})
	g.emit(")")
	return c
}

// selectStatement emits a query at the top.
func (g *Generator) selectStatement(st *sqltext.Statement) {
	st.Kind = sqltext.Select
	switch {
	case g.dialect != sqltext.SQLite && g.chance(50):
		g.lockingSelect(st)
		return
	case g.chance(30):
		st.With, st.CTEs = g.with(g.dialect == sqltext.Postgres)
		g.compound(1 + g.rnd.IntN(3))
	case g.chance(10) && g.dialect != sqltext.SQLite:
		g.emit("( {query} )")
	case g.chance(6):
		g.values(2)
	case g.chance(4) && (g.dialect == sqltext.MySQL || g.dialect == sqltext.Postgres):
		g.emit("TABLE {table}")
	default:
		g.compound(1 + g.rnd.IntN(3))
	}
}

// lockingSelect emits a query of one table that locks what it reads.
func (g *Generator) lockingSelect(st *sqltext.Statement) {
	if g.chance(10) {
		st.With, st.CTEs = g.with(false)
	}
	g.emit("SELECT " + pick(g, []string{"*", "{item}", "{item} , {item}", "{qcol} , {expr} AS {name}"}) + " FROM")
	t := sqltext.Table{}
	if t.Only = g.dialect == sqltext.Postgres && g.chance(8); t.Only {
		g.emit("ONLY")
	}
	t.Name, t.NameSpan = g.tableName()
	t.Partition = g.partition()
	t.Alias, t.AliasSpan = g.alias(40)
	t.IndexHint = g.indexHint()
	if g.chance(80) {
		g.emit("WHERE")
		st.Where = g.within(func() { g.emit("{bool}") })
	}
	if g.chance(40) {
		g.emit("ORDER BY")
		st.OrderBy = g.within(func() { g.emit("{order}") })
	}
	if g.chance(40) {
		st.Limit = g.limit()
	}
	st.Lock = g.within(func() {
		g.lock()
		of := g.dialect == sqltext.Postgres || g.dialect == sqltext.MySQL
		if last := g.tokens[len(g.tokens)-1].text; of && g.chance(15) && t.Name.Schema == "" && lockWord[upper(last)] {
			g.emit("OF")
			g.sameName(t)
		}
	})
	st.Targets = []sqltext.Table{t}
	st.Locking = true
}

var lockWord = map[string]bool{"UPDATE": true, "SHARE": true}
