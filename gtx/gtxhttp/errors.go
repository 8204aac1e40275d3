package gtxhttp

import (
	"errors"

	"github.com/globaltx/globaltx/gtx/internal/report"
)

var (
	// ErrNotJoined is returned by the transport when a peer answered with success
	// and did not join the transaction: what it did, it did outside. Wrap the
	// peer in Handler, or call it with gtx.Detach(ctx) if it has nothing to undo. It
	// is the same error as in gtxgrpc and gtxnats.
	ErrNotJoined = report.ErrNotJoined

	// ErrBadReport is returned by the transport when a peer's list of branches is
	// malformed, too long, or of another transaction. Nothing of it is believed,
	// so the transaction will be aborted if the peer has any branch. It is the same
	// error as in gtxgrpc and gtxnats.
	ErrBadReport = report.ErrBad

	// ErrRedirected is returned by the transport when a peer redirects a call
	// inside a global transaction to another host, or from https to http.
	ErrRedirected = errors.New("gtxhttp: redirected away from the peer inside a global transaction")

	// ErrResponseTooLarge is returned to a handler by ResponseWriter.Write when its
	// response does not fit into Config.MaxBody. The caller gets status 500 and
	// no report, so the transaction will be aborted if there is any branch.
	ErrResponseTooLarge = errors.New("gtxhttp: response inside a global transaction is too large to hold until its end")
)
