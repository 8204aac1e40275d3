package sqlite

import (
	"testing"

	"github.com/globaltx/globaltx/internal/difftest"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

var limited = sqltext.Mode{UpdateDeleteLimit: true}

func parse(t *testing.T, text string) *sqltext.Statement {
	t.Helper()
	st, err := sqltext.Parse(text, sqltext.SQLite, limited)
	if err != nil {
		t.Fatalf("Parse(%q): %v", text, err)
	}
	return st
}

func TestTheOracleAgreesWithWhatIsRight(t *testing.T) {
	o := New(limited)
	for _, text := range []string{
		"UPDATE t SET a = 1",
		"UPDATE main.t AS x SET a = ?, b = :b WHERE id = ?",
		"UPDATE OR IGNORE \"t\" SET a = 1 WHERE b = 'x;--'",
		"UPDATE OR ROLLBACK t SET a = 1",
		"UPDATE OR FAIL t SET a = 1",
		"UPDATE OR ABORT t SET a = 1",
		"UPDATE OR REPLACE [t u] SET a = 1",
		"UPDATE t INDEXED BY i SET a = 1 WHERE b = 2",
		"UPDATE t AS x NOT INDEXED SET a = 1 WHERE b = 2",
		"UPDATE t SET (a, b) = (1, 2), c = 3 WHERE id = 1",
		"UPDATE t SET a = s.a FROM s JOIN u ON s.id = u.id WHERE t.id = s.id",
		"UPDATE t SET a = 1 WHERE b IS NOT DISTINCT FROM 2 RETURNING *, a AS x",
		"UPDATE t SET a = 1 WHERE b = 2 ORDER BY c DESC, d LIMIT 5",
		"UPDATE t SET a = 1 LIMIT 5 OFFSET 2",
		"UPDATE t SET a = 1 LIMIT 5, 2",
		"UPDATE t SET a = (SELECT max(b) FROM s WHERE c = ?) WHERE d IN (?, ?2, ?1)",
		"UPDATE /* a */ t -- b\n SET /* c */ a = 1 /* d */ WHERE /* e */ b = 2 /* f */ ; -- g",
		"DELETE FROM t",
		"DELETE FROM temp.t AS x WHERE x.id = @id",
		"DELETE FROM t INDEXED BY i WHERE a = $a RETURNING id, a || b",
		"DELETE FROM t NOT INDEXED WHERE a BETWEEN 1 AND 2",
		"DELETE FROM t WHERE a = 1 ORDER BY b LIMIT 1",
		"DELETE FROM t WHERE EXISTS (SELECT 1 FROM s WHERE s.id = t.id ORDER BY 1 LIMIT 1)",
		"WITH q AS (SELECT 1) DELETE FROM t WHERE id IN (SELECT * FROM q)",
		"WITH RECURSIVE q(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM q WHERE n < ?), r AS MATERIALIZED ( SELECT 2 ) " +
			"UPDATE t SET a = ? WHERE id IN (SELECT n FROM q)",
		"WITH q AS NOT MATERIALIZED (SELECT ?) INSERT INTO t (a, b) VALUES (?, 1), (2, ?)",
		"INSERT INTO t VALUES (1)",
		"INSERT INTO main.t (a, \"b\", `c`, [d]) VALUES (?, 'x', NULL, -1.5), (1 + 2, X'41', 0x1F, TRUE)",
		"INSERT INTO t VALUES (- 1, +/**/1, -x, - -1)",
		"INSERT INTO t AS x (a) VALUES (random())",
		"INSERT OR REPLACE INTO t (a) VALUES (1)",
		"INSERT OR IGNORE INTO t (a) VALUES (CURRENT_TIMESTAMP)",
		"INSERT OR ABORT INTO t (a) VALUES (1)",
		"INSERT OR FAIL INTO t (a) VALUES (1)",
		"INSERT OR ROLLBACK INTO t (a) VALUES (1)",
		"REPLACE INTO t (a) VALUES (1)",
		"INSERT INTO t DEFAULT VALUES",
		"INSERT INTO t DEFAULT VALUES RETURNING id",
		"INSERT INTO t (a) SELECT b FROM s WHERE c = 1 ORDER BY d LIMIT 2",
		"INSERT INTO t SELECT b FROM s UNION ALL SELECT 1",
		"INSERT INTO t (a) WITH q AS (SELECT 1) SELECT * FROM q",
		"INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING",
		"INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO NOTHING RETURNING a",
		"INSERT INTO t (a) VALUES (1) ON CONFLICT (a, lower(b)) WHERE c > 1 DO UPDATE SET a = excluded.a, (b, c) = (1, 2) WHERE t.a < 5",
		"INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 1 ON CONFLICT (c) DO NOTHING ON CONFLICT DO UPDATE SET b = 2 RETURNING *",
		"INSERT INTO t (a) SELECT b FROM s WHERE true ON CONFLICT (a) DO UPDATE SET b = ?",
		"SELECT 1",
		"SELECT a, count(*) FROM t LEFT JOIN s USING (id) WHERE b = ? GROUP BY a HAVING count(*) > 1 ORDER BY 1 LIMIT 2",
		"WITH q AS (SELECT 1) SELECT * FROM q",
		"SELECT * FROM json_each('[1]') WHERE value IN (SELECT 1)",
		"SELECT sum(a) FILTER (WHERE b) OVER (PARTITION BY c ORDER BY d) FROM t",
		"INSERT INTO t (a, b, c, d) VALUES ($2, $1, $01, ?)",
		"EXPLAIN DELETE FROM t WHERE id = ?",
		"EXPLAIN QUERY PLAN SELECT abs(1)",
		"SAVEPOINT a",
		"SAVEPOINT \"a b\"",
		"ROLLBACK TO a",
		"ROLLBACK TRANSACTION TO SAVEPOINT a",
		"RELEASE a",
		"RELEASE SAVEPOINT \"a\"",
		"UPDATE t SET a = ? ; DELETE FROM t WHERE b = ? ;",
		"SELECT 1; ; INSERT INTO t VALUES (?1, :x, abs(2))",
	} {
		if v, detail := o.Compare(parse(t, text)); v != difftest.Equal {
			t.Errorf("Compare(%q) = %d: %s", text, v, detail)
		}
	}
}

// TestTheOracleSeesWhatIsWrong breaks a right statement in one way each.
func TestTheOracleSeesWhatIsWrong(t *testing.T) {
	const (
		update = "WITH q AS (SELECT ?) UPDATE s.t AS x INDEXED BY i SET a = lower(b), c = :v FROM u WHERE id = 1 AND d = 2 RETURNING a, b"
		limit  = "DELETE FROM t WHERE a = 1 ORDER BY b LIMIT 1, 2"
		insert = "INSERT OR IGNORE INTO t (a, b) VALUES (?, 1), (NULL, 'x') ON CONFLICT (a) WHERE b = 1 DO UPDATE SET a = 2 WHERE c = 3"
		query  = "INSERT INTO t SELECT a FROM s WHERE true ON CONFLICT DO NOTHING"
		two    = "DELETE FROM t WHERE a = ?; DELETE FROM s WHERE b = ?"
	)
	tests := []struct {
		name, text string
		wrong      func(*sqltext.Statement)
	}{
		{"kind", limit, func(st *sqltext.Statement) { st.Kind = sqltext.Update }},
		{"select for a write", limit, func(st *sqltext.Statement) {
			*st = sqltext.Statement{Text: st.Text, Kind: sqltext.Select, Span: st.Span}
		}},
		{"statement's end", limit, func(st *sqltext.Statement) { st.Span.End-- }},
		{"where too short", update, func(st *sqltext.Statement) { st.Where.End -= len(" AND d = 2") }},
		{"no where", update, func(st *sqltext.Statement) { st.Where = sqltext.Span{} }},
		{"where into returning", update, func(st *sqltext.Statement) { st.Where.End, st.Returning = st.Returning.End, sqltext.Span{} }},
		{"alias", update, func(st *sqltext.Statement) { st.Targets[0].Alias = "y" }},
		{"no alias", update, func(st *sqltext.Statement) { st.Targets[0].Alias, st.Targets[0].AliasSpan = "", sqltext.Span{} }},
		{"table", update, func(st *sqltext.Statement) { st.Targets[0].Name.Table = "T" }},
		{"schema", update, func(st *sqltext.Statement) { st.Targets[0].Name.Schema = "" }},
		{"name span", update, func(st *sqltext.Statement) { st.Targets[0].NameSpan.Start += 2 }},
		{"second target", update, func(st *sqltext.Statement) { st.Targets = append(st.Targets, st.Targets[0]) }},
		{"index hint", update, func(st *sqltext.Statement) { st.Targets[0].IndexHint = sqltext.Span{} }},
		{"no CTE", update, func(st *sqltext.Statement) { st.CTEs = nil }},
		{"CTE name", update, func(st *sqltext.Statement) { st.CTEs[0].Name = "r" }},
		{"CTE body", update, func(st *sqltext.Statement) { st.CTEs[0].Body.End-- }},
		{"with", update, func(st *sqltext.Statement) { st.With.End-- }},
		{"set", update, func(st *sqltext.Statement) { st.Set.Start++ }},
		{"set column missing", update, func(st *sqltext.Statement) { st.SetColumns = st.SetColumns[:1] }},
		{"set column", update, func(st *sqltext.Statement) { st.SetColumns[1].Name = "d" }},
		{"no from", update, func(st *sqltext.Statement) { st.From = sqltext.Span{} }},
		{"function missing", update, func(st *sqltext.Statement) { st.Functions = nil }},
		{"placeholder missing", update, func(st *sqltext.Statement) { st.Placeholders = st.Placeholders[:1] }},
		{"ordinal", update, func(st *sqltext.Statement) { st.Placeholders[1].Ordinal = 1 }},
		{"placeholder's name", update, func(st *sqltext.Statement) { st.Placeholders[1].Name = "w" }},
		{"or", update, func(st *sqltext.Statement) { st.Or = sqltext.OrIgnore }},
		{"locking", update, func(st *sqltext.Statement) { st.Locking = true }},
		{"multi", update, func(st *sqltext.Statement) { st.Multi = true }},
		{"order", limit, func(st *sqltext.Statement) { st.OrderBy = sqltext.Span{} }},
		{"limit without offset", limit, func(st *sqltext.Statement) { st.Limit.End -= len(", 2") }},
		{"columns nil", insert, func(st *sqltext.Statement) { st.Columns = nil }},
		{"columns", insert, func(st *sqltext.Statement) { st.Columns[0], st.Columns[1] = st.Columns[1], st.Columns[0] }},
		{"a row missing", insert, func(st *sqltext.Statement) { st.Rows = st.Rows[:1] }},
		{"value span", insert, func(st *sqltext.Statement) { st.Rows[0][1].Span.End++ }},
		{"value kind", insert, func(st *sqltext.Statement) { st.Rows[1][0].Kind = sqltext.ValueLiteral }},
		{"value's placeholder", insert, func(st *sqltext.Statement) { st.Rows[0][0].Placeholder = 1 }},
		{"or ignore", insert, func(st *sqltext.Statement) { st.Or = sqltext.OrFail }},
		{"replace", insert, func(st *sqltext.Statement) { st.Replace = true }},
		{"source", insert, func(st *sqltext.Statement) { st.Source = sqltext.SourceQuery }},
		{"upsert target", insert, func(st *sqltext.Statement) { st.Upserts[0].Target.End -= len(" WHERE b = 1") }},
		{"upsert where", insert, func(st *sqltext.Statement) { st.Upserts[0].Where = sqltext.Span{} }},
		{"upsert set", insert, func(st *sqltext.Statement) { st.Upserts[0].SetColumns = nil }},
		{"upsert nothing", insert, func(st *sqltext.Statement) { st.Upserts[0].Nothing = true }},
		{"no upsert", query, func(st *sqltext.Statement) { st.Upserts = nil }},
		{"query into upsert", query, func(st *sqltext.Statement) { st.Query.End = len(st.Text) }},
		{"one part for two", two, func(st *sqltext.Statement) { *st = *st.Parts[0] }},
		{"a part missing", two, func(st *sqltext.Statement) { st.Parts = st.Parts[:1] }},
		{"a part's where", two, func(st *sqltext.Statement) { st.Parts[1].Where = sqltext.Span{} }},
		{"a part's ordinal", two, func(st *sqltext.Statement) { st.Parts[1].Placeholders[0].Ordinal = 2 }},
	}
	o := New(limited)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := parse(t, tt.text)
			if v, detail := o.Compare(st); v != difftest.Equal {
				t.Fatalf("before: %d: %s", v, detail)
			}
			tt.wrong(st)
			if v, detail := o.Compare(st); v != difftest.Misread {
				t.Errorf("Compare = %d %q, want a misread", v, detail)
			}
		})
	}
}

func TestTheOracleDoesNotGuess(t *testing.T) {
	o := New(sqltext.Mode{})
	for _, text := range []string{
		"DELETE FROM t WHERE a = 1 LIMIT 1", // not of this build
		"DELETE FROM t WHERE",
		"UPDATE t SET a = 'x",
	} {
		if v, _ := o.Compare(&sqltext.Statement{Text: text, Dialect: sqltext.SQLite, Kind: sqltext.Delete}); v != difftest.Unread {
			t.Errorf("Compare(%q) = %d, want unread", text, v)
		}
	}
}
