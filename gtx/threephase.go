package gtx

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// ThreePhase reports whether x names a transaction of mode ThreePhase. It is in the XID
// itself (the last hexadecimal digit of its text is 0), because a coordinator that has
// never heard of x must not take it for aborted before it has asked who is left
// (rule H3).
func (x XID) ThreePhase() bool { return x.Seq%threePhaseEvery == 0 && x.Seq != 0 }

// threePhaseEvery: of so many numbers one is for a three-phase transaction.
const threePhaseEvery = 16

// PreCommitter is what a Coordinator is, too, that knows three-phase commit.
type PreCommitter interface {
	// Ready tells that r knows that every participant of xid has prepared (a Resolution
	// with Status PreCommitted).
	Ready(ctx context.Context, xid XID, r ResourceID) error

	// Claim tells whoever coordinates now what the coordinator that began xid has told a
	// participant: that all of participants have prepared. The first record in the log
	// decides (rule H4). Pending: ask again.
	Claim(ctx context.Context, xid XID, participants []ResourceID) (Status, error)

	// CanCommit asks whoever serves r for its vote, before anything is locked. Nil: it
	// could commit.
	CanCommit(ctx context.Context, r ResourceID) error
}

// Voter is what a Resolver is, too, whose resource can prepare. CanCommit tells whether it
// could take part now: it can be reached, may prepare, and is not being drained.
type Voter interface {
	CanCommit(ctx context.Context) error
}

// Participant is a resource that is named before a three-phase transaction begins.
type Participant interface {
	// CanCommit asks the resource for its vote and tells its name.
	CanCommit(ctx context.Context, c Coordinator) (ResourceID, error)
}

// WithResources names the participants of a three-phase transaction, all of them: see
// driver.Participant for a database that is open here, [Remote] for one of another
// service.
func WithResources(ps ...Participant) Option {
	return func(o *options) { o.named = append(o.named, ps...) }
}

// Remote is a resource that another process serves, by the name that its coordinator
// knows. It is asked over the coordinator's messages.
func Remote(r ResourceID) Participant { return remote(r) }

type remote ResourceID

func (r remote) CanCommit(ctx context.Context, c Coordinator) (ResourceID, error) {
	p, ok := c.(PreCommitter)
	if !ok {
		return "", errNoThreePhase
	}
	return ResourceID(r), p.CanCommit(ctx, ResourceID(r))
}

// ErrVotedNo is returned when a participant of a three-phase transaction could not commit.
// Nothing was done: no lock was taken anywhere.
var ErrVotedNo = errors.New("gtx: a participant cannot commit")

var errNoThreePhase = errors.New("gtx: this coordinator knows no three-phase commit")

// canCommit is the first of three phases: every participant is asked, none is locked
// (rule H1).
func (o *options) canCommit(ctx context.Context) ([]ResourceID, error) {
	if o.mode > ThreePhase {
		return nil, fmt.Errorf("begin global transaction: no such mode: %s", o.mode)
	}
	if o.mode != ThreePhase {
		if len(o.named) > 0 {
			return nil, errors.New("begin global transaction: WithResources is for WithMode(ThreePhase)")
		}
		return nil, nil
	}
	if len(o.named) == 0 {
		return nil, errors.New("begin global transaction: mode ThreePhase wants its participants: use WithResources")
	}
	if _, ok := o.coord.(PreCommitter); !ok {
		return nil, fmt.Errorf("begin global transaction: %w", errNoThreePhase)
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	ids, errs := make([]ResourceID, len(o.named)), make([]error, len(o.named))
	var all sync.WaitGroup
	for i, p := range o.named {
		all.Go(func() { ids[i], errs[i] = p.CanCommit(ctx, o.coord) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("begin global transaction (nothing was done): %w: %w", ErrVotedNo, err)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}
