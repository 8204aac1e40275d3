// Package memory is a coordinator without a log or a network, for the tests of
// the packages that carry a transaction to another service.
package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/globaltx/globaltx/gtx"
)

// Coordinator keeps rules B1, B2, B3 and C1 in two maps. Safe for concurrent use.
type Coordinator struct {
	// mu protects the following.
	mu   sync.Mutex
	last uint64
	live map[gtx.XID][]gtx.BranchRef
	done map[gtx.XID][]gtx.BranchRef // committed, with the confirmed branches

	named  map[gtx.XID][]gtx.ResourceID // of three-phase transactions
	served map[gtx.ResourceID]gtx.Resolver
}

var (
	_ gtx.Coordinator  = (*Coordinator)(nil)
	_ gtx.PreCommitter = (*Coordinator)(nil)
)

// New gives a coordinator that knows no transaction.
func New() *Coordinator {
	return &Coordinator{
		live: map[gtx.XID][]gtx.BranchRef{}, done: map[gtx.XID][]gtx.BranchRef{},
		named: map[gtx.XID][]gtx.ResourceID{}, served: map[gtx.ResourceID]gtx.Resolver{},
	}
}

// Begin mints an XID that tells its mode (rules B1, H1).
func (m *Coordinator) Begin(_ context.Context, req gtx.BeginRequest) (gtx.XID, error) {
	if (req.Mode == gtx.ThreePhase) != (len(req.Resources) > 0) {
		return gtx.XID{}, fmt.Errorf("begin in mode %s with %d named resources", req.Mode, len(req.Resources))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	xid := gtx.XID{Log: 7, Epoch: 1, Seq: m.last + 1}
	for xid.ThreePhase() != (req.Mode == gtx.ThreePhase) {
		xid.Seq++
	}
	m.last = xid.Seq
	m.live[xid] = nil
	if len(req.Resources) > 0 {
		m.named[xid] = slices.Clone(req.Resources)
	}
	return xid, nil
}

// Register adds a branch to an active transaction (rule B2).
func (m *Coordinator) Register(_ context.Context, xid gtx.XID, b gtx.BranchRef) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	refs, ok := m.live[xid]
	if !ok {
		return fmt.Errorf("register branch: %w", gtx.ErrAborted)
	}
	if named := m.named[xid]; named != nil && !slices.Contains(named, b.Resource) {
		return fmt.Errorf("register branch: %s was not named", b.Resource)
	}
	m.live[xid] = append(refs, b)
	return nil
}

// Commit decides by the lists alone (rule C1).
func (m *Coordinator) Commit(_ context.Context, xid gtx.XID, confirmed, dead []gtx.BranchRef) (gtx.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	registered, ok := m.live[xid]
	delete(m.live, xid)
	if !ok {
		return gtx.Aborted, nil
	}
	for _, ref := range confirmed {
		if !slices.Contains(registered, ref) {
			return gtx.Aborted, nil
		}
	}
	for _, ref := range registered {
		if !slices.Contains(confirmed, ref) && !slices.Contains(dead, ref) {
			return gtx.Aborted, nil
		}
	}
	m.done[xid] = confirmed
	return gtx.Committed, nil
}

// Rollback aborts what is undecided (rule B3).
func (m *Coordinator) Rollback(_ context.Context, xid gtx.XID) (gtx.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.live, xid)
	return m.status(xid), nil
}

// Await does not wait.
func (m *Coordinator) Await(ctx context.Context, _, holder gtx.XID) (gtx.Status, error) {
	return m.Outcome(ctx, holder)
}

// Outcome takes what is unknown for aborted (rule B3).
func (m *Coordinator) Outcome(_ context.Context, xid gtx.XID) (gtx.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status(xid), nil
}

func (m *Coordinator) status(xid gtx.XID) gtx.Status {
	if _, ok := m.done[xid]; ok {
		return gtx.Committed
	}
	if _, ok := m.live[xid]; ok {
		return gtx.Pending
	}
	return gtx.Aborted
}

// Serve delivers nothing, for the branches of these tests have no rows, but has res
// asked for its vote.
func (m *Coordinator) Serve(r gtx.ResourceID, res gtx.Resolver) (func(), error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.served[r] = res
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.served, r)
	}, nil
}

// CanCommit asks whoever serves r (rule H1).
func (m *Coordinator) CanCommit(ctx context.Context, r gtx.ResourceID) error {
	m.mu.Lock()
	v, ok := m.served[r].(gtx.Voter)
	m.mu.Unlock()
	if !ok {
		return fmt.Errorf("ask %s for its vote: nobody serves it who could vote", r)
	}
	return v.CanCommit(ctx)
}

// Ready has nothing to wait for: nobody is told anything.
func (m *Coordinator) Ready(context.Context, gtx.XID, gtx.ResourceID) error { return nil }

// Claim tells what is known: this coordinator is the only one.
func (m *Coordinator) Claim(ctx context.Context, xid gtx.XID, _ []gtx.ResourceID) (gtx.Status, error) {
	return m.Outcome(ctx, xid)
}

// Acknowledge forgets nothing.
func (m *Coordinator) Acknowledge(context.Context, gtx.XID, gtx.ResourceID) error { return nil }

// Committed gives the confirmed branches of each committed transaction.
func (m *Coordinator) Committed() map[gtx.XID][]gtx.BranchRef {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.done)
}

// Branch does what a driver does for one local transaction: enlist, register,
// and say how it ended.
func Branch(ctx context.Context, r gtx.ResourceID, end func(*gtx.Tx, gtx.BranchRef)) error {
	tx, ok := gtx.FromContext(ctx)
	if !ok {
		return fmt.Errorf("no global transaction in the context")
	}
	ref, err := tx.Enlist(r)
	if err != nil {
		return err
	}
	if err := tx.Coordinator().Register(ctx, tx.XID(), ref); err != nil {
		tx.Dead(ref)
		return err
	}
	end(tx, ref)
	return nil
}
