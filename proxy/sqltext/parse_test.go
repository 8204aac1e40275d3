package sqltext

import (
	"errors"
	"strings"
	"testing"
)

func code(t *testing.T, text string, d Dialect) string {
	t.Helper()
	st, err := Parse(text, d, Mode{})
	if err == nil {
		return ""
	}
	if st != nil {
		t.Errorf("a statement and a refusal for %.40q", text)
	}
	var r *Refusal
	if !errors.As(err, &r) {
		t.Fatalf("error is a %T", err)
	}
	return r.Code
}

func TestLimits(t *testing.T) {
	nested := func(n int) string {
		return "SELECT " + strings.Repeat("(", n) + "1" + strings.Repeat(")", n)
	}
	long := func(n int) string {
		const frame = len("SELECT ''")
		return "SELECT '" + strings.Repeat("x", n-frame) + "'"
	}
	for _, c := range []struct {
		name, text string
		d          Dialect
		want       string
	}{
		{"deepest", nested(maxDepth), Postgres, ""},
		{"too deep", nested(maxDepth + 1), Postgres, "depth"},
		{"never closed", strings.Repeat("(", maxText), MySQL, "depth"},
		{"longest", long(maxText), SQLite, ""},
		{"too long", long(maxText + 1), SQLite, "too-long"},
		{"NUL in a string", "SELECT 'a\x00b'", MySQL, "nul"},
		{"not UTF-8", "SELECT 'a\xffb'", MySQL, "encoding"},
		{"half a character", "SELECT 'a\xe4\xb8'", Postgres, "encoding"},
		{"gbk backslash", "UPDATE t SET a = '\xbf\\' WHERE 1=1 -- '", MySQL, "encoding"},
		{"no dialect", "SELECT 1", 0, "dialect"},
		{"unknown dialect", "SELECT 1", SQLite + 1, "dialect"},
		{"last parameter", "SELECT $65535", Postgres, ""},
		{"one more", "SELECT $65536", Postgres, "placeholder"},
		{"last of SQLite", "SELECT ?32766", SQLite, ""},
		{"one more of SQLite", "SELECT ?32766, ?", SQLite, "placeholder"},
		{"most tables", "UPDATE t0" + strings.Repeat(", t", maxJoined-1) + " SET t0.a = 1", MySQL, ""},
		{"one more table", "UPDATE t0" + strings.Repeat(", t", maxJoined) + " SET t0.a = 1", MySQL, "table-references"},
		{"too many", "SELECT ?" + strings.Repeat(",?", maxParam), MySQL, "placeholder"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := code(t, c.text, c.d); got != c.want {
				t.Errorf("got code %q, want %q", got, c.want)
			}
		})
	}
}

// TestHostileLiterals puts texts that look like SQL where a value stands. They
// must stay the value, whatever they hold.
func TestHostileLiterals(t *testing.T) {
	pieces := []string{
		"'", "''", "\"", "`", "\\", "\\'", "--", "-- ", "#", "/*", "*/", "/*!", ";", "(", ")", "[", "]", "$$", "$a$", "?", "$1", ":x",
		" WHERE 1=1", " SET ", " RETURNING *", "\n", "\r", "é", "x", " ", "%", "0x", "E'", "U&'",
	}
	quotes := map[string]func(string) string{
		"doubled":   func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" },
		"backslash": func(s string) string { return "'" + strings.NewReplacer("'", "''", "\\", "\\\\").Replace(s) + "'" },
		"postgres":  func(s string) string { return "E'" + strings.NewReplacer("'", "\\'", "\\", "\\\\").Replace(s) + "'" },
	}
	for _, c := range []struct {
		s     session
		quote string
	}{
		{sessions["mysql"], "backslash"},
		{sessions["mariadb"], "backslash"},
		{sessions["mysql+ansi"], "backslash"},
		{sessions["mysql+nobackslash"], "doubled"},
		{sessions["mariadb+nobackslash"], "doubled"},
		{sessions["postgres"], "doubled"},
		{sessions["postgres"], "postgres"},
		{sessions["sqlite"], "doubled"},
	} {
		for _, a := range pieces {
			for _, b := range pieces {
				for _, e := range pieces {
					lit := quotes[c.quote](a + b + e)
					text := "UPDATE t SET a = " + lit + " WHERE b = " + lit
					st, err := Parse(text, c.s.d, c.s.m)
					if err != nil {
						t.Fatalf("%s: %s: %v", c.s.name, text, err)
					}
					if got := st.Slice(st.Set); got != "a = "+lit {
						t.Fatalf("%s: %s: set is %s", c.s.name, text, got)
					}
					if got := st.Slice(st.Where); got != "b = "+lit {
						t.Fatalf("%s: %s: where is %s", c.s.name, text, got)
					}
					if len(st.Placeholders)+len(st.Functions) > 0 {
						t.Fatalf("%s: %s: found something inside the literal", c.s.name, text)
					}
				}
			}
		}
	}
}

func TestIn(t *testing.T) {
	st, err := Parse("UPDATE t SET a = ?, b = ? WHERE c = ?", MySQL, Mode{})
	if err != nil {
		t.Fatal(err)
	}
	if in := st.In(st.Set); len(in) != 2 || in[0].Ordinal != 1 || in[1].Ordinal != 2 {
		t.Errorf("in SET: %v", in)
	}
	if in := st.In(st.Where); len(in) != 1 || in[0].Ordinal != 3 {
		t.Errorf("in WHERE: %v", in)
	}
}
