package grammar

import (
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// merge emits MERGE of Postgres.
func (g *Generator) merge(st *sqltext.Statement, inCTE bool) {
	st.Kind = sqltext.Merge
	g.emit("MERGE INTO")
	t := sqltext.Table{}
	if t.Only = g.chance(8); t.Only {
		g.emit("ONLY")
	}
	t.Name, t.NameSpan = g.tableName()
	t.Alias, t.AliasSpan = g.alias(40)
	st.Targets = []sqltext.Table{t}
	g.emit("USING")
	st.From = g.within(func() {
		g.emit(pick(g, []string{"{tab}", "{tab}", "( {query} ) AS {name}", "{tab} LEFT JOIN {tab} ON {pred}"}))
	})
	g.emit("ON")
	st.On = g.within(func() { g.emit("{bool}") })
	for i := 0; i == 0 || g.chance(50); i++ {
		st.Whens = append(st.Whens, g.when())
	}
	if g.version >= 17 && (inCTE || g.chance(30)) {
		g.returning(st)
	}
}

func (g *Generator) when() (w sqltext.When) {
	w.Span = g.within(func() {
		g.emit("WHEN")
		switch g.rnd.IntN(3) {
		case 0:
			w.Match = sqltext.NotMatched
			g.emit("NOT MATCHED")
			if g.version >= 17 && g.chance(30) {
				g.emit("BY TARGET")
			}
		case 1:
			if g.version >= 17 {
				w.Match = sqltext.NotMatchedBySource
				g.emit("NOT MATCHED BY SOURCE")
				break
			}
			fallthrough
		default:
			w.Match = sqltext.Matched
			g.emit("MATCHED")
		}
		if g.chance(40) {
			g.emit("AND")
			w.Cond = g.within(func() { g.emit("{bool}") })
		}
		g.emit("THEN")
		g.mergeAction(&w)
	})
	return w
}

func (g *Generator) mergeAction(w *sqltext.When) {
	switch {
	case g.chance(15):
		g.emit("DO NOTHING")
	case w.Match != sqltext.NotMatched && g.chance(40):
		w.Kind = sqltext.Delete
		g.emit("DELETE")
	case w.Match != sqltext.NotMatched:
		w.Kind = sqltext.Update
		g.emit("UPDATE SET")
		w.Set = g.within(func() { w.SetColumns = g.assignments(nil, false) })
	default:
		w.Kind = sqltext.Insert
		g.emit("INSERT")
		if g.chance(25) {
			g.emit("DEFAULT VALUES")
			return
		}
		if g.chance(70) {
			w.Columns = g.columnList(2)
		}
		if g.chance(10) {
			g.emit("OVERRIDING SYSTEM VALUE")
		}
		g.emit("VALUES ( {expr} , {expr} )")
	}
}

// write emits one statement that changes rows, its WITH list in front.
func (g *Generator) write(inCTE bool) *sqltext.Statement {
	st := &sqltext.Statement{Dialect: g.dialect}
	at := g.mark()
	chance := map[bool]int{true: 8, false: 15}[inCTE]
	kind := g.rnd.IntN(10)
	if g.dialect == sqltext.Postgres && kind == 9 && (!inCTE || g.version >= 17) {
		if g.chance(chance) {
			st.With, st.CTEs = g.with(!inCTE)
		}
		g.merge(st, inCTE)
		st.Span = g.span(at)
		return st
	}
	withs := g.dialect != sqltext.MariaDB && (g.dialect != sqltext.MySQL || kind > 3)
	if withs && g.chance(chance) {
		st.With, st.CTEs = g.with(!inCTE)
	}
	switch {
	case kind <= 3:
		g.insert(st, inCTE)
	case kind <= 6:
		g.update(st, inCTE)
	default:
		g.del(st, inCTE)
	}
	st.Span = g.span(at)
	return st
}

// small emits what is neither a query nor a change.
func (g *Generator) small(st *sqltext.Statement) {
	savepoint := func(k sqltext.Kind, forms ...string) {
		st.Kind = k
		g.emit(pick(g, forms))
		st.Savepoint = g.word([]string{"sp1", "s2", "before_update", "gorm1"})
	}
	to := []string{"ROLLBACK TO", "ROLLBACK TO SAVEPOINT"}
	switch g.rnd.IntN(5) {
	case 0:
		savepoint(sqltext.Savepoint, "SAVEPOINT")
	case 1:
		switch g.dialect {
		case sqltext.SQLite:
			to = append(to, "ROLLBACK TRANSACTION TO")
		case sqltext.Postgres:
			to = append(to, "ROLLBACK WORK TO", "ROLLBACK TRANSACTION TO SAVEPOINT")
		default:
			to = append(to, "ROLLBACK WORK TO SAVEPOINT")
		}
		savepoint(sqltext.RollbackTo, to...)
	case 2:
		if g.mysqlFamily() {
			savepoint(sqltext.Release, "RELEASE SAVEPOINT")
			return
		}
		savepoint(sqltext.Release, "RELEASE", "RELEASE SAVEPOINT")
	case 3:
		g.show(st)
	default:
		g.explain(st)
	}
}

func (g *Generator) show(st *sqltext.Statement) {
	st.Kind = sqltext.Show
	switch g.dialect {
	case sqltext.SQLite:
		g.explain(st)
	case sqltext.Postgres:
		g.emit("SHOW " + pick(g, []string{"search_path", "ALL", "TIME ZONE", "TRANSACTION ISOLATION LEVEL", "app . setting"}))
	default:
		g.emit("SHOW " + pick(g, []string{"TABLES", "VARIABLES LIKE 'a%'", "CREATE TABLE {table}", "WARNINGS", "COLUMNS FROM {table}", "SESSION STATUS", "INDEX FROM {table}"}))
	}
}

func (g *Generator) explain(st *sqltext.Statement) {
	st.Kind = sqltext.Explain
	forms := []string{"EXPLAIN"}
	switch g.dialect {
	case sqltext.SQLite:
		forms = append(forms, "EXPLAIN QUERY PLAN")
	case sqltext.Postgres:
		forms = append(forms, "EXPLAIN VERBOSE", "EXPLAIN ( COSTS off , VERBOSE )", "EXPLAIN ( FORMAT JSON )")
	default:
		forms = append(forms, "EXPLAIN FORMAT = JSON", "DESCRIBE", "DESC")
	}
	g.emit(pick(g, forms))
	if g.chance(50) {
		g.write(false)
		return
	}
	g.compound(2)
}

// sameName emits the name by which the rest of a statement knows a table.
func (g *Generator) sameName(t sqltext.Table) {
	at := t.NameSpan.End - 1 // behind the schema
	if t.AliasSpan != (sqltext.Span{}) {
		at = t.AliasSpan.Start
	}
	g.put(g.tokens[at].text, g.tokens[at].class)
}

// nextValue emits NEXT VALUE FOR of MariaDB, which calls nextval.
func (g *Generator) nextValue() {
	g.emit("NEXT VALUE FOR s1")
	g.tokens[len(g.tokens)-4].calls = "nextval"
}

func upper(s string) string { return strings.ToUpper(s) }
