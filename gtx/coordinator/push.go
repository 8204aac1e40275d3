package coordinator

import (
	"cmp"
	"slices"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// A commit is pushed to a resource until that acknowledges it (rule G2). What
// waits is in two lanes: never pushed, and pushed without an answer. The pushes
// that are out are bounded by Config.PushWindow, half of it at most for the
// second lane: a resource that is stuck with some commits still gets the new
// ones at once, and in the second lane each has its turn.
//
// Each lane has its own pause, after which a push is taken for lost: it doubles
// from round to round and starts again with an acknowledgement. There is no
// jitter. It would keep many callers of one server from acting in step; here one
// caller sends to many databases, each on the beat of its own commits.
const (
	laneFresh = 0
	laneAgain = 1
)

type lane struct {
	wait, out list[owed, *owed] // out is sorted by the time of the push
	pause     instant
	progress  bool // an acknowledgement has come since the last round
}

// pushMin is the first pause of a lane.
func (m *Machine) pushMin(lane int) instant {
	return instant(min(m.cfg.PushMin<<lane, m.cfg.PushMax))
}

// reset starts the pauses of r from the beginning.
func (m *Machine) reset(r *resource, lane int) {
	for i := range lane + 1 {
		r.lanes[i].pause = m.pushMin(i)
	}
}

// pump pushes what the window of r has room for, and sets the time of the next
// round.
func (m *Machine) pump(now instant, r *resource) {
	fresh, again := &r.lanes[laneFresh], &r.lanes[laneAgain]
	half := max(m.cfg.PushWindow/2, 1)
	for fresh.out.n+again.out.n < m.cfg.PushWindow {
		l := fresh
		if again.wait.n > 0 && again.out.n < half && (fresh.wait.n == 0 || again.out.n <= fresh.out.n) {
			l = again
		}
		o := l.wait.head
		if o == nil {
			break
		}
		l.wait.remove(o)
		l.out.push(o)
		o.out, o.at = true, now
		m.emit(Push{Resource: r.id, Resolution: gtx.Resolution{XID: m.xid(o.tx.key), Status: gtx.Committed}})
	}
	due, any := instant(0), false
	for i := range r.lanes {
		if o := r.lanes[i].out.head; o != nil && (!any || o.at+r.lanes[i].pause < due) {
			due, any = o.at+r.lanes[i].pause, true
		}
	}
	if any {
		m.alarms.set(r, due)
	} else {
		m.alarms.remove(r)
	}
}

// round takes pushes that have been out for the pause of their lane for lost.
func (m *Machine) round(now instant, r *resource) {
	for i := range r.lanes {
		l := &r.lanes[i]
		if !m.recall(r, l, now-l.pause) {
			continue
		}
		if !l.progress {
			l.pause = min(2*l.pause, instant(m.cfg.PushMax))
		}
		l.progress = false
	}
	m.pump(now, r)
}

// recall puts what was pushed until then at the end of the second lane.
func (m *Machine) recall(r *resource, l *lane, then instant) bool {
	any := false
	for o := l.out.head; o != nil && o.at <= then; o = l.out.head {
		l.out.remove(o)
		o.out, o.lane = false, laneAgain
		r.lanes[laneAgain].wait.push(o)
		any = true
	}
	return any
}

// hello is what a resource that is back gets: a window at once, and the pauses
// start again. The window is taken back once per PushMin at most, else a few
// bytes from a client would be worth a window of pushes.
func (m *Machine) hello(now instant, id gtx.ResourceID) error {
	if m.role != leader {
		return ErrNotLeader
	}
	r := m.resources[id]
	if r == nil {
		return nil
	}
	m.reset(r, laneAgain)
	if r.hello == 0 || now-r.hello >= instant(m.cfg.PushMin) {
		r.hello = now
		for i := range r.lanes {
			m.recall(r, &r.lanes[i], now)
		}
	}
	m.pump(now, r)
	return nil
}

// ack is rule G2. Only what is committed counts acknowledgements.
func (m *Machine) ack(now instant, e Ack) error {
	if m.role != leader {
		return ErrNotLeader
	}
	var first error
	r := m.resources[e.Resource]
	if r != nil {
		r.uses++ // not forgotten before pump
	}
	for _, x := range e.XIDs {
		t, _, err := m.look(now, x)
		if err != nil {
			first = cmp.Or(first, err)
			continue
		}
		if t == nil || t.state != stateCommitted || r == nil {
			continue
		}
		i := slices.IndexFunc(t.todo, func(o owed) bool { return o.res == r })
		if i < 0 {
			continue
		}
		o := &t.todo[i]
		r.lanes[o.lane].progress = true
		m.reset(r, int(o.lane))
		m.settle(o)
		if t.left == 0 {
			m.finish(now, t)
		}
	}
	if r != nil {
		m.pump(now, r)
		m.release(r, 1)
	}
	return first
}

// finish queues the Done record of a transaction that all have acknowledged.
func (m *Machine) finish(now instant, t *tx) {
	t.state = stateFinished
	t.todo = nil
	m.open--
	if len(m.dones) == 0 {
		m.doneDue = now + instant(m.cfg.DoneDelay)
	}
	m.dones = append(m.dones, t)
}

// Leases to scan (rule P6).
const (
	maxLeases = 4096
	maxLease  = 10 * time.Minute
)

type lease struct {
	worker uint64
	until  instant
}

// scan gives one worker of a resource the lease. When the table is full of
// others' leases everybody may scan: twice is a waste, never is a stuck row.
func (m *Machine) scan(now instant, e Scan) error {
	if m.role != leader {
		return ErrNotLeader
	}
	if len(e.Resource) == 0 || len(e.Resource) > MaxResourceLen {
		return ErrInvalid
	}
	l, ok := m.leases[e.Resource]
	if ok && l.worker != e.Worker && now < l.until {
		return ErrBusy
	}
	if !ok && len(m.leases) >= maxLeases {
		m.sweepLeases(now)
		if len(m.leases) >= maxLeases {
			return nil
		}
	}
	m.leases[e.Resource] = lease{e.Worker, now + instant(min(e.For, maxLease))}
	return nil
}

// sweepLeases drops those that are over, at most once per second.
func (m *Machine) sweepLeases(now instant) {
	if now-m.swept < instant(time.Second) {
		return
	}
	m.swept = now
	for r, l := range m.leases {
		if l.until <= now {
			delete(m.leases, r)
		}
	}
}
