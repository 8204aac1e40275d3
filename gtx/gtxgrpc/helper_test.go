package gtxgrpc_test

import (
	"context"
	"log/slog"
	"net"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/test/bufconn"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/gtxgrpc"
	"github.com/globaltx/globaltx/gtx/internal/memory"
)

const stock gtx.ResourceID = "3b8b3c9e-7d1c-4c4e-9d5e-0d1a2b3c4d5e"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func trustAll(context.Context, string) bool { return true }

func confirm(tx *gtx.Tx, ref gtx.BranchRef) { tx.Confirm(ref) }

// health is gRPC's own example of a service with a unary and a streaming method.
type health struct {
	healthpb.UnimplementedHealthServer
	check func(context.Context) error
	watch func() error
}

func (h *health) Check(ctx context.Context, req *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if err := h.check(ctx); err != nil {
		return nil, err
	}
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

func (h *health) Watch(*healthpb.HealthCheckRequest, grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	return h.watch()
}

// options of one test; what is nil takes no part.
type options struct {
	server []grpc.ServerOption // nil: ServerOptions with everybody trusted
	dial   []grpc.DialOption   // nil: DialOptions
	watch  func() error
	memory bool // over bufconn in place of loopback
	spy    *spy
}

// service starts a server for check and gives a client of it.
func service(t *testing.T, c gtx.Coordinator, check func(context.Context) error, o options) healthpb.HealthClient {
	t.Helper()
	if o.server == nil {
		o.server = serverOptions(c, gtxgrpc.Config{Trust: trustAll})
	}
	if o.dial == nil {
		o.dial = gtxgrpc.DialOptions()
	}
	target, lis := "passthrough:///memory", net.Listener(nil)
	if o.memory {
		mem := bufconn.Listen(1 << 16)
		lis = mem
		o.dial = append(o.dial, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return mem.DialContext(ctx) }))
	} else {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		lis, target = tcp, tcp.Addr().String()
	}
	if o.spy != nil {
		o.spy.Listener = lis
		lis = o.spy
		o.dial = append(o.dial, grpc.WithStatsHandler(o.spy))
	}
	srv := grpc.NewServer(o.server...)
	healthpb.RegisterHealthServer(srv, &health{check: check, watch: o.watch})
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()
	conn, err := grpc.NewClient(target, append(o.dial, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		srv.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return healthpb.NewHealthClient(conn)
}

func serverOptions(c gtx.Coordinator, cfg gtxgrpc.Config) []grpc.ServerOption {
	cfg.Logger = slog.New(slog.DiscardHandler)
	return gtxgrpc.ServerOptions(c, cfg)
}

// bare is a server without this package, which may say what it likes.
func bare() []grpc.ServerOption { return []grpc.ServerOption{} }

func call(ctx context.Context, client healthpb.HealthClient, opts ...grpc.CallOption) error {
	_, err := client.Check(ctx, &healthpb.HealthCheckRequest{}, opts...)
	return err
}

// run calls client once in a transaction and commits whatever the call returned.
func run(c gtx.Coordinator, client healthpb.HealthClient) (callErr, runErr error) {
	runErr = gtx.Run(context.Background(), func(ctx context.Context) error {
		callErr = call(ctx, client)
		return nil
	}, gtx.WithCoordinator(c))
	return callErr, runErr
}

// committed gives the confirmed branches of the only committed transaction.
func committed(t *testing.T, c *memory.Coordinator) []gtx.BranchRef {
	t.Helper()
	done := c.Committed()
	if len(done) != 1 {
		t.Fatalf("%d committed transactions, want 1", len(done))
	}
	for _, refs := range done {
		return refs
	}
	return nil
}
