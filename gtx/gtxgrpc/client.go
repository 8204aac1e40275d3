package gtxgrpc

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/internal/report"
)

const (
	// KeyXID names the transaction in the metadata of a request.
	KeyXID = "gtx-xid"
	// KeyMode tells how the branches of a request's transaction wait for the decision.
	KeyMode = "gtx-mode"
	// KeyBranches reports the branches in the trailer of a response.
	KeyBranches = "gtx-branches"
	// KeyFailed stands beside KeyBranches with the value "1" where the handler
	// itself has returned an error. An error without it has come up on the way back.
	KeyFailed = "gtx-failed"
)

// DialOptions let calls over a connection take the peer into the transaction of
// their context. They are both interceptors of this package, chained after those
// of options that stand before.
//
// The XID goes to whatever peer the call goes to: use them for your own services.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(UnaryClientInterceptor()),
		grpc.WithChainStreamInterceptor(StreamClientInterceptor()),
	}
}

// UnaryClientInterceptor is one half of DialOptions, for programs that order their
// interceptors themselves. Calls without a transaction pass unchanged. Inside one
// a call returns gtx.ErrEnded, ErrNotJoined or ErrBadReport besides its own errors.
// It puts its XID in the place of any that the outgoing metadata has already.
func UnaryClientInterceptor() grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		tx, ok := gtx.FromContext(ctx)
		if !ok {
			return invoke(ctx, method, req, reply, cc, opts...)
		}
		if err := tx.Active(); err != nil {
			return fmt.Errorf("call %s in global transaction %s: %w", method, tx.XID(), err)
		}
		tx.Share()
		var trailer metadata.MD
		opts = append(slices.Clip(opts), grpc.Trailer(&trailer))
		callErr := invoke(withXID(ctx, tx), method, req, reply, cc, opts...)
		return after(tx, method, trailer, callErr)
	}
}

// StreamClientInterceptor is the other half of DialOptions. Without it streams
// would leave the transaction in silence: inside one it returns a
// *gtx.UnsupportedError with CodeStream, and nothing has been sent.
func StreamClientInterceptor() grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		tx, ok := gtx.FromContext(ctx)
		if !ok {
			return open(ctx, desc, cc, method, opts...)
		}
		if err := tx.Active(); err != nil {
			return nil, fmt.Errorf("open stream %s in global transaction %s: %w", method, tx.XID(), err)
		}
		return nil, &gtx.UnsupportedError{Code: CodeStream, Reason: streamReason + " (" + method + ")", Hint: streamHint}
	}
}

// withXID leaves the metadata of ctx as it is: its owner may use it again.
func withXID(ctx context.Context, tx *gtx.Tx) context.Context {
	md, ok := metadata.FromOutgoingContext(ctx) // a copy
	if !ok {
		md = metadata.MD{}
	}
	md.Set(KeyXID, tx.XID().String())
	md.Delete(KeyMode)
	if mode := report.FormatMode(tx.ModeFor(ctx)); mode != "" {
		md.Set(KeyMode, mode)
	}
	return metadata.NewOutgoingContext(ctx, md)
}

// after takes over the peer's branches. A failed call without a report says
// nothing: what the peer registered stays open, and rule C1 aborts. The trailer
// comes along, too, when an answer did not fit or was refused after the handler
// had succeeded. That answer is lost, so the report beside it is not taken.
func after(tx *gtx.Tx, method string, trailer metadata.MD, callErr error) error {
	var err error
	switch values := trailer.Get(KeyBranches); len(values) {
	case 1:
		var confirmed, dead []gtx.BranchRef
		confirmed, dead, err = report.Parse(values[0], tx.XID())
		if err == nil && (callErr == nil || len(trailer.Get(KeyFailed)) > 0) {
			tx.Report(confirmed, dead)
		}
	case 0:
		// Refusals come from anything on the way. Success without a report means
		// that work was done by somebody who did not join.
		if callErr == nil {
			err = fmt.Errorf("%w: success without %s in the trailer", ErrNotJoined, KeyBranches)
		}
	default:
		err = fmt.Errorf("%w: %d values of %s", ErrBadReport, len(values), KeyBranches)
	}
	switch {
	case err == nil:
		return callErr
	case callErr == nil:
		return fmt.Errorf("call %s in global transaction %s: %w", method, tx.XID(), err)
	default:
		return fmt.Errorf("call %s in global transaction %s: %w; it failed: %w", method, tx.XID(), err, callErr)
	}
}
