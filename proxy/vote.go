package proxy

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// commitXA prepares, only after the coordinator's ok (rule X1).
func (b *branch) commitXA() error {
	p := b.c.res.Preparing
	if err := b.wroteUnseen(); err != nil {
		return b.refuseCommit(err)
	}
	if !b.xa.writes {
		return b.commitRead()
	}
	if b.register == nil {
		b.startRegister()
	}
	err := b.registered(true)
	if err == nil {
		err = b.global.Active()
	}
	if err == nil {
		err = b.ctx.Err()
	}
	if err != nil {
		return b.refuseCommit(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), finishTime)
	defer cancel()
	if err := b.uncover(ctx); err != nil {
		return b.refuseCommit(err)
	}
	look := ""
	if b.c.res.Dialect.SeesNow() && b.opts.Isolation <= driver.IsolationLevel(sql.LevelReadCommitted) && !p.apart.Load() {
		look = strings.Join(b.looks(), ") OR EXISTS (")
	} else if err := b.unheldXA(ctx, p.Look); err != nil {
		return b.refuseCommit(err)
	}
	err = b.exec(ctx, p.Dialect.Prepare(b.xa.name, look))
	switch {
	case err == nil:
		b.isPrepared(ctx)
		b.end()
		return nil
	case p.Dialect.Held(err):
		b.abandon(err)
		if now := b.unheldXA(ctx, b.c.query); now != nil {
			err = now
		} else {
			p.apart.Store(true) // in case that it was the session's isolation level
			err = errGone
		}
		b.end()
		return fmt.Errorf("prepare local transaction (it was rolled back): %w", err)
	case p.Dialect.RolledBack(err):
		conflict := b.c.res.Dialect.Classify(err) == undo.Conflict
		b.abandon(err)
		b.end()
		if conflict {
			return fmt.Errorf("prepare local transaction (it was rolled back): %w (%w)", err, gtx.ErrConflict)
		}
		return fmt.Errorf("prepare local transaction (it was rolled back): %w", err)
	}
	b.end()
	return b.settleXA(ctx, err)
}

// wroteUnseen asks the server whether queries have written.
func (b *branch) wroteUnseen() error {
	if b.xa.writes || !b.xa.asks || !b.begun {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), finishTime)
	defer cancel()
	lines, err := b.c.query(ctx, b.c.res.Dialect.(Calling).WroteQuery()) //nolint:errcheck // asks says that it is one
	if err != nil {
		return fmt.Errorf("ask whether a query has written: %w", err)
	}
	if len(lines) > 0 {
		b.xa.writes, b.xa.any = true, true
	}
	return nil
}

// errGone: who held the row has ended meanwhile.
var errGone = fmt.Errorf("a row was held by a global transaction that has ended meanwhile: %w", gtx.ErrConflict)

// unheldXA returns a ConflictError when a row of a table that b has written, perhaps
// another one, is held.
func (b *branch) unheldXA(ctx context.Context, query undo.Query) error {
	for _, text := range b.looks() {
		lines, err := query(ctx, text)
		if err != nil {
			return fmt.Errorf("look for undo rows: %w", err)
		}
		if len(lines) == 0 {
			continue
		}
		b.c.res.share(b.xa.tables)
		holder, err := gtx.ParseXID(lines[0][0])
		if err != nil {
			holder = gtx.XID{}
		}
		return &gtx.ConflictError{Holder: holder, Table: strings.Join(b.xa.tables, ", ")}
	}
	return nil
}

// isPrepared is after PREPARE was acknowledged: the branch is confirmed, and this process
// ends it as soon as it knows how.
func (b *branch) isPrepared(ctx context.Context) {
	r, n := b.c.res.Preparing.Resolver, b.xa.name
	b.global.Confirm(b.ref)
	here := b.global.Ends(r, func(ctx context.Context, st gtx.Status) { r.End(ctx, n.XID, st) })
	if b.xa.tied {
		b.c.giveBase(ctx, n, b.global.Coordinator())
	} else if here {
		r.Prepared(n)
	}
}

// commitRead ends a branch that has read and locked nothing: there is nothing to decide
// about it.
func (b *branch) commitRead() error {
	if !b.begun {
		if b.enlisted {
			b.global.Dead(b.ref)
		}
		b.end()
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), finishTime)
	defer cancel()
	err := b.exec(ctx, b.c.res.Preparing.Dialect.Commit(b.xa.name))
	if err != nil {
		b.c.bad = true
	}
	b.global.Dead(b.ref)
	b.end()
	return err
}

// settleXA finds out what became of a PREPARE that returned cause (rule T5). Only that
// the branch is listed says something: it may still be on its way. The connection is
// given up.
func (b *branch) settleXA(ctx context.Context, cause error) error {
	b.c.bad = true
	r := b.c.res.Preparing.Resolver
	var err error
	for try := 0; try < settleTries; try++ {
		var listed bool
		if listed, err = r.Settle(ctx, b.xa.name); listed {
			b.global.Confirm(b.ref)
			return nil
		}
		if !wait(ctx, 4+try) {
			break
		}
	}
	// Neither confirmed nor dead: the coordinator will abort, and the scan rolls back what
	// appears. Not wrapped, so that nobody takes it for "nothing was sent".
	if err != nil {
		cause = errors.Join(cause, err)
	}
	//nolint:errorlint // see above
	return fmt.Errorf("prepare local transaction of %s: it is not known whether it happened (%v)", b.xid, cause)
}

// settleTries are looks for a branch whose PREPARE got no answer, some 100 ms in all.
const settleTries = 3
