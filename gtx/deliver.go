package gtx

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ScanLeaser is what a Coordinator may be, too: it lets one of the processes that have
// a database open scan it for leftovers, rather than all. The lease is about load, not
// about safety: phase two may be run by any number of processes.
type ScanLeaser interface {
	// Scan asks for the lease on r for worker, a random number of the process, or renews
	// it. True: nobody else gets it before d has passed. False: another worker has
	// it. An error wraps ErrUnavailable when no answer came.
	Scan(ctx context.Context, r ResourceID, worker uint64, d time.Duration) (bool, error)
}

// Greeter is what a Coordinator may be, too: Hello has it push now what is unfinished
// at r, whose database was away and is back. A hint: it does not wait, and may be lost.
type Greeter interface {
	Hello(r ResourceID)
}

// ErrAway is returned by a Resolver while its database cannot be reached: nothing was
// tried. It has logged the loss itself, and looks for the database by itself.
var ErrAway = errors.New("gtx: database cannot be reached")

// ErrNotAcknowledged is returned by Deliver when phase two has ended at the resource
// and the coordinator could not be told. The next push repairs it.
var ErrNotAcknowledged = errors.New("gtx: end of phase two not acknowledged")

// Deliver hands the decision d about branches at r to res, and tells c when nothing is
// left of it (rules P2, P3): never before. An abort has no record to forget, so it
// needs no acknowledgement (rule G1). That all are pre-committed is no decision: what c
// hears is that res knows it (rule H2). Implementations of Coordinator.Serve call it for
// each delivery; after an error the same decision is delivered again later.
func Deliver(ctx context.Context, c Coordinator, r ResourceID, res Resolver, d Resolution) error {
	if err := res.Resolve(ctx, d); err != nil {
		return err
	}
	switch d.Status {
	case Committed:
	case PreCommitted:
		return ready(ctx, c, r, d.XID)
	default:
		return nil
	}
	if err := c.Acknowledge(ctx, d.XID, r); err != nil {
		return fmt.Errorf("%w: %w", ErrNotAcknowledged, err)
	}
	return nil
}

// ready tells c that r knows that all participants of xid have prepared. A lost one is
// repaired by the next push, or by the coordinator's patience.
func ready(ctx context.Context, c Coordinator, r ResourceID, xid XID) error {
	p, ok := c.(PreCommitter)
	if !ok {
		return fmt.Errorf("answer that %s is pre-committed: %w", xid, errNoThreePhase)
	}
	if err := p.Ready(ctx, xid, r); err != nil {
		return fmt.Errorf("%w: %w", ErrNotAcknowledged, err)
	}
	return nil
}
