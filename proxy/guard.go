package proxy

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// With Config.Guard a local transaction outside any global one is a branch, too,
// of nobody: a guarded one. What it writes goes through the same capture, so that
// every form which captures finds the rows that global transactions hold, under
// the row locks (rule W6). Its undo rows are deleted before COMMIT in the same
// local transaction: nobody ever sees them. It has no header and no coordinator
// knows of it.

// guardEpoch tells the guarded transactions of two processes apart, guardSeq those
// of one. The log id 0 belongs to no coordinator.
var (
	guardEpoch = 1 + rand.Uint64N(1<<62)
	guardSeq   atomic.Uint64
)

// newGuarded makes a guarded local transaction; alone, for one statement.
func (c *conn) newGuarded(ctx context.Context, opts driver.TxOptions, alone bool) *branch {
	xid := gtx.XID{Epoch: guardEpoch, Seq: guardSeq.Add(1)}
	return &branch{c: c, guard: true, alone: alone, xid: xid, ctx: ctx, opts: opts, ref: gtx.BranchRef{Branch: 1}}
}

func (c *conn) beginGuarded(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	base, err := c.beginBase(ctx, opts)
	if err != nil {
		return nil, err
	}
	b := c.newGuarded(ctx, opts, false)
	b.base, b.begun = base, true
	c.tx = b
	return b, nil
}

// passes tells whether a statement of a guarded transaction goes to the base
// driver as it is, because it writes no rows. The rest is captured, or refused
// when it cannot be.
func (b *branch) passes(ctx context.Context, text string) (bool, error) {
	verb, one := firstWord(text), !strings.Contains(strings.TrimRight(text, "; \t\r\n"), ";")
	class, known := verbs[verb]
	switch mysql := b.c.res.Dialect.Name() == "mysql"; {
	case known && class == ends && !rollsBackTo(verb, text), mysql && (class == locks || setsAutocommit(verb, text)):
		return false, &gtx.UnsupportedError{
			Code: "transaction-control", Reason: "the text begins, ends or sets up a local transaction, which the guard must know of",
			Hint: "use BeginTx, Commit and Rollback of database/sql",
		}
	case mysql && !b.alone && verb == "use":
		return false, errAway
	case mysql && !b.alone && known && class == harmless && !staysInside(verb, text):
		return false, &gtx.UnsupportedError{
			Code: "transaction-control", Reason: "the server commits the local transaction before it runs the text, and with it what the guard has written",
			Hint: "run it outside of a local transaction",
		}
	case one && known && class == harmless:
		return true, nil
	}
	s, err := b.c.analyse(ctx, text)
	switch {
	case errors.Is(err, gtx.ErrUnsupported) && known && (class == harmless || class == locks) && !mentionsWrite(text):
		return true, nil
	case err != nil:
		return false, err
	case Reads(s), b.alone && controls(s.Kind):
		return true, nil
	}
	return false, b.ready(ctx)
}

// ready makes the database ready for undo rows.
func (b *branch) ready(ctx context.Context) error {
	c := b.c
	if !c.guardable && c.res.Dialect.Name() == "mysql" {
		lines, err := c.query(ctx, "SELECT @@autocommit")
		if err != nil {
			return err
		}
		if len(lines) != 1 || lines[0][0] != "1" {
			return &gtx.UnsupportedError{Code: "autocommit", Reason: "autocommit is off, so nobody says where a local transaction ends", Hint: "leave it on and use BeginTx"}
		}
	}
	c.guardable = true
	_, err := c.res.Enter(ctx, nil)
	return err
}

// keyless tells whether err says that no row of the table can be held, because
// none can be captured: the statement needs no guard. Triggers and cascades are
// refused before, but not on SQLite.
func (r *Resource) keyless(err error) bool {
	var u *gtx.UnsupportedError
	return errors.As(err, &u) && u.Code == "no-key" && r.Dialect.Name() != "sqlite"
}

// noTable lets the server say that a table does not exist, as it would to the bare
// driver. One that is seen by this connection alone is refused.
func (b *branch) noTable(ctx context.Context, text string, args []driver.NamedValue, err error) error {
	var u *gtx.UnsupportedError
	refused, sqlite := errors.As(err, &u), b.c.res.Dialect.Name() == "sqlite"
	if refused && u.Code != "no-table" || !refused && !sqlite {
		return err
	}
	if q, ok := b.c.base.(driver.QueryerContext); ok && sqlite { // which prepares late
		rows, says := q.QueryContext(ctx, "EXPLAIN "+text, args)
		if says == nil {
			return errors.Join(err, rows.Close())
		}
		return says
	}
	st, says := b.c.PrepareContext(ctx, text)
	if says == nil {
		return errors.Join(err, st.Close())
	}
	return says
}

// guardError says where a refusal comes from.
func guardError(err error) error {
	if !errors.Is(err, gtx.ErrUnsupported) {
		return err
	}
	return fmt.Errorf("gtx_guard=on: whether a global transaction holds a row cannot be seen (%w); a database opened without gtx_guard runs the statement", err)
}

// commitGuarded deletes the undo rows and commits. Its error is never
// driver.ErrBadConn: database/sql would run the statement again.
func (b *branch) commitGuarded() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), finishTime)
	defer cancel()
	forget := b.c.res.forget(b.xid)
	if b.base == nil {
		if err := b.exec(ctx, forget+"; COMMIT"); err != nil {
			b.c.bad = true // closed, it is rolled back in any case
			return b.commitError(err)
		}
		return nil
	}
	if err := b.exec(ctx, forget); err != nil && !failedState(err) {
		b.c.bad = true
		return b.commitError(errors.Join(err, b.base.Rollback()))
	}
	return b.base.Commit()
}

func (b *branch) commitError(err error) error {
	if errors.Is(err, driver.ErrBadConn) {
		return fmt.Errorf("commit local transaction: it is not known whether it happened: %v", err) //nolint:errorlint // see commitGuarded
	}
	if b.c.res.Dialect.Classify(err) == undo.Conflict {
		return fmt.Errorf("commit local transaction: %w (%w)", err, gtx.ErrConflict)
	}
	return fmt.Errorf("commit local transaction: %w", err)
}

// failedState tells whether PostgreSQL will make a ROLLBACK of every COMMIT,
// because a statement has failed.
func failedState(err error) bool {
	var state interface{ SQLState() string }
	return errors.As(err, &state) && state.SQLState() == "25P02"
}

// forget gives the text that deletes the undo rows of an XID that nobody has seen.
func (r *Resource) forget(xid gtx.XID) string {
	if r.Dialect.Name() == "mysql" {
		// By the index: a scan would wait for the rows of others.
		return "DELETE gtx_u FROM gtx_undo AS gtx_u FORCE INDEX (gtx_undo_xid) WHERE gtx_u.xid = '" + xid.String() + "'"
	}
	return "DELETE FROM " + r.undoTable() + " WHERE xid = '" + xid.String() + "'"
}

func (r *Resource) undoTable() string {
	switch r.Dialect.Name() {
	case "postgres":
		return "public.gtx_undo"
	case "sqlite":
		return "main.gtx_undo"
	}
	return "gtx_undo"
}

// verbClass sorts statements by their first word.
type verbClass uint8

const (
	writes   verbClass = iota // rows, or runs what may
	harmless                  // writes no rows of tables that others use
	ends                      // begins or ends a local transaction
	locks                     // ends it on MySQL
)

// verbs has the words that are not in it for writes.
var verbs = map[string]verbClass{}

func init() {
	for class, words := range map[verbClass]string{
		harmless: "select show values table create alter drop rename comment grant revoke reassign refresh security" +
			" set reset discard use pragma attach detach vacuum reindex cluster checkpoint optimize check checksum repair flush kill purge" +
			" install uninstall help listen unlisten notify savepoint release declare fetch close deallocate",
		ends:  "begin start commit end rollback abort xa",
		locks: "lock unlock",
	} {
		for w := range strings.FieldsSeq(words) {
			verbs[w] = class
		}
	}
}

// firstWord gives the first word in lower case, behind comments and brackets; ""
// where a comment may be run, or where it ends depends on the dialect.
func firstWord(text string) string {
	text = uncommented(text)
	n := 0
	for n < len(text) && ((text[n]|0x20) >= 'a' && (text[n]|0x20) <= 'z') {
		n++
	}
	return strings.ToLower(text[:n])
}

// uncommented gives the text from its first word on; "" as firstWord.
func uncommented(text string) string {
	for {
		text = strings.TrimLeft(text, " \t\r\n\f(;")
		switch {
		case strings.HasPrefix(text, "/*!"), strings.HasPrefix(text, "/*M!"):
			return ""
		case strings.HasPrefix(text, "/*"):
			var comment string
			comment, text, _ = strings.Cut(text[2:], "*/")
			if strings.Contains(comment, "/*") { // PostgreSQL nests them
				return ""
			}
		case strings.HasPrefix(text, "--"), strings.HasPrefix(text, "#"):
			var comment string
			comment, text, _ = strings.Cut(text, "\n")
			if strings.Contains(strings.TrimSuffix(comment, "\r"), "\r") { // ends it on PostgreSQL, not elsewhere
				return ""
			}
		default:
			return text
		}
	}
}

// mentionsWrite looks for the words by which a text may write rows, also where
// they are part of another.
func mentionsWrite(text string) bool {
	text = strings.ToLower(text)
	for _, w := range []string{"insert", "update", "delete", "replace", "merge", "truncate", "copy", "load", "call", "execute", "import"} {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

// rollsBackTo tells what may be ROLLBACK TO a savepoint from the end of the
// transaction.
func rollsBackTo(verb, text string) bool {
	words := strings.Fields(strings.ToLower(uncommented(text)))
	return verb == "rollback" && len(words) > 2 && (words[1] == "to" || words[2] == "to")
}

// staysInside tells whether MySQL and MariaDB run a harmless statement inside the
// local transaction that is open. Most of what is no DML commits it.
func staysInside(verb, text string) bool {
	switch verb {
	case "select", "show", "values", "table", "use", "help", "savepoint", "release", "checksum", "kill":
		return true
	case "set":
		text = strings.ToLower(text)
		return !strings.Contains(text, "password") && !strings.Contains(text, "role")
	case "create", "drop":
		words := strings.Fields(strings.ToLower(uncommented(text)))
		return len(words) > 1 && words[1] == "temporary"
	}
	return false
}

func setsAutocommit(verb, text string) bool {
	text = strings.ToLower(text)
	return verb == "set" && (strings.Contains(text, "autocommit") || strings.Contains(text, "statement"))
}
