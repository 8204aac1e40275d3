package proxy

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
	"github.com/globaltx/globaltx/xa"
)

// In mode XA a local transaction is prepared where it would be committed, and its
// statements are the program's own: nothing is captured, for the database itself brings
// the rows back. What is asked of each statement is which tables it writes. Before
// PREPARE their undo rows are looked for, under the locks of the rows (rule W6): where
// a global transaction of mode AT holds one, the local transaction is rolled back.

// Preparing is the database's part in mode XA.
type Preparing struct {
	Dialect  xa.Dialect
	Resolver *xa.Resolver
	// Look runs a query of this module on another connection, so that it sees what has
	// committed by now.
	Look undo.Query
	// Open gives a base connection as Connect would, with what is known of it.
	Open func(ctx context.Context) (driver.Conn, any, error)

	// apart: sessions here have been seen whose own look is into the past.
	apart atomic.Bool
}

// prepared is what a branch of mode XA knows beside the others.
type prepared struct {
	tied   bool // Ability.Tied
	name   xa.Name
	writes bool // or has locked rows
	// tables, by Table.ID, are those that it has written, so far as the texts tell;
	// any: they do not.
	tables []string
	any    bool
	// asks: a query may have written, which the server knows (WroteQuery).
	asks bool
	// cover owns the undo rows of statements that went through capture; zero when none did.
	cover gtx.XID
}

var errNoPrepare = &gtx.UnsupportedError{
	Code: "prepare", Reason: "the database cannot prepare a local transaction, which modes XA and 3PC are built on",
	Hint: "use mode AT for it: gtx.InMode(ctx, gtx.AT), or no gtx.WithMode",
}

// prepares makes b a branch that is prepared.
func (b *branch) prepares(ctx context.Context) error {
	p := b.c.res.Preparing
	if p == nil {
		return errNoPrepare
	}
	a, err := p.Resolver.Able(ctx)
	if err != nil {
		return err
	}
	b.xa = &prepared{tied: a.Tied}
	return nil
}

// beginXA begins the local transaction under a name of its own (rule I3).
func (b *branch) beginXA(ctx context.Context) error {
	if !b.enlisted {
		ref, err := b.global.Enlist(xa.ResourceOf(b.resource))
		if err != nil {
			return err
		}
		b.ref, b.enlisted = ref, true
	}
	b.xa.name = xa.Name{XID: b.xid, Database: b.resource, Branch: b.ref.Branch}
	if err := b.xa.name.Check(); err != nil {
		return err
	}
	texts, err := b.c.res.Preparing.Dialect.Begin(b.xa.name, b.opts)
	if err != nil {
		return err
	}
	b.begun = true // a failed one may have begun
	for _, text := range texts {
		if err := b.exec(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

// locked is after a SELECT that has locked rows, and seen that nobody holds them: the
// locks last until the decision.
func (b *branch) locked() {
	if b.xa == nil {
		return
	}
	b.xa.writes = true
	if b.register == nil {
		b.startRegister()
	}
}

// notBegun ends a branch whose local transaction could not be begun: nothing has run, so
// another connection may do.
func (b *branch) notBegun(err error) error {
	lost := b.c.res.Dialect.Classify(err) == undo.Lost
	b.abandon(err)
	if lost {
		b.c.bad = true
		return driver.ErrBadConn
	}
	return err
}

// rollbackXA ends a branch that is not prepared.
func (b *branch) rollbackXA(ctx context.Context) (err error) {
	for _, text := range b.c.res.Preparing.Dialect.Rollback(b.xa.name) {
		err = b.exec(ctx, text)
	}
	return err
}

// ran is what became of a statement that the caller has run for b, which may be nil.
func (b *branch) ran(res driver.Result, err error, auto bool) (driver.Result, error) {
	if err = b.readFailed(err, auto); err != nil || b == nil || b.xa == nil || !auto || !b.begun {
		return res, err
	}
	return res, b.Commit()
}

// ranRows is ran for rows, which are read to their end where the branch ends.
func (b *branch) ranRows(rows driver.Rows, err error, auto bool) (driver.Rows, error) {
	if err = b.readFailed(err, auto); err != nil || b == nil || b.xa == nil || !auto || !b.begun {
		return rows, err
	}
	all, err := DrainRows(rows)
	if err != nil {
		return nil, b.failedXA(err, true)
	}
	if err := b.Commit(); err != nil {
		return nil, err
	}
	return all, nil
}

// failedXA is the end of a statement of mode XA. After a conflict the local transaction is
// rolled back, as it is for AT; after another error the program goes on, as it would
// without us.
func (b *branch) failedXA(err error, auto bool) error {
	others := b.global.Branches(xa.ResourceOf(b.resource)) - 1
	conflict := b.c.res.Dialect.Classify(err) == undo.Conflict
	switch {
	case errors.Is(err, driver.ErrSkip): // for a text that a base driver wants prepared
		if auto {
			return b.undone(err)
		}
		return err
	case auto || conflict:
		b.abandon(err)
		if auto {
			b.end()
		}
	}
	if !conflict {
		return err
	}
	if others > 0 {
		return fmt.Errorf("%w (%w; the transaction has %d more branch(es) at this database, and a prepared one keeps its locks until the end: do its work there in one local transaction)", err, gtx.ErrConflict, others)
	}
	return fmt.Errorf("%w (%w)", err, gtx.ErrConflict)
}
