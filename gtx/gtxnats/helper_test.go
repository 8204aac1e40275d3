package gtxnats_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/gtxnats"
	"github.com/globaltx/globaltx/gtx/internal/memory"
)

const stock gtx.ResourceID = "3b8b3c9e-7d1c-4c4e-9d5e-0d1a2b3c4d5e"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func trustAll(*nats.Msg) bool { return true }

func confirm(tx *gtx.Tx, ref gtx.BranchRef) { tx.Confirm(ref) }

// connect starts a NATS server and gives a connection to it.
func connect(t *testing.T, change ...func(*server.Options)) *nats.Conn {
	t.Helper()
	o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true}
	for _, f := range change {
		f(o)
	}
	srv, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(20 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	nc, err := nats.Connect(srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// subscribe serves subject with h, wrapped for c.
func subscribe(t *testing.T, nc *nats.Conn, c gtx.Coordinator, subject string, h gtxnats.HandlerFunc, cfg gtxnats.Config) {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	bare(t, nc, subject, gtxnats.Handler(t.Context(), c, h, cfg))
}

// bare serves subject with h and without this package.
func bare(t *testing.T, nc *nats.Conn, subject string, h nats.MsgHandler) {
	t.Helper()
	if _, err := nc.Subscribe(subject, h); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

func ask(ctx context.Context, nc *nats.Conn, subject string) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return gtxnats.Request(ctx, nc, &nats.Msg{Subject: subject, Data: []byte("10")})
}

// run asks subject once in a transaction and commits whatever came back.
func run(c gtx.Coordinator, nc *nats.Conn, subject string) (askErr, runErr error) {
	runErr = gtx.Run(context.Background(), func(ctx context.Context) error {
		_, askErr = ask(ctx, nc, subject)
		return nil
	}, gtx.WithCoordinator(c))
	return askErr, runErr
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
