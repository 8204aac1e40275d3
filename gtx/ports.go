package gtx

import (
	"context"
	"time"
)

// Status is what is known of a global transaction. The numbers travel on the
// wire: do not reorder.
type Status uint8

const (
	// Pending: not decided, or decided but not yet durable. Ask again.
	Pending Status = iota
	// Committed: final, every branch keeps its effect.
	Committed
	// Aborted: final, every effect is or will be undone.
	Aborted
	// Expired: below the horizon, the coordinator no longer knows (rule C5).
	Expired
	// PreCommitted: every branch of a three-phase transaction is prepared, and every
	// participant is told so before the decision. Only a Resolution says it.
	PreCommitted
)

func (s Status) String() string {
	switch s {
	case Pending:
		return "pending"
	case Committed:
		return "committed"
	case Aborted:
		return "aborted"
	case Expired:
		return "expired"
	case PreCommitted:
		return "pre-committed"
	}
	return "invalid"
}

// BeginRequest describes the global transaction to begin.
type BeginRequest struct {
	// Name is shown to operators; may be empty.
	Name string
	// Timeout after which an undecided transaction is aborted. Zero: the
	// coordinator's default.
	Timeout time.Duration
	// First is the first try of the same work, zero for none. The transaction has
	// its age, so that it does not starve (rule W5).
	First XID
	// Mode of the transaction.
	Mode Mode
	// Resources are the participants of a three-phase transaction: no other may register
	// a branch. Nil in other modes.
	Resources []ResourceID
}

// Coordinator is the port to the transaction coordinator (TC). Every method is
// safe for concurrent use, bounds its own time even where ctx does not, and
// returns ErrUnavailable (wrapped) when no answer came.
type Coordinator interface {
	// Begin mints an XID in the coordinator's memory (rule B1).
	Begin(ctx context.Context, req BeginRequest) (XID, error)

	// Register adds a branch (rule B2). Only nil allows the local COMMIT; an
	// error wraps ErrAborted when the transaction is no longer active.
	Register(ctx context.Context, xid XID, b BranchRef) error

	// Commit asks for the decision (rule C1): confirmed branches have committed
	// locally, dead ones never will. Committed and Aborted are final. Pending or an
	// error say nothing about the decision (rule C4).
	Commit(ctx context.Context, xid XID, confirmed, dead []BranchRef) (Status, error)

	// Rollback aborts the transaction unless it is being committed, and tells
	// what is known of it afterwards (rules B3, C3).
	Rollback(ctx context.Context, xid XID) (Status, error)

	// Outcome tells what is known and changes nothing.
	Outcome(ctx context.Context, xid XID) (Status, error)

	// Await waits until holder has ended, for a waiter that wants a row of it and
	// holds no lock in any database (rule W2). Pending means: give up, because the
	// wait could close a circle (rule W5: the waiter is younger than an undecided
	// holder) or because ctx, or the coordinator's patience, has ended. A zero
	// waiter holds nothing at all and waits for everybody.
	Await(ctx context.Context, waiter, holder XID) (Status, error)

	// Serve delivers decisions about branches at r to res until stop is called;
	// stop waits for deliveries under way, so res must not call it, and may be
	// called twice. The acknowledgement to the coordinator follows a nil error
	// from Resolve. Deliveries are hints: res must find leftovers by its own scan,
	// too (P1).
	Serve(r ResourceID, res Resolver) (stop func(), err error)

	// Acknowledge tells that phase two of xid has ended at r. A lost one is
	// repaired by the next push.
	Acknowledge(ctx context.Context, xid XID, r ResourceID) error
}

// Resolution is a decided transaction that has branches at a resource.
type Resolution struct {
	XID    XID
	Status Status // Committed or Aborted, and PreCommitted where three-phase
	// Branches of an aborted transaction that were registered at this resource, as
	// far as the coordinator knows: also those that have written nothing yet must
	// find their place taken (rule P3). Empty for a committed one, whose branches
	// are all in the database.
	Branches []BranchID
	// Participants of a PreCommitted one.
	Participants []ResourceID
}

// Resolver ends the branches of one resource (an RM's phase two). Resolve is
// idempotent and safe for concurrent use. Nil means: nothing of the XID is left
// at this resource. An error wraps ErrDirty when an operator is needed.
type Resolver interface {
	Resolve(ctx context.Context, r Resolution) error
}
