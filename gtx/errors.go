package gtx

import (
	"errors"
	"fmt"
)

var (
	// ErrAborted is returned when the global transaction has been aborted: by its
	// deadline, by the loss of its coordinator, or because a branch was missing
	// at commit. Every effect is or will be undone. Running it again is safe.
	ErrAborted = errors.New("gtx: global transaction aborted")

	// ErrConflict is returned when a row is locked by another global transaction
	// or by a deadlock or serialization failure in a database. The local
	// transaction has been rolled back. Run tries the whole function again.
	ErrConflict = errors.New("gtx: row is locked by another transaction")

	// ErrEnded is returned for a statement whose context belongs to a global
	// transaction that has already ended. The statement has not run.
	ErrEnded = errors.New("gtx: global transaction has already ended")

	// ErrNoCoordinator is returned when Run finds neither a default coordinator
	// (SetDefault) nor one among its options. Nothing has been done.
	ErrNoCoordinator = errors.New("gtx: no coordinator: call gtx.SetDefault or pass gtx.WithCoordinator")

	// ErrUnavailable is returned when the coordinator does not answer before
	// anything was decided. The transaction is, or will be, aborted.
	ErrUnavailable = errors.New("gtx: coordinator unavailable")

	// ErrExpired is returned when the coordinator has forgotten the XID: it was
	// decided long ago, and the decision must be found in the application's own
	// data. It does not mean aborted (rule C5).
	ErrExpired = errors.New("gtx: xid is below the horizon of the coordinator")

	// ErrUnknown matches every UnknownError.
	ErrUnknown = errors.New("gtx: outcome unknown")

	// ErrUnsupported matches every UnsupportedError.
	ErrUnsupported = errors.New("gtx: statement not supported in a global transaction")

	// ErrNotCommitted is returned when the function of Run or Join has returned nil and a
	// local transaction that it owns, and that belongs to a branch, was not committed.
	// The global transaction aborts.
	ErrNotCommitted = errors.New("gtx: the local transaction of a branch was not committed")

	// ErrDirty is returned when a row that must be restored no longer equals its
	// after image: somebody outside global transactions wrote it. Nothing is
	// overwritten, the row stays locked until an operator decides (rule P8).
	ErrDirty = errors.New("gtx: row was changed by a writer outside global transactions")
)

// UnknownError is returned when Commit was sent and its answer is missing. The
// transaction is committed or aborted as a whole; [Outcome] tells which. Do
// not run the work again before that.
type UnknownError struct {
	XID XID
	Err error // what happened to the call
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("gtx: outcome of %s unknown, ask gtx.Outcome: %v", e.XID, e.Err)
}

func (e *UnknownError) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrUnknown) true.
func (e *UnknownError) Is(target error) bool { return target == ErrUnknown }

// ConflictError is returned when another global transaction holds a row. It
// matches ErrConflict.
type ConflictError struct {
	Holder XID
	Table  string // in the words of the database
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("gtx: row of %s is locked by global transaction %s", e.Table, e.Holder)
}

// Is makes errors.Is(err, ErrConflict) true.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// UnsupportedError is returned for a statement or a table that a global
// transaction cannot protect. It has not run.
type UnsupportedError struct {
	// Code is stable and short, for programs and statistics ("limit", "no-key").
	Code string
	// Reason says what is not supported.
	Reason string
	// Hint says what to do instead; may be empty.
	Hint string
}

func (e *UnsupportedError) Error() string {
	s := "gtx: not supported in a global transaction: " + e.Reason
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Is makes errors.Is(err, ErrUnsupported) true.
func (e *UnsupportedError) Is(target error) bool { return target == ErrUnsupported }
