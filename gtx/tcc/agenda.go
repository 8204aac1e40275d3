package tcc

import (
	"container/heap"
	"context"
	"errors"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// maxAgenda bounds what is remembered of transactions to come again to. The scan finds the
// others.
const maxAgenda = 10000

// agenda is what this process does again by itself, and when.
type agenda struct {
	wake  chan struct{} // something is earlier than before
	items []*item       // a heap, the earliest first
	byXID map[gtx.XID]*item
}

type item struct {
	at    time.Time
	d     gtx.Resolution
	place int
}

var _ heap.Interface = (*agenda)(nil)

func (a *agenda) Len() int           { return len(a.items) }
func (a *agenda) Less(i, j int) bool { return a.items[i].at.Before(a.items[j].at) }
func (a *agenda) Swap(i, j int) {
	a.items[i], a.items[j] = a.items[j], a.items[i]
	a.items[i].place, a.items[j].place = i, j
}

func (a *agenda) Push(x any) {
	it := x.(*item)
	it.place = len(a.items)
	a.items = append(a.items, it)
}

func (a *agenda) Pop() any {
	n := len(a.items) - 1
	it := a.items[n]
	a.items[n] = nil
	a.items = a.items[:n]
	return it
}

// set puts d in at a time, in place of what was planned for its XID. True: it is the first.
func (a *agenda) set(at time.Time, d gtx.Resolution) bool {
	if it := a.byXID[d.XID]; it != nil {
		it.at = at
		if len(d.Branches) > 0 {
			it.d = d
		}
		heap.Fix(a, it.place)
		return it.place == 0
	}
	if len(a.items) >= maxAgenda {
		return false
	}
	if a.byXID == nil {
		a.byXID = map[gtx.XID]*item{}
	}
	it := &item{at: at, d: d}
	a.byXID[d.XID] = it
	heap.Push(a, it)
	return it.place == 0
}

// due takes out one whose time has come, else tells how long to wait for the first; 0 for
// ever.
func (a *agenda) due(now time.Time) (*item, time.Duration) {
	if len(a.items) == 0 {
		return nil, 0
	}
	first := a.items[0]
	if wait := first.at.Sub(now); wait > 0 {
		return nil, wait
	}
	heap.Pop(a)
	delete(a.byXID, first.d.XID)
	return first, 0
}

// plan has d delivered again at a time.
func (r *Resource) plan(at time.Time, d gtx.Resolution) {
	r.mu.Lock()
	first := r.agenda.set(at, d)
	r.mu.Unlock()
	if first {
		select {
		case r.agenda.wake <- struct{}{}:
		default:
		}
	}
}

// agendaLoop delivers what is due.
func (r *Resource) agendaLoop() {
	for {
		r.mu.Lock()
		it, wait := r.agenda.due(r.cfg.now())
		r.mu.Unlock()
		if it != nil {
			if !r.inLane(func(ctx context.Context) { r.again(ctx, it.d) }) {
				return
			}
			continue
		}
		r.rest(wait)
		if r.ctx.Err() != nil {
			return
		}
	}
}

// rest waits so long, 0 for ever, or until something earlier is planned.
func (r *Resource) rest(wait time.Duration) {
	var passed <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		passed = t.C
	}
	select {
	case <-passed:
	case <-r.agenda.wake:
	case <-r.ctx.Done():
	}
}

// inLane runs fn beside, when there is room; false when the Resource is closed. The context
// that fn gets knows its place in the lanes.
func (r *Resource) inLane(fn func(ctx context.Context)) bool {
	p := &place{lanes: r.lanes}
	if !p.take(r.ctx) {
		return false
	}
	r.wait.Go(func() {
		defer p.give()
		fn(context.WithValue(r.ctx, placeKey{}, p))
	})
	return true
}

// place is one in the lanes. It is given to others while an action runs: a slow one has
// slots of its own, and must hold up neither the scan nor other actions. One goroutine uses
// it at a time.
type place struct {
	lanes chan struct{}
	taken bool
}

type placeKey struct{}

// placeOf gives the place that a delivery has, nil for one that was pushed.
func placeOf(ctx context.Context) *place {
	p, _ := ctx.Value(placeKey{}).(*place)
	return p
}

// take waits for room; false when ctx ended first.
func (p *place) take(ctx context.Context) bool {
	if p == nil {
		return true
	}
	select {
	case p.lanes <- struct{}{}:
		p.taken = true
	case <-ctx.Done():
	}
	return p.taken
}

func (p *place) give() {
	if p != nil && p.taken {
		p.taken = false
		<-p.lanes
	}
}

func (r *Resource) again(ctx context.Context, d gtx.Resolution) {
	c := r.coordinator()
	if c == nil {
		return // nobody could be told; the scan goes on when there is one
	}
	r.tell(d, r.deliver(ctx, c, d))
}

// deliver hands d to Resolve and acknowledges.
func (r *Resource) deliver(ctx context.Context, c gtx.Coordinator, d gtx.Resolution) error {
	err := gtx.Deliver(ctx, c, r.id, r, d)
	if errors.Is(err, gtx.ErrNotAcknowledged) {
		return nil // the next push repairs it
	}
	return err
}

// tell logs what a delivery of this Resource's own has come to, where nobody else does: a
// stuck action is logged once, by fail.
func (r *Resource) tell(d gtx.Resolution, err error) {
	if err == nil || r.ctx.Err() != nil || errors.Is(err, gtx.ErrConflict) || errors.Is(err, gtx.ErrAway) || errors.Is(err, ErrStuck) {
		return
	}
	r.cfg.Logger.Debug("phase two of an action failed, will be tried again", "xid", d.XID.String(), "status", d.Status.String(),
		"resource", string(r.id), "err", err)
}
