package postgres

import (
	"sort"
	"strings"

	pg "github.com/sqlc-dev/oliphant"
)

// nativeText is a text as the parser must see it: the parser knows only
// standard strings, so where \ escapes in every string each one is marked E.
type nativeText struct {
	text  string
	marks []int // offsets in the original before which mark was put
}

// mark makes a string one with escapes. The space parts it from a word in front.
const mark = " E"

func (t nativeText) String() string { return t.text }

// offset gives the place in the original of a place in the parser's text.
func (t nativeText) offset(at int) int {
	before := sort.Search(len(t.marks), func(i int) bool { return t.marks[i]+i*len(mark) >= at })
	return at - before*len(mark)
}

// native gives the text as the parser must see it.
func (o *Oracle) native(text string) nativeText {
	if !o.mode.BackslashStrings {
		return nativeText{text: text}
	}
	return markStrings(text)
}

// parseOwn parses a text of the session.
func (o *Oracle) parseOwn(text string) ([]*pg.RawStmt, error) {
	return parse(o.native(text).text)
}

// markStrings puts an E in front of every string that has no mark of its own.
func markStrings(text string) nativeText {
	var t nativeText
	var b strings.Builder
	for i := 0; i < len(text); {
		n := 1
		switch rest := text[i:]; {
		case rest[0] == '\'':
			t.marks = append(t.marks, i)
			b.WriteString(mark)
			n = quoted(rest, true)
		case rest[0] == '"':
			n = quoted(rest, false)
		case strings.HasPrefix(rest, "--"):
			if n = strings.IndexAny(rest, "\r\n"); n < 0 {
				n = len(rest)
			}
		case strings.HasPrefix(rest, "/*"):
			n = comment(rest)
		case rest[0] == '$':
			n = dollar(rest)
		case wordByte(rest[0]):
			n = word(rest)
		}
		b.WriteString(text[i : i+n])
		i += n
	}
	t.text = b.String()
	return t
}

// quoted gives the length of what begins with a quote.
func quoted(s string, backslash bool) int {
	for i := 1; i < len(s); i++ {
		switch {
		case backslash && s[i] == '\\':
			i++
		case s[i] != s[0]:
		case i+1 < len(s) && s[i+1] == s[0]:
			i++
		default:
			return i + 1
		}
	}
	return len(s)
}

func until(s, end string) int {
	if i := strings.Index(s, end); i >= 0 {
		return i + len(end)
	}
	return len(s)
}

func comment(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// dollar gives the length of a $tag$ string, or 1.
func dollar(s string) int {
	i := 1
	for i < len(s) && wordByte(s[i]) && s[i] != '$' {
		i++
	}
	if i == len(s) || s[i] != '$' || i > 1 && s[1] >= '0' && s[1] <= '9' {
		return 1
	}
	tag := s[:i+1]
	return len(tag) + until(s[len(tag):], tag)
}

// word gives the length of a word or number, with the string whose mark it is.
func word(s string) int {
	n := 1
	for n < len(s) && wordByte(s[n]) {
		n++
	}
	if n == len(s) || s[n] != '\'' {
		return n
	}
	switch strings.ToLower(s[:n]) {
	case "e":
		return n + quoted(s[n:], true)
	case "b", "x":
		return n + quoted(s[n:], false)
	}
	return n
}

func wordByte(b byte) bool {
	return b == '_' || b == '$' || b >= 0x80 || b|0x20 >= 'a' && b|0x20 <= 'z' || b >= '0' && b <= '9'
}
