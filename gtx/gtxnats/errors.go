package gtxnats

import (
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx/internal/report"
)

var (
	// ErrNotJoined is returned by Request when a peer replied with success and did
	// not join the transaction: what it did, it did outside. Wrap the peer in
	// Handler, or ask it with gtx.Detach(ctx) if it has nothing to undo. It is the
	// same error as in gtxhttp and gtxgrpc.
	ErrNotJoined = report.ErrNotJoined

	// ErrBadReport is returned by Request when a peer's list of branches is
	// malformed, too long, or of another transaction. Nothing of it is believed,
	// so the transaction will be aborted if the peer has any branch. It is the same
	// error as in gtxhttp and gtxgrpc.
	ErrBadReport = report.ErrBad
)

// CodePublish is the Code of the gtx.UnsupportedError with which Publish refuses a
// message inside a global transaction.
const CodePublish = "publish"

// Error is what a service replied in place of an answer. Request returns it, and
// a HandlerFunc may: any other error reaches the caller with Code 500.
type Error struct {
	// Code is a number by the services' convention, those of HTTP in Handler's own
	// refusals.
	Code string
	// Description for people, in one line.
	Description string
	// Reply is the whole message, where Request returns the error.
	Reply *nats.Msg
}

func (e *Error) Error() string {
	return fmt.Sprintf("service replied with error %s: %s", e.Code, e.Description)
}
