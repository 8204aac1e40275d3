package sqltext

import (
	"fmt"
	"strings"
	"testing"
)

// describe gives a Read in one line, nil as "-".
func describe(s *Statement, r *Read) string {
	if r == nil {
		return "-"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s|", s.Slice(r.List))
	for i, t := range r.Tables {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString(s.Slice(t.NameSpan) + ":" + t.Exposed())
	}
	fmt.Fprintf(&b, "|%s|%s", s.Slice(r.From), s.Slice(r.Where))
	for _, f := range []struct {
		is   bool
		name string
	}{{r.Grouped, "grouped"}, {r.Limited, "limited"}, {r.Nested, "nested"}} {
		if f.is {
			b.WriteString("|" + f.name)
		}
	}
	if len(r.Computed)+len(r.Conditions) > 0 {
		fmt.Fprintf(&b, "|%v%v", r.Computed, r.Conditions)
	}
	for _, k := range r.Locks {
		fmt.Fprintf(&b, "|lock%v", k.Of)
		for _, f := range []struct {
			is   bool
			name string
		}{{k.Key, " key"}, {k.NoWait, " nowait"}, {k.Skip, " skip"}} {
			if f.is {
				b.WriteString(f.name)
			}
		}
	}
	return b.String()
}

func TestParseRead(t *testing.T) {
	for _, c := range []struct {
		dialects string // s SQLite, m MySQL, a MariaDB, p Postgres
		text     string
		want     string
	}{
		{"smap", "SELECT 1", "1|||"},
		{"smap", "SELECT a, b -- c\nFROM t WHERE id = 1 ORDER BY a LIMIT 1;", "a, b|t:t|t|id = 1|limited"},
		{"smap", "/* x */ SELECT * FROM s.t AS x", "*|s.t:x|s.t AS x|"},
		{"smap", "SELECT ALL count(*) FROM t", "ALL count(*)|t:t|t||[count][]"},
		{"smap", "SELECT DISTINCT a FROM t WHERE lower(b) = ''", "DISTINCT a|t:t|t|lower(b) = ''|grouped|[][lower]"},
		{"ma", "SELECT SQL_NO_CACHE DISTINCT a FROM t", "SQL_NO_CACHE DISTINCT a|t:t|t||grouped"},
		{"p", "SELECT DISTINCT FROM t", "-"},
		{"p", "SELECT DISTINCT ON (a, b) c FROM t", "DISTINCT ON (a, b) c|t:t|t||grouped"},
		{"p", "SELECT a IS NOT DISTINCT FROM b FROM t", "a IS NOT DISTINCT FROM b|t:t|t||grouped"},
		{"smap", "SELECT a FROM t GROUP BY a HAVING sum(b) > 1", "a|t:t|t||grouped|[sum][]"},
		{"smap", "SELECT a FROM t ORDER BY max(b)", "a|t:t|t||[max][]"},
		{"smap", "SELECT (SELECT 1) FROM t", "(SELECT 1)|t:t|t||nested"},
		{"smap", "SELECT a FROM t WHERE id IN (SELECT id FROM u)", "a|t:t|t|id IN (SELECT id FROM u)|nested"},
		{"smap", "SELECT a FROM t, u AS v WHERE t.id = v.id", "a|t:t,u:v|t, u AS v|t.id = v.id"},
		{"smap", "SELECT a FROM t JOIN u ON t.id = u.id AND abs(u.n) > 1 LEFT OUTER JOIN w USING (id) CROSS JOIN x", "a|t:t,u:u,w:w,x:x|t JOIN u ON t.id = u.id AND abs(u.n) > 1 LEFT OUTER JOIN w USING (id) CROSS JOIN x||[][abs]"},
		{"smap", "SELECT a FROM (t JOIN u ON t.id = u.id) JOIN v ON v.id = t.id WHERE 1 = 1", "a|t:t,u:u,v:v|(t JOIN u ON t.id = u.id) JOIN v ON v.id = t.id|1 = 1"},
		{"smap", "SELECT a FROM t x, u y WHERE x.id = y.id", "a|t:x,u:y|t x, u y|x.id = y.id"},
		{"s", "SELECT a FROM t x NOT INDEXED LEFT JOIN u y ON 1", "a|t:x,u:y|t x NOT INDEXED LEFT JOIN u y ON 1|"},
		{"sp", "SELECT a FROM t FULL JOIN u ON t.id = u.id", "a|t:t,u:u|t FULL JOIN u ON t.id = u.id|"},
		{"p", "SELECT a FROM ONLY t AS x NATURAL JOIN \"U\"", "a|t:x,\"U\":U|ONLY t AS x NATURAL JOIN \"U\"|"},
		{"ma", "SELECT a FROM `t` PARTITION (p) AS x USE INDEX (i) STRAIGHT_JOIN u", "a|`t`:x,u:u|`t` PARTITION (p) AS x USE INDEX (i) STRAIGHT_JOIN u|"},
		{"ma", "SELECT 1 FROM dual WHERE 1", "1|||1"},
		{"mp", "SELECT a FROM t JOIN u ON t.id = u.id FOR UPDATE OF t, u NOWAIT", "a|t:t,u:u|t JOIN u ON t.id = u.id||lock[t u] nowait"},
		{"p", "SELECT a FROM t, u FOR NO KEY UPDATE OF t SKIP LOCKED FOR KEY SHARE OF u", "a|t:t,u:u|t, u||lock[t] skip|lock[u] key"},
		{"map", "SELECT a FROM t WHERE b = 1 FOR UPDATE SKIP LOCKED", "a|t:t|t|b = 1|lock[] skip"},
		{"ma", "SELECT a FROM t LIMIT 1 LOCK IN SHARE MODE", "a|t:t|t||limited|lock[]"},
		{"a", "SELECT a FROM t FOR UPDATE WAIT 5", "a|t:t|t||lock[]"},
		{"a", "SELECT a FROM t FOR UPDATE WAIT 0", "a|t:t|t||lock[] nowait"},
		{"smap", "(SELECT a FROM t)", "-"},
		{"smap", "SELECT a FROM t UNION SELECT b FROM u", "-"},
		{"smap", "SELECT a FROM (SELECT a FROM t) AS x", "-"},
		{"smap", "SELECT a FROM t JOIN (SELECT a FROM t) AS x ON 1 = 1", "-"},
		{"smap", "WITH q AS (SELECT 1) SELECT a FROM t", "-"},
		{"p", "SELECT a FROM t AS x (a, b)", "-"},
		{"p", "SELECT a FROM (t JOIN u ON true) AS j", "-"},
		{"p", "SELECT a FROM generate_series(1, 2) AS g", "-"},
		{"p", "SELECT a FROM t, LATERAL f(t.id) AS g", "-"},
		{"p", "SELECT a FROM t TABLESAMPLE system (10)", "-"},
		{"p", "SELECT FROM t", "-"},
		{"p", "TABLE t", "-"},
		{"s", "SELECT a FROM json_each('[1]')", "-"},
		{"map", "SELECT 1; SELECT 2", "-"},
		{"smap", "DELETE FROM t", "-"},
	} {
		for _, letter := range c.dialects {
			d := map[rune]Dialect{'s': SQLite, 'm': MySQL, 'a': MariaDB, 'p': Postgres}[letter]
			s, err := Parse(c.text, d, Mode{})
			if err != nil {
				t.Errorf("%c %s: %v", letter, c.text, err)
				continue
			}
			if got := describe(s, ParseRead(s, Mode{})); got != c.want {
				t.Errorf("%c %s:\n got %s\nwant %s", letter, c.text, got, c.want)
			}
		}
	}
}

// FuzzParseRead: the parts lie in the text, in order, and what is put behind the
// list and around the condition leaves a text that is read alike.
func FuzzParseRead(f *testing.F) {
	f.Add("SELECT a -- x\nFROM t JOIN u ON t.id = u.id WHERE a = ? -- y\nORDER BY 1 LIMIT 2 FOR UPDATE", uint8(MySQL))
	f.Add("SELECT DISTINCT a FROM t AS x", uint8(SQLite))
	f.Fuzz(func(t *testing.T, text string, dialect uint8) {
		d := Dialect(dialect%4) + 1
		s, err := Parse(text, d, Mode{})
		if err != nil {
			return
		}
		r := ParseRead(s, Mode{})
		if r == nil {
			return
		}
		if r.List.End <= r.List.Start || r.From != (Span{}) && r.From.Start < r.List.End || r.Where != (Span{}) && r.Where.Start < max(r.From.End, r.List.End) {
			t.Fatalf("spans %+v", r)
		}
		more := text[:r.List.End] + " , (SELECT 1) AS gtx_1" + text[r.List.End:]
		again, err := Parse(more, d, Mode{})
		if err != nil {
			t.Skip() // longer or deeper than the limits
		}
		got := ParseRead(again, Mode{})
		if got == nil {
			t.Fatalf("%q is not cut with another column", text)
		}
		if n, m := len(got.Tables), len(r.Tables); n != m || got.Grouped != r.Grouped || len(got.Locks) != len(r.Locks) ||
			again.Slice(got.From) != s.Slice(r.From) || again.Slice(got.Where) != s.Slice(r.Where) {
			t.Fatalf("%q: %+v, with another column %+v", text, r, got)
		}
	})
}
