package messages

import (
	"context"
	"database/sql"
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/natsbus/inbox"
)

// TestInboxPullBeat: a line of messages stands still for two seconds at most when the server
// does not know of a request for the next one, for whatever reason; by itself the client of
// NATS waits for 30 s.
func TestInboxPullBeat(t *testing.T) {
	s := servers()[0]
	r := newInboxRig(t, s, open(t, s, s.dsn(t)))
	nc, err := nats.Connect(r.b.srv.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	sub, err := nc.SubscribeSync("$JS.API.CONSUMER.MSG.NEXT.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	r.consume(r.open(r.db, inbox.Config{}), inbox.Source{Ordered: true}, func(context.Context, *sql.Tx, *inbox.Message) error { return nil })
	msg, err := sub.NextMsg(30 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	var req struct {
		Batch     int           `json:"batch"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}
	if err := json.Unmarshal(msg.Data, &req); err != nil {
		t.Fatal(err)
	}
	if req.Batch != 1 || req.Heartbeat != time.Second {
		t.Errorf("got a request for %d messages with a heartbeat of %s", req.Batch, req.Heartbeat)
	}
}
