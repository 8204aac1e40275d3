package tcc

import (
	"context"
	"errors"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// guard is what is kept of one action from its Try until its end.
type guard struct {
	xid     gtx.XID
	branch  gtx.BranchID
	action  string
	version int
	args    []byte // JSON
	created time.Time

	// Of its Confirm or Cancel: how often it has failed, when it may run again, and why.
	tries   int
	retryAt time.Time
	reason  string

	// maybeEmpty: nobody knows whether its Try has done anything.
	maybeEmpty bool
	// kept is for the guards that it came from.
	kept any
}

func (g *guard) key() guardKey { return guardKey{g.xid, g.branch} }

type guardKey struct {
	xid    gtx.XID
	branch gtx.BranchID
}

// phase is what is to be done to a guard.
type phase uint8

const (
	confirming phase = iota
	cancelling
)

func (p phase) String() string {
	if p == confirming {
		return "confirm"
	}
	return "cancel"
}

// guards is where the guards of one resource live: a table of a database, or the store of
// a coordinator. Safe for concurrent use. No ctx that it gets carries a global transaction.
type guards interface {
	// try stores g durably or so that it lasts together with the effects of do, calls
	// register once it is stored (rule T3), then do, and makes both last. settled tells
	// what became of it. It does not recover a panic of do.
	try(ctx context.Context, g guard, register func(context.Context) error, do func(context.Context, Tx) error) (settled, error)

	// leftovers gives XIDs that have a guard that is due, and not so young that its
	// transaction is likely to be undecided; in ascending order of their texts, those
	// after the one given, at most limit.
	leftovers(ctx context.Context, after string, limit int) ([]string, error)

	// of gives the guards of a decided transaction, in ascending order of branches.
	of(ctx context.Context, xid gtx.XID) ([]guard, error)

	// bar looks after a branch of an aborted transaction whose guard of has not given.
	// False: it has none, and what is on its way can never come to last (the empty
	// cancel, and the bar against a late Try). True: it has one by now.
	bar(ctx context.Context, xid gtx.XID, branch gtx.BranchID) (has bool, err error)

	// end calls run with the guard as it is now, alone among all processes, and removes
	// the guard once run has returned nil; with a database, together with the effects of
	// run. False: the guard was gone. An error of run is returned as it is. errBusy:
	// somebody else is at it, or it is too early.
	end(ctx context.Context, g guard, st gtx.Status, run func(ctx context.Context, tx Tx, g guard, p phase) error) (ended bool, err error)

	// failed stores tries, retryAt and reason of g.
	failed(ctx context.Context, g guard) error

	// away tells that err is the loss of what the guards live in.
	away(err error) bool
}

// settled is what a Try has come to.
type settled uint8

const (
	open settled = iota // not known: the transaction must abort
	confirmed
	dead // has no guard, and never will
)

// errBusy is returned by guards.end and guards.bar. It is tried again soon.
var errBusy = errors.New("somebody else is busy with the guard")

// laterError is errBusy of which it is known when to come again.
type laterError struct{ at time.Time }

func (e *laterError) Error() string { return errBusy.Error() }

func (e *laterError) Is(target error) bool { return target == errBusy }
