package tcc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

const (
	// slotTime is how long one more call of an action that has all its Workers at work
	// waits in a delivery, which others wait for (rule P7), and laneTime how long in a lane,
	// behind which the scan waits.
	slotTime, laneTime = 500 * time.Millisecond, 20 * time.Millisecond
	// noteTime bounds the note of a failure.
	noteTime = 5 * time.Second
	// strangerAge is how old a guard is before an action that is not registered is told:
	// a program that starts registers one after the other.
	strangerAge = 3 * time.Second
)

// Resolve confirms or cancels what is left of a decided XID here. Nil means that nothing is.
// It is idempotent. Each action is independent of the others: what fails is tried again by
// this Resource itself. The error wraps gtx.ErrConflict where nothing has failed but it is
// too early, gtx.ErrAway where the guards cannot be reached, ErrStuck and gtx.ErrDirty after
// many failures.
func (r *Resource) Resolve(ctx context.Context, d gtx.Resolution) error {
	if d.Status != gtx.Committed && d.Status != gtx.Aborted {
		return fmt.Errorf("resolve actions of %s: status %s is no decision", d.XID, d.Status)
	}
	ctx = gtx.Detach(ctx)
	release, err := r.alone(ctx, d.XID)
	if err != nil {
		return fmt.Errorf("resolve actions of %s: %w", d.XID, err)
	}
	defer release()
	if err := r.resolve(ctx, d); err != nil {
		if r.lost(err) {
			err = fmt.Errorf("%w: %w", gtx.ErrAway, err)
		}
		return fmt.Errorf("resolve actions of %s as %s: %w", d.XID, d.Status, err)
	}
	return nil
}

// lost tells that the guards cannot be reached. What an action says is about the action.
func (r *Resource) lost(err error) bool {
	var a *actionError
	return !errors.As(err, &a) && r.guards.away(err)
}

// alone keeps two from ending one XID in one process: the second waits for the first, if it
// was pushed.
func (r *Resource) alone(ctx context.Context, xid gtx.XID) (release func(), err error) {
	for {
		r.mu.Lock()
		if r.closed {
			r.mu.Unlock()
			return nil, ErrClosed
		}
		other, busy := r.ending[xid]
		if !busy {
			done := make(chan struct{})
			r.ending[xid] = done
			r.mu.Unlock()
			return func() {
				r.mu.Lock()
				delete(r.ending, xid)
				r.mu.Unlock()
				close(done)
			}, nil
		}
		r.mu.Unlock()
		if placeOf(ctx) != nil { // who is at it plans what comes next
			return nil, gtx.ErrConflict
		}
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *Resource) resolve(ctx context.Context, d gtx.Resolution) error {
	all, err := r.guards.of(ctx, d.XID)
	if err != nil {
		r.plan(r.cfg.now().Add(pauseOf(1)), d)
		return err
	}
	var again later
	late, errs := r.bar(ctx, d, all, &again)
	if late {
		if all, err = r.guards.of(ctx, d.XID); err != nil {
			r.plan(r.cfg.now().Add(pauseOf(1)), d)
			return err
		}
	}
	r.prune(d.XID, all)
	if d.Status == gtx.Aborted {
		slices.Reverse(all) // the newest first
	}
	for _, g := range all {
		if err := r.one(ctx, g, d.Status, &again); err != nil {
			errs = append(errs, err)
		}
	}
	if !again.at.IsZero() {
		r.plan(again.at, d)
	}
	return errors.Join(errs...)
}

// bar looks after branches that the coordinator knows and that have no guard yet: a Try that
// is still open must not come to last unseen. late: one has a guard by now.
func (r *Resource) bar(ctx context.Context, d gtx.Resolution, all []guard, again *later) (late bool, errs []error) {
	if d.Status != gtx.Aborted {
		return false, nil
	}
	for _, b := range d.Branches {
		if slices.ContainsFunc(all, func(g guard) bool { return g.branch == b }) {
			continue
		}
		has, err := r.guards.bar(ctx, d.XID, b)
		if errors.Is(err, errBusy) {
			again.soon(r.cfg.now(), err)
			err = fmt.Errorf("a try is still open (%w): %w", gtx.ErrConflict, err)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("branch %d: %w", b, err))
		}
		late = late || has
	}
	return late, errs
}

// later is when to come again.
type later struct{ at time.Time }

func (l *later) add(at time.Time) {
	if l.at.IsZero() || at.Before(l.at) {
		l.at = at
	}
}

// busyPause is for what somebody else is at.
const busyPause = 50 * time.Millisecond

func (l *later) soon(now time.Time, err error) {
	at := now.Add(busyPause)
	var known *laterError
	if errors.As(err, &known) && known.at.After(at) {
		at = known.at
	}
	l.add(at)
}

// one ends one guard, or tells why it cannot yet.
func (r *Resource) one(ctx context.Context, g guard, st gtx.Status, again *later) error {
	now := r.cfg.now()
	if early := g.retryAt.Sub(now); early > 0 && early <= maxPause+skew { // else somebody's clock is wrong
		again.add(g.retryAt)
		return r.resting(&g)
	}
	e := r.entry(g.action, g.version)
	if e == nil {
		return r.stranger(ctx, g)
	}
	if !r.slot(ctx, e) {
		again.add(now.Add(slotTime/2 + rand.N(slotTime))) // many may wait for it
		return fmt.Errorf("action %s has all its workers busy: %w", e.name, gtx.ErrConflict)
	}
	defer func() { <-e.slots }()
	last, called := g, false
	act, cancel := context.WithTimeout(r.ctx, r.cfg.Timeout)
	defer cancel()
	p := placeOf(ctx)
	p.give()
	ended, err := r.guards.end(act, g, st, func(ctx context.Context, tx Tx, g guard, ph phase) error {
		g.tries = max(g.tries, r.triesOf(g.key()))
		last, called = g, true
		return e.run(ctx, tx, &g, ph)
	})
	p.take(r.ctx)
	switch {
	case err == nil:
		r.ended(g.key(), ended, st)
		return nil
	case errors.Is(err, errBusy):
		again.soon(now, err)
		return fmt.Errorf("%w: %w", gtx.ErrConflict, err)
	case r.ctx.Err() != nil:
		return fmt.Errorf("%w: %w", gtx.ErrConflict, ErrClosed)
	case !called, r.lost(err) && act.Err() == nil: // no failure of the action
		again.add(now.Add(pauseOf(1)))
		return err
	}
	return r.fail(last, err, again)
}

// slot waits a moment for a call of the action.
func (r *Resource) slot(ctx context.Context, e *entry) bool {
	select {
	case e.slots <- struct{}{}:
		return true
	default:
	}
	wait := slotTime
	if placeOf(ctx) != nil {
		wait = laneTime
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case e.slots <- struct{}{}:
		return true
	case <-t.C:
	case <-ctx.Done():
	case <-r.ctx.Done():
	}
	return false
}

// entry is the action that can read arguments of version, or nil.
func (r *Resource) entry(name string, version int) *entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.actions[name]; e != nil && version <= e.version {
		return e
	}
	return nil
}

// stranger leaves a guard to other processes. That is no try of the action, so nobody is
// kept from it; but it can be seen.
func (r *Resource) stranger(ctx context.Context, g guard) error {
	err := fmt.Errorf("action %s with arguments of version %d: %w", g.action, g.version, ErrNotRegistered)
	if r.cfg.now().Sub(g.created) > strangerAge {
		if r.once(err.Error()) {
			r.cfg.Logger.Warn("leave an action to other processes", "resource", string(r.id), "xid", g.xid.String(), "err", err)
		}
		if g.reason == "" {
			g.reason = err.Error()
			if err := r.guards.failed(ctx, g); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("%w: %w", gtx.ErrConflict, err)
}

// once is true for a text that it has not met, as long as there are not too many.
func (r *Resource) once(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told[text] || len(r.told) >= 1000 {
		return false
	}
	r.told[text] = true
	return true
}
