package grammar

import (
	"fmt"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

func (g *Generator) number() {
	numbers := []string{"0", "1", "2", "42", "7", "100", "1000000"}
	if g.chance(30) {
		numbers = []string{"1.5", "0.25", ".5", "1e3", "1E-2", "2.5e+1", "0.99e+5"}
		switch {
		case g.mysqlFamily():
			numbers = append(numbers, "0x1F", "0b101", "1.")
		case g.dialect == sqltext.SQLite:
			numbers = append(numbers, "0x1F", "1.")
		}
	}
	g.put(pick(g, numbers), classNumber)
}

var stringTexts = []string{
	"", "x", "abc", "it''s", " ", "WHERE", "; DELETE FROM t1; --", "--", "/*", "*/", "a FROM b", `"`, "`", "$$", "$1", "?", ":a",
	"(", ")", "#", "é", "表", "[", "%", "100%", "{\"k\": 1}", "{a,b}", "FOR UPDATE", "SET a = 1", "\n", "\t", ",", "@x", "''", "E''", "2024-01-01",
}

// str emits one string of text.
func (g *Generator) str() {
	text := pick(g, stringTexts)
	plain := "'" + text + "'"
	if !g.chance(25) {
		g.put(plain, classString)
		return
	}
	switch g.dialect {
	case sqltext.Postgres:
		g.postgresString(text)
	case sqltext.SQLite:
		g.put(pick(g, []string{plain, "'a\\'", "x'0aFF'", "X''"}), classString)
	default:
		g.mysqlString(text)
	}
}

func (g *Generator) postgresString(text string) {
	plain := "'" + text + "'"
	back := "'a\\'" // a whole string as the standard has it
	if g.mode.BackslashStrings {
		back = `'a\'; b\\'`
	}
	switch g.rnd.IntN(8) {
	case 0:
		g.put(pick(g, []string{`E'\''`, `e'a\\'`, `E'\\\''`, `E'it''s \' WHERE '`, `E'\n\x41'`}), classString)
	case 1:
		g.put(pick(g, []string{"N", "n"})+plain, classString)
	case 2:
		g.put(pick(g, []string{"X'1fA'", "x''", "B'0101'", "b'1'"}), classString)
	case 3:
		if g.mode.BackslashStrings { // the server refuses U& in this mode
			g.put(plain, classString)
			return
		}
		g.put(pick(g, []string{`U&'\0061'`, `u&'d\+000061'`, `U&'it''s'`}), classString)
		if g.chance(30) {
			g.emit("UESCAPE '!'")
		}
	case 4, 5:
		tag := pick(g, []string{"$$", "$a$", "$Tag_1$", "$é$", "$where$"})
		if strings.Contains(text, "$") {
			text = "$1 $ $b$"
			if tag == "$$" {
				text = "$1 $ "
			}
		}
		g.put(tag+pick(g, []string{text, "'" + text, text + "\\"})+tag, classString)
	case 6:
		g.put(plain+pick(g, []string{"\n", " \n  ", " -- c\n", "\r\n"})+"'b'", classString)
	default:
		g.put(back, classString)
	}
}

func (g *Generator) mysqlString(text string) {
	plain := "'" + text + "'"
	back := []string{`'\''`, `'a\\'`, `'\\\' WHERE '`, `'\n\%'`, `'it''s \' ; '`}
	if g.mode.NoBackslashEscapes {
		back = []string{`'\'`, `'a\\'`, `'C:\'`}
	}
	switch n := g.rnd.IntN(7); {
	case n == 0 && g.mode.ANSIQuotes:
		g.put(plain, classString)
	case n == 0:
		g.put(pick(g, []string{`"x"`, `"it's"`, `"say ""hi"""`, `"WHERE"`, `"-- "`, `""`, `"a;b"`}), classString)
	case n == 1:
		g.put(pick(g, []string{"N", "n"})+plain, classString)
	case n == 2:
		g.put(pick(g, []string{"X'1F'", "x''", "B'0101'", "b'1'"}), classString)
	case n == 3:
		g.put(pick(g, []string{"_utf8mb4", "_latin1", "_binary"}), classWord)
		g.put("'abc'", classString)
	case n == 4:
		g.put(plain, classString)
		g.put(plain, classString)
	default:
		g.put(pick(g, back), classString)
	}
}

// param emits a parameter marker, or a number where the statement takes none.
func (g *Generator) param() {
	if g.noParams {
		g.number()
		return
	}
	text := "?"
	switch g.dialect {
	case sqltext.Postgres:
		g.params++
		n := g.params
		if g.chance(20) {
			n = 1 + g.rnd.IntN(g.params)
		}
		text = fmt.Sprintf("$%d", n)
	case sqltext.SQLite:
		if g.chance(40) {
			text = pick(g, []string{"?1", "?2", "?7", ":a", ":where", "@a", "$a", ":B1", "$from"})
		}
	}
	g.put(text, classParam)
}

// placeholders numbers the markers among tokens [from, to) as the server does.
func (g *Generator) placeholders(at []sqltext.Span, from, to int) []sqltext.Placeholder {
	var all []sqltext.Placeholder
	highest, named := 0, map[string]int{}
	for i, t := range g.tokens[:to] {
		if t.class != classParam {
			continue
		}
		p := sqltext.Placeholder{Span: at[i]}
		switch _, err := fmt.Sscanf(t.text[1:], "%d", &p.Ordinal); {
		case t.text == "?":
			p.Ordinal = highest + 1
		case err == nil: // ?7, $7
		default:
			p.Name = t.text[1:]
			if named[t.text] == 0 {
				named[t.text] = highest + 1
			}
			p.Ordinal = named[t.text]
		}
		highest = max(highest, p.Ordinal)
		if i >= from {
			all = append(all, p)
		}
	}
	return all
}
