package proxy

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// part is one statement of a text with several.
type part struct {
	text  string
	at    int // where it stands in the whole text
	reads bool
	ends  bool // nothing stands behind it
	args  []driver.NamedValue
	r     *Capture // nil where it reads
}

// several runs a text with several statements, each as if it had been sent alone,
// in the local transaction of the branch. What is refused by its text or by its
// tables is refused before any of them runs.
//
// As with the bare drivers, on PostgreSQL the text has an effect as a whole or
// none; elsewhere, and in a text of its own (auto), what ran before a statement
// that failed stays.
func (b *branch) several(ctx context.Context, s *sqltext.Statement, args []driver.NamedValue, rows, auto bool) (read bool, out *Captured, err error) {
	parts, err := b.parts(ctx, s, args, rows, auto)
	if err != nil {
		return false, nil, err
	}
	if parts == nil {
		if !auto {
			if err := b.begin(ctx); err != nil {
				return false, nil, err
			}
			b.used = true
		}
		return true, nil, nil
	}
	ran, kept, out, err := b.runAll(ctx, s.Text, parts, rows)
	switch {
	case !auto:
		return false, out, err
	case err != nil && (!kept || ran == 0 || b.c.flavour == sqltext.Postgres):
		return false, nil, b.undone(err)
	}
	if cerr := b.Commit(); err == nil {
		err = cerr
	} else if cerr != nil {
		err = errors.Join(err, cerr)
	}
	if err != nil {
		return false, nil, err
	}
	return false, out, nil
}

// runAll runs the parts, and all of them again when another transaction holds a
// row and nothing else has happened in the local transaction. ran counts those
// that ended well; kept: the error is one that leaves the local transaction as the
// base driver does.
func (b *branch) runAll(ctx context.Context, text string, parts []part, rows bool) (ran int, kept bool, out *Captured, err error) {
	patience, cancel := context.WithTimeout(ctx, b.c.res.LockWait)
	defer cancel()
	for try := 0; ; try++ {
		ran, kept, out, err = b.runOnce(ctx, text, parts, rows)
		first := !b.used
		switch {
		case err == nil:
			b.used = true
			return ran, false, out, nil
		case ran == 0 && errors.Is(err, gtx.ErrUnsupported):
			return ran, false, nil, err // nothing has run
		case kept:
			b.used = true
			return ran, true, nil, err
		}
		stale := b.forgetStale(parts)
		b.abandon(err)
		if !first || !errors.Is(err, gtx.ErrConflict) || !b.holderEnds(patience, err, try) {
			return ran, false, nil, err
		}
		b.renew()
		if !stale {
			continue
		}
		for i := range parts {
			p := &parts[i]
			if p.reads {
				continue
			}
			if p.r, err = b.request(ctx, p.r.Stmt, p.r.Args, p.r.WantRows); err != nil {
				return 0, false, nil, err
			}
		}
	}
}

// forgetStale forgets the catalogue where a capture has found it to be old.
func (b *branch) forgetStale(parts []part) bool {
	for i := range parts {
		if !parts[i].reads && parts[i].r.Stale {
			b.c.res.forgetTables()
			clear(b.c.names)
			return true
		}
	}
	return false
}

func (b *branch) runOnce(ctx context.Context, text string, parts []part, rows bool) (ran int, kept bool, out *Captured, err error) {
	each := make([]Captured, 0, len(parts))
	var sets []*Buffer
	for i := range parts {
		p := &parts[i]
		var c *Captured
		if p.reads {
			c, kept, err = b.readPart(ctx, p, rows)
		} else {
			c, err = b.captureOnce(ctx, p.r)
			kept = p.r.Kept
		}
		if err != nil {
			return i, kept, nil, p.relocated(b.c, err, text)
		}
		if rows {
			set, err := DrainRows(c.Rows)
			if err != nil {
				return i, false, nil, p.relocated(b.c, err, text)
			}
			sets = append(sets, set)
			c.Rows = nil
		}
		if p.reads && b.c.flavour == sqltext.SQLite && len(each) > 0 {
			// changes() of SQLite is that of the last statement that wrote.
			*c = each[len(each)-1]
		}
		each = append(each, *c)
	}
	last := each[len(each)-1]
	last.All = each
	if rows {
		last.Rows = b.c.resultSets(sets, parts[len(parts)-1].ends)
	}
	return len(parts), false, &last, nil
}

// readPart runs a statement that reads on the base connection.
func (b *branch) readPart(ctx context.Context, p *part, rows bool) (out *Captured, kept bool, err error) {
	if err := b.begin(ctx); err != nil {
		return nil, false, err
	}
	out, err = b.c.runBase(ctx, p, rows)
	switch {
	case err == nil:
		return out, false, nil
	case errors.Is(err, driver.ErrSkip):
		return nil, false, refuseSeveral("the base driver would prepare one of its statements")
	case errors.Is(err, driver.ErrBadConn):
		// Not wrapped: database/sql would send the text to another connection, and a
		// part of it has run.
		//nolint:errorlint // see above
		return nil, false, fmt.Errorf("run one of several statements: %v", err)
	}
	switch b.c.res.Dialect.Classify(err) {
	case undo.Conflict:
		return nil, false, fmt.Errorf("%w (%w)", err, gtx.ErrConflict)
	case undo.Lost:
		return nil, false, err
	}
	return nil, ctx.Err() == nil, err
}

func (c *conn) runBase(ctx context.Context, p *part, rows bool) (*Captured, error) {
	if rows {
		q, ok := c.base.(driver.QueryerContext)
		if !ok {
			return nil, driver.ErrSkip
		}
		r, err := q.QueryContext(ctx, p.text, p.args)
		return &Captured{Rows: r}, err
	}
	e, ok := c.base.(driver.ExecerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	res, err := e.ExecContext(ctx, p.text, p.args)
	if err != nil {
		return nil, err
	}
	out := &Captured{}
	if out.RowsAffected, err = res.RowsAffected(); err != nil {
		return nil, fmt.Errorf("read affected rows: %w", err)
	}
	out.LastInsertID, out.LastInsertErr = res.LastInsertId()
	return out, nil
}

func refuseSeveral(why string) error {
	return &gtx.UnsupportedError{
		Code:   "several-statements",
		Reason: "the text holds several statements: " + why,
		Hint:   "send them one by one",
	}
}

// parts makes the statements of s ready to run. Nil, where all of them only read:
// then the text runs as it is.
func (b *branch) parts(ctx context.Context, s *sqltext.Statement, args []driver.NamedValue, rows, auto bool) ([]part, error) {
	c := b.c
	if err := c.severalAllowed(s, args); err != nil {
		return nil, err
	}
	parts := make([]part, 0, len(s.Parts))
	writes := false
	for _, sp := range s.Parts {
		p := part{text: s.Slice(sp.Span), at: sp.Span.Start, args: args, reads: Reads(sp), ends: endsHere(s.Text[sp.Span.End:])}
		if s.Dialect != sqltext.SQLite {
			p.args = own(sp, args)
		}
		if sp.Locking {
			return nil, refuseSeveral("one of them locks rows, which must be looked at in a statement of its own")
		}
		if !p.reads {
			writes = true
			one, err := c.analyse(ctx, p.text)
			if err != nil {
				return nil, err
			}
			if one.Kind != sp.Kind {
				return nil, refuseSeveral("one of them reads differently when it stands alone")
			}
			if auto && controls(one.Kind) {
				return nil, refuseSeveral("a savepoint is of no use outside a local transaction")
			}
			if p.r, err = b.request(ctx, one, p.args, rows); err != nil {
				return nil, err
			}
		}
		parts = append(parts, p)
	}
	if !writes {
		return nil, nil
	}
	if b.opts.ReadOnly {
		return nil, errReadOnly
	}
	if p, ok := c.res.Dialect.(Passing); ok && rows && p.QueriesOne() {
		return nil, refuseSeveral("Query of the base driver takes one")
	}
	return parts, nil
}

// severalAllowed refuses what the server would refuse for the bare driver.
func (c *conn) severalAllowed(s *sqltext.Statement, args []driver.NamedValue) error {
	switch {
	case c.res.Alone != nil:
		return &gtx.UnsupportedError{
			Code: "several-statements", Reason: "the text holds several statements, which the DSN does not allow",
			Hint: "send them one by one, or add multiStatements=true to the DSN",
		}
	case c.res.Skip != nil && c.res.Skip(s.Text, len(args)):
		return &gtx.UnsupportedError{
			Code: "several-statements", Reason: "the text holds several statements and arguments, so the base driver would prepare it, which the server refuses",
			Hint: "send them one by one, or add interpolateParams=true to the DSN",
		}
	case s.Dialect == sqltext.Postgres && len(args) > 0:
		return refuseSeveral("with arguments PostgreSQL takes one")
	case s.Dialect != sqltext.SQLite && len(args) != len(s.Placeholders):
		return refuseSeveral(fmt.Sprintf("they have %d placeholders, but %d arguments were given", len(s.Placeholders), len(args)))
	}
	return nil
}

// own gives the arguments of one statement, numbered as if it stood alone.
func own(s *sqltext.Statement, args []driver.NamedValue) []driver.NamedValue {
	if len(s.Placeholders) == 0 {
		return nil
	}
	out := make([]driver.NamedValue, len(s.Placeholders))
	for i, h := range s.Placeholders {
		out[i] = args[h.Ordinal-1]
		out[i].Ordinal = i + 1
	}
	return out
}

// resultSets chooses what Query shows of what the statements returned: everything
// that has columns; on SQLite, as its driver does, the last that has rows, or that
// of the last statement when the text ends with it.
func (c *conn) resultSets(sets []*Buffer, ends bool) driver.Rows {
	if c.flavour == sqltext.SQLite {
		shown := sets[0]
		for i, set := range sets[1:] {
			if len(set.Lines) > 0 || ends && i == len(sets)-2 {
				shown = set
			}
		}
		return shown
	}
	var shown []*Buffer
	for _, set := range sets {
		if len(set.columns) > 0 {
			shown = append(shown, set)
		}
	}
	if shown == nil {
		return &Buffer{}
	}
	return &buffers{shown[0], shown[1:]}
}

// endsHere tells whether SQLite's parser is at the end of the text behind its last
// statement.
func endsHere(rest string) bool {
	i := strings.LastIndexByte(rest, ';')
	return i < 0 || i == len(rest)-1
}

func controls(k sqltext.Kind) bool {
	return k == sqltext.Savepoint || k == sqltext.RollbackTo || k == sqltext.Release
}
