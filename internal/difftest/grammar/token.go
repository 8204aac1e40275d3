package grammar

import (
	"strings"
	"unicode/utf8"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

type class uint8

const (
	classWord   class = iota // keyword, name, @variable
	classQuoted              // quoted name
	classNumber
	classString
	classOperator
	classPunct // ( ) [ ] , ; .
	classParam
)

// token is one token of a text in the making. What the truth tells of a text is
// kept as ranges of tokens, so that space and comments cannot disturb it.
type token struct {
	text  string
	class class
	glue  bool   // no space or comment may stand in front
	calls string // lower-case name of the function that begins here
}

func (g *Generator) put(text string, c class) {
	g.tokens = append(g.tokens, token{text: text, class: c, glue: g.glueNext})
	g.glueNext = false
}

// span is the range of tokens from a mark to now.
func (g *Generator) span(from int) sqltext.Span {
	if from == len(g.tokens) {
		return sqltext.Span{}
	}
	return sqltext.Span{Start: from, End: len(g.tokens)}
}

func (g *Generator) mark() int { return len(g.tokens) }

// within gives the range of tokens that f emits.
func (g *Generator) within(f func()) sqltext.Span {
	at := g.mark()
	f()
	return g.span(at)
}

// render writes the tokens with space and comments between them, and gives the
// bytes where each begins and ends.
func (g *Generator) render() (text string, at []sqltext.Span) {
	var b strings.Builder
	at = make([]sqltext.Span, len(g.tokens))
	if g.chance(g.nasty) {
		b.WriteString(g.gap(true))
	}
	for i, t := range g.tokens {
		if i > 0 && !t.glue {
			b.WriteString(g.between(g.tokens[i-1], t))
		}
		at[i].Start = b.Len()
		b.WriteString(t.text)
		at[i].End = b.Len()
	}
	if g.chance(g.nasty) {
		b.WriteString(" " + g.gap(true))
	}
	return b.String(), at
}

// between gives what stands between two tokens: nothing only where both stay
// what they are.
func (g *Generator) between(a, b token) string {
	open := g.mustPart(a, b)
	switch {
	case g.chance(g.nasty):
		if a.class == classOperator && strings.ContainsAny(a.text[len(a.text)-1:], "-/*") {
			return " " + g.gap(true)
		}
		return g.gap(open)
	case open:
		return " "
	case g.tight:
		return ""
	case b.class == classPunct || a.class == classPunct && a.text != "," && a.text != ")":
		return ""
	default:
		return " "
	}
}

// mustPart tells whether two tokens would read as something else when nothing
// stands between them.
func (g *Generator) mustPart(a, b token) bool {
	last, _ := utf8.DecodeLastRuneInString(a.text)
	first, _ := utf8.DecodeRuneInString(b.text)
	switch {
	case a.class == classPunct:
		return false
	case b.class == classPunct:
		return b.text == "." && a.class == classNumber
	case a.class == classOperator && b.class == classOperator:
		return b.text != "-" || !strings.Contains("= < > + <= >= <>", a.text)
	case a.class == classOperator:
		// "?" in front of a digit, and "@" in front of a word, are something else.
		return strings.ContainsAny(a.text, "?@:&|~#") && !strings.HasPrefix(a.text, "||") && a.text != "::"
	case b.class == classOperator:
		return strings.ContainsAny(b.text, "?@:&|~#")
	case a.class == classParam && a.text == "?":
		return wordRune(first) || first == '?'
	case a.class == classNumber && g.mysqlFamily() && b.class == classWord && wordRune(first):
		// The scanner ends a number with a point or an exponent at the first letter.
		return !strings.ContainsAny(a.text, ".eE") || strings.ContainsAny(a.text, "xX") ||
			strings.ContainsAny(string(first), "eE@_") || strings.HasSuffix(a.text, ".")
	case a.class == classNumber && wordRune(first):
		return true
	case quote(last) && quote(first):
		return true
	case a.class == classWord && quote(first):
		return utf8.RuneCountInString(a.text) < 3 || a.text[0] == '_' || a.text[0] == '@'
	case wordRune(last):
		return wordRune(first) || first == '@' || first == ':' || first == '?' || first == '.'
	default:
		return first == '@' || first == ':'
	}
}

func quote(r rune) bool { return strings.ContainsRune("'\"`[]", r) }

func wordRune(r rune) bool {
	return r == '_' || r == '$' || r >= 0x80 || '0' <= r && r <= '9' || 'a' <= r|0x20 && r|0x20 <= 'z'
}

// gap gives space or a comment; with open false it may be empty.
func (g *Generator) gap(open bool) string {
	if !open && g.chance(40) {
		return ""
	}
	switch g.rnd.IntN(7) {
	case 0:
		return " "
	case 1:
		return "\n"
	case 2:
		return "\t"
	case 3:
		return "\r\n  "
	case 4:
		return "/*" + g.blockComment() + "*/"
	case 5:
		return " " + g.lineComment()
	default:
		return " /*" + g.blockComment() + "*/" + g.gap(false)
	}
}

var commentTexts = []string{
	"", " ", " x ", " ' ", ` " `, " ` ", " ; ", " WHERE 1 = 1 ", " ; DELETE FROM t1; ", " $$ ", " $1 ", " ? ", " :a ",
	" ) ", " ( ", " é ", " FROM t2 ", ` \ `, " -- ", " # ", " [ ", " ] ", " it's ", " E' ", " * ", " FOR UPDATE ", " 表 ", " %s ",
}

func (g *Generator) blockComment() string {
	text := pick(g, commentTexts)
	if g.dialect == sqltext.Postgres && g.chance(25) {
		text += "/*" + pick(g, commentTexts) + "*/ "
	} else if g.dialect != sqltext.Postgres && g.chance(10) {
		text += " /* "
	}
	return text
}

func (g *Generator) lineComment() string {
	text := pick(g, commentTexts) + pick(g, []string{"", "/* ", "*/ "})
	end := pick(g, []string{"\n", "\r\n", "\n "})
	switch {
	case g.mysqlFamily() && g.chance(50):
		return "#" + text + end
	case g.mysqlFamily():
		return "-- " + text + end
	default:
		return "--" + text + end
	}
}
