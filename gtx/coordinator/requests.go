package coordinator

import (
	"fmt"
	"slices"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// maxWaiters bounds the Commit calls that wait for one record, maxWatchers the
// Await calls for one transaction; later ones hear Pending.
const (
	maxWaiters  = 8
	maxWatchers = 4096
)

func (m *Machine) begin(now time.Time, e Begin) (gtx.XID, error) {
	timeout := e.Timeout
	switch {
	case m.role != leader:
		return gtx.XID{}, ErrNotLeader
	case m.active+m.pending >= m.cfg.MaxLive:
		return gtx.XID{}, &LimitError{"live transactions", m.cfg.MaxLive}
	case m.open >= m.cfg.MaxUnfinished:
		return gtx.XID{}, &LimitError{"unfinished transactions", m.cfg.MaxUnfinished}
	}
	if timeout <= 0 {
		timeout = m.cfg.DefaultTimeout
	}
	m.seq++
	t := &tx{key: key{m.epoch, m.seq}, index: -1}
	t.age = t.key
	if first := (key{e.First.Epoch, e.First.Seq}); e.First.Log == m.log && first.less(t.key) {
		t.age = first
	}
	m.txs[t.key] = t
	m.active++
	m.timers.set(t, now.Add(min(timeout, m.cfg.MaxTimeout)))
	return m.xid(t.key), nil
}

// register is rule B2. It never makes an XID known (rule L7).
func (m *Machine) register(now time.Time, x gtx.XID, ref gtx.BranchRef) error {
	if len(ref.Resource) == 0 || len(ref.Resource) > MaxResourceLen || ref.Branch <= 0 {
		return fmt.Errorf("register %q/%d: %w", ref.Resource, ref.Branch, ErrInvalid)
	}
	t, st, err := m.find(now, x)
	switch {
	case err != nil:
		return err
	case t == nil && st == gtx.Aborted:
		return fmt.Errorf("register a branch of %s: %w", x, gtx.ErrAborted)
	case t == nil || t.state != stateActive:
		return fmt.Errorf("register a branch of %s: %w", x, gtx.ErrEnded)
	case slices.Contains(t.branches, ref):
		return nil
	case len(t.branches) >= m.cfg.MaxBranches:
		return &LimitError{"branches", m.cfg.MaxBranches}
	}
	t.branches = append(t.branches, ref)
	return nil
}

// commit is rules C1 to C3.
func (m *Machine) commit(now time.Time, e Commit) {
	reply := Reply{Call: e.Call, XID: e.XID}
	t, st, err := m.find(now, e.XID)
	switch {
	case t == nil:
		reply.Status, reply.Err = st, err
		m.emit(reply)
		return
	case t.state >= stateCommitted:
		reply.Status = gtx.Committed
		m.emit(reply)
		return
	case t.state == stateCommitting:
		if len(t.waiters) >= maxWaiters {
			m.emit(reply)
			return
		}
		t.waiters = append(t.waiters, e.Call)
		return
	}
	if !complete(t.branches, e.Confirmed, e.Dead) {
		m.abort(t)
		reply.Status = gtx.Aborted
		m.emit(reply)
		return
	}
	t.todo, _ = group(e.Confirmed)
	t.state = stateCommitting
	t.waiters = append(t.waiters, e.Call)
	m.timers.remove(t) // the deadline no longer touches it (rule B3)
	m.active--
	m.pending++
	m.queue = append(m.queue, t)
}

// complete reports confirmed ⊆ registered ⊆ confirmed ∪ dead (rule C1). A
// branch in both lists is a contradiction: not complete.
func complete(registered, confirmed, dead []gtx.BranchRef) bool {
	settled := make(map[gtx.BranchRef]bool, len(confirmed)+len(dead))
	for _, ref := range dead {
		settled[ref] = false
	}
	for _, ref := range confirmed {
		if _, ok := settled[ref]; ok && !settled[ref] {
			return false
		}
		settled[ref] = true
	}
	n := 0
	for _, ref := range registered {
		ok, known := settled[ref]
		if !known {
			return false
		}
		if ok {
			n++
			settled[ref] = false // counted
		}
	}
	for _, left := range settled {
		if left {
			return false // confirmed and never registered
		}
	}
	return true
}

// rollback is rules B3 and C3: committing is not touched.
func (m *Machine) rollback(now time.Time, e Rollback) {
	t, st, err := m.find(now, e.XID)
	if t != nil {
		if st = t.status(); t.state == stateActive {
			m.abort(t)
			st = gtx.Aborted
		}
	}
	m.emit(Reply{Call: e.Call, XID: e.XID, Status: st, Err: err})
}

// abort forgets an active transaction at once and tells its workers, once, as
// far as they are known (rule B3).
func (m *Machine) abort(t *tx) {
	m.timers.remove(t)
	delete(m.txs, t.key)
	m.active--
	rs, by := group(t.branches)
	for _, r := range rs {
		m.emit(Push{Resource: r, Resolution: gtx.Resolution{XID: m.xid(t.key), Status: gtx.Aborted, Branches: by[r]}})
	}
	m.tell(t, gtx.Aborted)
}

// ack is rule G2. Only what is committed counts acknowledgements.
func (m *Machine) ack(now time.Time, x gtx.XID, r gtx.ResourceID) error {
	t, _, err := m.find(now, x)
	if err != nil || t == nil || t.state != stateCommitted {
		return err
	}
	if i := slices.Index(t.todo, r); i >= 0 {
		t.todo = slices.Delete(t.todo, i, i+1)
	}
	if len(t.todo) == 0 {
		m.finish(now, t)
	}
	return nil
}

// finish queues the Done record of a transaction that all have acknowledged.
func (m *Machine) finish(now time.Time, t *tx) {
	m.timers.remove(t)
	t.state = stateFinished
	t.branches, t.todo = nil, nil
	m.open--
	if len(m.dones) == 0 {
		m.doneDue = now.Add(m.cfg.DoneDelay)
	}
	m.dones = append(m.dones, t)
}

// hello pushes the unfinished commits of r.
func (m *Machine) hello(r gtx.ResourceID) error {
	if m.role != leader {
		return ErrNotLeader
	}
	for _, t := range m.sorted() {
		if t.state == stateCommitted && slices.Contains(t.todo, r) {
			m.pushTo(t, r)
		}
	}
	return nil
}

// push tells every participant that has not acknowledged, and again later.
func (m *Machine) push(now time.Time, t *tx) {
	for _, r := range t.todo {
		m.pushTo(t, r)
	}
	m.timers.set(t, now.Add(t.pause))
	t.pause = min(2*t.pause, m.cfg.PushMax)
}

func (m *Machine) pushTo(t *tx, r gtx.ResourceID) {
	m.emit(Push{Resource: r, Resolution: gtx.Resolution{XID: m.xid(t.key), Status: gtx.Committed, Branches: t.branchesAt(r)}})
}

func (m *Machine) tick(now time.Time) {
	if m.role != leader {
		return
	}
	m.tombs.expire(now)
	for {
		at, ok := m.timers.first()
		if !ok || at.After(now) {
			return
		}
		if t := m.timers[0]; t.state == stateActive {
			m.abort(t)
		} else {
			m.push(now, t)
		}
	}
}
