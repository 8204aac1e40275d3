package inbox

import (
	"errors"
	"fmt"
)

var (
	// ErrDead is returned when a message was put aside (Dead), now or by an earlier
	// delivery. It is not delivered again.
	ErrDead = errors.New("inbox: message was put aside")

	// ErrNotDead is returned by Replay, ReplayWith and DeadMessage when no message with
	// this id is put aside, not any more, or when somebody else replays it.
	ErrNotDead = errors.New("inbox: no such message is put aside")

	// ErrInside is returned when the context of Handle, Consume or ReplayWith carries a
	// global transaction: the message would be acknowledged before that is decided.
	// Config.Global has every message handled in a global transaction of its own.
	ErrInside = errors.New("inbox: called inside a global transaction: set Config.Global instead")

	// ErrForgotten is returned by Consume when the durable consumer is not there any
	// more, and the stream still holds messages older than Config.Keep: which of those
	// were handled is not known any more. Source.Start decides where to begin.
	ErrForgotten = errors.New("inbox: the durable consumer is gone, and messages in the stream are older than what the inbox remembers")

	// errTaken: the row of the message stands already.
	errTaken = errors.New("the message has its row")
	// errOpen: whether the row stays is not decided.
	errOpen = errors.New("an earlier delivery of the message is not decided yet")
)

type marked struct {
	error
	permanent bool
}

func (e *marked) Unwrap() error { return e.error }

// Permanent marks the error of a handler as one that no further try would mend: the message
// is put aside at once. Nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &marked{err, true}
}

// Retry marks the error of a handler as not the message's fault (another service is away,
// say): it is tried again for ever, and the try does not count towards Config.MaxTries.
// Nil stays nil.
func Retry(err error) error {
	if err == nil {
		return nil
	}
	return &marked{err, false}
}

// IsRetry tells whether an error was marked by Retry.
func IsRetry(err error) bool {
	var mark *marked
	return errors.As(err, &mark) && !mark.permanent
}

// PanicError is a panic of a handler. It counts as an error of the message.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine, as runtime/debug.Stack writes it
}

func (e *PanicError) Error() string { return fmt.Sprintf("the handler panicked: %v", e.Value) }

// Unwrap gives the value where it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
