package tcc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

const (
	// minPause is the first pause after a failure, maxPause the longest.
	minPause, maxPause = 100 * time.Millisecond, 30 * time.Second
)

// pauseOf is how long an action rests after so many failures: between one and two times
// 100 ms after the first, twice that after each other one, up to 15 to 30 s.
func pauseOf(tries int) time.Duration {
	limit := min(2*minPause<<min(max(tries-1, 0), 20), maxPause)
	return limit/2 + rand.N(limit/2+1)
}

// trouble is an action whose Confirm or Cancel has failed here and has not ended since.
type trouble struct {
	tries   int
	stuck   bool
	stacked bool // the stack of a panic was logged
}

// Stats of a Resource, since it was opened. The counts are of this process: others have
// their own.
type Stats struct {
	// Confirmed and Cancelled count actions that were ended here.
	Confirmed, Cancelled int64
	// Retries counts failures of Confirm and Cancel, each of which is followed by another
	// try.
	Retries int64
	// Waiting are the actions that have failed here and not ended since, and Stuck those
	// of them that have failed Config.StuckAfter times. Stuck is for an operator.
	Waiting, Stuck int
}

// Stats tells what the Resource knows without asking anybody.
func (r *Resource) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	for _, branches := range r.trouble {
		for _, t := range branches {
			s.Waiting++
			if t.stuck {
				s.Stuck++
			}
		}
	}
	return s
}

func (r *Resource) triesOf(k guardKey) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.trouble[k.xid][k.branch]; t != nil {
		return t.tries
	}
	return 0
}

// resting is the error of a guard that has failed and whose time has not come.
func (r *Resource) resting(g *guard) error {
	err := fmt.Errorf("action %s rests after %d failures (%w), the last one: %s", g.action, g.tries, gtx.ErrConflict, g.reason)
	if g.tries >= r.cfg.StuckAfter {
		return &stuckError{g.tries, err}
	}
	return err
}

// ended takes note that g is no more; mine, that it was this process.
func (r *Resource) ended(k guardKey, mine bool, st gtx.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(k)
	switch {
	case !mine:
	case st == gtx.Committed:
		r.stats.Confirmed++
	default:
		r.stats.Cancelled++
	}
}

// forget drops the trouble with a guard. Callers hold mu.
func (r *Resource) forget(k guardKey) {
	delete(r.trouble[k.xid], k.branch)
	if len(r.trouble[k.xid]) == 0 {
		delete(r.trouble, k.xid)
	}
}

// prune drops what others have ended: all are the guards that are there.
func (r *Resource) prune(xid gtx.XID, all []guard) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.trouble[xid]) == 0 {
		return
	}
	there := map[gtx.BranchID]bool{}
	for _, g := range all {
		there[g.branch] = true
	}
	for b := range r.trouble[xid] {
		if !there[b] {
			r.forget(guardKey{xid, b})
		}
	}
}

// fail takes note of a failure, in memory, in the guard, and in the log where nobody else
// has been told.
func (r *Resource) fail(g guard, cause error, again *later) error {
	g.tries++
	g.retryAt = r.cfg.now().Add(pauseOf(g.tries))
	g.reason = cause.Error()
	again.add(g.retryAt)

	var a *actionError
	panicked := errors.As(cause, &a) && a.stack != nil
	stuck := g.tries >= r.cfg.StuckAfter
	r.mu.Lock()
	r.stats.Retries++
	if r.trouble[g.xid] == nil {
		r.trouble[g.xid] = map[gtx.BranchID]*trouble{}
	}
	t := r.trouble[g.xid][g.branch]
	if t == nil {
		t = &trouble{}
		r.trouble[g.xid][g.branch] = t
	}
	tellStuck, tellStack := stuck && !t.stuck, panicked && !t.stacked
	t.tries, t.stuck, t.stacked = g.tries, stuck, t.stacked || panicked
	r.mu.Unlock()

	log := r.cfg.Logger.With("resource", string(r.id), "xid", g.xid.String(), "branch", int64(g.branch), "action", g.action)
	if tellStack {
		log.Error("an action panicked, it will be tried again", "err", cause, "stack", string(a.stack))
	}
	if tellStuck {
		log.Error("an action is stuck, it will be tried on", "tries", g.tries, "err", cause)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), noteTime)
	defer cancel()
	if err := r.guards.failed(ctx, g); err != nil {
		cause = errors.Join(cause, err) // it is tried again all the same
	}
	if stuck {
		return &stuckError{g.tries, cause}
	}
	return cause
}
