package mysql_test

import (
	"strings"
	"testing"

	"github.com/globaltx/globaltx/internal/difftest"
	"github.com/globaltx/globaltx/internal/difftest/oracle/mysql"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// at is the span of the last place of a part in the text.
func at(st *sqltext.Statement, part string) sqltext.Span {
	i := strings.LastIndex(st.Text, part)
	if i < 0 {
		panic("no " + part + " in " + st.Text)
	}
	return sqltext.Span{Start: i, End: i + len(part)}
}

// first is at for the first place.
func first(st *sqltext.Statement, part string) sqltext.Span {
	i := strings.Index(st.Text, part)
	return sqltext.Span{Start: i, End: i + len(part)}
}

const (
	my    = sqltext.MySQL
	maria = sqltext.MariaDB
)

// wrong makes one mistake in what was understood.
var wrong = []struct {
	name    string
	d       sqltext.Dialect
	text    string
	mistake func(*sqltext.Statement)
}{
	{"where ends early", my, "UPDATE t SET a = 1 WHERE b = 2 AND c = 3", func(st *sqltext.Statement) { st.Where = at(st, "b = 2") }},
	{"where begins late", my, "UPDATE t SET a = 1 WHERE b = 2 AND c = 3", func(st *sqltext.Statement) { st.Where = at(st, "c = 3") }},
	{"where is another one", my, "UPDATE t SET a = (SELECT 1 FROM s WHERE b = 2) WHERE b = 2", func(st *sqltext.Statement) { st.Where = first(st, "b = 2") }},
	{"where takes ORDER BY", my, "DELETE FROM t WHERE b = 2 ORDER BY c", func(st *sqltext.Statement) {
		st.Where, st.OrderBy = at(st, "b = 2 ORDER BY c"), sqltext.Span{}
	}},
	{"where missing", my, "DELETE FROM t WHERE b = 2", func(st *sqltext.Statement) { st.Where = sqltext.Span{} }},
	{"where invented", my, "UPDATE t SET a = b", func(st *sqltext.Statement) { st.Where = at(st, "b") }},
	{"order ends early", my, "DELETE FROM t ORDER BY a, b LIMIT 1", func(st *sqltext.Statement) { st.OrderBy = at(st, "a") }},
	{"limit missing", my, "DELETE FROM t LIMIT 1", func(st *sqltext.Statement) { st.Limit = sqltext.Span{} }},
	{"alias lost", my, "UPDATE t AS x SET a = 1", func(st *sqltext.Statement) { st.Targets[0].Alias, st.Targets[0].AliasSpan = "", sqltext.Span{} }},
	{"alias changed", my, "UPDATE t AS x SET a = 1", func(st *sqltext.Statement) { st.Targets[0].Alias = "y" }},
	{"alias elsewhere", my, "UPDATE t AS x SET x.a = 1", func(st *sqltext.Statement) { st.Targets[0].AliasSpan = at(st, "a") }},
	{"table of another schema", my, "DELETE FROM db.t WHERE a = 1", func(st *sqltext.Statement) { st.Targets[0].Name.Schema = "" }},
	{"table folded", my, "DELETE FROM T WHERE a = 1", func(st *sqltext.Statement) { st.Targets[0].Name.Table = "t" }},
	{"name elsewhere", my, "UPDATE t SET a = (SELECT 1 FROM t)", func(st *sqltext.Statement) { st.Targets[0].NameSpan = at(st, "t") }},
	{"name with alias", my, "DELETE FROM t x WHERE a = 1", func(st *sqltext.Statement) { st.Targets[0].NameSpan = at(st, "t x") }},
	{"partition lost", my, "UPDATE t PARTITION (p) SET a = 1", func(st *sqltext.Statement) { st.Targets[0].Partition = sqltext.Span{} }},
	{"hint lost", my, "UPDATE t USE INDEX (i) SET a = 1", func(st *sqltext.Statement) { st.Targets[0].IndexHint = sqltext.Span{} }},
	{"wrong table of a join", my, "UPDATE t JOIN s ON t.id = s.id SET t.a = 1", func(st *sqltext.Statement) {
		st.Targets[0].Name.Table, st.Targets[0].NameSpan = "s", first(st, "s")
	}},
	{"target of a delete dropped", my, "DELETE t, s FROM t JOIN s ON t.id = s.id", func(st *sqltext.Statement) { st.Targets = st.Targets[:1] }},
	{"targets of a delete swapped", my, "DELETE t, s FROM t JOIN s ON t.id = s.id", func(st *sqltext.Statement) {
		st.Targets[0], st.Targets[1] = st.Targets[1], st.Targets[0]
	}},
	{"target of an update dropped", my, "UPDATE t, s SET a = 1", func(st *sqltext.Statement) { st.Targets = st.Targets[:1] }},
	{"references end early", my, "UPDATE t JOIN s JOIN u SET t.a = 1", func(st *sqltext.Statement) { st.From = at(st, "t JOIN s") }},
	{"not multi", my, "DELETE t FROM t JOIN s ON t.id = s.id", func(st *sqltext.Statement) { st.Multi = false }},
	{"set ends early", my, "UPDATE t SET a = 1, b = 2", func(st *sqltext.Statement) { st.Set, st.SetColumns = at(st, "a = 1"), st.SetColumns[:1] }},
	{"set column missed", my, "UPDATE t SET a = 1, b = 2", func(st *sqltext.Statement) { st.SetColumns = st.SetColumns[:1] }},
	{"set column unqualified", my, "UPDATE t SET t.a = 1", func(st *sqltext.Statement) { st.SetColumns[0].Table = "" }},
	{"function missed", my, "UPDATE t SET a = rand()", func(st *sqltext.Statement) { st.Functions = nil }},
	{"function without brackets missed", my, "UPDATE t SET a = current_timestamp", func(st *sqltext.Statement) { st.Functions = nil }},
	{"function of a subquery missed", my, "UPDATE t SET a = (SELECT max(b) FROM s)", func(st *sqltext.Statement) { st.Functions = nil }},
	{"variable missed", my, "UPDATE t SET a = @v", func(st *sqltext.Statement) { st.Functions = []string{"@vv"} }},
	{"function of RETURNING missed", maria, "DELETE FROM t RETURNING uuid()", func(st *sqltext.Statement) { st.Functions = nil }},
	{"placeholder missed", my, "UPDATE t SET a = ? WHERE b = ?", func(st *sqltext.Statement) { st.Placeholders = st.Placeholders[:1] }},
	{"placeholder elsewhere", my, "UPDATE t SET a = ? WHERE b = '?'", func(st *sqltext.Statement) { st.Placeholders[0].Span = at(st, "?") }},
	{"placeholders swapped", my, "UPDATE t SET a = ? WHERE b = ?", func(st *sqltext.Statement) {
		st.Placeholders[0].Ordinal, st.Placeholders[1].Ordinal = 2, 1
	}},
	{"ignore missed", my, "UPDATE IGNORE t SET a = 1", func(st *sqltext.Statement) { st.Or = sqltext.OrFail }},
	{"replace missed", my, "REPLACE INTO t VALUES (1)", func(st *sqltext.Statement) { st.Replace, st.Or = false, sqltext.OrFail }},
	{"column of insert", my, "INSERT INTO t (a, b) VALUES (1, 2)", func(st *sqltext.Statement) { st.Columns[0], st.Columns[1] = "b", "a" }},
	{"row missed", my, "INSERT INTO t VALUES (1), (2)", func(st *sqltext.Statement) { st.Rows = st.Rows[:1] }},
	{"value ends early", my, "INSERT INTO t VALUES (1 + 2)", func(st *sqltext.Statement) { st.Rows[0][0].Span = at(st, "1") }},
	{"value is no literal", my, "INSERT INTO t VALUES (1 + 2)", func(st *sqltext.Statement) { st.Rows[0][0].Kind = sqltext.ValueLiteral }},
	{"value is no text", my, "INSERT INTO t VALUES (0x41)", func(st *sqltext.Statement) { st.Rows[0][0].Kind = sqltext.ValueLiteral }},
	{"value is another placeholder", my, "INSERT INTO t VALUES (?, ?)", func(st *sqltext.Statement) { st.Rows[0][0].Placeholder = 1 }},
	{"query ends early", my, "INSERT INTO t SELECT a FROM s WHERE b = 1", func(st *sqltext.Statement) { st.Query = at(st, "SELECT a FROM s") }},
	{"query takes the upsert", my, "INSERT INTO t SELECT a FROM s ON DUPLICATE KEY UPDATE a = 1", func(st *sqltext.Statement) {
		st.Query, st.Upserts = at(st, "SELECT a FROM s ON DUPLICATE KEY UPDATE a = 1"), nil
	}},
	{"upsert missed", my, "INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = 1", func(st *sqltext.Statement) { st.Upserts = nil }},
	{"upsert ends early", my, "INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = 1, b = 2", func(st *sqltext.Statement) {
		st.Upserts[0].Set, st.Upserts[0].SetColumns = at(st, "a = 1"), st.Upserts[0].SetColumns[:1]
	}},
	{"row alias missed", my, "INSERT INTO t VALUES (1) AS n ON DUPLICATE KEY UPDATE a = 1", func(st *sqltext.Statement) { st.RowAlias = sqltext.Span{} }},
	{"CTE is no table", my, "WITH c AS (SELECT 1) UPDATE t SET a = 1", func(st *sqltext.Statement) { st.CTEs[0].Name = "d" }},
	{"CTE body ends early", my, "WITH c AS (SELECT 1 UNION SELECT 2) DELETE FROM t", func(st *sqltext.Statement) { st.CTEs[0].Body = at(st, "SELECT 1") }},
	{"WITH missed", my, "WITH c AS (SELECT 1) DELETE FROM t", func(st *sqltext.Statement) { st.With = sqltext.Span{} }},
	{"locking missed", my, "SELECT * FROM (SELECT 1 FROM t FOR UPDATE) x", func(st *sqltext.Statement) { st.Locking = false }},
	{"lock of another table", my, "SELECT * FROM t FOR UPDATE", func(st *sqltext.Statement) { st.Targets[0].Name.Table = "s" }},
	{"returning ends early", maria, "DELETE FROM t RETURNING a, b", func(st *sqltext.Statement) { st.Returning = at(st, "a") }},
	{"returning begins late", maria, "DELETE FROM t RETURNING a, b", func(st *sqltext.Statement) { st.Returning = at(st, "b") }},
	{"kind", my, "SELECT 1", func(st *sqltext.Statement) { st.Kind = sqltext.Show }},
	{"savepoint", my, "SAVEPOINT `a``b`", func(st *sqltext.Statement) { st.Savepoint = "a``b" }},
	{"span ends early", my, "DELETE FROM t WHERE a = 1 OR b = 2", func(st *sqltext.Statement) {
		st.Span, st.Where = at(st, "DELETE FROM t WHERE a = 1"), at(st, "a = 1")
	}},
	{"a part missed", my, "DELETE FROM t; DELETE FROM s; DELETE FROM u", func(st *sqltext.Statement) { st.Parts = st.Parts[:2] }},
	{"parts swapped", my, "DELETE FROM t; DELETE FROM s", func(st *sqltext.Statement) { st.Parts[0], st.Parts[1] = st.Parts[1], st.Parts[0] }},
	{"several taken for one", my, "DELETE FROM t; DELETE FROM s", func(st *sqltext.Statement) { *st = *st.Parts[0] }},
	{"placeholder of a part", my, "DELETE FROM t WHERE a = ?; DELETE FROM s WHERE a = ?", func(st *sqltext.Statement) { st.Parts[1].Placeholders[0].Ordinal = 1 }},
}

func TestMisread(t *testing.T) {
	o := mysql.New(sqltext.Mode{})
	for _, tt := range wrong {
		t.Run(tt.name, func(t *testing.T) {
			st := parse(t, tt.text, tt.d, sqltext.Mode{})
			if v, detail := o.Compare(st); v != difftest.Equal {
				t.Fatalf("verdict %d before the mistake: %s", v, detail)
			}
			tt.mistake(st)
			if v, detail := o.Compare(st); v != difftest.Misread || detail == "" {
				t.Errorf("verdict %d: %s", v, detail)
			}
		})
	}
}
