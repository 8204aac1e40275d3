package natsbus_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
	"github.com/globaltx/globaltx/internal/testserver/natstest"
	"github.com/globaltx/globaltx/natsbus"
)

// natsServer runs a server of its own on a free loopback port.
func natsServer(t testing.TB) (url string) {
	t.Helper()
	return natstest.Run(t, &server.Options{JetStream: true, StoreDir: t.TempDir(), SyncAlways: true})
}

func serviceConfig(url string) natsbus.ServiceConfig {
	return natsbus.ServiceConfig{
		URL: url, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), AssumeSyncAlways: true, MaxBytes: 64 << 20,
		// Four beats: the machine that runs the tests may be busy.
		TakeoverAfter: time.Second,
		Coordinator:   coordinator.Config{PushMin: 50 * time.Millisecond, DoneDelay: time.Millisecond},
	}
}

// service runs a node until the test ends; edit changes its configuration.
func service(t testing.TB, url string, edit ...func(*natsbus.ServiceConfig)) *natsbus.Service {
	t.Helper()
	cfg := serviceConfig(url)
	for _, e := range edit {
		e(&cfg)
	}
	s, err := natsbus.Serve(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// client joins the coordinator at url until the test ends.
func client(t testing.TB, url string) *natsbus.Bus {
	t.Helper()
	b, err := natsbus.Connect(testContext(t), natsbus.Config{URL: url, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func waitLeading(t testing.TB, s *natsbus.Service) {
	t.Helper()
	if err := s.WaitLeading(testContext(t)); err != nil {
		t.Fatalf("%+v: %v", s.Status(), err)
	}
}

// waitStandby returns when s does not lead.
func waitStandby(t testing.TB, s *natsbus.Service) {
	t.Helper()
	ctx := testContext(t)
	for {
		now, changed := s.Watch()
		if now.Role == natsbus.RoleStandby {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("still %s", now.Role)
		}
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	url := natsServer(t)
	service(t, url).Stop() // a log that is not new: the next node listens first
	first := service(t, url)
	first.Stop()
	cfg := serviceConfig(url)
	cfg.TakeoverAfter = time.Hour
	l := newLine()
	cfg.Options = append(cfg.Options, l.option())
	held := l.holdAt("STREAM.INFO")
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	go func() {
		<-held
		cancel()
	}()
	if s, err := natsbus.Serve(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Fatalf("serve: %v, %v", s, err)
	}
}

func TestNoCoordinator(t *testing.T) {
	_, err := natsbus.Connect(testContext(t), natsbus.Config{URL: natsServer(t), Timeout: 100 * time.Millisecond})
	if !errors.Is(err, gtx.ErrUnavailable) || !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("connect: %v", err)
	}
}

func TestUnfitStreamIsRefused(t *testing.T) {
	url, ctx := natsServer(t), testContext(t)
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "GTX_LOG", Subjects: []string{"gtx.log"}, DenyDelete: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := natsbus.Serve(ctx, serviceConfig(url)); err == nil || !strings.Contains(err.Error(), "discard must be new") {
		t.Errorf("serve: %v", err)
	}
}

func TestHoleInTheLogIsRefused(t *testing.T) {
	url, ctx := natsServer(t), testContext(t)
	service(t, url).Stop()
	service(t, url).Stop()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(ctx, "GTX_LOG")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSequence(2)); err != nil {
		t.Fatal(err)
	}
	if _, err := natsbus.Serve(ctx, serviceConfig(url)); !errors.Is(err, coordinator.ErrGap) {
		t.Errorf("serve with its head gone: %v", err)
	}
	if err := s.Purge(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := natsbus.Serve(ctx, serviceConfig(url)); !errors.Is(err, coordinator.ErrTruncated) {
		t.Errorf("serve with everything gone: %v", err)
	}
	if err := js.DeleteStream(ctx, "GTX_ANCHOR"); err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if _, err := natsbus.Serve(soon, serviceConfig(url)); !errors.Is(err, coordinator.ErrGap) {
		t.Errorf("serve with everything gone and no anchor: %v", err)
	}
}

// TestI4GuestDoesNotHearTheLog: other processes may subscribe to all inboxes of
// applications. What the log answers to the coordinator, the keys in a hand-over
// among it, is in none of them.
func TestI4GuestDoesNotHearTheLog(t *testing.T) {
	host, ctx := embedded(t, t.TempDir(), natsbus.Listen("127.0.0.1:0")), testContext(t)
	nc, err := nats.Connect(host.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("_INBOX.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.FlushWithContext(ctx); err != nil {
		t.Fatal(err)
	}
	xid := begin(t, host, ref)
	st, err := host.Commit(ctx, xid, []gtx.BranchRef{ref}, nil)
	wantStatus(t, "commit", st, err, gtx.Committed)
	if err := nc.FlushWithContext(ctx); err != nil { // what was sent before is here
		t.Fatal(err)
	}
	heard := 0
	for m, err := sub.NextMsg(time.Millisecond); err == nil; m, err = sub.NextMsg(time.Millisecond) {
		if heard++; len(m.Data) > 0 && m.Data[0] == '{' {
			t.Errorf("heard %s", m.Data)
		}
	}
	if heard < 3 {
		t.Errorf("heard %d messages, and begin, register and commit were answered", heard)
	}
}

func TestGuestMayNotWriteTheLog(t *testing.T) {
	host, ctx := embedded(t, t.TempDir(), natsbus.Listen("127.0.0.1:0")), testContext(t)
	before, err := host.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	denied := make(chan error, 10)
	nc, err := nats.Connect(host.URL(), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Publish("gtx.log", []byte("x")); err != nil {
		t.Fatal(err)
	}
	// A reply subject of its own choice must not make the coordinator write it.
	stats := []byte{1, 1, 1, 10, 0} // version, requests, id, operation, length
	if err := nc.PublishRequest("gtx.svc.0", "gtx.log", stats); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-denied:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("publish to the log: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("publish to the log was not refused")
	}
	xid := begin(t, host)
	st, err := host.Commit(ctx, xid, nil, nil) // would be fenced by a foreign message
	wantStatus(t, "commit", st, err, gtx.Committed)
	if after, err := host.Stats(ctx); err != nil || after.LogSeq < before.LogSeq+1 || after.LogSeq > before.LogSeq+2 {
		t.Errorf("log at %d, before at %d, %v", after.LogSeq, before.LogSeq, err)
	}
}
