package coordinator

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// maxWaiters bounds the Commit calls that wait for one record; later ones hear
// Pending.
const maxWaiters = 8

// Multiples of a limit of Config that bound what comes with what it counts.
const (
	branchesPerLive   = 16 // of all active transactions together
	acksPerUnfinished = 4
)

func (m *Machine) begin(now instant, e Begin) (gtx.XID, error) {
	if err := m.admit(now); err != nil {
		return gtx.XID{}, err
	}
	named, err := m.named(e)
	if err != nil {
		return gtx.XID{}, err
	}
	timeout := e.Timeout
	if timeout <= 0 {
		timeout = m.cfg.DefaultTimeout
	}
	t := &tx{key: m.mint(e.Mode), secret: e.Key}
	if named != nil {
		t.extra().named = named
		m.branches += len(named)
	}
	if first := (key{e.First.Epoch, e.First.Seq}); e.First.Log == m.log && e.First.Partition == m.cfg.Partition && first.less(t.key) {
		t.extra().first = first
	}
	m.txs[t.key] = t
	m.active++
	m.deadlines.set(t, now+instant(min(timeout, m.cfg.MaxTimeout)))
	return m.xid(t.key), nil
}

// admit tells whether one transaction more may begin. It is refused here, where
// nothing is lost, rather than at its Commit.
func (m *Machine) admit(now instant) error {
	switch {
	case m.role != leader:
		return ErrNotLeader
	case m.active+m.pending >= m.cfg.MaxLive:
		return &LimitError{"live transactions", m.cfg.MaxLive}
	case m.open >= m.cfg.MaxUnfinished:
		return &LimitError{"unfinished transactions", m.cfg.MaxUnfinished}
	case m.owed >= acksPerUnfinished*m.cfg.MaxUnfinished:
		return &LimitError{"outstanding acknowledgements", acksPerUnfinished * m.cfg.MaxUnfinished}
	case m.flight != nil && now-m.flight.since >= instant(m.cfg.StallAfter):
		return fmt.Errorf("begin: no append to the log has landed for %s: %w", time.Duration(now-m.flight.since), ErrBusy)
	}
	return nil
}

// register is rule B2. It never makes an XID known (rule L7).
func (m *Machine) register(now instant, x gtx.XID, ref gtx.BranchRef) error {
	if len(ref.Resource) == 0 || len(ref.Resource) > MaxResourceLen || ref.Branch <= 0 {
		return fmt.Errorf("register %.*q/%d: %w", MaxResourceLen, ref.Resource, ref.Branch, ErrInvalid)
	}
	t, st, err := m.look(now, x)
	switch {
	case err != nil:
		return err
	case t == nil && st == gtx.Aborted:
		return fmt.Errorf("register a branch of %s: %w", x, gtx.ErrAborted)
	case t == nil || t.state != stateActive:
		return fmt.Errorf("register a branch of %s: %w", x, gtx.ErrEnded)
	}
	if slices.ContainsFunc(t.branches, func(b branch) bool { return b.id == ref.Branch && b.res.id == ref.Resource }) {
		return nil
	}
	if t.threePhase() && !t.names(ref.Resource) {
		return fmt.Errorf("register a branch of %s at %s, which was not named when the three-phase transaction began: %w", x, ref.Resource, ErrInvalid)
	}
	if len(t.branches) >= m.cfg.MaxBranches {
		return &LimitError{"branches", m.cfg.MaxBranches}
	}
	if all := branchesPerLive * m.cfg.MaxLive; m.branches >= max(all, m.cfg.MaxBranches) {
		return &LimitError{"branches of live transactions", all}
	}
	m.attach(t, ref.Resource, ref.Branch)
	return nil
}

// attach adds a branch to t.
func (m *Machine) attach(t *tx, r gtx.ResourceID, id gtx.BranchID) {
	if t.branches == nil {
		t.branches = make([]branch, 0, 2)
	}
	t.branches = append(t.branches, branch{m.use(r), id})
	m.branches++
}

// commit is rules C1 to C3.
func (m *Machine) commit(now instant, e Commit) {
	reply := Reply{Call: e.Call, XID: e.XID}
	t, st, err := m.find(now, e.XID)
	switch {
	case t == nil:
		reply.Status, reply.Err = st, err
	case t.state >= stateCommitted:
		reply.Status = gtx.Committed
	case !t.owns(e.Key):
		reply.Err = fmt.Errorf("commit %s: %w", e.XID, ErrNotOwner)
	case t.state == stateCommitting, t.state == statePreCommitting:
		if more := t.extra(); len(more.commits) < maxWaiters {
			more.commits = append(more.commits, e.Call)
			return
		}
	default:
		participants, ok := m.participants(t.branches, e.Confirmed, e.Dead)
		if ok {
			m.decide(now, t, participants, e.Call)
			return
		}
		m.abort(t)
		reply.Status = gtx.Aborted
	}
	m.emit(reply)
}

// decide makes t wait for its record, and a three-phase one for its participants
// before.
func (m *Machine) decide(now instant, t *tx, participants []*resource, call any) {
	for _, r := range participants {
		r.uses++
	}
	m.setTodo(t, participants)
	m.dropBranches(t)
	more := t.extra()
	more.commits = append(more.commits, call)
	m.deadlines.remove(t) // the deadline no longer touches it (rule B3)
	m.active--
	m.pending++
	if t.threePhase() && len(participants) > 0 {
		m.preCommit(now, t)
		return
	}
	m.enqueue(t)
}

// enqueue makes t, which is pending, wait for the next append.
func (m *Machine) enqueue(t *tx) {
	t.state = stateCommitting
	m.queue = append(m.queue, t)
}

// owns reports whether the secret of the beginner is key.
func (t *tx) owns(key uint64) bool { return t.secret == 0 || t.secret == key }

// participants gives the resources of the confirmed branches if
// confirmed ⊆ registered ⊆ confirmed ∪ dead (rule C1). A branch in both lists is
// a contradiction.
func (m *Machine) participants(registered []branch, confirmed, dead []gtx.BranchRef) ([]*resource, bool) {
	const isConfirmed, isDead = 1, 2
	var few [16]uint8
	said := few[:]
	if len(registered) > len(few) {
		said = make([]uint8, len(registered))
	}
	index := indexer(registered)
	for _, ref := range confirmed {
		i := index(ref)
		if i < 0 {
			return nil, false // confirmed and never registered
		}
		said[i] |= isConfirmed
	}
	for _, ref := range dead {
		if i := index(ref); i >= 0 {
			said[i] |= isDead
		}
	}
	m.marks++
	rs := m.buf[:0]
	for i, b := range registered {
		switch said[i] {
		case isDead:
		case isConfirmed:
			if b.res.mark != m.marks {
				b.res.mark = m.marks
				rs = append(rs, b.res)
			}
		default:
			return nil, false
		}
	}
	m.buf = rs
	return rs, true
}

// indexer finds branches by their names: few by looking at each.
func indexer(branches []branch) func(gtx.BranchRef) int {
	if len(branches) <= 16 {
		return func(ref gtx.BranchRef) int {
			return slices.IndexFunc(branches, func(b branch) bool { return b.id == ref.Branch && b.res.id == ref.Resource })
		}
	}
	at := make(map[gtx.BranchRef]int, len(branches))
	for i, b := range branches {
		at[gtx.BranchRef{Resource: b.res.id, Branch: b.id}] = i
	}
	return func(ref gtx.BranchRef) int {
		if i, ok := at[ref]; ok {
			return i
		}
		return -1
	}
}

// rollback is rules B3 and C3: committing is not touched.
func (m *Machine) rollback(now instant, e Rollback) {
	reply := Reply{Call: e.Call, XID: e.XID}
	t, st, err := m.find(now, e.XID)
	reply.Status, reply.Err = st, err
	if t != nil {
		reply.Status = t.status()
		switch {
		case t.state >= stateCommitted:
		case !t.owns(e.Key):
			reply.Err = fmt.Errorf("roll back %s: %w", e.XID, ErrNotOwner)
		case t.state == stateActive:
			m.abort(t)
			reply.Status = gtx.Aborted
		}
	}
	m.emit(reply)
}

// abort forgets an active transaction at once and tells its workers, once, as
// far as they are known (rule B3).
func (m *Machine) abort(t *tx) {
	m.deadlines.remove(t)
	delete(m.txs, t.key)
	m.active--
	m.leaveAdopted(t, 0)
	slices.SortStableFunc(t.branches, func(a, b branch) int { return cmp.Compare(a.res.id, b.res.id) })
	for i := 0; i < len(t.branches); {
		r := t.branches[i].res
		var ids []gtx.BranchID
		for ; i < len(t.branches) && t.branches[i].res == r; i++ {
			ids = append(ids, t.branches[i].id)
		}
		m.emit(Push{Resource: r.id, Resolution: gtx.Resolution{XID: m.xid(t.key), Status: gtx.Aborted, Branches: ids}})
	}
	m.dropBranches(t)
	m.tell(t, Reply{Status: gtx.Aborted})
}
