package proxy

import (
	"context"
	"slices"
	"strings"

	"github.com/globaltx/globaltx/gtx"
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
	case more(s):
		return schemaMaybe
	case strings.EqualFold(word, "select"), strings.EqualFold(word, "with"):
		if strings.Contains(s, "set_config") || strings.Contains(s, "SET_CONFIG") {
			return sessionMaybe
		}
		return noEffect
	case strings.EqualFold(word, "insert"), strings.EqualFold(word, "update"), strings.EqualFold(word, "delete"),
		strings.EqualFold(word, "replace"), strings.EqualFold(word, "begin"), strings.EqualFold(word, "commit"),
		strings.EqualFold(word, "rollback"), strings.EqualFold(word, "savepoin"), strings.EqualFold(word, "release"):
		return noEffect
	case strings.EqualFold(word, "set"), strings.EqualFold(word, "use"), strings.EqualFold(word, "reset"),
		strings.EqualFold(word, "discard"), strings.EqualFold(word, "show"), strings.EqualFold(word, "pragma"):
		return sessionMaybe
	default:
		return schemaMaybe
	}
}

// more tells that another statement may follow.
func more(text string) bool {
	i := strings.IndexByte(text, ';')
	return i >= 0 && strings.TrimLeft(text[i:], "; \t\r\n") != ""
}

// ran notes a statement that went to the base driver unread.
func (c *conn) ran(text string) {
	effect := effectOf(text)
	// A prepared plan does not see a temporary table that begins to hide another.
	if effect == schemaMaybe || effect != noEffect && forgetsStatements(text) {
		c.statements.Clear()
	}
	if effect != noEffect && c.res.Dialect.Name() == "sqlite" {
		lower := strings.ToLower(text)
		c.apart = c.apart || strings.Contains(lower, "pragma") || strings.Contains(lower, "temp")
	}
	if effect != noEffect && c.res.Dialect.Name() == "mysql" {
		c.strayed = c.strayed || strings.Contains(strings.ToLower(text), "use")
	}
	switch effect {
	case schemaMaybe:
		c.res.forgetTables()
		fallthrough
	case sessionMaybe:
		c.forgetSession()
		c.touched = true
	case noEffect:
		if c.touched && firstWord(text) == "rollback" {
			c.untouch()
		}
	}
}

// untouch forgets what was learned since the local transaction has changed the
// session or the schema: it ends, or goes back to a savepoint, and PostgreSQL
// takes SET and DDL back with it, SQLite DDL.
func (c *conn) untouch() {
	if c.touched {
		c.res.forgetTables()
		c.forgetSession()
	}
}

// txEnded is called when a local transaction of any kind has ended.
func (c *conn) txEnded() {
	c.untouch()
	c.touched = false
}

// forgetsStatements tells that the server may have dropped prepared statements.
func forgetsStatements(text string) bool {
	verb := firstWord(text)
	return verb == "discard" || verb == "deallocate"
}

func (c *conn) forgetSession() {
	c.inspected, c.guardable, c.committed = false, false, false
	clear(c.names)
}

// atHome refuses a connection that USE has led to another database: the rows of
// this module would be looked for, and written, in that one.
func (c *conn) atHome(ctx context.Context) error {
	if !c.strayed || c.res.Look == nil {
		return nil
	}
	const ask = "SELECT DATABASE()"
	here, err := c.query(ctx, ask)
	if err != nil {
		return err
	}
	home, err := c.res.Look(ctx, ask)
	if err != nil {
		return err
	}
	if !slices.EqualFunc(here, home, slices.Equal[[]string]) {
		return errAway
	}
	return nil
}

var errAway = &gtx.UnsupportedError{
	Code: "use", Reason: "USE has led the connection to another database than that of its DSN, which keeps the undo rows",
	Hint: "open that database by a DSN of its own, or name the schema in the statement",
}
