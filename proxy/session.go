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
	unknown effect = iota // nobody has looked
	noEffect
	control      // begins or ends a local transaction
	sessionMaybe // modes or the current schema may have changed
	schemaMaybe  // tables may have changed as well
)

// effectOf looks at the first word only, behind comments: statements outside a global transaction
// are not parsed. The words that nearly every statement begins with cannot change
// the session, except through set_config of Postgres. It runs before every statement
// of a program, in some 15 ns.
func effectOf(text string) effect {
	s := text
	if len(s) > 0 && s[0]|0x20 < 'a' { // space, bracket, semicolon, comment
		s = uncommented(s)
	}
	// The first letters, at most eight, in lower case, as one number.
	var word uint64
	for n := 0; n < len(s) && n < 8; n++ {
		b := s[n] | 0x20
		if b < 'a' || b > 'z' {
			break
		}
		word = word<<8 | uint64(b)
	}
	switch {
	case more(s):
		return schemaMaybe
	case word == wSelect, word == wWith, word == wInsert, word == wUpdate, word == wDelete:
		if setsConfig(s) {
			return sessionMaybe
		}
		return noEffect
	}
	switch word {
	case wReplace, wSavepoint, wRelease:
		return noEffect
	case wBegin, wStart, wCommit, wEnd, wRollback, wAbort:
		return control
	case wSet, wUse, wReset, wDiscard, wShow, wPragma:
		return sessionMaybe
	}
	return schemaMaybe
}

// Words as effectOf counts them.
const (
	wSelect    = 's'<<40 | 'e'<<32 | 'l'<<24 | 'e'<<16 | 'c'<<8 | 't'
	wWith      = 'w'<<24 | 'i'<<16 | 't'<<8 | 'h'
	wInsert    = 'i'<<40 | 'n'<<32 | 's'<<24 | 'e'<<16 | 'r'<<8 | 't'
	wUpdate    = 'u'<<40 | 'p'<<32 | 'd'<<24 | 'a'<<16 | 't'<<8 | 'e'
	wDelete    = 'd'<<40 | 'e'<<32 | 'l'<<24 | 'e'<<16 | 't'<<8 | 'e'
	wReplace   = 'r'<<48 | 'e'<<40 | 'p'<<32 | 'l'<<24 | 'a'<<16 | 'c'<<8 | 'e'
	wBegin     = 'b'<<32 | 'e'<<24 | 'g'<<16 | 'i'<<8 | 'n'
	wStart     = 's'<<32 | 't'<<24 | 'a'<<16 | 'r'<<8 | 't'
	wEnd       = 'e'<<16 | 'n'<<8 | 'd'
	wAbort     = 'a'<<32 | 'b'<<24 | 'o'<<16 | 'r'<<8 | 't'
	wCommit    = 'c'<<40 | 'o'<<32 | 'm'<<24 | 'm'<<16 | 'i'<<8 | 't'
	wRollback  = 'r'<<56 | 'o'<<48 | 'l'<<40 | 'l'<<32 | 'b'<<24 | 'a'<<16 | 'c'<<8 | 'k'
	wSavepoint = 's'<<56 | 'a'<<48 | 'v'<<40 | 'e'<<32 | 'p'<<24 | 'o'<<16 | 'i'<<8 | 'n'
	wRelease   = 'r'<<48 | 'e'<<40 | 'l'<<32 | 'e'<<24 | 'a'<<16 | 's'<<8 | 'e'
	wSet       = 's'<<16 | 'e'<<8 | 't'
	wUse       = 'u'<<16 | 's'<<8 | 'e'
	wReset     = 'r'<<32 | 'e'<<24 | 's'<<16 | 'e'<<8 | 't'
	wDiscard   = 'd'<<48 | 'i'<<40 | 's'<<32 | 'c'<<24 | 'a'<<16 | 'r'<<8 | 'd'
	wShow      = 's'<<24 | 'h'<<16 | 'o'<<8 | 'w'
	wPragma    = 'p'<<40 | 'r'<<32 | 'a'<<24 | 'g'<<16 | 'm'<<8 | 'a'
)

// setsConfig looks for set_config in any case.
func setsConfig(s string) bool {
	const name, mark = "set_config", len("set")
	for {
		i := strings.IndexByte(s, '_')
		if i < 0 {
			return false
		}
		if end := i - mark + len(name); i >= mark && end <= len(s) && strings.EqualFold(s[i-mark:end], name) {
			return true
		}
		s = s[i+1:]
	}
}

// more tells that another statement may follow.
func more(text string) bool {
	i := strings.IndexByte(text, ';')
	return i >= 0 && strings.TrimLeft(text[i:], "; \t\r\n") != ""
}

// ran notes a statement that went to the base driver unread.
func (c *conn) ran(text string) { c.affected(effectOf(text), text) }

func (c *conn) affected(effect effect, text string) {
	if effect == control {
		c.controlled(text)
		effect = noEffect
	}
	if effect == noEffect && !c.touched {
		return
	}
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
	c.custom = c.custom || effect == sessionMaybe || effect == schemaMaybe && !changesTables(text)
	switch effect {
	case schemaMaybe:
		c.res.forgetTables()
		fallthrough
	case sessionMaybe:
		c.forgetSession()
		c.touched = true
	case noEffect:
		if verb := firstWord(text); c.touched && (verb == "rollback" || verb == "abort") {
			c.untouch()
		}
	}
}

// changesTables tells that a text surely is DDL for tables that every session sees, and
// leaves the session as it was.
func changesTables(text string) bool {
	switch firstWord(text) {
	case "create", "alter", "drop", "truncate", "rename":
	default:
		return false
	}
	text = strings.ToLower(text)
	return !slices.ContainsFunc([]string{"temp", "select", "@", ";", "/*", "#", "--"}, func(part string) bool { return strings.Contains(text, part) })
}

// controlled notes a text that begins or ends a local transaction. A global one must
// not come into it: BEGIN would commit it on MySQL, and COMMIT what it has done on
// PostgreSQL. SQLite has no BEGIN inside of one.
func (c *conn) controlled(text string) {
	switch verb := firstWord(text); {
	case c.res.Dialect.Name() == "sqlite" || rollsBackTo(verb, text):
	case verb == "begin" || verb == "start":
		c.byText = true
	default:
		text = strings.Join(strings.Fields(strings.ToLower(text)), " ")
		c.byText = strings.Contains(text, "and chain")
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
	c.touched, c.byText = false, false
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
