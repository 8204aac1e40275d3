package postgres_test

import (
	"strings"
	"testing"

	"github.com/globaltx/globaltx/internal/difftest"
	"github.com/globaltx/globaltx/internal/difftest/oracle/postgres"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

const (
	updateText = "WITH c AS (SELECT 1 AS x) UPDATE ONLY s.t AS a SET b = now(), d = $1 FROM u WHERE a.id = $2 OR a.e = 3 RETURNING a.id, b"
	insertText = "INSERT INTO t (a, b) OVERRIDING USER VALUE VALUES ($1, NULL), (2, DEFAULT) ON CONFLICT (a) DO UPDATE SET b = 1 WHERE t.c = 1 RETURNING a"
	deleteText = "WITH d AS (DELETE FROM v WHERE k = $1 RETURNING *) DELETE FROM t USING d WHERE t.id = d.id"
	mergeText  = "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED AND u.a = 1 THEN UPDATE SET b = 1 WHEN NOT MATCHED THEN INSERT (a) VALUES (1)"
	lockText   = "SELECT * FROM t AS a WHERE b = 1 ORDER BY c LIMIT 1 FOR UPDATE"
)

// wrong has statements read wrongly in one way each.
var wrong = []struct {
	name, text string
	harm       func(st *sqltext.Statement)
}{
	{"where ends early", updateText, func(st *sqltext.Statement) { st.Where.End = index(st, " OR ") }},
	{"where ends inside a name", updateText, func(st *sqltext.Statement) { st.Where.Start += 2 }},
	{"where is dropped", updateText, func(st *sqltext.Statement) { st.Where = sqltext.Span{} }},
	{"where holds RETURNING", updateText, func(st *sqltext.Statement) { st.Where.End = st.Span.End }},
	{"where is outside", updateText, func(st *sqltext.Statement) { st.Where.End = len(st.Text) + 9 }},
	{"where is invented", "DELETE FROM t RETURNING a", func(st *sqltext.Statement) { st.Where = st.Returning }},
	{"another alias", updateText, func(st *sqltext.Statement) { st.Targets[0].Alias = "s" }},
	{"alias span", updateText, func(st *sqltext.Statement) { st.Targets[0].AliasSpan = st.Targets[0].NameSpan }},
	{"alias dropped", updateText, func(st *sqltext.Statement) {
		st.Targets[0].Alias, st.Targets[0].AliasSpan = "", sqltext.Span{}
	}},
	{"another table", updateText, func(st *sqltext.Statement) { st.Targets[0].Name.Table = "u" }},
	{"name not folded", `UPDATE "T" SET a = 1`, func(st *sqltext.Statement) { st.Targets[0].Name.Table = "t" }},
	{"schema dropped", updateText, func(st *sqltext.Statement) { st.Targets[0].Name.Schema = "" }},
	{"name span", updateText, func(st *sqltext.Statement) { st.Targets[0].NameSpan.End -= 2 }},
	{"ONLY dropped", updateText, func(st *sqltext.Statement) { st.Targets[0].Only = false }},
	{"target twice", updateText, func(st *sqltext.Statement) { st.Targets = append(st.Targets, st.Targets[0]) }},
	{"no target", updateText, func(st *sqltext.Statement) { st.Targets = nil }},
	{"partition", updateText, func(st *sqltext.Statement) { st.Targets[0].Partition = st.Set }},
	{"WITH dropped", updateText, func(st *sqltext.Statement) { st.With, st.CTEs = sqltext.Span{}, nil }},
	{"CTE dropped", updateText, func(st *sqltext.Statement) { st.CTEs = nil }},
	{"CTE name", updateText, func(st *sqltext.Statement) { st.CTEs[0].Name = "C" }},
	{"CTE body", updateText, func(st *sqltext.Statement) { st.CTEs[0].Body.End = index(st, " AS x") }},
	{"CTE writes unseen", deleteText, func(st *sqltext.Statement) { st.CTEs[0].Write = nil }},
	{"CTE target", deleteText, func(st *sqltext.Statement) { st.CTEs[0].Write.Targets[0].Name.Table = "t" }},
	{"CTE placeholder", deleteText, func(st *sqltext.Statement) { st.CTEs[0].Write.Placeholders = nil }},
	{"CTE span", deleteText, func(st *sqltext.Statement) { st.CTEs[0].Write.Span.End = st.CTEs[0].Write.Where.End }},
	{"FROM dropped", updateText, func(st *sqltext.Statement) { st.From = sqltext.Span{} }},
	{"SET holds FROM", updateText, func(st *sqltext.Statement) { st.Set.End = st.From.End }},
	{"SET ends early", updateText, func(st *sqltext.Statement) { st.Set.End = index(st, ", d = ") }},
	{"assigned column", updateText, func(st *sqltext.Statement) { st.SetColumns[1].Name = "b" }},
	{"assigned column dropped", updateText, func(st *sqltext.Statement) { st.SetColumns = st.SetColumns[:1] }},
	{"column with a table", updateText, func(st *sqltext.Statement) { st.SetColumns[0].Table = "a" }},
	{"RETURNING ends early", updateText, func(st *sqltext.Statement) { st.Returning.End -= 3 }},
	{"function dropped", updateText, func(st *sqltext.Statement) { st.Functions = nil }},
	{"niladic function dropped", "SELECT current_timestamp(3)", func(st *sqltext.Statement) { st.Functions = nil }},
	{"placeholder dropped", updateText, func(st *sqltext.Statement) { st.Placeholders = st.Placeholders[:1] }},
	{"ordinal", updateText, func(st *sqltext.Statement) { st.Placeholders[0].Ordinal = 2 }},
	{"placeholder span", updateText, func(st *sqltext.Statement) { st.Placeholders[0].Span.End-- }},
	{"kind", updateText, func(st *sqltext.Statement) { st.Kind = sqltext.Delete }},
	{"statement span", updateText, func(st *sqltext.Statement) { st.Span.Start = index(st, "UPDATE") }},
	{"semicolon in span", "DELETE FROM t;", func(st *sqltext.Statement) { st.Span.End++ }},
	{"limit", updateText, func(st *sqltext.Statement) { st.Limit = st.Set }},
	{"locking invented", updateText, func(st *sqltext.Statement) { st.Locking = true }},

	{"column list", insertText, func(st *sqltext.Statement) { st.Columns[0] = "b" }},
	{"column list dropped", insertText, func(st *sqltext.Statement) { st.Columns = nil }},
	{"OVERRIDING dropped", insertText, func(st *sqltext.Statement) { st.Overriding = sqltext.Span{} }},
	{"row dropped", insertText, func(st *sqltext.Statement) { st.Rows = st.Rows[:1] }},
	{"value dropped", insertText, func(st *sqltext.Statement) { st.Rows[1] = st.Rows[1][:1] }},
	{"values joined", insertText, func(st *sqltext.Statement) { st.Rows[0][0].Span.End = st.Rows[0][1].Span.End }},
	{"rows joined", insertText, func(st *sqltext.Statement) { st.Rows[0][1].Span.End = st.Rows[1][0].Span.End }},
	{"values swapped", insertText, func(st *sqltext.Statement) {
		st.Rows[0][0].Span, st.Rows[1][0].Span = st.Rows[1][0].Span, st.Rows[0][0].Span
	}},
	{"value kind", insertText, func(st *sqltext.Statement) { st.Rows[0][1].Kind = sqltext.ValueLiteral }},
	{"default unseen", insertText, func(st *sqltext.Statement) { st.Rows[1][1].Kind = sqltext.ValueOther }},
	{"placeholder of a value", insertText, func(st *sqltext.Statement) { st.Rows[0][0].Placeholder = 1 }},
	{"source", insertText, func(st *sqltext.Statement) { st.Source = sqltext.SourceQuery }},
	{"defaults", insertText, func(st *sqltext.Statement) { st.Source, st.Rows = sqltext.SourceDefaults, nil }},
	{"query ends early", "INSERT INTO t SELECT a FROM u WHERE b", func(st *sqltext.Statement) { st.Query.End -= 8 }},
	{"values with a tail", "INSERT INTO t VALUES (1), (2)", func(st *sqltext.Statement) {
		st.Source, st.Rows, st.Query = sqltext.SourceQuery, nil, sqltext.Span{Start: index(st, "VALUES"), End: st.Span.End}
	}},
	{"upsert dropped", insertText, func(st *sqltext.Statement) { st.Upserts = nil }},
	{"upsert span", insertText, func(st *sqltext.Statement) { st.Upserts[0].Span.End = index(st, " WHERE") }},
	{"upsert target", insertText, func(st *sqltext.Statement) { st.Upserts[0].Target = sqltext.Span{} }},
	{"upsert nothing", insertText, func(st *sqltext.Statement) { st.Upserts[0].Nothing = true }},
	{"upsert set", insertText, func(st *sqltext.Statement) { st.Upserts[0].Set.End = st.Upserts[0].Where.End }},
	{"upsert column", insertText, func(st *sqltext.Statement) { st.Upserts[0].SetColumns[0].Name = "a" }},
	{"upsert where", insertText, func(st *sqltext.Statement) { st.Upserts[0].Where = sqltext.Span{} }},

	{"ON", mergeText, func(st *sqltext.Statement) { st.On.End -= 3 }},
	{"USING", mergeText, func(st *sqltext.Statement) { st.From = sqltext.Span{} }},
	{"WHEN dropped", mergeText, func(st *sqltext.Statement) { st.Whens = st.Whens[:1] }},
	{"WHEN span", mergeText, func(st *sqltext.Statement) { st.Whens[0].Span.End = st.Whens[1].Span.End }},
	{"WHEN match", mergeText, func(st *sqltext.Statement) { st.Whens[1].Match = sqltext.NotMatchedBySource }},
	{"WHEN action", mergeText, func(st *sqltext.Statement) { st.Whens[0].Kind = sqltext.Delete }},
	{"WHEN condition", mergeText, func(st *sqltext.Statement) { st.Whens[0].Cond = sqltext.Span{} }},
	{"WHEN set", mergeText, func(st *sqltext.Statement) { st.Whens[0].Set.Start = st.Whens[0].Cond.Start }},
	{"WHEN assigned", mergeText, func(st *sqltext.Statement) { st.Whens[0].SetColumns = nil }},
	{"WHEN columns", mergeText, func(st *sqltext.Statement) { st.Whens[1].Columns = nil }},

	{"locking unseen", "SELECT * FROM (SELECT * FROM t FOR SHARE) AS q", func(st *sqltext.Statement) { st.Locking = false }},
	{"lock target", lockText, func(st *sqltext.Statement) { st.Targets[0].Name.Table = "a" }},
	{"lock where", lockText, func(st *sqltext.Statement) { st.Where = sqltext.Span{} }},
	{"lock order", lockText, func(st *sqltext.Statement) { st.OrderBy = sqltext.Span{} }},
	{"lock limit", lockText, func(st *sqltext.Statement) { st.Limit = sqltext.Span{} }},
	{"lock clause", lockText, func(st *sqltext.Statement) { st.Lock.Start = st.Limit.Start }},
	{"lock dropped", lockText, func(st *sqltext.Statement) { st.Lock = sqltext.Span{} }},
	{"savepoint", "SAVEPOINT a", func(st *sqltext.Statement) { st.Savepoint = "b" }},
	{"release", "RELEASE a", func(st *sqltext.Statement) { st.Kind = sqltext.Savepoint }},
	{"part dropped", "DELETE FROM t; DELETE FROM u", func(st *sqltext.Statement) { st.Parts = st.Parts[:1] }},
	{"parts swapped", "DELETE FROM t; DELETE FROM u", func(st *sqltext.Statement) {
		st.Parts[0], st.Parts[1] = st.Parts[1], st.Parts[0]
	}},
	{"one of several", "DELETE FROM t; DELETE FROM u", func(st *sqltext.Statement) { *st = *st.Parts[0] }},
}

func TestMisread(t *testing.T) {
	o := postgres.New(sqltext.Mode{})
	for _, tt := range wrong {
		t.Run(tt.name, func(t *testing.T) {
			st := parse(t, tt.text, sqltext.Mode{})
			if v, detail := o.Compare(st); v != difftest.Equal {
				t.Fatalf("verdict %d before the harm: %s", v, detail)
			}
			tt.harm(st)
			if v, detail := o.Compare(st); v != difftest.Misread || detail == "" {
				t.Errorf("verdict %d, detail %q, want Misread and what differs", v, detail)
			}
		})
	}
}

// TestNotHarmless: the tree writes, or runs a statement, where a text was read as
// a query.
func TestNotHarmless(t *testing.T) {
	o := postgres.New(sqltext.Mode{})
	for text, kind := range map[string]sqltext.Kind{
		"SELECT * INTO u FROM t":                                  sqltext.Select,
		"WITH a AS (SELECT 1) SELECT * INTO u FROM a":             sqltext.Select,
		"WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a":   sqltext.Select,
		"SELECT * FROM (WITH a AS (DELETE FROM t) SELECT 1) AS q": sqltext.Select,
		"CREATE TABLE u AS SELECT 1":                              sqltext.Select,
		"COPY (DELETE FROM t RETURNING *) TO STDOUT":              sqltext.Select,
		"DECLARE c CURSOR FOR SELECT 1":                           sqltext.Select,
		"EXECUTE p":                                               sqltext.Select,
		"EXPLAIN ANALYZE DELETE FROM t":                           sqltext.Explain,
		"EXPLAIN (COSTS OFF, ANALYZE) DELETE FROM t":              sqltext.Explain,
		"SET a = 1": sqltext.Show,
		"ROLLBACK":  sqltext.RollbackTo,
		"COMMIT":    sqltext.Release,
	} {
		st := &sqltext.Statement{Text: text, Dialect: sqltext.Postgres, Kind: kind, Span: sqltext.Span{End: len(text)}}
		if v, detail := o.Compare(st); v != difftest.Misread || detail == "" {
			t.Errorf("%s: verdict %d, detail %q, want Misread", text, v, detail)
		}
	}
}

func index(st *sqltext.Statement, what string) int { return strings.Index(st.Text, what) }
