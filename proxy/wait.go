package proxy

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// capture runs a writing statement. When another transaction holds a row and
// nothing else has happened in the local transaction it is rolled back, and the
// statement runs again in a new one when the holder has ended, until LockWait is
// over. The rollback comes before the wait: it frees the row locks that the
// holder's undo needs (rule W2).
func (b *branch) capture(ctx context.Context, r *Capture) (*Captured, error) {
	patience, cancel := context.WithTimeout(ctx, b.c.res.LockWait)
	defer cancel()
	for try := 0; ; try++ {
		out, err := b.captureOnce(ctx, r)
		if err == nil {
			b.used = true
			return out, nil
		}
		if errors.Is(err, gtx.ErrUnsupported) {
			return nil, err // it has not run
		}
		if r.Stale {
			b.c.res.forgetTables()
			clear(b.c.names)
		}
		again := r.Stale && !b.used && try == 0 // with a new look at the catalogue
		if r.Kept && !again {
			b.used = true
			return nil, err
		}
		first := !b.used
		b.abandon(err)
		if !again && (!first || !errors.Is(err, gtx.ErrConflict) || !b.holderEnds(patience, err, try)) {
			return nil, err
		}
		b.renew()
		if r.Stale {
			fresh, err := b.request(ctx, r.Stmt, r.Args, r.WantRows)
			if err != nil {
				return nil, err
			}
			r.Table, r.Tables, r.Members = fresh.Table, fresh.Tables, fresh.Members
		}
	}
}

// holderEnds waits until the row that cause tells of is free, as far as anybody
// can know; false when the wait has to end before.
func (b *branch) holderEnds(ctx context.Context, cause error, try int) bool {
	var held *gtx.ConflictError
	if !errors.As(cause, &held) || held.Holder.IsZero() {
		return wait(ctx, try) // the database itself gave up: nobody to ask about
	}
	brief, cancel := b.c.patience(ctx, b.global)
	defer cancel()
	st, err := b.await(brief, held.Holder)
	switch {
	case b.guard && (err != nil || st == gtx.Pending):
		return wait(ctx, try) // nobody waits for a guarded transaction: trying again tells
	case err != nil || st == gtx.Pending:
		return false
	case st == gtx.Expired:
		st = gtx.Aborted // rule G4: no row of a committed transaction is left
	}
	err = b.c.res.end(ctx, gtx.Resolution{XID: held.Holder, Status: st})
	if err == nil {
		return true
	}
	b.c.res.Logger.Debug("end the holder of a row", "xid", held.Holder.String(), "err", err)
	return !errors.Is(err, gtx.ErrDirty) && wait(ctx, try) // rule P8: the row stays locked
}

// await asks the coordinator for the end of a holder. A guarded transaction holds
// nothing, and its program may know no coordinator, or one of another log.
func (b *branch) await(ctx context.Context, holder gtx.XID) (gtx.Status, error) {
	if !b.guard {
		return b.global.Coordinator().Await(ctx, b.global.Waiter(), holder)
	}
	if c := b.c.res.Coordinator; c != nil && c() != nil {
		return c().Await(ctx, gtx.XID{}, holder)
	}
	return gtx.Pending, nil
}

// end resolves a decided transaction here and now, rather than waiting for the
// coordinator's push to do it. Many may want the same: one does it, the others
// wait for that.
func (r *Resource) end(ctx context.Context, res gtx.Resolution) error {
	r.mu.Lock()
	done, others := r.ending[res.XID]
	if !others {
		done = make(chan struct{})
		r.ending[res.XID] = done
	}
	r.mu.Unlock()
	if others {
		select {
		case <-done:
			return nil // or not: the caller finds out
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() {
		r.mu.Lock()
		delete(r.ending, res.XID)
		r.mu.Unlock()
		close(done)
	}()
	return r.Resolve(ctx, res)
}

// wait pauses 1 ms · 2^try, at most 64 ms, half of it random; false when ctx
// ended first.
func wait(ctx context.Context, try int) bool {
	d := time.Millisecond << min(try, 6)
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
