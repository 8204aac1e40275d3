package tcc

import (
	"errors"
	"fmt"

	"github.com/globaltx/globaltx/gtx"
)

var (
	// ErrOutside is returned by Try and TryTx when ctx carries no global transaction.
	// Nothing has been done.
	ErrOutside = errors.New("tcc: not inside a global transaction: call Try with the context that gtx.Run gave to the function")

	// ErrClosed is returned by what is called on a Resource after its Close.
	ErrClosed = errors.New("tcc: the resource is closed")

	// ErrNotRegistered matches the error of phase two when this process has no action of
	// that name, or only an older version of it. Other processes may.
	ErrNotRegistered = errors.New("tcc: the action is not registered in this process")

	// ErrStuck matches the error of phase two when Confirm or Cancel of an action has
	// failed Config.StuckAfter times. It is tried on. The error matches gtx.ErrDirty,
	// too: an operator is needed.
	ErrStuck = errors.New("tcc: the action is stuck")

	// ErrArgs is returned by Try for arguments that could not be given to Confirm as
	// they are.
	ErrArgs = errors.New("tcc: arguments cannot be stored")
)

// stuckError is a failure after many.
type stuckError struct {
	tries int
	err   error
}

func (e *stuckError) Error() string {
	return fmt.Sprintf("stuck after %d tries: %v", e.tries, e.err)
}

func (e *stuckError) Unwrap() error { return e.err }

func (e *stuckError) Is(target error) bool { return target == ErrStuck || target == gtx.ErrDirty }

// actionError is what a Confirm or Cancel has returned, or panicked with: nothing that
// tells whether the database can be reached.
type actionError struct {
	err   error
	stack []byte // of a panic
}

func (e *actionError) Error() string { return e.err.Error() }

func (e *actionError) Unwrap() error { return e.err }
