package pgsql

import "strings"

// closed reports whether text is complete in itself: every string, quoted name,
// comment and bracket that begins in it ends in it, no bracket ends that did not
// begin, and no semicolon stands outside. Put between "(" and "\n)", such a text
// cannot end the parentheses early, and a "--" comment ends at the newline.
//
// It reads as the server does with standard_conforming_strings on, which Inspect
// checks.
func closed(text string) bool {
	var open []byte
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case '(':
			open = append(open, ')')
			i++
		case '[':
			open = append(open, ']')
			i++
		case ')', ']':
			if len(open) == 0 || open[len(open)-1] != c {
				return false
			}
			open = open[:len(open)-1]
			i++
		case ';', 0:
			return false
		default:
			n := token(text[i:])
			if n == 0 {
				return false
			}
			i += n
		}
	}
	return len(open) == 0
}

// token gives the length of the string, quoted name, comment, word or single
// byte at the start of text, 0 when it does not end.
func token(text string) int {
	switch c := text[0]; {
	case c == '\'':
		return quoted(text, 0, '\'', false)
	case c == '"':
		return quoted(text, 0, '"', false)
	case (c == 'e' || c == 'E') && len(text) > 1 && text[1] == '\'':
		return quoted(text, 1, '\'', true)
	case strings.HasPrefix(text, "--"):
		if n := strings.IndexAny(text, "\r\n"); n >= 0 {
			return n
		}
		return len(text)
	case strings.HasPrefix(text, "/*"):
		return comment(text)
	case c == '$':
		return dollar(text)
	case wordByte(c):
		n := 1
		for n < len(text) && (wordByte(text[n]) || text[n] == '$') {
			n++
		}
		return n
	}
	return 1
}

// quoted measures what begins with the quote at text[at]; a doubled quote stands
// for itself.
func quoted(text string, at int, quote byte, backslash bool) int {
	for i := at + 1; i < len(text); i++ {
		switch {
		case backslash && text[i] == '\\':
			i++
		case text[i] != quote:
		case i+1 < len(text) && text[i+1] == quote:
			i++
		default:
			return i + 1
		}
	}
	return 0
}

// comment measures a block comment; they nest.
func comment(text string) int {
	depth := 0
	for i := 0; i+1 < len(text); i++ {
		switch text[i : i+2] {
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
	return 0
}

// dollar measures a parameter or a dollar-quoted string.
func dollar(text string) int {
	n := 1
	for n < len(text) && wordByte(text[n]) {
		n++
	}
	if n == len(text) || text[n] != '$' || n > 1 && text[1] >= '0' && text[1] <= '9' {
		return n // $1, or a sign that the server will refuse
	}
	tag := text[:n+1]
	end := strings.Index(text[len(tag):], tag)
	if end < 0 {
		return 0
	}
	return len(tag) + end + len(tag)
}

// skipBlank gives the index of the first byte at or after i that is neither white
// space nor in a comment.
func skipBlank(text string, i int) int {
	for i < len(text) {
		rest := text[i:]
		switch {
		case strings.IndexByte(" \t\r\n\f\v", text[i]) >= 0:
			i++
		case strings.HasPrefix(rest, "--"), strings.HasPrefix(rest, "/*"):
			n := token(rest)
			if n == 0 {
				return i
			}
			i += n
		default:
			return i
		}
	}
	return i
}

// wordByte reports whether c may stand inside an unquoted name or a number.
func wordByte(c byte) bool {
	return c == '_' || c >= 0x80 || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// ident quotes a name.
func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// literal quotes a text, whatever standard_conforming_strings says.
func literal(s string) string {
	q := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return "E" + strings.ReplaceAll(q, `\`, `\\`)
	}
	return q
}
