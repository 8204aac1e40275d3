package outbox

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	_ "github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/internal/testserver/natstest"
)

// TestRelayLeavesNothing relays and closes; TestMain looks for goroutines that are left.
func TestRelayLeavesNothing(t *testing.T) {
	nc, err := nats.Connect(natstest.Run(t, &server.Options{JetStream: true, StoreDir: t.TempDir()}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "A", Subjects: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("gtx-sqlite", "file:"+filepath.Join(t.TempDir(), "db.sqlite")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	subs := nc.NumSubscriptions()
	for round := 1; round <= 2; round++ {
		o, err := Open(t.Context(), db, Config{Conn: nc})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.Publish(t.Context(), db, Message{Subject: "a", Key: "k"}); err != nil {
			t.Fatal(err)
		}
		// By hand, and not as Publish would: it must not stand in the way.
		if _, err := db.ExecContext(t.Context(), fmt.Sprintf("INSERT INTO gtx_outbox (%s) VALUES ('%032d', 44, 0, 'a', '', 'no JSON', 0, x'')", columns, round)); err != nil {
			t.Fatal(err)
		}
		o.wake(44)
		for deadline := time.Now().Add(time.Minute); ; <-time.After(time.Millisecond) {
			s, err := o.Stats(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if s.Backlog == 0 {
				if s.Published != 1 || s.Dead != int64(round) {
					t.Errorf("got %+v, want one published and %d dead", s, round)
				}
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("got %+v after a minute", s)
			}
		}
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
		if info, err := stream.Info(t.Context()); err != nil || info.State.Msgs != uint64(round) {
			t.Errorf("the stream has %+v, %v, want %d messages", info, err, round)
		}
	}
	if n := nc.NumSubscriptions(); n > subs+1 { // one is js's own
		t.Errorf("%d subscriptions, %d before", n, subs)
	}
}
