package gtxgrpc

import "github.com/globaltx/globaltx/gtx/internal/report"

var (
	// ErrNotJoined is returned by a call when the peer answered with success and
	// did not join the transaction: what it did, it did outside. Give the peer's
	// server ServerOptions, or call it with gtx.Detach(ctx) if it has nothing to
	// undo. It is the same error as in gtxhttp and gtxnats.
	ErrNotJoined = report.ErrNotJoined

	// ErrBadReport is returned by a call when the peer's list of branches is
	// malformed, too long, or of another transaction. Nothing of it is believed,
	// so the transaction will be aborted if the peer has any branch. It is the same
	// error as in gtxhttp and gtxnats.
	ErrBadReport = report.ErrBad
)

// CodeStream is the Code of the gtx.UnsupportedError with which a stream inside a
// global transaction is refused.
const CodeStream = "stream"

const (
	streamReason = "a gRPC stream"
	streamHint   = "use a unary call, or gtx.Detach(ctx) for a stream that has nothing to undo"
)
