package docs

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

var rewrite = flag.Bool("rewrite", false, "write the generated tables of statements.md")

// kind is a line of the table of statements: a form, and its shortest example
// by the letters of the dialects that have it.
type kind struct {
	title    string
	examples map[string]string
}

var dialects = []struct {
	letter, title string
	d             sqltext.Dialect
	m             sqltext.Mode
}{
	{"p", "PostgreSQL", sqltext.Postgres, sqltext.Mode{}},
	{"m", "MySQL", sqltext.MySQL, sqltext.Mode{}},
	{"a", "MariaDB", sqltext.MariaDB, sqltext.Mode{}},
	{"s", "SQLite", sqltext.SQLite, sqltext.Mode{}},
}

var kinds = []kind{
	{"SELECT", all("SELECT a FROM t WHERE b = 1")},
	{"WITH … SELECT", all("WITH x AS (SELECT 1 AS a) SELECT a FROM x")},
	{"SELECT … FOR UPDATE", on("pma", "SELECT a FROM t WHERE b = 1 FOR UPDATE")},
	{"SELECT … INTO", on("p", "SELECT a INTO s FROM t", "ma", "SELECT a INTO @v FROM t")},
	{"a user variable assigned with :=", on("ma", "SELECT @v := 1")},
	{"SHOW", on("p", "SHOW work_mem", "ma", "SHOW TABLES")},
	{"EXPLAIN", all("EXPLAIN SELECT 1")},
	{"EXPLAIN ANALYZE", on("pm", "EXPLAIN ANALYZE UPDATE t SET a = 1", "a", "ANALYZE UPDATE t SET a = 1")},
	{"INSERT … VALUES", all("INSERT INTO t (a, b) VALUES (1, 2), (3, 4)")},
	{"INSERT … RETURNING", on("pas", "INSERT INTO t (a) VALUES (1) RETURNING b")},
	{"INSERT … SELECT", all("INSERT INTO t (a) SELECT b FROM s")},
	{"INSERT … SELECT, upsert", on("ps", "INSERT INTO t (a) SELECT b FROM s WHERE true ON CONFLICT (a) DO UPDATE SET b = 2", "ma", "INSERT INTO t (a) SELECT b FROM s ON DUPLICATE KEY UPDATE b = 2")},
	{"INSERT … SET", on("ma", "INSERT INTO t SET a = 1")},
	{"INSERT … DEFAULT VALUES", on("ps", "INSERT INTO t DEFAULT VALUES", "ma", "INSERT INTO t () VALUES ()")},
	{"INSERT … OVERRIDING", on("p", "INSERT INTO t (a) OVERRIDING SYSTEM VALUE VALUES (1)")},
	{"INSERT IGNORE, INSERT OR IGNORE", on("ma", "INSERT IGNORE INTO t (a) VALUES (1)", "s", "INSERT OR IGNORE INTO t (a) VALUES (1)")},
	{"INSERT … ON CONFLICT DO NOTHING", on("ps", "INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING")},
	{"INSERT … ON CONFLICT DO UPDATE", on("ps", "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 2")},
	{"INSERT … ON DUPLICATE KEY UPDATE", on("ma", "INSERT INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE b = 2")},
	{"INSERT … VALUES … AS new", on("m", "INSERT INTO t (a) VALUES (1) AS new")},
	{"REPLACE, INSERT OR REPLACE", on("ma", "REPLACE INTO t (a) VALUES (1)", "s", "INSERT OR REPLACE INTO t (a) VALUES (1)")},
	{"REPLACE … RETURNING", on("a", "REPLACE INTO t (a) VALUES (1) RETURNING a", "s", "INSERT OR REPLACE INTO t (a) VALUES (1) RETURNING a")},
	{"UPDATE", all("UPDATE t SET a = 1 WHERE b = 2")},
	{"UPDATE … AS alias", all("UPDATE t AS x SET a = x.a + 1")},
	{"UPDATE … RETURNING", on("ps", "UPDATE t SET a = 1 RETURNING a")},
	{"RETURNING WITH (OLD AS o)", on("p", "UPDATE t SET a = 1 RETURNING WITH (OLD AS o) o.a")},
	{"UPDATE … FROM", on("ps", "UPDATE t SET a = s.a FROM s WHERE s.b = t.b")},
	{"UPDATE of a join", on("ma", "UPDATE t JOIN s ON s.b = t.b SET t.a = s.a")},
	{"UPDATE … ORDER BY … LIMIT", on("ma", "UPDATE t SET a = 1 ORDER BY b LIMIT 1")},
	{"UPDATE … LIMIT", on("ma", "UPDATE t SET a = 1 LIMIT 1")},
	{"UPDATE IGNORE, UPDATE OR IGNORE", on("ma", "UPDATE IGNORE t SET a = 1", "s", "UPDATE OR IGNORE t SET a = 1")},
	{"UPDATE OR ABORT, UPDATE OR FAIL", on("s", "UPDATE OR FAIL t SET a = 1")},
	{"UPDATE OR ROLLBACK", on("s", "UPDATE OR ROLLBACK t SET a = 1")},
	{"UPDATE ONLY", on("p", "UPDATE ONLY t SET a = 1")},
	{"UPDATE of the primary key", all("UPDATE t SET id = id + 1 WHERE id = 7")},
	{"UPDATE of a part of a column", on("p", "UPDATE t SET a[1] = 1, b.c = 2")},
	{"UPDATE … PARTITION", on("ma", "UPDATE t PARTITION (p0) SET a = 1")},
	{"UPDATE with an index hint", on("ma", "UPDATE t USE INDEX (i) SET a = 1", "s", "UPDATE t INDEXED BY i SET a = 1")},
	{"UPDATE … FOR PORTION OF", on("a", "UPDATE t FOR PORTION OF p FROM '2000-01-01' TO '2001-01-01' SET a = 1")},
	{"UPDATE … WHERE CURRENT OF", on("p", "UPDATE t SET a = 1 WHERE CURRENT OF c")},
	{"DELETE", all("DELETE FROM t WHERE b = 2")},
	{"DELETE … RETURNING", on("pas", "DELETE FROM t RETURNING a")},
	{"DELETE … USING", on("p", "DELETE FROM t USING s WHERE s.b = t.b")},
	{"DELETE of a join", on("ma", "DELETE t FROM t JOIN s ON s.b = t.b")},
	{"DELETE … ORDER BY … LIMIT", on("ma", "DELETE FROM t ORDER BY b LIMIT 1")},
	{"DELETE HISTORY", on("a", "DELETE HISTORY FROM t")},
	{"MERGE (PostgreSQL 18)", on("p", "MERGE INTO t USING s ON s.b = t.b WHEN MATCHED THEN DELETE")},
	{"WITH … UPDATE", on("pmas", "WITH x AS (SELECT 1 AS a) UPDATE t SET a = 1 WHERE b IN (SELECT a FROM x)")},
	{"WITH … (UPDATE …)", on("p", "WITH x AS (UPDATE t SET a = 1 RETURNING a) SELECT a FROM x")},
	{"several statements", all("DELETE FROM t; DELETE FROM s")},
	{"SAVEPOINT, ROLLBACK TO, RELEASE", all("SAVEPOINT s")},
	{"BEGIN, COMMIT, ROLLBACK", all("COMMIT")},
	{"SET", on("p", "SET work_mem = '1MB'", "ma", "SET sort_buffer_size = 1000000")},
	{"SET STATEMENT … FOR", on("a", "SET STATEMENT max_statement_time = 1 FOR UPDATE t SET a = 1")},
	{"CALL", on("pma", "CALL p()")},
	{"DO", on("p", "DO $$ BEGIN END $$", "ma", "DO sleep(1)")},
	{"COPY, LOAD DATA", on("p", "COPY t FROM STDIN", "ma", "LOAD DATA LOCAL INFILE 'f' INTO TABLE t")},
	{"PREPARE, EXECUTE", on("p", "EXECUTE s", "ma", "EXECUTE s")},
	{"CREATE, ALTER, DROP", all("CREATE TABLE s (a int)")},
	{"TRUNCATE", on("pma", "TRUNCATE TABLE t")},
	{"LOCK TABLE", on("p", "LOCK TABLE t", "ma", "LOCK TABLES t WRITE")},
	{"PRAGMA, ATTACH", on("s", "PRAGMA user_version = 1")},
	{"/*! a comment that is run */", on("ma", "DELETE FROM t /*! WHERE a = 1 */")},
}

func all(text string) map[string]string { return on("pmas", text) }

// on takes pairs of dialect letters and a text.
func on(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		for _, letter := range strings.Split(pairs[i], "") {
			m[letter] = pairs[i+1]
		}
	}
	return m
}

// cell says what becomes of a text inside a global transaction.
func cell(text string, d sqltext.Dialect, m sqltext.Mode) string {
	st, err := sqltext.Parse(text, d, m)
	if r := (*sqltext.Refusal)(nil); errors.As(err, &r) {
		return "refused: `" + r.Code + "`"
	}
	if u := (*gtx.UnsupportedError)(nil); errors.As(proxy.Supported(st), &u) {
		return "refused: `" + u.Code + "`"
	}
	if proxy.Reads(st) {
		if st.Locking {
			return "checked"
		}
		return "runs unchanged"
	}
	return "captured"
}

// tables gives the generated part of statements.md.
func tables() string {
	var b strings.Builder
	b.WriteString("| statement |")
	for _, d := range dialects {
		b.WriteString(" " + d.title + " |")
	}
	b.WriteString("\n|---|---|---|---|---|\n")
	for _, k := range kinds {
		b.WriteString("| " + strings.ReplaceAll(k.title, "|", "\\|") + " |")
		for _, d := range dialects {
			said := "–"
			if text, ok := k.examples[d.letter]; ok {
				said = cell(text, d.d, d.m)
			}
			b.WriteString(" " + said + " |")
		}
		b.WriteString("\n")
	}
	b.WriteString("\nUnderstood, but not captured:\n\n| code | why, and what to do |\n|---|---|\n")
	for _, u := range proxy.NotCaptured() {
		fmt.Fprintf(&b, "| `%s` | %s: %s |\n", u.Code, u.Reason, u.Hint)
	}
	b.WriteString("\nNot understood:\n\n| code | why, and what to do |\n|---|---|\n")
	for _, r := range sqltext.Refusals() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", r.Code, strings.ReplaceAll(r.Reason, "|", "\\|"))
	}
	return b.String()
}

const (
	generatedFrom = "<!-- generated from the code: go test ./docs -rewrite -->\n"
	generatedTo   = "<!-- end of what is generated -->\n"
)

// TestStatements holds that the tables of statements.md are what the code does.
func TestStatements(t *testing.T) {
	text := read(t, "statements.md")
	before, rest, ok1 := strings.Cut(text, generatedFrom)
	got, after, ok2 := strings.Cut(rest, generatedTo)
	if !ok1 || !ok2 {
		t.Fatal("statements.md has lost the marks of its generated part")
	}
	want := "\n" + tables() + "\n"
	if *rewrite {
		if err := os.WriteFile("statements.md", []byte(before+generatedFrom+want+generatedTo+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got != want {
		t.Error("the tables of statements.md are not what the code does: go test ./docs -rewrite, and read the difference")
	}
}

// TestEveryFormIsShown holds that each form that is not captured has a line in
// the table of statements.
func TestEveryFormIsShown(t *testing.T) {
	shown := tables()[:strings.Index(tables(), "Understood, but")]
	for _, u := range proxy.NotCaptured() {
		if !strings.Contains(shown, "`"+u.Code+"`") {
			t.Errorf("no statement of the table is refused with %q", u.Code)
		}
	}
}
