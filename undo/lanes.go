package undo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// What one Resolver does in a database at a time, beside the group (rule P7). An XID
// that has met a lock before goes by the lane for those, which is never waited for: so
// any number of them leaves the other lane free. So does one that is too large
// for the time it was given.
const (
	freeLanes   = 2
	lockedLanes = 1
	// firstWait bounds the wait for locks of who has not met one before. MySQL makes it
	// a second.
	firstWait = 250 * time.Millisecond
)

var errLocked = errors.New("another transaction that waits for a lock is being ended")

// alone runs try, a local transaction for one XID, with its bound for locks.
func (r *Resolver) alone(ctx context.Context, xid gtx.XID, try func(wait time.Duration) error) error {
	if r.cfg.Solo {
		return try(r.cfg.LockWait)
	}
	if !r.isApart(xid) {
		select {
		case r.free <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		began := time.Now()
		err := try(min(firstWait, r.cfg.LockWait))
		<-r.free
		switch {
		case err == nil, errors.Is(err, errNotBegun):
			return err
		case ctx.Err() != nil:
			if time.Since(began) >= groupTime {
				r.setApart(xid)
			}
			return err
		case r.store.Classify(err) != Conflict:
			return err
		}
		r.setApart(xid)
	}
	select {
	case r.locked <- struct{}{}:
	default:
		return fmt.Errorf("%w: %w", gtx.ErrConflict, errLocked)
	}
	defer func() { <-r.locked }()
	err := try(r.cfg.LockWait)
	if err == nil {
		r.notApart(xid)
	}
	return err
}

func (r *Resolver) isApart(xid gtx.XID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.apart[xid]
}

func (r *Resolver) setApart(xid gtx.XID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.apart) >= 10*scanLimit {
		clear(r.apart) // of XIDs that others have ended: those still here come back
	}
	r.apart[xid] = true
}

func (r *Resolver) notApart(xid gtx.XID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.apart, xid)
}
