package gtxhttp_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// memory is a coordinator in one map that keeps rules B1, B2, B3 and C1.
type memory struct {
	mu   sync.Mutex
	last uint64
	live map[gtx.XID][]gtx.BranchRef
	done map[gtx.XID][]gtx.BranchRef // committed, with the confirmed branches
}

var _ gtx.Coordinator = (*memory)(nil)

func newMemory() *memory {
	return &memory{live: map[gtx.XID][]gtx.BranchRef{}, done: map[gtx.XID][]gtx.BranchRef{}}
}

func (m *memory) Begin(context.Context, gtx.BeginRequest) (gtx.XID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	xid := gtx.XID{Log: 7, Epoch: 1, Seq: m.last}
	m.live[xid] = nil
	return xid, nil
}

func (m *memory) Register(_ context.Context, xid gtx.XID, b gtx.BranchRef) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	refs, ok := m.live[xid]
	if !ok {
		return fmt.Errorf("register branch: %w", gtx.ErrAborted)
	}
	m.live[xid] = append(refs, b)
	return nil
}

func (m *memory) Commit(_ context.Context, xid gtx.XID, confirmed, dead []gtx.BranchRef) (gtx.Status, error) {
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

func (m *memory) Rollback(_ context.Context, xid gtx.XID) (gtx.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.live, xid)
	return m.status(xid), nil
}

func (m *memory) Await(ctx context.Context, _, holder gtx.XID) (gtx.Status, error) {
	return m.Outcome(ctx, holder)
}

func (m *memory) Outcome(_ context.Context, xid gtx.XID) (gtx.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status(xid), nil
}

func (m *memory) status(xid gtx.XID) gtx.Status {
	if _, ok := m.done[xid]; ok {
		return gtx.Committed
	}
	if _, ok := m.live[xid]; ok {
		return gtx.Pending
	}
	return gtx.Aborted
}

func (m *memory) Serve(gtx.ResourceID, gtx.Resolver) (func(), error) { return func() {}, nil }

func (m *memory) Acknowledge(context.Context, gtx.XID, gtx.ResourceID) error { return nil }

// committed gives the confirmed branches of the only committed transaction.
func (m *memory) committed(t *testing.T) []gtx.BranchRef {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.done) != 1 {
		t.Fatalf("%d committed transactions, want 1", len(m.done))
	}
	for _, refs := range m.done {
		return refs
	}
	return nil
}

// branch does what a driver does for one local transaction: enlist, register,
// and say how it ended.
func branch(ctx context.Context, r gtx.ResourceID, end func(*gtx.Tx, gtx.BranchRef)) error {
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
