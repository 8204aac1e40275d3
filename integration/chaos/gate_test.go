package chaos

import (
	"context"
	"errors"
	"sync"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

// gated is a coordinator as an application sees it. What could make it act on a decision
// does not come through while a gate is closed, as if the application were slow.
type gated struct {
	*natsbus.Bus
	// decided gets the answer to each Commit before the application does, which waits for
	// release.
	decided chan gtx.Status
	release chan struct{}

	// mu protects the following.
	mu     sync.Mutex
	closed map[gtx.ResourceID]bool
	// told are the transactions that a resource knows to be pre-committed. While deaf is
	// set the coordinator does not hear of it.
	told map[gtx.ResourceID]map[gtx.XID]bool
	deaf bool
}

func newGated(bus *natsbus.Bus) *gated {
	return &gated{
		Bus: bus, decided: make(chan gtx.Status, 1), release: make(chan struct{}),
		closed: map[gtx.ResourceID]bool{}, told: map[gtx.ResourceID]map[gtx.XID]bool{},
	}
}

// set closes or opens the gate of each resource.
func (g *gated) set(closed bool, resources ...gtx.ResourceID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range resources {
		g.closed[r] = closed
	}
}

func (g *gated) shut(resources ...gtx.ResourceID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for r, closed := range g.closed {
		if closed && (len(resources) == 0 || r == resources[0]) {
			return true
		}
	}
	return false
}

func (g *gated) knows(r gtx.ResourceID, xid gtx.XID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.told[r][xid]
}

// errGate stands for a question that has got no answer yet.
var errGate = errors.Join(gtx.ErrUnavailable, errors.New("the gate is closed"))

func (g *gated) Commit(ctx context.Context, xid gtx.XID, confirmed, dead []gtx.BranchRef) (gtx.Status, error) {
	st, err := g.Bus.Commit(ctx, xid, confirmed, dead)
	if err != nil {
		st = gtx.Pending
	}
	g.decided <- st
	<-g.release
	return st, err
}

func (g *gated) Await(ctx context.Context, waiter, holder gtx.XID) (gtx.Status, error) {
	if g.shut() {
		return gtx.Pending, errGate
	}
	st, err := g.Bus.Await(ctx, waiter, holder)
	if g.shut() {
		return gtx.Pending, errGate
	}
	return st, err
}

func (g *gated) Outcome(ctx context.Context, xid gtx.XID) (gtx.Status, error) {
	if g.shut() {
		return gtx.Pending, errGate
	}
	return g.Bus.Outcome(ctx, xid)
}

func (g *gated) Serve(r gtx.ResourceID, res gtx.Resolver) (stop func(), err error) {
	return g.Bus.Serve(r, gatedResolver{g, r, res})
}

type gatedResolver struct {
	g   *gated
	r   gtx.ResourceID
	res gtx.Resolver
}

func (k gatedResolver) Resolve(ctx context.Context, d gtx.Resolution) error {
	if d.Status != gtx.PreCommitted {
		if k.g.shut(k.r) {
			return gtx.ErrAway
		}
		return k.res.Resolve(ctx, d)
	}
	if err := k.res.Resolve(ctx, d); err != nil {
		return err
	}
	k.g.mu.Lock()
	defer k.g.mu.Unlock()
	if k.g.told[k.r] == nil {
		k.g.told[k.r] = map[gtx.XID]bool{}
	}
	k.g.told[k.r][d.XID] = true
	if k.g.deaf {
		return errGate
	}
	return nil
}

func (k gatedResolver) CanCommit(ctx context.Context) error {
	v, ok := k.res.(gtx.Voter)
	if !ok {
		return errors.New("it cannot vote")
	}
	return v.CanCommit(ctx)
}
