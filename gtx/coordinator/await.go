package coordinator

import (
	"slices"

	"github.com/globaltx/globaltx/gtx"
)

// maxWatchers bounds the Await calls for one transaction, maxAwaits all of them;
// later ones hear Pending.
const (
	maxWatchers = 4096
	maxAwaits   = 1 << 17
)

// await answers when the holder has ended, or at once when it must not be waited
// for: in any circle of waits somebody waits for a transaction older than
// itself, so if only the older wait, there is none (rule W5, wait-die). What is
// being committed waits for nobody, so everybody may wait for it.
func (m *Machine) await(now instant, e Await) {
	reply := Reply{Call: e.Call, XID: e.Holder}
	t, st, err := m.find(now, e.Holder)
	switch {
	case t == nil:
		reply.Status, reply.Err = st, err
	case t.state >= stateCommitted:
		reply.Status = gtx.Committed
	case t.state == stateActive && !e.Waiter.IsZero() && !m.older(e.Waiter, t):
	default:
		if m.watch(t, e) {
			return
		}
	}
	m.emit(reply)
}

// watch makes e wait for the end of t, if there is room.
func (m *Machine) watch(t *tx, e Await) bool {
	x := t.extra()
	if i, ok := x.watching[e.Nonce]; ok {
		x.watchers[i] = e.Call
		return true
	}
	if len(x.watchers) >= maxWatchers || m.awaits >= maxAwaits {
		return false
	}
	if x.watching == nil {
		x.watching = map[uint64]int{}
	}
	x.watching[e.Nonce] = len(x.watchers)
	x.watchers = append(x.watchers, e.Call)
	m.awaits++
	return true
}

// older tells whether the transaction x, or its first try, began before that of
// t. One that has ended is nobody's elder: its caller is to find out.
func (m *Machine) older(x gtx.XID, t *tx) bool {
	w := m.txs[key{x.Epoch, x.Seq}]
	return w != nil && x.Log == m.log && x.Partition == m.cfg.Partition && w.state == stateActive && w.age().less(t.age())
}

// tell answers everybody who waits for the end of t.
func (m *Machine) tell(t *tx, reply Reply) {
	if t.more == nil {
		return
	}
	reply.XID = m.xid(t.key)
	for _, call := range t.more.watchers {
		reply.Call = call
		m.emit(reply)
	}
	m.awaits -= len(t.more.watchers)
	t.more.watchers, t.more.watching = nil, nil
}

// turnAway tells all who wait for an end that they must ask elsewhere, and those
// who wait for a commit, too, if it is not to be settled here.
func (m *Machine) turnAway(commits bool) {
	var some []*tx
	for _, t := range m.txs {
		if t.more != nil {
			some = append(some, t)
		}
	}
	slices.SortFunc(some, oldestFirst) // equal events give equal actions
	for _, t := range some {
		if commits {
			m.answer(t, Reply{Err: ErrNotLeader})
		}
		m.tell(t, Reply{Err: ErrNotLeader})
	}
}

// answer replies to every Commit of t.
func (m *Machine) answer(t *tx, reply Reply) {
	if t.more == nil {
		return
	}
	reply.XID = m.xid(t.key)
	for _, call := range t.more.commits {
		reply.Call = call
		m.emit(reply)
	}
	t.more.commits = nil
}
