package tcc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

const (
	// barePrefix begins the resource of actions without a database.
	barePrefix = "tcc-"
	// bareTry bounds a Try whose context has no deadline.
	bareTry = time.Minute
	// bareMargin is how long after the end of its context a Try is waited for, and what
	// the clocks of processes may differ by.
	bareMargin = 5 * time.Second
	// leaseTime is how long a Confirm or Cancel belongs to a process that has died. One
	// that lives renews it.
	leaseTime = 15 * time.Second
	// storeTime bounds what must reach the store although ctx may have ended.
	storeTime = 10 * time.Second
)

// BareID is what the actions of [Bare] are registered under.
func BareID(name string) gtx.ResourceID { return gtx.ResourceID(barePrefix + name) }

// Bare makes a resource for actions that have no database: calls of other systems, files,
// devices. tx is nil in their methods. Their guards are kept by the coordinator, which must
// be a gtx.GuardStore, as natsbus.Bus is. The name, in the form of an action's, is shared by
// all processes that may end each other's actions; all have one coordinator.
//
// Nothing ties the effect of an action to its guard here, so each is called at least once:
//
//   - Confirm and Cancel may be called again after they have succeeded, when a process dies
//     or an answer is lost. [Call] has the key by which the other side knows a repetition.
//   - After an error or a panic of Try, Cancel is called once the global transaction has
//     ended, committed or not: something may have been done.
//   - Cancel must bear that nothing was tried (Call.MaybeEmpty). Where a Try that was sent
//     can arrive at the other side after its Cancel, Cancel must bar it there, by the key.
//   - A Try gets a context that ends with the global transaction. It is cancelled no sooner
//     than five seconds after that by a process that does not know whether it has returned,
//     and again after it has returned later than that.
func Bare(ctx context.Context, name string, cfg Config) (*Resource, error) {
	if !nameForm.MatchString(name) || strings.HasSuffix(name, suffix) {
		return nil, fmt.Errorf("open resource %q for actions: want 1 to 100 letters, digits, dots, hyphens and underscores, and not %s at the end", name, suffix)
	}
	cfg = cfg.withDefaults()
	b := &bare{id: BareID(name), now: cfg.now, owner: newOwner(), trying: map[guardKey]bool{}}
	r := newResource(cfg, b.id, b)
	b.coordinator, b.entry, b.log = r.coordinator, r.entry, cfg.Logger.With("resource", string(b.id))
	c := cfg.Coordinator
	if c == nil {
		c = gtx.Default()
	}
	if c == nil {
		return r, nil // seen at the first Try
	}
	s, err := storeOf(c)
	if err == nil {
		_, err = s.Guards(gtx.Detach(ctx), b.id, gtx.XID{Log: 1, Epoch: 1, Seq: 1})
	}
	if err != nil {
		r.cancel()
		return nil, fmt.Errorf("open resource %s for actions: %w", name, err)
	}
	return r, nil
}

var _ guards = (*bare)(nil)

// bare is the guards of a resource without a database, in the store of the coordinator. A
// guard goes this way, each step a compare-and-set:
//
//	trying ── tried ──────── confirming ── gone
//	   │  └── failed ─┐ └─── cancelling ── gone
//	   └──────────────┴────── cancelling
//
// Who claims a guard writes what it is going to do, so that a decision is read once: when it
// is taken over later, or comes back with a store that was restored, the same is done again.
type bare struct {
	id          gtx.ResourceID
	now         func() time.Time
	owner       string // of the claims of this process
	coordinator func() gtx.Coordinator
	entry       func(name string, version int) *entry
	log         *slog.Logger

	// mu protects the following.
	mu     sync.Mutex
	trying map[guardKey]bool // whose Try runs here
	page   []string          // XIDs of the last look, for its next pages
}

func storeOf(c gtx.Coordinator) (gtx.GuardStore, error) {
	if c == nil {
		return nil, gtx.ErrNoCoordinator
	}
	s, ok := c.(gtx.GuardStore)
	if !ok {
		return nil, fmt.Errorf("coordinator %T keeps no guards of actions", c)
	}
	return s, nil
}

func (b *bare) store() (gtx.GuardStore, error) { return storeOf(b.coordinator()) }

func (b *bare) away(err error) bool { return errors.Is(err, gtx.ErrUnavailable) }

// try keeps the guard from before do until its end. What do has done is undone by Cancel
// alone, so after an error of do the guard stays: it is cancelled on commit, too.
func (b *bare) try(ctx context.Context, g guard, register func(context.Context) error, do func(context.Context, Tx) error) (settled, error) {
	s, err := b.store()
	if err != nil {
		return dead, err
	}
	end := b.now().Add(bareTry)
	if at, ok := ctx.Deadline(); ok {
		end = at
	}
	k := &kept{bareState: bareState{State: stateTrying, Until: end.Add(bareMargin).UnixMicro()}}
	g.kept = k
	body, err := k.body(&g)
	if err != nil {
		return dead, err
	}
	if err := ctx.Err(); err != nil {
		return dead, err
	}
	defer b.running(g.key())()
	if k.revision, err = s.CreateGuard(ctx, b.guard(&g, body)); err != nil {
		// It may still appear, and is then cancelled as one of which nobody knows.
		return dead, fmt.Errorf("create guard: %w", err)
	}
	if err := register(ctx); err != nil {
		return dead, errors.Join(err, b.drop(ctx, s, &g))
	}
	state := stateFailed
	defer func() {
		if state == stateFailed { // do has panicked
			_ = b.tried(ctx, s, &g, state)
		}
	}()
	inner, cancel := context.WithDeadline(ctx, end)
	err = do(inner, nil)
	cancel()
	if err == nil {
		state = stateTried
	} else {
		// Unsaid, the guard is cancelled when its time is over (rule Y1).
		_, err = b.tried(ctx, s, &g, state), fmt.Errorf("%w (it will be cancelled)", err)
		state = ""
		return dead, err
	}
	if err := b.tried(ctx, s, &g, state); err != nil {
		return open, fmt.Errorf("it is not known whether the guard says that it was tried, the global transaction must abort: %w", err)
	}
	return confirmed, nil
}

// running takes note that the Try of a guard runs in this process.
func (b *bare) running(k guardKey) (stop func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying[k] = true
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.trying, k)
	}
}

// drop deletes the guard of a Try that was not run.
func (b *bare) drop(ctx context.Context, s gtx.GuardStore, g *guard) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	if err := s.DeleteGuard(ctx, b.guard(g, nil)); err != nil {
		return fmt.Errorf("delete guard: %w", err) // it will be cancelled
	}
	return nil
}

// tried says what became of the Try. When somebody has taken the guard for one whose process
// has died, the Cancel may have come too early: it is asked for again.
func (b *bare) tried(ctx context.Context, s gtx.GuardStore, g *guard, state string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	k := g.kept.(*kept)
	next := k.bareState
	next.State, next.Until = state, 0
	err := b.update(ctx, s, g, next)
	// Without an answer somebody may have cancelled by now, once the time is over.
	if errors.Is(err, gtx.ErrGuardChanged) || err != nil && b.now().UnixMicro() >= k.Until {
		if err := b.late(ctx, s, g); err != nil {
			b.log.Warn("try has ended too late, and the guard cannot be written: cancel without one", "xid", g.xid.String(), "action", g.action, "err", err)
			b.cancel(context.WithoutCancel(ctx), g)
		}
		return errLate
	}
	return err
}

// cancel is for a Try that nobody else knows of any more.
func (b *bare) cancel(ctx context.Context, g *guard) {
	ctx, end := context.WithTimeout(ctx, storeTime)
	defer end()
	last := *g
	last.maybeEmpty = true
	err := ErrNotRegistered
	if e := b.entry(g.action, g.version); e != nil {
		err = e.run(ctx, nil, &last, cancelling)
	}
	if err != nil {
		b.log.Error("what a late try has done was not cancelled, do it by hand", "xid", g.xid.String(), "branch", int64(g.branch), "action", g.action, "err", err)
	}
}

// errLate: a Try has returned after it was cancelled.
var errLate = fmt.Errorf("try has ended too late, when it was cancelled already: %w", gtx.ErrAborted)

// late leaves a failed guard behind, whatever is there: who is cancelling cannot delete it
// then. The create uses the names again, which does no harm: whenever it appears, it is
// cancelled.
func (b *bare) late(ctx context.Context, s gtx.GuardStore, g *guard) error {
	k := g.kept.(*kept)
	next := bareState{State: stateFailed}
	for try := 1; ; try++ {
		err := b.again(ctx, s, g, k, next)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if !errors.Is(err, gtx.ErrGuardChanged) && !b.away(err) || !sleep(ctx, time.Millisecond<<min(try, 8)) {
			return err
		}
	}
}

func (b *bare) again(ctx context.Context, s gtx.GuardStore, g *guard, k *kept, next bareState) error {
	all, err := s.Guards(ctx, b.id, g.xid)
	if err != nil {
		return err
	}
	for _, have := range all {
		if have.Branch == g.branch {
			k.revision = have.Revision
			return b.update(ctx, s, g, next)
		}
	}
	k.bareState = next
	body, err := k.body(g)
	if err == nil {
		k.revision, err = s.CreateGuard(ctx, b.guard(g, body))
	}
	return err
}

func (b *bare) guard(g *guard, body []byte) gtx.Guard {
	return gtx.Guard{Resource: b.id, XID: g.xid, Branch: g.branch, Body: body, Revision: g.kept.(*kept).revision}
}

// update stores g with another state, if nobody else has changed it.
func (b *bare) update(ctx context.Context, s gtx.GuardStore, g *guard, next bareState) error {
	k := g.kept.(*kept)
	old := k.bareState
	k.bareState = next
	body, err := k.body(g)
	if err == nil {
		var rev uint64
		if rev, err = s.UpdateGuard(ctx, b.guard(g, body)); err == nil {
			k.revision = rev
			return nil
		}
	}
	k.bareState = old
	return fmt.Errorf("update guard: %w", err)
}
