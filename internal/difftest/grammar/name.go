package grammar

import (
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// plainNames are words of no dialect.
var (
	plainColumns = []string{"a", "b", "c", "d", "id", "n", "price", "user_id", "updated_at", "qty"}
	plainTables  = []string{"t1", "t2", "t3", "t4"}
	plainAliases = []string{"x", "y", "z", "o", "p", "q1", "tt", "src"}
)

// Keywords that each server takes as a name of a table, a column or an alias
// behind AS, without quotes.
var bareKeywords = map[sqltext.Dialect][]string{
	sqltext.Postgres: {
		"action", "begin", "by", "call", "commit", "conflict", "data", "delete", "do_x", "escape", "excluded", "execute", "explain",
		"first", "insert", "instead", "key", "last", "locked", "matched", "merge", "name", "next", "nothing", "nowait", "of", "over",
		"overriding", "partition", "prepare", "recursive", "release", "replace", "returns", "rollback", "rows", "savepoint", "set",
		"share", "show", "skip", "source", "start", "text", "update", "value", "view", "window_x", "filter", "within", "lateral_x",
		"conflicts", "returning_x", "ties", "temp", "transaction", "type", "cascade", "no", "ordinality", "groups",
	},
	sqltext.MySQL: {
		"action", "any", "begin", "commit", "data", "date", "do", "duplicate", "end", "escape", "execute", "first", "global", "hash",
		"help", "language", "last", "local", "locked", "member", "names", "next", "no", "nowait", "offset", "open", "partial",
		"prepare", "query", "quick", "returning", "rollback", "savepoint", "share", "skip", "some", "source", "start", "status",
		"tables", "text", "time", "timestamp", "transaction", "truncate", "type", "user", "value", "view", "work", "xa", "enum", "year",
	},
	sqltext.MariaDB: {
		"action", "any", "begin", "commit", "data", "date", "duplicate", "end", "escape", "execute", "first", "global", "hash",
		"help", "language", "last", "local", "locked", "names", "next", "no", "nowait", "open", "partial", "prepare", "query",
		"quick", "rollback", "savepoint", "share", "skip", "some", "start", "status", "tables", "text", "time", "timestamp",
		"transaction", "truncate", "type", "user", "view", "work", "xa", "enum", "year", "history", "system", "excluded",
	},
	sqltext.SQLite: {
		"abort", "action", "after", "analyze", "begin", "by", "cascade", "column", "conflict", "cross", "database", "deferred", "do",
		"each", "end", "excluded", "explain", "fail", "first", "following", "full", "groups", "ignore", "immediate", "inner", "instead",
		"key", "last", "left", "materialized", "natural", "no", "nulls", "of", "offset", "others", "outer", "partition", "plan",
		"pragma", "preceding", "query", "range", "recursive", "release", "rename", "replace", "restrict", "right", "rollback", "row",
		"rows", "savepoint", "temp", "ties", "trigger", "unbounded", "vacuum", "value", "view", "virtual", "with", "without", "always",
		"filter", "over", "window", "generated", "matched", "attach", "detach", "current", "exclude", "if",
	},
}

// quotedTexts stand between the quotes of a name; %q is the quote, doubled.
var quotedTexts = []string{
	"where", "from", "a b", "set", "select", "; drop", "--", "/*", "*/", "it's", "é", "表", "a.b", "UPPER", "returning", "%q", "x%qy",
	"(", ")", "$1", "?", "#", "1", "on conflict", "`", "\"",
}

// cased writes a word in the case of this statement.
func (g *Generator) cased(word string) string {
	switch g.wordCase {
	case 0:
		return strings.ToUpper(word)
	case 1:
		return strings.ToLower(word)
	default:
		out := []byte(strings.ToLower(word))
		for i := range out {
			if g.chance(50) {
				out[i] = strings.ToUpper(string(out[i]))[0]
			}
		}
		return string(out)
	}
}

// word emits one of the names, or a quoted or keyword one, and gives the name as
// the server knows it.
func (g *Generator) word(plain []string) string {
	switch {
	case g.chance(g.quoting):
		return g.quotedName(plain)
	case g.chance(g.keywords):
		return g.bare(pick(g, bareKeywords[g.dialect]))
	default:
		return g.bare(pick(g, plain))
	}
}

// bare emits a name without quotes.
func (g *Generator) bare(name string) string {
	if g.chance(10) {
		name = g.cased(name)
	}
	g.put(name, classWord)
	if g.dialect == sqltext.Postgres {
		return strings.ToLower(name)
	}
	return name
}

func (g *Generator) quotedName(plain []string) string {
	name := pick(g, plain)
	open, end := `"`, `"`
	switch {
	case g.mysqlFamily() && (!g.mode.ANSIQuotes || g.chance(50)):
		open, end = "`", "`"
	case g.dialect == sqltext.SQLite && g.chance(50):
		open, end = "`", "`"
		if g.chance(50) {
			open, end = "[", "]"
		}
	}
	if g.chance(50) {
		name = strings.ReplaceAll(pick(g, quotedTexts), "%q", strings.Trim(end, "]"))
	}
	if strings.TrimSpace(name) == "" {
		name = "empty"
	}
	text := strings.ReplaceAll(name, end, end+end)
	if end == "]" {
		text = strings.ReplaceAll(name, "]", ".")
		name = text
	}
	if g.dialect == sqltext.Postgres && !g.mode.BackslashStrings && g.chance(1) && !strings.Contains(name, `\`) {
		g.put(pick(g, []string{"U&", "u&"})+open+text+end, classQuoted)
		return name
	}
	g.put(open+text+end, classQuoted)
	return name
}

// apart runs f on tokens of their own, and gives those.
func (g *Generator) apart(f func()) []token {
	saved := g.tokens
	g.tokens = nil
	f()
	made := g.tokens
	g.tokens = saved
	return made
}

func (g *Generator) name() string { return g.word(plainAliases) }

// column emits the name of a column, not qualified.
func (g *Generator) column() string { return g.word(plainColumns) }

func (g *Generator) qualifiedColumn() {
	if g.chance(40) {
		g.word(append(plainTables[:2:2], plainAliases...))
		g.put(".", classPunct)
		if g.chance(g.keywords) && g.dialect != sqltext.SQLite { // behind the point every word is a name
			g.glueNext = g.mysqlFamily()
			g.tokens[len(g.tokens)-1].glue = g.mysqlFamily()
			g.put(pick(g, []string{"select", "from", "where", "set", "limit", "order", "using", "for", "on"}), classWord)
			return
		}
	}
	g.column()
}

// tableName emits the name of a table, perhaps with a schema.
func (g *Generator) tableName() (name sqltext.Name, at sqltext.Span) {
	at = g.within(func() {
		if g.chance(15) {
			name.Schema = g.word([]string{"s", "public", "main", "app"})
			g.put(".", classPunct)
		}
		name.Table = g.word(plainTables)
	})
	return name, at
}

// alias emits an alias, its AS with it, or none; the span is the alias alone.
func (g *Generator) alias(chance int) (name string, at sqltext.Span) {
	if !g.chance(chance) {
		return "", sqltext.Span{}
	}
	as := g.chance(60)
	if as {
		g.emit("AS")
	}
	from := g.mark()
	switch {
	case as:
		name = g.word(plainAliases)
	case g.chance(g.quoting):
		name = g.quotedName(plainAliases)
	default:
		name = g.bare(pick(g, plainAliases))
	}
	return name, g.span(from)
}
