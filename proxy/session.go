package proxy

import (
	"strings"
)

// effect of a statement that runs outside capture, on what is remembered of the
// session and of the tables.
type effect uint8

const (
	noEffect     effect = iota
	sessionMaybe        // modes or the current schema may have changed
	schemaMaybe         // tables may have changed as well
)

// effectOf looks at the first word only: statements outside a global transaction
// are not parsed. The four words that nearly every statement begins with cannot
// change the session, except through set_config of Postgres.
func effectOf(text string) effect {
	s := strings.TrimLeft(text, " \t\r\n(;")
	n := 0
	for n < len(s) && n < 8 && (s[n]|0x20) >= 'a' && (s[n]|0x20) <= 'z' {
		n++
	}
	switch word := s[:n]; {
	case strings.EqualFold(word, "select"), strings.EqualFold(word, "with"):
		if strings.Contains(s, "set_config") || strings.Contains(s, "SET_CONFIG") {
			return sessionMaybe
		}
		return noEffect
	case strings.EqualFold(word, "insert"), strings.EqualFold(word, "update"), strings.EqualFold(word, "delete"),
		strings.EqualFold(word, "replace"), strings.EqualFold(word, "begin"), strings.EqualFold(word, "commit"),
		strings.EqualFold(word, "rollback"), strings.EqualFold(word, "savepoin"), strings.EqualFold(word, "release"):
		if strings.IndexByte(s, ';') >= 0 {
			return schemaMaybe
		}
		return noEffect
	case strings.EqualFold(word, "set"), strings.EqualFold(word, "use"), strings.EqualFold(word, "reset"),
		strings.EqualFold(word, "discard"), strings.EqualFold(word, "show"), strings.EqualFold(word, "pragma"):
		return sessionMaybe
	default:
		return schemaMaybe
	}
}

// ran notes a statement that went to the base driver unread.
func (c *conn) ran(text string) {
	switch effectOf(text) {
	case schemaMaybe:
		c.res.forgetTables()
		c.forgetSession()
	case sessionMaybe:
		c.forgetSession()
	}
}

func (c *conn) forgetSession() {
	c.inspected = false
	clear(c.names)
}
