package gtxgrpc_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/gtxgrpc"
	"github.com/globaltx/globaltx/gtx/internal/memory"
)

func TestServiceJoinsTheCallersTransaction(t *testing.T) {
	for name, inMemory := range map[string]bool{"loopback": false, "in process": true} {
		t.Run(name, func(t *testing.T) {
			c := memory.New()
			var seen gtx.XID
			client := service(t, c, func(ctx context.Context) error {
				tx, _ := gtx.FromContext(ctx)
				seen = tx.XID()
				return errors.Join(
					memory.Branch(ctx, stock, confirm),
					memory.Branch(ctx, stock, (*gtx.Tx).Dead),
					grpc.SetHeader(ctx, metadata.Pairs("kept-header", "yes")),
					grpc.SetTrailer(ctx, metadata.Pairs("kept-trailer", "yes")),
				)
			}, options{memory: inMemory})
			var want gtx.XID
			var header, trailer metadata.MD
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				tx, _ := gtx.FromContext(ctx)
				want = tx.XID()
				return call(ctx, client, grpc.Header(&header), grpc.Trailer(&trailer), grpc.UseCompressor("gzip"))
			}, gtx.WithCoordinator(c))
			if err != nil {
				t.Fatal(err)
			}
			if seen != want {
				t.Errorf("service saw %s, want %s", seen, want)
			}
			if len(header.Get("kept-header")) != 1 || len(trailer.Get("kept-trailer")) != 1 {
				t.Errorf("the handler's own metadata: %v, %v", header, trailer)
			}
			if refs := committed(t, c); len(refs) != 1 || refs[0].Resource != stock {
				t.Errorf("participants %v, want one at %s", refs, stock)
			}
		})
	}
}

func TestBranchesTravelThroughAServiceInTheMiddle(t *testing.T) {
	c := memory.New()
	inner := service(t, c, func(ctx context.Context) error { return memory.Branch(ctx, "inner", confirm) }, options{})
	middle := service(t, c, func(ctx context.Context) error {
		return errors.Join(memory.Branch(ctx, "middle", confirm), call(ctx, inner))
	}, options{})
	if callErr, err := run(c, middle); errors.Join(callErr, err) != nil {
		t.Fatal(callErr, err)
	}
	if refs := committed(t, c); len(refs) != 2 {
		t.Errorf("participants %v, want inner and middle", refs)
	}
}

func TestConcurrentCallsAllReport(t *testing.T) {
	c := memory.New()
	client := service(t, c, func(ctx context.Context) error { return memory.Branch(ctx, stock, confirm) }, options{})
	const calls = 20
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		errs := make([]error, calls)
		var wg sync.WaitGroup
		for i := range calls {
			wg.Go(func() { errs[i] = call(ctx, client) })
		}
		wg.Wait()
		return errors.Join(errs...)
	}, gtx.WithCoordinator(c))
	if err != nil {
		t.Fatal(err)
	}
	if refs := committed(t, c); len(refs) != calls {
		t.Errorf("%d participants, want %d", len(refs), calls)
	}
}

func TestWithoutTransactionNothingChanges(t *testing.T) {
	c := memory.New()
	streamed := status.Error(codes.DataLoss, "the stream's own error")
	client := service(t, c, func(ctx context.Context) error {
		if _, ok := gtx.FromContext(ctx); ok || metadata.ValueFromIncomingContext(ctx, gtxgrpc.KeyXID) != nil {
			t.Error("the call carries a transaction")
		}
		return nil
	}, options{server: serverOptions(c, gtxgrpc.Config{}), watch: func() error { return streamed }}) // no Trust needed
	var trailer metadata.MD
	if err := call(t.Context(), client, grpc.Trailer(&trailer)); err != nil || len(trailer) != 0 {
		t.Fatal(err, trailer)
	}
	watch := func(ctx context.Context) error {
		stream, err := client.Watch(ctx, &healthpb.HealthCheckRequest{})
		if err != nil {
			return err
		}
		_, err = stream.Recv()
		return err
	}
	if err := watch(t.Context()); status.Code(err) != codes.DataLoss {
		t.Errorf("stream: %v", err)
	}
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		if err := watch(gtx.Detach(ctx)); status.Code(err) != codes.DataLoss {
			t.Errorf("detached stream: %v", err)
		}
		return call(gtx.Detach(ctx), client)
	}, gtx.WithCoordinator(c))
	if err != nil {
		t.Fatal(err)
	}
}

// A service that hands on all metadata it was called with must not bring its
// caller's XID, or a second one, into a transaction of its own.
func TestXIDInOutgoingMetadataIsReplaced(t *testing.T) {
	c := memory.New()
	client := service(t, c, func(ctx context.Context) error {
		if md := metadata.ValueFromIncomingContext(ctx, "other"); len(md) != 1 {
			t.Errorf("other metadata: %v", md)
		}
		return memory.Branch(ctx, stock, confirm)
	}, options{})
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		ctx = metadata.AppendToOutgoingContext(ctx, "Gtx-Xid", "0000000000000009-0-1-1", "gtx-xid", "forged", "other", "kept")
		if err := call(ctx, client); err != nil {
			return err
		}
		if md, _ := metadata.FromOutgoingContext(ctx); len(md.Get(gtxgrpc.KeyXID)) != 2 {
			t.Errorf("the caller's metadata was changed: %v", md)
		}
		return nil
	}, gtx.WithCoordinator(c))
	if err != nil {
		t.Fatal(err)
	}
	if refs := committed(t, c); len(refs) != 1 {
		t.Errorf("participants %v, want one", refs)
	}
}

// An error is the handler's word about its work, the report ours about branches:
// what the caller makes of both is its own affair.
func TestErrorOfAJoinedServiceComesWithItsReport(t *testing.T) {
	c := memory.New()
	client := service(t, c, func(ctx context.Context) error {
		if err := memory.Branch(ctx, stock, confirm); err != nil {
			return err
		}
		return status.Error(codes.NotFound, "no such article")
	}, options{})
	callErr, err := run(c, client)
	if status.Code(callErr) != codes.NotFound || err != nil {
		t.Errorf("call: %v, run: %v, want NotFound and nil", callErr, err)
	}
	if refs := committed(t, c); len(refs) != 1 {
		t.Errorf("participants %v, want one", refs)
	}
}

func TestStreamsAreRefused(t *testing.T) {
	c := memory.New()
	ran := func() error { t.Error("the stream's handler ran"); return nil }
	t.Run("by the client", func(t *testing.T) {
		client := service(t, c, nil, options{watch: ran})
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			_, err := client.Watch(ctx, &healthpb.HealthCheckRequest{})
			return err
		}, gtx.WithCoordinator(c))
		var refused *gtx.UnsupportedError
		if !errors.As(err, &refused) || refused.Code != gtxgrpc.CodeStream || refused.Hint == "" {
			t.Errorf("got %v, want an UnsupportedError with a hint", err)
		}
	})
	t.Run("by the server", func(t *testing.T) {
		client := service(t, c, nil, options{watch: ran, dial: []grpc.DialOption{}})
		ctx := metadata.AppendToOutgoingContext(t.Context(), gtxgrpc.KeyXID, "0000000000000007-0-1-1")
		stream, err := client.Watch(ctx, &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.Unimplemented {
			t.Errorf("got %v, want Unimplemented", err)
		}
	})
	t.Run("after the end", func(t *testing.T) {
		client := service(t, c, nil, options{watch: ran})
		if _, err := client.Watch(ended(t, c), &healthpb.HealthCheckRequest{}); !errors.Is(err, gtx.ErrEnded) {
			t.Errorf("got %v, want ErrEnded", err)
		}
	})
}

func TestRefusals(t *testing.T) {
	const good = "0000000000000007-0-1-1"
	cases := map[string]struct {
		xid  []string
		cfg  gtxgrpc.Config
		noTC bool
		code codes.Code
	}{
		"nil trust":      {xid: []string{good}, code: codes.PermissionDenied},
		"not trusted":    {xid: []string{good}, cfg: gtxgrpc.Config{Trust: func(context.Context, string) bool { return false }}, code: codes.PermissionDenied},
		"malformed":      {xid: []string{"7-0-1-1"}, cfg: gtxgrpc.Config{Trust: trustAll}, code: codes.InvalidArgument},
		"empty":          {xid: []string{""}, cfg: gtxgrpc.Config{Trust: trustAll}, code: codes.InvalidArgument},
		"two":            {xid: []string{good, good}, cfg: gtxgrpc.Config{Trust: trustAll}, code: codes.InvalidArgument},
		"no coordinator": {xid: []string{good}, cfg: gtxgrpc.Config{Trust: trustAll}, noTC: true, code: codes.Unavailable},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var c gtx.Coordinator = memory.New()
			if tc.noTC {
				c = nil
			}
			client := service(t, c, func(context.Context) error { t.Error("the handler ran"); return nil },
				options{server: serverOptions(c, tc.cfg), dial: []grpc.DialOption{}})
			ctx := metadata.NewOutgoingContext(t.Context(), metadata.MD{gtxgrpc.KeyXID: tc.xid})
			var trailer metadata.MD
			err := call(ctx, client, grpc.Trailer(&trailer))
			if status.Code(err) != tc.code || len(trailer.Get(gtxgrpc.KeyBranches)) != 0 {
				t.Errorf("got %v with %v, want %s", err, trailer, tc.code)
			}
		})
	}
}

func TestTrustSeesTheMethod(t *testing.T) {
	c := memory.New()
	var seen string
	client := service(t, c, func(context.Context) error { return nil }, options{server: serverOptions(c, gtxgrpc.Config{
		Trust: func(_ context.Context, method string) bool { seen = method; return true },
	})})
	if callErr, err := run(c, client); errors.Join(callErr, err) != nil {
		t.Fatal(callErr, err)
	}
	if seen != healthpb.Health_Check_FullMethodName {
		t.Errorf("method %q, want %q", seen, healthpb.Health_Check_FullMethodName)
	}
}

// Some gateways call handlers in their own process, without a stream of gRPC.
func TestCallWithoutATrailerIsRefused(t *testing.T) {
	c := memory.New()
	join := gtxgrpc.UnaryServerInterceptor(c, gtxgrpc.Config{Trust: trustAll, Logger: slog.New(slog.DiscardHandler)})
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(gtxgrpc.KeyXID, "0000000000000007-0-1-1"))
	_, err := join(ctx, nil, &grpc.UnaryServerInfo{FullMethod: "/x/Y"}, func(context.Context, any) (any, error) {
		t.Error("the handler ran")
		return nil, nil
	})
	if status.Code(err) != codes.Internal {
		t.Errorf("got %v, want Internal", err)
	}
}

func TestCallAfterTheEnd(t *testing.T) {
	c := memory.New()
	client := service(t, c, func(context.Context) error { t.Error("the handler ran"); return nil }, options{})
	if err := call(ended(t, c), client); !errors.Is(err, gtx.ErrEnded) {
		t.Errorf("got %v, want ErrEnded", err)
	}
}

// ended gives a context of a transaction that is over.
func ended(t *testing.T, c gtx.Coordinator) (late context.Context) {
	t.Helper()
	if err := gtx.Run(t.Context(), func(ctx context.Context) error {
		late = context.WithoutCancel(ctx)
		return nil
	}, gtx.WithCoordinator(c)); err != nil {
		t.Fatal(err)
	}
	return late
}

func TestChainedTwiceReportsOnce(t *testing.T) {
	c := memory.New()
	twice := serverOptions(c, gtxgrpc.Config{Trust: trustAll})
	client := service(t, c, func(ctx context.Context) error { return memory.Branch(ctx, stock, confirm) }, options{
		server: append(twice, twice...),
		dial:   append(gtxgrpc.DialOptions(), gtxgrpc.DialOptions()...),
	})
	if callErr, err := run(c, client); errors.Join(callErr, err) != nil {
		t.Fatal(callErr, err)
	}
	if refs := committed(t, c); len(refs) != 1 {
		t.Errorf("participants %v, want one", refs)
	}
}
