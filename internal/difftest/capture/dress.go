package capture

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// The generator writes a sketch: SQL with keywords in upper case, single spaces
// between tokens, and one character of Unicode's private area for each literal,
// quoted name and argument. dress makes the text of it: with comments in the
// gaps, words in any case, and placeholders in any order.

// held is what stands for one private character.
type held struct {
	verbatim string
	arg      any
	isArg    bool
}

const firstHeld = '\ue000'

type wardrobe struct {
	quoter
	r    *rand.Rand
	held []held
}

func (w *wardrobe) hold(h held) string {
	w.held = append(w.held, h)
	return string(rune(firstHeld + len(w.held) - 1))
}

func (w *wardrobe) ident(name string) string {
	s := w.name(w.r, name)
	if s == name {
		return s
	}
	return w.hold(held{verbatim: s})
}

func (w *wardrobe) literal(s string) string {
	lit := w.str(w.r, s)
	if w.family() {
		lit = w.prefix(w.r, lit, s) + lit
	}
	return w.hold(held{verbatim: lit})
}

// bare is literal without a character set.
func (w *wardrobe) bare(s string) string { return w.hold(held{verbatim: w.str(w.r, s)}) }

func (w *wardrobe) arg(v any) string { return w.hold(held{arg: v, isArg: true}) }

// comments hold what must not be taken for SQL.
var comments = []string{
	" WHERE id = 1 ", " ? ", " $1 :a @b ", " it's ", ` "x `, " ` ", " ; DELETE FROM acct ", " SET ", "", " \\ ", " $q$ ", " ) ",
}

func (w *wardrobe) gap() string {
	c := comments[w.r.IntN(len(comments))]
	switch w.r.IntN(40) {
	case 0:
		return " /*" + c + "*/ "
	case 1:
		return "/*" + c + "*/"
	case 2:
		return " -- " + c + "\n"
	case 3:
		switch {
		case w.family():
			return " #" + c + "\n"
		case w.d == sqltext.Postgres:
			return " /* /*" + c + "*/ */"
		}
	case 4, 5:
		return "\n"
	case 6:
		return " \t "
	}
	return " "
}

func (w *wardrobe) anyCase(s string) string {
	switch w.r.IntN(6) {
	case 0, 1:
		return strings.ToLower(s)
	case 2:
		b := []byte(strings.ToLower(s))
		for i := range b {
			if w.r.IntN(2) == 0 {
				b[i] = strings.ToUpper(string(b[i]))[0]
			}
		}
		return string(b)
	}
	return s
}

// dress makes the text and its arguments, in the order of their ordinals.
func (w *wardrobe) dress(sketch string) (string, []any) {
	var b strings.Builder
	a := w.arguments(sketch)
	runes := []rune(sketch)
	for i := 0; i < len(runes); i++ {
		switch c := runes[i]; {
		case c >= firstHeld:
			h := w.held[c-firstHeld]
			if h.isArg {
				b.WriteString(a.place())
			} else {
				b.WriteString(h.verbatim)
			}
		case c == ' ':
			if i > 0 && i+1 < len(runes) && w.mayGlue(runes[i-1], runes[i+1]) && w.r.IntN(4) == 0 {
				continue
			}
			b.WriteString(w.gap())
		case isWord(c):
			from := i
			for i+1 < len(runes) && isWord(runes[i+1]) {
				i++
			}
			s := string(runes[from : i+1])
			// A name is not folded everywhere in the MySQL family.
			if !w.family() || len(s) > 1 && s == strings.ToUpper(s) {
				s = w.anyCase(s)
			}
			b.WriteString(s)
		default:
			b.WriteRune(c)
		}
	}
	if w.r.IntN(12) == 0 {
		b.WriteString(" ; ")
	}
	return b.String(), a.list
}

// mayGlue tells whether two tokens may stand together without a gap.
func (w *wardrobe) mayGlue(prev, next rune) bool {
	return strings.ContainsRune("=,(", prev) && (isWord(next) || next >= firstHeld) ||
		strings.ContainsRune("=<", next) && isWord(prev)
}

func isWord(c rune) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// arguments gives placeholders to values, in the style of the dialect.
type arguments struct {
	style string
	slots []int // of each placeholder in text order: its ordinal, from 0
	next  int
	list  []any // by ordinal
}

// arguments plans the placeholders of the arguments in a sketch.
func (w *wardrobe) arguments(sketch string) *arguments {
	a := &arguments{style: "?"}
	switch w.d {
	case sqltext.Postgres:
		a.style = "$"
	case sqltext.SQLite:
		a.style = []string{"?", "?", "?n", ":", "@", "$n"}[w.r.IntN(6)]
	}
	for _, c := range sketch {
		if c < firstHeld || !w.held[c-firstHeld].isArg {
			continue
		}
		v := w.held[c-firstHeld].arg
		slot := -1
		if a.style != "?" && w.r.IntN(2) == 0 {
			slot = slices.Index(a.list, v)
		}
		if slot < 0 {
			slot = len(a.list)
			a.list = append(a.list, v)
		}
		a.slots = append(a.slots, slot)
	}
	switch a.style {
	case "$", "?n":
		old := a.list
		a.list = make([]any, len(old))
		perm := w.r.Perm(len(old))
		for i, slot := range a.slots {
			a.slots[i] = perm[slot]
			a.list[perm[slot]] = old[slot]
		}
	case "?":
	default:
		for i, v := range a.list {
			a.list[i] = sql.Named(fmt.Sprintf("p%d", i), v)
		}
	}
	return a
}

// place gives the next placeholder.
func (a *arguments) place() string {
	slot := a.slots[a.next]
	a.next++
	switch a.style {
	case "?":
		return "?"
	case "$":
		return fmt.Sprintf("$%d", slot+1)
	case "?n":
		return fmt.Sprintf("?%d", slot+1)
	}
	return fmt.Sprintf("%sp%d", a.style[:1], slot)
}
