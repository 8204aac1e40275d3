package natsbus

import (
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx"
)

// TestOwnStreams: a program keeps streams in the server of its embedded bus, over a restart;
// the log is out of its reach, and goes on when its streams are full.
func TestOwnStreams(t *testing.T) {
	dir, ctx := t.TempDir(), intakeContext(t)
	open := func() (*Bus, *nats.Conn, jetstream.JetStream) {
		b, err := Embedded(ctx, dir, WithLogger(quiet), WithStreamBytes(1<<20))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close() })
		nc, err := b.Conn()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := b.Conn(); err != nil || again != nc {
			t.Fatalf("a second connection, %v", err)
		}
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		return b, nc, js
	}
	b, nc, js := open()
	if _, err := js.Stream(ctx, "GTX_LOG"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("the log is in sight: %v", err)
	}
	// The name and the subjects of the log are free there.
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "GTX_LOG", Subjects: []string{"gtx.>", "orders.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "gtx.svc.0", []byte("nonsense")); err != nil {
		t.Error(err)
	}
	body := make([]byte, 100<<10)
	sent := uint64(1)
	for ; ; sent++ {
		if _, err := js.Publish(ctx, "orders.a", body); err != nil {
			var api *jetstream.APIError
			if !errors.As(err, &api) {
				t.Fatal(err)
			}
			break
		}
		if sent > 11 {
			t.Fatalf("%d messages of 100 KiB in 1 MiB", sent)
		}
	}
	decide := func(b *Bus) {
		t.Helper()
		ref := gtx.BranchRef{Resource: "r", Branch: 1}
		before, err := b.Stats(ctx)
		if err != nil {
			t.Fatal(err)
		}
		xid, err := b.Begin(ctx, gtx.BeginRequest{Timeout: 30 * time.Second})
		if err == nil {
			err = b.Register(ctx, xid, ref)
		}
		if err == nil {
			_, err = b.Commit(ctx, xid, []gtx.BranchRef{ref}, nil)
		}
		if err != nil {
			t.Error(err)
		}
		if after, err := b.Stats(ctx); err != nil || after.LogSeq <= before.LogSeq {
			t.Errorf("the log has gone from %d to %d, %v", before.LogSeq, after.LogSeq, err)
		}
	}
	decide(b)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if !nc.IsClosed() {
		t.Error("the connection is open after Close")
	}
	if _, err := b.Conn(); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: got %v", err)
	}

	b, _, js = open()
	stream, err := js.Stream(ctx, "GTX_LOG")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := stream.Info(ctx); err != nil || info.State.Msgs != sent {
		t.Errorf("after a restart: %+v, %v, want %d messages", info, err, sent)
	}
	decide(b)
}

// TestOwnStreamsElsewhere: a bus that joins another's server has none, and does not see those.
func TestOwnStreamsElsewhere(t *testing.T) {
	ctx := intakeContext(t)
	b, err := Embedded(ctx, t.TempDir(), WithLogger(quiet), Listen("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	own, err := b.Conn()
	if err != nil {
		t.Fatal(err)
	}
	joined, err := Connect(ctx, Config{URL: b.URL(), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { joined.Close() })
	if nc, err := joined.Conn(); err == nil {
		t.Errorf("got %v", nc)
	}
	at, err := url.Parse(b.URL())
	if err != nil {
		t.Fatal(err)
	}
	if nc, err := nats.Connect("nats://"+at.Host, nats.UserInfo("own", "")); !errors.Is(err, nats.ErrAuthorization) {
		nc.Close()
		t.Errorf("without the password: got %v", err)
	}
	// What is said on one side is not heard on the other.
	heard, err := own.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := joined.Stats(ctx); err != nil {
		t.Fatal(err)
	}
	if err := own.Publish("mine", nil); err != nil {
		t.Fatal(err)
	}
	if msg, err := heard.NextMsg(10 * time.Second); err != nil || msg.Subject != "mine" {
		t.Errorf("got %v, %v", msg, err)
	}
}
