package grammar

import (
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// insert emits INSERT or REPLACE.
func (g *Generator) insert(st *sqltext.Statement, inCTE bool) {
	st.Kind = sqltext.Insert
	t := sqltext.Table{}
	if g.dialect != sqltext.Postgres && g.chance(15) {
		g.emit("REPLACE")
		st.Replace, st.Or = true, sqltext.OrReplace
		if g.mysqlFamily() && g.chance(15) {
			g.emit(pick(g, []string{"LOW_PRIORITY", "DELAYED"}))
		}
	} else {
		g.emit("INSERT")
		g.modifiers(st, "LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED")
		if g.dialect == sqltext.SQLite {
			st.Or = g.orClause()
		}
	}
	if !g.mysqlFamily() || !g.chance(15) {
		g.emit("INTO")
	}
	t.Name, t.NameSpan = g.tableName()
	t.Partition = g.partition()
	if !g.mysqlFamily() && g.chance(20) {
		t.Alias, t.AliasSpan = g.aliasAs()
	}
	st.Targets = []sqltext.Table{t}

	set := g.mysqlFamily() && g.chance(15)
	n := 1 + g.rnd.IntN(3)
	if !set && g.chance(75) {
		st.Columns = g.columnList(n)
	}
	if g.dialect == sqltext.Postgres && g.chance(8) {
		st.Overriding = g.within(func() { g.emit(pick(g, []string{"OVERRIDING SYSTEM VALUE", "OVERRIDING USER VALUE"})) })
	}
	upsert := !st.Replace && g.chance(35)
	switch {
	case set:
		g.insertSet(st)
	case g.chance(65):
		g.insertRows(st, n)
	case g.chance(20) && (g.dialect != sqltext.Postgres || st.Columns == nil && st.Overriding == sqltext.Span{}):
		upsert = g.insertDefaults(st) && upsert
	default:
		st.Source = sqltext.SourceQuery
		st.Query = g.within(func() { g.sourceQuery(n, upsert) })
	}
	if g.dialect == sqltext.MySQL && !st.Replace && (st.Source == sqltext.SourceValues || set) && g.chance(15) {
		st.RowAlias = g.within(func() {
			g.emit("AS {name}")
			if g.chance(30) {
				g.columnList(n)
			}
		})
	}
	if upsert {
		g.upserts(st)
	}
	if g.dialect != sqltext.MySQL && (inCTE || g.chance(30)) {
		g.returning(st)
	}
}

func (g *Generator) aliasAs() (name string, at sqltext.Span) {
	g.emit("AS")
	at = g.within(func() { name = g.word(plainAliases) })
	return name, at
}

func (g *Generator) columnList(n int) (cols []string) {
	g.emit("(")
	for i := range n {
		if i > 0 {
			g.emit(",")
		}
		cols = append(cols, g.column())
	}
	g.emit(")")
	return cols
}

func (g *Generator) insertSet(st *sqltext.Statement) {
	st.Source = sqltext.SourceSet
	g.emit("SET")
	row := []sqltext.Value{}
	for i := 0; i == 0 || g.chance(45); i++ {
		if i > 0 {
			g.emit(",")
		}
		st.Columns = append(st.Columns, g.column())
		g.emit("=")
		row = append(row, g.value())
	}
	st.Rows = [][]sqltext.Value{row}
}

func (g *Generator) insertRows(st *sqltext.Statement, n int) {
	st.Source = sqltext.SourceValues
	if g.mysqlFamily() && g.chance(20) {
		g.emit("VALUE")
	} else {
		g.emit("VALUES")
	}
	for i := 0; i == 0 || g.chance(30); i++ {
		if i > 0 {
			g.emit(",")
		}
		g.emit("(")
		row := []sqltext.Value{}
		for j := range n {
			if j > 0 {
				g.emit(",")
			}
			row = append(row, g.value())
		}
		g.emit(")")
		st.Rows = append(st.Rows, row)
	}
}

// insertDefaults emits one row of defaults, and tells whether an upsert may follow.
func (g *Generator) insertDefaults(st *sqltext.Statement) bool {
	st.Source = sqltext.SourceDefaults
	if !g.mysqlFamily() {
		g.emit("DEFAULT VALUES")
		return g.dialect == sqltext.Postgres
	}
	if st.Columns != nil { // a list of columns asks for values
		st.Source = sqltext.SourceValues
		g.emit("VALUES (")
		row := []sqltext.Value{}
		for i := range st.Columns {
			if i > 0 {
				g.emit(",")
			}
			row = append(row, g.value())
		}
		g.emit(")")
		st.Rows = [][]sqltext.Value{row}
		return true
	}
	g.emit(pick(g, []string{"( ) VALUES ( )", "VALUES ( )", "( ) VALUE ( )"}))
	return true
}

// sourceQuery emits the query that an INSERT takes its rows from. In front of an
// upsert it ends with WHERE: behind FROM the word ON would begin a join condition.
func (g *Generator) sourceQuery(n int, upsert bool) {
	switch {
	case upsert:
		g.emit("SELECT")
		for i := range n {
			if i > 0 {
				g.emit(",")
			}
			g.emit("{item}")
		}
		g.emit("FROM {refs} WHERE {bool}")
	case g.chance(12):
		g.with(false)
		g.compound(n)
	case g.chance(10) && g.dialect != sqltext.SQLite:
		g.emit("(")
		g.compound(n)
		g.emit(")")
	case g.chance(6) && (g.dialect == sqltext.MySQL || g.dialect == sqltext.Postgres):
		g.emit("TABLE {table}")
	default:
		g.compound(n)
	}
}

// value emits one expression of a row, and tells what stands there.
func (g *Generator) value() (v sqltext.Value) {
	from := g.mark()
	switch g.rnd.IntN(10) {
	case 0, 1, 2:
		g.param()
	case 3, 4:
		g.number()
	case 5, 6:
		g.str()
	case 7:
		words := []string{"NULL", "TRUE", "- 5", "+ 1", "DEFAULT"}
		if g.dialect == sqltext.SQLite {
			words = words[:4]
		}
		g.emit(pick(g, words))
	default:
		g.emit("{expr}")
	}
	v.Span = g.span(from)
	v.Kind = valueKind(g.tokens[from:])
	return v
}

// unsure marks a value that the API does not sort for certain.
const unsure = sqltext.ValueKind(99)

func valueKind(ts []token) sqltext.ValueKind {
	if len(ts) == 2 && (ts[0].text == "-" || ts[0].text == "+") {
		ts = ts[1:]
		if ts[0].class != classNumber {
			return sqltext.ValueOther
		}
	}
	if len(ts) > 1 {
		if ts[len(ts)-1].class == classString && ts[0].class == classString {
			return unsure // 'a' 'b' in MySQL
		}
		return sqltext.ValueOther
	}
	text := strings.ToUpper(ts[0].text)
	switch ts[0].class {
	case classParam:
		return sqltext.ValuePlaceholder
	case classNumber:
		if strings.HasPrefix(text, "0X") || strings.HasPrefix(text, "0B") {
			return sqltext.ValueOther
		}
		if strings.Trim(text, "0123456789") != "" {
			return unsure
		}
		return sqltext.ValueLiteral
	case classString:
		switch {
		case strings.HasPrefix(text, "X") || strings.HasPrefix(text, "B") || strings.HasPrefix(text, "N"):
			return sqltext.ValueOther
		case text[0] == '\'' && !strings.ContainsAny(text[1:len(text)-1], "'\\"):
			return sqltext.ValueLiteral
		}
		return unsure
	}
	switch text {
	case "NULL":
		return sqltext.ValueNull
	case "DEFAULT":
		return sqltext.ValueDefault
	case "TRUE", "FALSE":
		return sqltext.ValueLiteral
	}
	return sqltext.ValueOther
}

// upserts emits ON CONFLICT or ON DUPLICATE KEY UPDATE.
func (g *Generator) upserts(st *sqltext.Statement) {
	if g.mysqlFamily() {
		u := sqltext.Upsert{}
		u.Span = g.within(func() {
			g.emit("ON DUPLICATE KEY UPDATE")
			u.Set = g.within(func() {
				u.SetColumns = g.assignments(nil, false)
				if g.chance(30) {
					g.emit(",")
					u.SetColumns = append(u.SetColumns, sqltext.Column{Name: g.column()})
					g.emit("= VALUES( {col} )")
				}
			})
		})
		st.Upserts = append(st.Upserts, u)
		return
	}
	for g.dialect == sqltext.SQLite && g.chance(15) {
		st.Upserts = append(st.Upserts, g.onConflict(false))
	}
	st.Upserts = append(st.Upserts, g.onConflict(true))
}

// onConflict emits one clause; only the last of SQLite's may leave its target out.
func (g *Generator) onConflict(last bool) (u sqltext.Upsert) {
	targets := []string{"( {col} )", "( {col} , {col} )", "( {col} ) WHERE {bool}", "( lower( {prim} ) )"}
	if g.dialect == sqltext.Postgres {
		targets = append(targets, "ON CONSTRAINT {name}", `( {col} COLLATE "C" text_ops , ( {expr} ) )`)
	} else {
		targets = append(targets, "( {col} COLLATE NOCASE DESC )")
	}
	u.Span = g.within(func() {
		g.emit("ON CONFLICT")
		u.Nothing = g.chance(35)
		if !last || !u.Nothing && (g.dialect == sqltext.Postgres || g.chance(85)) || g.chance(60) {
			u.Target = g.within(func() { g.emit(pick(g, targets)) })
		}
		if u.Nothing {
			g.emit("DO NOTHING")
			return
		}
		g.emit("DO UPDATE SET")
		u.Set = g.within(func() { u.SetColumns = g.assignments(nil, false) })
		if g.chance(30) {
			g.emit("WHERE")
			u.Where = g.within(func() { g.emit("{bool}") })
		}
	})
	return u
}
