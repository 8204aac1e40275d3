package gtxgrpc

import (
	"context"
	"fmt"
	"log/slog"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/internal/report"
)

// DefaultMaxReport is Config.MaxReport when that is zero: 6 KiB, some 700
// branches of one database. It leaves room beside it for the other metadata of a
// response where 8 KiB of them are allowed, as on clients and proxies other than
// Go's.
const DefaultMaxReport = 6 << 10

// Config of a server.
type Config struct {
	// Trust tells whether the sender of a call may bring a transaction along: by
	// its client certificate (peer.FromContext), its token
	// (metadata.FromIncomingContext), its network. method is the full name,
	// "/package.Service/Method". Nil trusts nobody. It is called only for calls that
	// name an XID, possibly concurrently.
	Trust func(ctx context.Context, method string) bool

	// MaxReport bounds, in bytes, the list of branches in a trailer; a call with
	// more of them fails with codes.ResourceExhausted and the transaction is
	// aborted. Zero: DefaultMaxReport. At most 64 KiB, and what the client and the
	// proxies between can take (grpc.WithMaxHeaderListSize).
	MaxReport int

	// Logger for calls that were refused. Nil: slog.Default().
	Logger *slog.Logger
}

// ServerOptions let the handlers of a server take part in the transactions of
// their callers. They are both interceptors of this package, chained after those
// of options that stand before.
//
// A nil coordinator means gtx.Default() at the time of the call. It must be the
// one that minted the XID.
func ServerOptions(c gtx.Coordinator, cfg Config) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(UnaryServerInterceptor(c, cfg)),
		grpc.ChainStreamInterceptor(StreamServerInterceptor(cfg)),
	}
}

// UnaryServerInterceptor is one half of ServerOptions, for servers that order
// their interceptors themselves. A call that names an XID is handled with a
// context that carries the transaction, and the branches go back in the trailer,
// beside an error, too; any other call passes unchanged.
//
// Answers without calling the handler: codes.PermissionDenied for a sender that
// Config.Trust does not trust, codes.InvalidArgument for a malformed XID or an unknown mode,
// codes.Unavailable without a coordinator, codes.Internal where there is no
// trailer to report in. A panic of the handler goes on as it came; its branches
// are not reported, so the transaction is aborted.
func UnaryServerInterceptor(c gtx.Coordinator, cfg Config) grpc.UnaryServerInterceptor {
	s := newServer(c, cfg)
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		values := metadata.ValueFromIncomingContext(ctx, KeyXID)
		if len(values) == 0 || joined(ctx, values) {
			return handle(ctx, req)
		}
		coord, xid, err := s.admit(ctx, info.FullMethod, values)
		if err != nil {
			return nil, s.refused(ctx, info.FullMethod, err)
		}
		mode, err := report.ParseMode(metadata.ValueFromIncomingContext(ctx, KeyMode))
		if err != nil {
			return nil, s.refused(ctx, info.FullMethod, status.Errorf(codes.InvalidArgument, "gtxgrpc: %v", err))
		}
		ctx = gtx.InMode(ctx, mode)
		return s.join(ctx, req, info, handle, coord, xid)
	}
}

// StreamServerInterceptor is the other half of ServerOptions. A stream that names
// an XID gets codes.Unimplemented and its handler is not called; any other stream
// passes unchanged.
func StreamServerInterceptor(cfg Config) grpc.StreamServerInterceptor {
	s := newServer(nil, cfg)
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		ctx := stream.Context()
		if len(metadata.ValueFromIncomingContext(ctx, KeyXID)) > 0 {
			return s.refused(ctx, info.FullMethod, status.Error(codes.Unimplemented,
				"gtxgrpc: "+streamReason+" cannot take part in a global transaction; "+streamHint))
		}
		return handle(srv, stream)
	}
}

type server struct {
	coord gtx.Coordinator
	cfg   Config
}

func newServer(c gtx.Coordinator, cfg Config) *server {
	if cfg.MaxReport <= 0 {
		cfg.MaxReport = DefaultMaxReport
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &server{coord: c, cfg: cfg}
}

// joined reports whether an interceptor of this package has been here before: the
// outer one reports.
func joined(ctx context.Context, values []string) bool {
	tx, ok := gtx.FromContext(ctx)
	return ok && len(values) == 1 && values[0] == tx.XID().String()
}

// admit decides about a call that names a transaction. Its error is a status.
func (s *server) admit(ctx context.Context, method string, values []string) (gtx.Coordinator, gtx.XID, error) {
	if s.cfg.Trust == nil || !s.cfg.Trust(ctx, method) {
		return nil, gtx.XID{}, status.Error(codes.PermissionDenied,
			"gtxgrpc: the sender is not trusted to bring a global transaction: Config.Trust does not accept it")
	}
	if len(values) != 1 {
		return nil, gtx.XID{}, status.Errorf(codes.InvalidArgument, "gtxgrpc: read metadata %s: %d values", KeyXID, len(values))
	}
	xid, err := gtx.ParseXID(values[0])
	if err != nil {
		return nil, gtx.XID{}, status.Errorf(codes.InvalidArgument, "gtxgrpc: %v", err)
	}
	c := s.coord
	if c == nil {
		c = gtx.Default()
	}
	if c == nil {
		return nil, gtx.XID{}, status.Error(codes.Unavailable, "gtxgrpc: "+gtx.ErrNoCoordinator.Error())
	}
	if grpc.ServerTransportStreamFromContext(ctx) == nil {
		return nil, gtx.XID{}, status.Error(codes.Internal, "gtxgrpc: the call has no trailer to report its branches in")
	}
	return c, xid, nil
}

// join handles a call inside xid. The report is made from what Join returns, after
// the handler has returned: a branch that is still open then is in no list (rule
// C1).
func (s *server) join(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler, c gtx.Coordinator, xid gtx.XID) (resp any, err error) {
	confirmed, dead, err := gtx.Join(ctx, c, xid, func(ctx context.Context) (err error) {
		resp, err = handle(ctx, req)
		return err
	})
	text, badErr := report.Format(xid, confirmed, dead, s.cfg.MaxReport)
	if badErr != nil {
		if err != nil {
			badErr = fmt.Errorf("%w; the call itself failed: %w", badErr, err)
		}
		return nil, s.refused(ctx, info.FullMethod, status.Errorf(codes.ResourceExhausted, "gtxgrpc: global transaction must be aborted: %v", badErr))
	}
	trailer := metadata.Pairs(KeyBranches, text)
	if err != nil {
		trailer.Set(KeyFailed, "1")
	}
	if setErr := grpc.SetTrailer(ctx, trailer); setErr != nil {
		return nil, s.refused(ctx, info.FullMethod, status.Errorf(codes.Internal, "gtxgrpc: set trailer %s: %v", KeyBranches, setErr))
	}
	return resp, err
}

func (s *server) refused(ctx context.Context, method string, err error) error {
	s.cfg.Logger.WarnContext(ctx, "gtxgrpc: call in a global transaction refused", "method", method, "err", err)
	return err
}
