package proxy

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// The look of mode XA at PREPARE is for a table as a whole: any undo row in it is a
// conflict. On a table that both modes write all the time it would never pass. So after
// such a conflict the statements of mode XA that write the table go through capture for
// a while, which looks row by row, and waits. Their undo rows are deleted before PREPARE,
// as those of guarded transactions are before COMMIT: nobody ever sees them.

// sharedTime is how long a table counts as written in both modes.
const sharedTime = time.Minute

// share notes tables that hold undo rows while mode XA writes them.
func (r *Resource) share(tables []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range tables {
		r.shared[id] = time.Now().Add(sharedTime)
	}
}

// isShared tells it of the table that name gives.
func (r *Resource) isShared(name func() (string, error)) bool {
	r.mu.Lock()
	none := len(r.shared) == 0
	r.mu.Unlock()
	if none {
		return false
	}
	id, err := name()
	if err != nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	until, ok := r.shared[id]
	if ok && time.Now().After(until) {
		delete(r.shared, id)
		return false
	}
	return ok
}

// covered gives the capture of a statement that writes a table of both modes; nil where
// it writes none, cannot be captured, or writes more than its tables, so that the look at
// PREPARE is for all undo rows anyway.
func (b *branch) covered(ctx context.Context, s *sqltext.Statement, args []driver.NamedValue, rows bool) *Capture {
	if s == nil || b.xa.any || s.Kind == sqltext.Several || controls(s.Kind) || Reads(s) || b.opts.ReadOnly || Supported(s) != nil {
		return nil
	}
	if !slices.ContainsFunc(s.Targets, func(t sqltext.Table) bool {
		return b.c.res.isShared(func() (string, error) { return b.c.tableID(ctx, t.Name) })
	}) || !b.gapless(ctx) {
		return nil
	}
	if b.c.flavour == sqltext.MySQL && some(s.Query) {
		return nil // captured through a temporary table, which a branch that MySQL lets go may not have
	}
	r, err := b.request(ctx, s, args, rows)
	if err != nil {
		return nil
	}
	return r
}

// errUncaptured: the dialect refuses to capture a statement. Nothing has run.
var errUncaptured = errors.New("the statement cannot be captured")

// cover runs a statement through capture.
func (b *branch) cover(ctx context.Context, r *Capture, auto bool) (*Captured, error) {
	if b.xa.cover.IsZero() {
		b.xa.cover = coverXID()
	}
	if !b.begun {
		if err := b.beginXA(ctx); err != nil {
			return nil, b.notBegun(err)
		}
	}
	b.locked()
	out, err := b.capture(ctx, r)
	if errors.Is(err, gtx.ErrUnsupported) {
		return nil, errUncaptured
	}
	var held *gtx.ConflictError
	if errors.As(err, &held) && held.Holder == b.xid {
		err = &gtx.UnsupportedError{
			Code: "own-row", Reason: "a branch of mode AT of the same transaction has changed the row before",
			Hint: "write a row in one mode",
		}
	}
	switch {
	case err != nil && auto:
		return nil, b.undone(err)
	case err != nil:
		return nil, err
	case auto:
		if err := b.Commit(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// coverXID is one that belongs to no coordinator.
func coverXID() gtx.XID { return gtx.XID{Epoch: guardEpoch, Seq: guardSeq.Add(1)} }

// uncover deletes what capture has written for b.
func (b *branch) uncover(ctx context.Context) error {
	if b.xa.cover.IsZero() {
		return nil
	}
	if err := b.exec(ctx, b.c.res.forget(b.xa.cover)); err != nil {
		return fmt.Errorf("delete undo rows before PREPARE: %w", err)
	}
	return nil
}

// Gapping is what a Dialect has whose capture locks gaps between undo rows, above READ
// COMMITTED. That ends soon with COMMIT; a prepared branch would keep the captures of
// everybody waiting until the decision, those of its own transaction, too.
type Gapping interface {
	// Gapless is a query that gives a row where the session's isolation level locks none.
	Gapless() string
}

// gapless tells whether capture locks rows only in this local transaction.
func (b *branch) gapless(ctx context.Context) bool {
	d, ok := b.c.res.Dialect.(Gapping)
	if !ok {
		return true
	}
	if level := sql.IsolationLevel(b.opts.Isolation); level != sql.LevelDefault {
		return level <= sql.LevelReadCommitted
	}
	lines, err := b.c.query(ctx, d.Gapless())
	return err == nil && len(lines) > 0
}
