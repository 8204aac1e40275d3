package proxy

import (
	"context"
	"errors"
	"fmt"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// Commit commits locally, only after the coordinator's ok (rule T2).
func (b *branch) Commit() error {
	if b.ended {
		return nil
	}
	if b.failed != nil {
		b.end()
		return fmt.Errorf("commit local transaction: it was rolled back before: %w", b.failed)
	}
	if b.xa != nil {
		return b.commitXA()
	}
	if !b.begun {
		if b.enlisted { // its statements were refused before anything ran
			b.global.Dead(b.ref)
		}
		b.end()
		return nil
	}
	if b.header {
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
	}
	if err := b.counted(b.ctx); err != nil {
		return b.refuseCommit(err)
	}
	err := b.commitBase()
	b.end()
	switch {
	case err == nil:
		if b.header {
			b.global.Confirm(b.ref)
		} else if b.enlisted {
			b.global.Dead(b.ref)
		}
		return nil
	case !b.header: // nothing was captured, so nothing of it counts
		b.c.bad = true
		if b.enlisted {
			b.global.Dead(b.ref)
		}
		return err
	}
	return b.settle(err)
}

func (b *branch) refuseCommit(cause error) error {
	b.abandon(cause)
	b.end()
	return fmt.Errorf("commit local transaction (it was rolled back): %w", cause)
}

func (b *branch) commitBase() error {
	if b.wrote {
		return b.commitGuarded()
	}
	if b.base != nil {
		return b.base.Commit()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), finishTime)
	defer cancel()
	if b.header {
		return b.exec(ctx, b.c.res.Dialect.Commit())
	}
	return b.exec(ctx, "COMMIT")
}

// readFailed ends a local transaction that the server has ended, or keeps only for
// a ROLLBACK, because of what a statement that reads has met.
func (b *branch) readFailed(err error, auto bool) error {
	if err != nil && b != nil && b.xa != nil {
		return b.failedXA(err, auto)
	}
	if err == nil || b == nil || b.guard || auto || b.c.res.Dialect.Classify(err) != undo.Conflict {
		return err
	}
	b.abandon(err)
	return fmt.Errorf("%w (%w)", err, gtx.ErrConflict)
}

// settle finds out what became of a COMMIT that returned cause (rule T5). The
// connection is given up, so that the server ends whatever is still open on it.
func (b *branch) settle(cause error) error {
	b.c.bad = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), finishTime)
	defer cancel()
	// A live connection may still hold the transaction open (SQLITE_BUSY).
	if err := b.rollbackBase(ctx); err != nil {
		b.c.res.Logger.Debug("roll back after failed commit", "xid", b.xid.String(), "err", err)
	}
	confirmed, err := b.c.res.Settle(ctx, b.xid, b.ref.Branch)
	switch {
	case err != nil:
		// Neither confirmed nor dead: the coordinator will abort. The causes are not
		// wrapped, so that nobody takes them for "nothing was sent".
		//nolint:errorlint // see above
		return fmt.Errorf("commit local transaction of %s: it is not known whether it happened (%v; %v)", b.xid, cause, err)
	case confirmed:
		b.global.Confirm(b.ref)
		return nil
	default:
		b.global.Dead(b.ref)
		if b.c.res.Dialect.Classify(cause) == undo.Conflict {
			return fmt.Errorf("commit local transaction: %w (%w)", cause, gtx.ErrConflict)
		}
		return fmt.Errorf("commit local transaction: %w", cause)
	}
}

// undone rolls back because of cause. It is not wrapped without need: programs
// compare errors of their base driver.
func (b *branch) undone(cause error) error {
	if err := b.Rollback(); err != nil {
		return errors.Join(cause, err)
	}
	return cause
}

// Rollback rolls the local transaction back; the branch is dead afterwards even
// where the ROLLBACK failed, since no COMMIT was or will be sent.
func (b *branch) Rollback() error {
	if b.ended {
		return nil
	}
	defer b.end()
	if b.failed != nil {
		return nil
	}
	b.abandon(errRolledBack)
	return nil
}

var errRolledBack = errors.New("rolled back by the caller")

// abandon rolls back and remembers why. Where ROLLBACK fails the connection is
// given up: the server rolls back when it closes.
func (b *branch) abandon(cause error) {
	b.failed = cause
	if b.register != nil {
		b.register.cancel()
		<-b.register.done
	}
	if b.begun {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), finishTime)
		defer cancel()
		if err := b.rollbackBase(ctx); err != nil {
			b.c.bad = true
			b.c.res.Logger.Debug("roll back local transaction, connection discarded", "xid", b.xid.String(), "err", err)
		}
	}
	if b.enlisted {
		b.global.Dead(b.ref)
	}
}

func (b *branch) rollbackBase(ctx context.Context) error {
	if b.xa != nil {
		return b.rollbackXA(ctx)
	}
	if b.base != nil {
		return b.base.Rollback()
	}
	return b.exec(ctx, "ROLLBACK")
}

// renew makes an abandoned branch usable for a new local transaction, which
// takes a new BranchID (rule I3).
func (b *branch) renew() {
	b.begun, b.base, b.used, b.wrote, b.bounded = false, nil, false, false, false
	b.enlisted, b.header, b.register, b.seq = false, false, nil, 0
	b.failed = nil
	if b.xa != nil {
		b.xa = &prepared{tied: b.xa.tied, cover: b.xa.cover}
	}
}

func (b *branch) end() {
	b.ended = true
	if b.register != nil {
		b.register.cancel()
	}
	if b.c.tx == b {
		b.c.tx = nil
	}
	b.c.txEnded()
}
