package gtx

import (
	"context"
	"errors"
)

// Guard is what is kept of an action that has no database (package gtx/tcc), from before
// its Try until its Confirm or Cancel has ended.
type Guard struct {
	Resource ResourceID
	XID      XID
	// Branch is positive.
	Branch BranchID
	// Body is the owner's: the store does not read it. At most MaxGuard bytes.
	Body []byte
	// Revision is the store's: it grows with every change.
	Revision uint64
}

// MaxGuard bounds Guard.Body.
const MaxGuard = 256 << 10

// ErrGuardChanged is returned when a guard is not, or no longer, what the caller takes it
// for: it exists already, is gone, or has another revision, or somebody is just changing
// it. Read it again.
var ErrGuardChanged = errors.New("gtx: the guard of an action was changed by somebody else")

// GuardStore is what a Coordinator is, too, that keeps guards as safely as its decisions.
// What a method has stored is durable when it returns nil. ErrGuardChanged says that
// nothing was changed by this call; any other error says nothing, and wraps ErrUnavailable
// when no answer came. Safe for concurrent use.
type GuardStore interface {
	// CreateGuard stores a guard that must not exist, and gives its revision. XID, resource
	// and branch are good for one call, whatever comes of it: after an error the guard may
	// still appear, once and at any later time, and a second call with the same names could
	// make it appear after it was deleted. So who creates a guard makes sure that one which
	// nobody knows of does no harm.
	CreateGuard(ctx context.Context, g Guard) (revision uint64, err error)
	// UpdateGuard replaces the body of the guard whose revision is g.Revision.
	UpdateGuard(ctx context.Context, g Guard) (revision uint64, err error)
	// DeleteGuard removes the guard whose revision is g.Revision. Nil says that it is gone;
	// when an answer was lost on the way somebody else may have been first.
	DeleteGuard(ctx context.Context, g Guard) error
	// Guards gives the guards of a transaction at a resource, as of a moment after the
	// call began. Where xid is zero it gives those of all transactions, and where r is
	// empty, too, of all resources, in no order; in these lists changes of the last
	// seconds may be missing.
	Guards(ctx context.Context, r ResourceID, xid XID) ([]Guard, error)
}
