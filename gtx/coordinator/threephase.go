package coordinator

import (
	"fmt"
	"slices"

	"github.com/globaltx/globaltx/gtx"
)

// Three-phase transactions. Between active and committing the participants are told
// that all have prepared (rule H2). When the leader is gone, one of them claims the
// commit at the next one (rule H4), until that has closed the epochs before (rule
// H5): the first of the two records in the log decides.

// maxNamed bounds the participants of a three-phase transaction: each is told of all.
const maxNamed = 64

// mint gives the next key. Its number tells the mode.
func (m *Machine) mint(mode gtx.Mode) key {
	m.seq++
	for (key{seq: m.seq}).threePhase() != (mode == gtx.ThreePhase) {
		m.seq++
	}
	return key{m.epoch, m.seq}
}

// named gives the resources that e names, sorted, each once.
func (m *Machine) named(e Begin) ([]gtx.ResourceID, error) {
	if e.Mode > gtx.ThreePhase || (e.Mode == gtx.ThreePhase) != (len(e.Resources) > 0) {
		return nil, fmt.Errorf("begin in mode %s with %d named resources: %w", e.Mode, len(e.Resources), ErrInvalid)
	}
	if len(e.Resources) > maxNamed {
		return nil, &LimitError{"participants of a three-phase transaction", maxNamed}
	}
	rs, err := distinct(e.Resources)
	switch all := max(branchesPerLive*m.cfg.MaxLive, m.cfg.MaxBranches); {
	case err != nil:
		return nil, fmt.Errorf("begin: %w", err)
	case len(rs) > m.cfg.MaxBranches:
		return nil, &LimitError{"branches", m.cfg.MaxBranches}
	case len(rs) > 0 && m.branches+len(rs) > all:
		return nil, &LimitError{"branches of live transactions", all}
	}
	return rs, nil
}

// distinct gives a sorted copy without repetitions.
func distinct(rs []gtx.ResourceID) ([]gtx.ResourceID, error) {
	for _, r := range rs {
		if len(r) == 0 || len(r) > MaxResourceLen {
			return nil, fmt.Errorf("resource %.*q: %w", MaxResourceLen, r, ErrInvalid)
		}
	}
	rs = slices.Clone(rs)
	slices.Sort(rs)
	return slices.Compact(rs), nil
}

// named gives the resources that may register a branch of a three-phase t.
func (t *tx) named() []gtx.ResourceID {
	if t.more == nil {
		return nil
	}
	return t.more.named
}

func (t *tx) names(r gtx.ResourceID) bool {
	_, ok := slices.BinarySearch(t.named(), r)
	return ok
}

// preCommit begins to tell the participants of t that all have prepared.
func (m *Machine) preCommit(now instant, t *tx) {
	t.state = statePreCommitting
	t.extra().until = now + instant(m.cfg.PreCommitWait)
	m.preCommitRound(now, t)
}

// preCommitRound tells those that have not answered, or decides without them.
func (m *Machine) preCommitRound(now instant, t *tx) {
	if now >= t.more.until {
		m.preCommitted(t)
		return
	}
	all := make([]gtx.ResourceID, len(t.todo))
	for i := range t.todo {
		all[i] = t.todo[i].res.id
	}
	for i := range t.todo {
		if o := &t.todo[i]; !o.ready {
			m.emit(Push{Resource: o.res.id, Resolution: gtx.Resolution{XID: m.xid(t.key), Status: gtx.PreCommitted, Participants: all}})
		}
	}
	m.rounds.set(t, min(now+m.pushMin(laneFresh), t.more.until))
}

// preCommitted ends the second of the three phases.
func (m *Machine) preCommitted(t *tx) {
	m.rounds.remove(t)
	m.enqueue(t)
}

// hasten decides what is pre-committed without waiting any longer.
func (m *Machine) hasten() {
	for _, t := range slices.SortedFunc(slices.Values(m.rounds), oldestFirst) {
		m.preCommitted(t)
	}
}

// ready is rule H2. Only what is pre-committing counts who is ready.
func (m *Machine) ready(now instant, e Ready) error {
	if m.role != leader {
		return ErrNotLeader
	}
	var first error
	for _, x := range e.XIDs {
		t, _, err := m.look(now, x)
		if err != nil && first == nil {
			first = err
		}
		if t == nil || t.state != statePreCommitting {
			continue
		}
		waiting := false
		for i := range t.todo {
			o := &t.todo[i]
			o.ready = o.ready || o.res.id == e.Resource
			waiting = waiting || !o.ready
		}
		if !waiting {
			m.preCommitted(t)
		}
	}
	return first
}

// claimable tells that k may have been pre-committed by a leader that is gone, for all
// that the log says.
func (m *Machine) claimable(k key) bool {
	return k.threePhase() && k.epoch < m.epoch && k.epoch >= m.closed
}

// claim is rule H4. Below the horizon it comes too late: what was forgotten there may
// have been committed, which would then have two records.
func (m *Machine) claim(now instant, e Claim) {
	reply := Reply{Call: e.Call, XID: e.XID}
	participants, err := m.claimed(e)
	if err != nil {
		reply.Err = err
		m.emit(reply)
		return
	}
	t, st, err := m.look(now, e.XID)
	k := key{e.XID.Epoch, e.XID.Seq}
	switch {
	case err != nil:
		reply.Err = err
	case t != nil && t.state == stateCommitting:
		if more := t.extra(); len(more.commits) < maxWaiters {
			more.commits = append(more.commits, e.Call)
			return
		}
	case t != nil:
		reply.Status = t.status() // its leader is here: it needs nobody's word
	case st == gtx.Pending && !m.closing && m.tombs.horizon.less(k):
		if reply.Err = m.adoptClaim(k, participants, e.Call); reply.Err == nil {
			return
		}
	default:
		if reply.Status = st; st == gtx.Pending {
			m.close(now)
		}
	}
	m.emit(reply)
}

// claimed gives the participants that e names.
func (m *Machine) claimed(e Claim) ([]gtx.ResourceID, error) {
	if !e.XID.ThreePhase() || len(e.Participants) == 0 || len(e.Participants) > maxNamed {
		return nil, fmt.Errorf("claim %s with %d participants: %w", e.XID, len(e.Participants), ErrInvalid)
	}
	rs, err := distinct(e.Participants)
	if err != nil {
		return nil, fmt.Errorf("claim %s: %w", e.XID, err)
	}
	return rs, nil
}

// adoptClaim makes k a transaction whose record is to be appended.
func (m *Machine) adoptClaim(k key, participants []gtx.ResourceID, call any) error {
	if m.open+m.pending >= m.cfg.MaxUnfinished+m.cfg.MaxLive {
		return &LimitError{"unfinished transactions", m.cfg.MaxUnfinished}
	}
	if all := acksPerUnfinished * m.cfg.MaxUnfinished; m.owed >= all {
		return &LimitError{"outstanding acknowledgements", all}
	}
	t := &tx{key: k, claimed: true}
	rs := make([]*resource, len(participants))
	for i, id := range participants {
		rs[i] = m.use(id)
	}
	m.setTodo(t, rs)
	t.extra().commits = []any{call}
	m.txs[k] = t
	m.pending++
	m.enqueue(t)
	return nil
}

// close has the epochs before closed, because somebody wants to know about a
// transaction that nobody has claimed. Not before the window has passed.
func (m *Machine) close(now instant) { m.closing = m.closing || now >= m.window }

// takeClose puts a Close record into f behind every claim that was accepted (rule
// H5).
func (m *Machine) takeClose(f *flight) {
	if !m.closing || slices.ContainsFunc(m.queue, func(t *tx) bool { return t.claimed }) {
		return
	}
	f.add(&record{kind: kindClose, epoch: m.epoch}, maxRecords)
	f.closed = m.epoch
}

// landedClose is for the part of a landed append that takeClose or takeTrim wrote.
func (m *Machine) landedClose(f *flight, seq uint64) {
	if f.closed == 0 {
		return
	}
	m.closed, m.closedAt = f.closed, seq
	if m.closed == m.epoch {
		m.closing = false
	}
}

// loadClose takes a Close record.
func (m *Machine) loadClose(seq, epoch uint64) error {
	if epoch > m.epoch {
		return fmt.Errorf("close of epoch %d in epoch %d", epoch, m.epoch)
	}
	if epoch >= m.closed {
		m.closed, m.closedAt = epoch, seq
	}
	return nil
}
