package outbox

import "errors"

var (
	// ErrMessage is returned by Publish for a message that could not arrive as it is:
	// a subject that NATS does not know, a header that it would change. Nothing was
	// written.
	ErrMessage = errors.New("outbox: message cannot be published")

	// ErrNotDead is returned by Replay when no dead message has that id.
	ErrNotDead = errors.New("outbox: no dead message with this id")

	// ErrRunning is returned by Relay when the Outbox is relaying already, or closed.
	ErrRunning = errors.New("outbox: the relay runs already, or the outbox is closed")
)
