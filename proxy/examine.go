package proxy

import (
	"context"
	"database/sql/driver"
	"errors"
	"slices"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// Calling is what a Dialect may have beside the others, for mode XA.
type Calling interface {
	// MayWrite tells that s calls a function which is not known to write nothing.
	MayWrite(s *sqltext.Statement) bool
	// WroteQuery gives a row when the local transaction has written; "" where the server
	// does not tell.
	WroteQuery() string
}

// doXA makes the local transaction ready for a statement that the caller then runs as it
// is (read), or runs it through capture.
func (b *branch) doXA(ctx context.Context, text string, args []driver.NamedValue, rows, auto bool) (read bool, out *Captured, err error) {
	s, err := b.examine(ctx, text)
	if err != nil {
		return false, nil, err
	}
	b.calls(s)
	if r := b.covered(ctx, s, args, rows); r != nil {
		out, err := b.cover(ctx, r, auto)
		if !errors.Is(err, errUncaptured) {
			return false, out, err
		}
	}
	if err := b.readyXA(ctx, s, auto); err != nil {
		return false, nil, err
	}
	return true, nil, nil
}

// readyXA makes the local transaction ready for s, nil for a text that is not understood.
func (b *branch) readyXA(ctx context.Context, s *sqltext.Statement, auto bool) error {
	plain := s == nil || Reads(s) && !s.Locking
	if plain && !b.xa.any {
		if auto && !b.xa.asks {
			return nil // by itself, it holds nothing
		}
	} else {
		if b.opts.ReadOnly {
			return errReadOnly
		}
		if s != nil {
			if err := b.noteTables(ctx, s); err != nil {
				return err
			}
		}
		b.xa.writes = true
	}
	if err := b.registered(false); err != nil {
		return err
	}
	if !b.begun {
		if err := b.beginXA(ctx); err != nil {
			return b.notBegun(err)
		}
	}
	if b.xa.writes && b.register == nil {
		b.startRegister()
	}
	b.used = true
	return nil
}

// examine refuses what would end the local transaction, and tells what the text is; nil
// for one that is not understood, and then xa.any tells whether it may write.
func (b *branch) examine(ctx context.Context, text string) (*sqltext.Statement, error) {
	verb := firstWord(text)
	class, known := verbs[verb]
	mysql := b.c.res.Dialect.Name() == "mysql"
	if known && class == ends && !rollsBackTo(verb, text) || verb == "prepare" && strings.Contains(strings.ToLower(text), "transaction") ||
		mysql && (known && class == locks || setsAutocommit(verb, text)) {
		return nil, errControl
	}
	if mysql && known && class == harmless && (verb == "use" || !staysInside(verb, text)) {
		return nil, errCommits
	}
	s, err := b.c.analyse(ctx, text)
	switch {
	case err == nil:
		return s, nil
	case !errors.Is(err, gtx.ErrUnsupported), errors.Is(err, errAway):
		return nil, err
	case verb == "" || more(text) && !(b.c.inspected && sqltext.Alone(text, b.c.flavour, b.c.mode)):
		return nil, err // what it begins with, or what follows, may end it
	}
	switch k, ok := b.c.res.Dialect.(Calling); {
	case known && class == harmless && ofSession(verb, text) && !mentionsWrite(text):
	case ok && k.WroteQuery() != "" && (verb == "select" || verb == "values" || verb == "table") && !mentionsWrite(text):
		b.xa.asks = true
	default:
		b.xa.any = true
	}
	return nil, nil
}

// ofSession tells that a text changes nothing but the session, and no row of others.
func ofSession(verb, text string) bool {
	switch verb {
	case "show", "set", "reset", "discard", "help", "listen", "unlisten", "savepoint", "rollback", "release", "declare", "fetch", "close", "deallocate":
		return true
	case "create", "drop":
		words := strings.Fields(strings.ToLower(uncommented(text)))
		return len(words) > 1 && (words[1] == "temporary" || words[1] == "temp")
	}
	return false
}

// calls notes that s may write by a function.
func (b *branch) calls(s *sqltext.Statement) {
	k, ok := b.c.res.Dialect.(Calling)
	switch {
	case s == nil || !ok || !k.MayWrite(s):
	case Reads(s) && !s.Locking && k.WroteQuery() != "":
		b.xa.asks = true
	default:
		b.xa.any = true
	}
}

var errCommits = &gtx.UnsupportedError{
	Code: "transaction-control", Reason: "the server would commit the local transaction before it runs the text, or look for undo rows in another database",
	Hint: "run it outside of the global transaction: gtx.Detach",
}

var errControl = &gtx.UnsupportedError{
	Code: "transaction-control", Reason: "the text begins, ends or sets up a local transaction of a global one",
	Hint: "use BeginTx, Commit and Rollback of database/sql",
}

// noteTables remembers what s writes. Any undo row counts where it writes more than the
// tables that it names, or one of them is not what its name says: triggers, cascades,
// views, partitions that have come.
func (b *branch) noteTables(ctx context.Context, s *sqltext.Statement) error {
	if s.Kind == sqltext.Several {
		for _, part := range s.Parts {
			b.calls(part)
			if Reads(part) {
				continue
			}
			if err := b.noteTables(ctx, part); err != nil {
				return err
			}
		}
		return nil
	}
	if controls(s.Kind) {
		return nil
	}
	named := len(s.Targets)
	for i := range s.Targets {
		if err := b.noteTable(ctx, s.Targets[i].Name); err != nil {
			return err
		}
	}
	for i := range s.CTEs {
		if w := s.CTEs[i].Write; w != nil {
			named++
			if err := b.noteTable(ctx, w.Target().Name); err != nil {
				return err
			}
		}
	}
	if named == 0 && !Reads(s) {
		b.xa.any = true
	}
	return nil
}

// noteTable asks the catalogue, as capture does: what it refuses decides.
func (b *branch) noteTable(ctx context.Context, name sqltext.Name) error {
	t, err := b.c.target(ctx, name)
	var u *gtx.UnsupportedError
	switch {
	case err == nil:
		if !slices.Contains(b.xa.tables, t.ID) {
			b.xa.tables = append(b.xa.tables, t.ID)
		}
	case !errors.As(err, &u):
		return err
	case u.Code == "own-table", u.Code == "other-schema": // where its undo rows are nobody looks
		return err
	case u.Code == "no-key", u.Code == "key-type", u.Code == "key-prefix", u.Code == "column-type":
		// No row of it can be captured, so none is held. Views, triggers and cascades are
		// refused before.
	default:
		b.xa.any = true
	}
	return nil
}

// looks gives queries for an XID of another transaction that holds a row of the tables
// which b has written.
func (b *branch) looks() []string {
	if b.xa.any {
		return []string{"SELECT xid FROM " + b.c.res.undoTable() + " WHERE xid <> '" + b.xid.String() + "' LIMIT 1"}
	}
	out := make([]string, len(b.xa.tables))
	for i, id := range b.xa.tables {
		out[i] = b.c.res.Dialect.HeldIn(id, b.xid, nil)
	}
	return out
}
