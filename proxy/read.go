package proxy

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// Reading is what a dialect knows of undo rows for a SELECT that may return no
// row whose fate is open.
type Reading interface {
	// KeyHash is the expression for gtx_undo.keyh of the row of t that ref names;
	// where the session sees that ref is a row of another table it gives Moved.
	KeyHash(t *undo.Table, ref string) string

	// Held is the expression for the XID that holds this row, NULL when none but
	// own does; Moved as in KeyHash. A zero own is nobody.
	Held(t *undo.Table, ref string, own gtx.XID) string

	// HeldIn is a query for one XID other than own that holds a row of the table
	// with this ID and one of the key hashes; any row where hashes is nil.
	HeldIn(id string, own gtx.XID, hashes []string) string

	// HeldKeys is a query for the key hashes, at most limit of them, of rows of the
	// table that others than own hold.
	HeldKeys(id string, own gtx.XID, limit int) string

	// SeesNow tells that in a local transaction these queries see what has committed
	// before the locks of the statement before were taken, or the transaction
	// fails. Else they run on another connection (Config.Look).
	SeesNow() bool

	// DirtySession is a query that gives a row when the session reads what is not
	// committed; "" where no session can.
	DirtySession() string

	// BoundWait is a condition that holds, and sees to it that the statement does
	// not wait for row locks without bound; "" where nothing must be done for that.
	BoundWait() string
}

// Moved is in place of a key hash or an XID when a name has come to mean another
// table on this connection.
const Moved = "moved"

var errMoved = errors.New("a table's name means another table than before on this connection: name the schema in the statement")

// reader runs one SELECT whose rows must be decided.
type reader struct {
	c      *conn
	b      *branch // nil outside global transactions
	auto   bool    // no local transaction of the caller is open
	text   string
	args   []driver.NamedValue
	stmt   bool // through a prepared statement
	asked  bool // gtx.ReadCommitted
	s      *sqltext.Statement
	own    gtx.XID
	commit func() error // ends the local transaction of this statement
	back   func() error
}

// decided runs a SELECT that must not return a row whose fate is open: one that
// locks, in a global transaction (rule W6), or one that gtx.ReadCommitted asks for. Not
// done: it is another statement.
func (c *conn) decided(ctx context.Context, b *branch, auto bool, text string, args []driver.NamedValue, stmt, exec bool) (out *Captured, done bool, err error) {
	r := &reader{c: c, b: b, auto: auto, text: text, args: args, stmt: stmt}
	switch {
	case b == nil:
		r.asked = c.plain && c.plainDecided || gtx.IsReadCommitted(ctx)
		r.auto = !c.plain
		if !r.asked || !mayRead(text) {
			return nil, false, nil
		}
	case b.failed != nil:
		return nil, false, nil // do tells
	default:
		r.asked = gtx.IsReadCommitted(ctx) || gtx.IsReadCommitted(b.ctx)
		r.own = b.xid
	}
	if r.s, err = c.analyse(ctx, text); err != nil {
		if b != nil {
			err = nil // do tells
		}
		return nil, err != nil, err
	}
	if (r.asked || !b.guard) && r.reads(r.s.Parts) {
		return nil, true, &gtx.UnsupportedError{
			Code: "several-statements", Reason: "the text holds several statements, one of them a SELECT that locks rows, or that gtx.ReadCommitted was asked for", Hint: "send it alone",
		}
	}
	if r.s.Kind != sqltext.Select || Writes(r.s) || !r.asked && (!r.s.Locking || b != nil && b.guard) || exec && !r.s.Locking {
		return nil, false, nil
	}
	if b == nil || b.guard {
		if there, err := c.res.present(ctx); err != nil || !there {
			return nil, err != nil, err // no global transaction has ever been here
		}
	}
	if !stmt && (c.res.Skip != nil && c.res.Skip(text, len(args))) {
		return nil, true, driver.ErrSkip
	}
	rows, err := r.run(ctx)
	if err != nil {
		return nil, true, err
	}
	if rows == nil {
		return nil, false, nil
	}
	out = &Captured{Rows: rows}
	if r.s.Dialect == sqltext.Postgres {
		out.RowsAffected = int64(len(rows.Lines))
		_, out.LastInsertErr = driver.RowsAffected(0).LastInsertId()
	}
	return out, true, nil
}

// mayRead tells whether a text may be a SELECT, which outside global transactions
// is all that is looked at.
func mayRead(text string) bool {
	switch firstWord(text) {
	case "select", "with", "table", "values", "":
		return true
	}
	return false
}

// reads tells whether one of several statements would have to show decided rows.
func (r *reader) reads(parts []*sqltext.Statement) bool {
	return slices.ContainsFunc(parts, func(s *sqltext.Statement) bool {
		return s.Kind == sqltext.Select && !Writes(s) && (r.asked || s.Locking)
	})
}

// run reads the rows. When another transaction holds one, and nothing has
// happened in the local transaction before, it is rolled back, and the statement
// runs again when the holder has ended, until LockWait is over (rule W2). Nil:
// there is nothing to check.
func (r *reader) run(ctx context.Context) (*Buffer, error) {
	patience, cancel := context.WithTimeout(ctx, r.c.res.LockWait)
	defer cancel()
	for try := 0; ; try++ {
		rows, err := r.once(ctx)
		if err == nil {
			return rows, nil
		}
		var again *again
		if !errors.As(err, &again) {
			return nil, err
		}
		waits := r.b
		if waits == nil {
			waits = &branch{c: r.c, guard: true} // holds nothing
		}
		switch {
		case again.skip && try < maxSkips: // the next look leaves the row out
		case again.skip, again.noWait, !waits.holderEnds(patience, err, try):
			return nil, r.gaveUp(err)
		}
		if r.b != nil {
			r.b.renew()
		}
	}
}

// maxSkips bounds how often SKIP LOCKED runs again because a row was changed
// between the look and the lock.
const maxSkips = 16

// gaveUp ends a branch of one statement.
func (r *reader) gaveUp(err error) error {
	var again *again
	if errors.As(err, &again) {
		err = again.err
	}
	if r.b != nil && r.auto {
		return errors.Join(err, r.b.Rollback())
	}
	return err
}

// again is an error after which the local transaction has been rolled back and
// the statement may run again.
type again struct {
	err          error
	skip, noWait bool
}

func (a *again) Error() string { return a.err.Error() }
func (a *again) Unwrap() error { return a.err }

func (r *reader) once(ctx context.Context) (*Buffer, error) {
	p, err := r.plan(ctx)
	if err != nil && r.b != nil && r.auto {
		err = errors.Join(err, r.b.Rollback())
	}
	if err != nil || p == nil {
		return nil, err
	}
	if err := r.begin(ctx, p); err != nil {
		return nil, err
	}
	rows, err := r.read(ctx, p)
	if errors.Is(err, errMoved) { // once more with the names as they are now
		clear(r.c.names)
		var now *plan
		if now, err = r.plan(ctx); err == nil {
			p = now
			rows, err = r.read(ctx, p)
		}
	}
	if err == nil {
		return rows, r.end(p)
	}
	return nil, r.failed(p, err)
}

// begin begins the local transaction that keeps the locks until the look is over.
func (r *reader) begin(ctx context.Context, p *plan) error {
	switch {
	case r.b != nil && (!r.auto || p.locking):
		if err := r.b.begin(ctx); err != nil {
			if r.auto {
				err = errors.Join(err, r.b.Rollback())
			}
			return err
		}
	case r.b == nil && r.auto && p.locking:
		tx, err := r.c.beginBase(ctx, driver.TxOptions{})
		if err != nil {
			return err
		}
		r.commit, r.back = tx.Commit, tx.Rollback
	}
	return nil
}

// end ends the local transaction of a statement that is one.
func (r *reader) end(p *plan) error {
	if r.b != nil && p.locking {
		r.b.locked()
	}
	switch {
	case r.b != nil && !r.auto:
		r.b.used = true
		r.b.bounded = r.b.bounded || p.bounds
	case r.b != nil:
		return r.b.Commit()
	case r.commit != nil:
		return r.commit()
	}
	return nil
}

// failed ends what has to end because of err.
func (r *reader) failed(p *plan, err error) error {
	conflict := errors.Is(err, gtx.ErrConflict)
	switch {
	case r.b == nil && r.back != nil:
		err = errors.Join(err, r.back())
		r.commit, r.back = nil, nil
	case r.b == nil:
		if !r.auto {
			return err // the local transaction is the caller's
		}
	case !conflict:
		if r.auto {
			return errors.Join(err, r.b.Rollback())
		}
		r.b.used = true
		return err
	default:
		first := !r.b.used
		r.b.abandon(err)
		if !first {
			return err
		}
	}
	if !conflict {
		return err
	}
	return &again{err: err, skip: p.skip, noWait: p.noWait}
}

// read runs the SELECT of p and finds out whether all its rows are decided.
func (r *reader) read(ctx context.Context, p *plan) (*Buffer, error) {
	args := p.args
	if p.once && !r.stmt {
		args = r.c.passing(args, true)
	}
	rows, err := r.c.rows(ctx, p.text, args, r.stmt)
	if err != nil {
		err = r.c.relocated(err, p.text, r.s.Text, func(offset int) int { return origin(p.from, offset) })
		return nil, r.classify(p, err)
	}
	found := map[string]map[string]bool{}
	if err := p.collect(rows.cut(len(p.extra)), p.extra, found); err != nil {
		return nil, err
	}
	if p.after != "" {
		more, err := r.c.rows(ctx, p.after, p.afterArgs, r.stmt) // arguments mean the same then
		if err != nil {
			return nil, r.classify(p, err)
		}
		if err := p.collect(more.cut(len(p.afterExtra)), p.afterExtra, found); err != nil {
			return nil, err
		}
	}
	return rows, r.look(ctx, p, found)
}

// classify marks an error of the server after which trying again helps, as
// capture does.
func (r *reader) classify(p *plan, err error) error {
	if r.b != nil && p.locking && !p.noWait && r.c.res.Dialect.Classify(err) == undo.Conflict {
		return fmt.Errorf("lock rows: %w (%w)", err, gtx.ErrConflict)
	}
	return err
}
