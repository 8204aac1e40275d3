package coordinator

import (
	"slices"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// await answers when the holder has ended, or at once when it must not be waited
// for: in any circle of waits somebody waits for a transaction older than
// itself, so if only the older wait, there is none (rule W5, wait-die). What is
// being committed waits for nobody, so everybody may wait for it.
func (m *Machine) await(now time.Time, e Await) {
	reply := Reply{Call: e.Call, XID: e.Holder}
	t, st, err := m.find(now, e.Holder)
	switch {
	case t == nil:
		reply.Status, reply.Err = st, err
	case t.state >= stateCommitted:
		reply.Status = gtx.Committed
	case t.state == stateActive && !e.Waiter.IsZero() && !m.older(e.Waiter, t):
	default:
		if i := slices.IndexFunc(t.watchers, func(w watcher) bool { return w.nonce == e.Nonce }); i >= 0 {
			t.watchers[i].call = e.Call
			return
		}
		if len(t.watchers) < maxWatchers {
			t.watchers = append(t.watchers, watcher{e.Call, e.Nonce})
			return
		}
	}
	m.emit(reply)
}

// older tells whether the transaction x, or its first try, began before that of
// t. One that has ended is nobody's elder: its caller is to find out.
func (m *Machine) older(x gtx.XID, t *tx) bool {
	w := m.txs[key{x.Epoch, x.Seq}]
	return w != nil && x.Log == m.log && w.state == stateActive && w.age.less(t.age)
}

// tell answers everybody who waits for the end of t.
func (m *Machine) tell(t *tx, st gtx.Status) {
	for _, w := range t.watchers {
		m.emit(Reply{Call: w.call, XID: m.xid(t.key), Status: st})
	}
	t.watchers = nil
}
