package inside

import (
	"strings"
	"unicode"
)

// kind is what the first words of a statement tell.
type kind uint8

const (
	reads  kind = iota // or changes the session only
	writes             // may write, or controls a local transaction
	defines
)

// text is a statement as far as the harness needs to know it. It is not parsed: that
// is proxy's, and must not be checked against itself.
type text struct {
	kind  kind
	words []string // lower case
	// table: it defines or drops tables, whose names are names. drop: nothing else.
	table, drop, temporary bool
	names                  []string // without a schema
}

var firstWords = map[string]kind{
	"insert": writes, "update": writes, "delete": writes, "replace": writes, "merge": writes,
	"call": writes, "execute": writes, "copy": writes, "load": writes,
	"begin": writes, "start": writes, "savepoint": writes, "xa": writes, "handler": writes,
	"create": defines, "drop": defines, "alter": defines, "truncate": defines, "rename": defines,
	"comment": defines, "grant": defines, "revoke": defines, "vacuum": defines, "analyze": defines,
	"reindex": defines, "cluster": defines, "optimize": defines, "repair": defines, "refresh": defines,
	"attach": defines, "detach": defines, "import": defines, "security": defines, "reassign": defines,
}

// read cuts a statement into words and says what it is.
func read(query string) text {
	t := text{words: words(query)}
	if len(t.words) == 0 {
		return t
	}
	t.kind = firstWords[t.words[0]]
	if t.words[0] == "with" || t.words[0] == "explain" {
		for _, w := range t.words {
			if w == "insert" || w == "update" || w == "delete" || w == "merge" {
				t.kind = writes
			}
		}
	}
	if t.kind == defines {
		t.define()
	}
	return t
}

// define finds the tables that DDL names: after TABLE and REFERENCES.
func (t *text) define() {
	w := t.words[1:]
	for len(w) > 0 && (w[0] == "temp" || w[0] == "temporary" || w[0] == "unlogged" || w[0] == "or" || w[0] == "replace") {
		t.temporary = t.temporary || strings.HasPrefix(w[0], "temp")
		w = w[1:]
	}
	first := t.words[0]
	if len(w) == 0 || w[0] != "table" || first != "create" && first != "drop" {
		return
	}
	t.table, t.drop = true, first == "drop"
	w = w[1:]
	for len(w) > 0 && (w[0] == "if" || w[0] == "not" || w[0] == "exists") {
		w = w[1:]
	}
	if t.drop {
		for len(w) > 0 {
			t.names, w = append(t.names, last(w)), w[1:]
		}
		return
	}
	if len(w) > 0 {
		t.names = append(t.names, last(w))
	}
	for i, x := range w {
		if x == "references" && i+1 < len(w) {
			t.names = append(t.names, last(w[i+1:]))
		}
	}
}

// last gives the first word without its schema.
func last(w []string) string { return w[0][strings.LastIndexByte(w[0], '.')+1:] }

// mentions tells whether one of the names stands among the words.
func (t text) mentions(names []string) bool {
	for _, w := range t.words {
		w = w[strings.LastIndexByte(w, '.')+1:]
		for _, n := range names {
			if w == n {
				return true
			}
		}
	}
	return false
}

// words gives identifiers and key words in lower case, without quotes and comments; a
// name with a schema is one word. Strings in single quotes are left out.
func words(query string) []string {
	var out []string
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			out = append(out, strings.ToLower(strings.Trim(b.String(), ".")))
			b.Reset()
		}
	}
	r := []rune(query)
	for i := 0; i < len(r); i++ {
		switch {
		case r[i] == '-' && i+1 < len(r) && r[i+1] == '-':
			flush()
			for i < len(r) && r[i] != '\n' {
				i++
			}
		case r[i] == '/' && i+1 < len(r) && r[i+1] == '*':
			flush()
			for i += 2; i < len(r) && !(r[i] == '*' && i+1 < len(r) && r[i+1] == '/'); i++ {
			}
			i++
		case r[i] == '\'':
			flush()
			for i++; i < len(r) && r[i] != '\''; i++ {
			}
		case r[i] == '"' || r[i] == '`' || r[i] == '[' || r[i] == ']': // an identifier's
		case unicode.IsLetter(r[i]) || unicode.IsDigit(r[i]) || r[i] == '_' || r[i] == '$' || r[i] == '.':
			b.WriteRune(r[i])
		default:
			flush()
		}
	}
	flush()
	return out
}
