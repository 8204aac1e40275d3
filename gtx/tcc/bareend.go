package tcc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// leftovers gives the XIDs page by page as of the first page.
func (b *bare) leftovers(ctx context.Context, after string, limit int) ([]string, error) {
	if after == "" {
		due, err := b.due(ctx)
		if err != nil {
			return nil, err
		}
		b.mu.Lock()
		b.page = due
		b.mu.Unlock()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	from, _ := slices.BinarySearch(b.page, after+"\x00")
	rest := b.page[from:]
	rest = slices.Clone(rest[:min(len(rest), limit)])
	if len(rest) < limit {
		b.page = nil
	}
	return rest, nil
}

// due gives the XIDs whose time may have come, in order.
func (b *bare) due(ctx context.Context) ([]string, error) {
	s, err := b.store()
	if err != nil {
		return nil, err
	}
	all, err := s.Guards(ctx, b.id, gtx.XID{})
	if err != nil {
		return nil, fmt.Errorf("list guards: %w", err)
	}
	now := b.now()
	var xids []string
	for _, have := range all {
		g := readBare(have)
		if now.Sub(g.created) < youngFor || soon(now, g.retryAt, maxPause) || b.early(&g) != nil {
			continue
		}
		xids = append(xids, g.xid.String())
	}
	slices.Sort(xids)
	return slices.Compact(xids), nil
}

// soon tells that at is still to come, unless it is so far away that somebody's clock is
// wrong: nobody plans further ahead than most.
func soon(now, at time.Time, most time.Duration) bool {
	wait := at.Sub(now)
	return wait > 0 && wait <= most+skew
}

func (b *bare) of(ctx context.Context, xid gtx.XID) ([]guard, error) {
	s, err := b.store()
	if err != nil {
		return nil, err
	}
	all, err := s.Guards(ctx, b.id, xid)
	if err != nil {
		return nil, fmt.Errorf("list guards: %w", err)
	}
	list := make([]guard, len(all))
	for i, have := range all {
		list[i] = readBare(have)
	}
	slices.SortFunc(list, func(x, y guard) int { return cmp.Compare(x.branch, y.branch) })
	return list, nil
}

// bar has nothing to look after: a branch is registered after its guard is stored, and a
// guard is created once.
func (b *bare) bar(context.Context, gtx.XID, gtx.BranchID) (bool, error) { return false, nil }

// early tells why a guard must be left alone for now: its Try may still run, or another
// process is at it.
func (b *bare) early(g *guard) error {
	k, now := g.kept.(*kept), b.now()
	switch k.State {
	case stateTrying:
		b.mu.Lock()
		here := b.trying[g.key()]
		b.mu.Unlock()
		if here {
			return errBusy
		}
		// Until has no bound, for a transaction may take long.
		if at := time.UnixMicro(k.Until); at.After(now) {
			return &laterError{at}
		}
	case stateConfirming, stateCancelling:
		if at := time.UnixMicro(k.Lease); k.Owner != "" && k.Owner != b.owner && soon(now, at, leaseTime) {
			return &laterError{at}
		}
	}
	return nil
}

// phaseOf is what to do with a guard of a decided transaction. The branch of one that has not
// been tried to the end was not confirmed, so the decision does not speak of it.
func (k *kept) phaseOf(st gtx.Status) phase {
	switch k.State {
	case stateConfirming:
		return confirming
	case stateTried:
		if st == gtx.Committed {
			return confirming
		}
	}
	return cancelling
}

// end claims the guard, runs and deletes it.
func (b *bare) end(ctx context.Context, g guard, st gtx.Status, run func(context.Context, Tx, guard, phase) error) (bool, error) {
	s, err := b.store()
	if err != nil {
		return false, err
	}
	if err := b.early(&g); err != nil {
		return false, err
	}
	k := g.kept.(*kept)
	p := k.phaseOf(st)
	if k.State == stateTrying || k.State == stateFailed {
		g.maybeEmpty = true
	}
	claim := bareState{State: stateConfirming, Empty: g.maybeEmpty}
	if p == cancelling {
		claim.State = stateCancelling
	}
	if err := b.claim(ctx, s, &g, claim); err != nil {
		return false, err
	}
	ctx, lost := context.WithCancel(ctx)
	defer lost()
	stop := b.renew(ctx, s, &g, claim, lost)
	err = run(ctx, nil, g, p)
	stop()
	if err != nil {
		if ctx.Err() != nil { // closing: nobody need wait for the lease
			_ = b.failed(context.WithoutCancel(ctx), g)
		}
		return false, err
	}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	if err := s.DeleteGuard(clean, b.guard(&g, nil)); err != nil {
		if errors.Is(err, gtx.ErrGuardChanged) { // taken over, or its Try has ended too late
			return false, fmt.Errorf("%w: %w", errBusy, err)
		}
		return false, fmt.Errorf("delete guard: %w", err)
	}
	return true, nil
}

// claim makes the guard this process's for leaseTime.
func (b *bare) claim(ctx context.Context, s gtx.GuardStore, g *guard, claim bareState) error {
	claim.Owner, claim.Lease = b.owner, b.now().Add(leaseTime).UnixMicro()
	err := b.update(ctx, s, g, claim)
	if errors.Is(err, gtx.ErrGuardChanged) {
		return fmt.Errorf("%w: %w", errBusy, err)
	}
	return err
}

// renew keeps the claim until stop, which waits. When somebody else has the guard, lost is
// called: what runs should end.
func (b *bare) renew(ctx context.Context, s gtx.GuardStore, g *guard, claim bareState, lost func()) (stop func()) {
	end := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		t := time.NewTicker(leaseTime / 3)
		defer t.Stop()
		for {
			select {
			case <-end:
				return
			case <-ctx.Done():
				return
			case <-t.C:
			}
			if err := b.claim(ctx, s, g, claim); errors.Is(err, errBusy) {
				lost()
				return
			}
		}
	})
	return func() {
		close(end)
		wait.Wait()
	}
}

// failed gives the claim back with what became of it.
func (b *bare) failed(ctx context.Context, g guard) error {
	k := g.kept.(*kept)
	if k.State == stateTrying || g.action == unreadable || k.Owner != "" && k.Owner != b.owner {
		return nil // its Try is about to change it, nobody can, or another process is at it
	}
	s, err := b.store()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	next := k.bareState
	next.Owner, next.Lease = "", 0
	err = b.update(ctx, s, &g, next)
	if errors.Is(err, gtx.ErrGuardChanged) {
		return nil
	}
	return err
}
