package capture

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// quoter writes names and literals in the ways that a dialect and mode have.
type quoter struct {
	d sqltext.Dialect
	m sqltext.Mode
}

func (q quoter) family() bool { return q.d == sqltext.MySQL || q.d == sqltext.MariaDB }

func enclose(s, quote string) string {
	return quote + strings.ReplaceAll(s, quote, quote+quote) + quote
}

// always quotes a name.
func (q quoter) always(name string) string {
	if q.family() {
		return enclose(name, "`")
	}
	return enclose(name, `"`)
}

// name writes a name in one of the ways to write it.
func (q quoter) name(r *rand.Rand, name string) string {
	if plain(name) && r.IntN(4) != 0 {
		return name
	}
	switch {
	case q.family() && (!q.m.ANSIQuotes || r.IntN(2) == 0):
		return enclose(name, "`")
	case q.d == sqltext.SQLite && r.IntN(4) == 0:
		return enclose(name, "`")
	case q.d == sqltext.SQLite && r.IntN(3) == 0 && !strings.Contains(name, "]"):
		return "[" + name + "]"
	}
	return enclose(name, `"`)
}

// reserved are the names of the schema and of aliases that must be quoted
// although they look plain.
var reserved = map[string]bool{
	"order": true, "select": true, "limit": true, "set": true, "where": true, "from": true,
	"group": true, "on": true, "using": true, "returning": true,
}

func plain(name string) bool {
	if reserved[name] {
		return false
	}
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// str writes a string of text in one of the ways to write it.
func (q quoter) str(r *rand.Rand, s string) string {
	switch {
	case q.d == sqltext.SQLite:
		return enclose(s, "'")
	case q.d == sqltext.Postgres:
		switch r.IntN(6) {
		case 0:
			return "E" + backslashed(r, s, '\'')
		case 1:
			if !strings.Contains(s, "$") {
				return "$$" + s + "$$"
			}
		case 2:
			if !strings.Contains(s+"$", "$fn$") {
				return "$fn$" + s + "$fn$"
			}
		}
		return enclose(s, "'")
	}
	quote := byte('\'')
	if !q.m.ANSIQuotes && r.IntN(3) == 0 {
		quote = '"'
	}
	if q.m.NoBackslashEscapes {
		return enclose(s, string(quote))
	}
	return backslashed(r, s, quote)
}

// prefix is what stands in front of a string of the MySQL family. It changes the
// collation, so it is not for the rows of an INSERT: those of a UNION must agree.
func (q quoter) prefix(r *rand.Rand, literal, s string) string {
	switch r.IntN(10) {
	case 0:
		return "_utf8mb4 "
	case 1:
		if literal[0] == '\'' && !strings.Contains(s, "é") { // its character set is smaller
			return "N"
		}
	}
	return ""
}

// backslashed writes a string where \ escapes.
func backslashed(r *rand.Rand, s string, quote byte) string {
	var b strings.Builder
	b.WriteByte(quote)
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\\':
			b.WriteString(`\\`)
		case c == quote && r.IntN(2) == 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == quote:
			b.WriteByte(c)
			b.WriteByte(c)
		case c == '\n' && r.IntN(2) == 0:
			b.WriteString(`\n`)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte(quote)
	return b.String()
}

func (q quoter) mark(n int) string {
	if q.d == sqltext.Postgres {
		return fmt.Sprintf("$%d", n)
	}
	return "?"
}

func (q quoter) typeName(t typ) string {
	switch {
	case t == integer && q.d == sqltext.SQLite:
		return "INTEGER"
	case t == integer:
		return "int"
	case t == document && q.family():
		return "json"
	case t == document && q.d == sqltext.Postgres:
		return "jsonb"
	case q.family():
		return "varchar(300)"
	}
	return "text"
}
