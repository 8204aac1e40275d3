package messages

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
	"github.com/globaltx/globaltx/natsbus/inbox"
	"github.com/globaltx/globaltx/natsbus/outbox"
)

// TestEmbeddedMessages sends from global transactions, relays and receives with nothing but
// the embedded bus, which is stopped and started in between.
func TestEmbeddedMessages(t *testing.T) {
	t.Parallel()
	dir, s := t.TempDir(), servers()[0]
	from, to := open(t, s, sqliteDSN(t)), open(t, s, sqliteDSN(t))
	mustExec(t, to, "CREATE TABLE effect (id varchar(64) PRIMARY KEY)")
	const each = 10
	for round := 1; round <= 2; round++ {
		bus, err := natsbus.Embedded(t.Context(), dir, natsbus.WithLogger(quietLog))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { bus.Close() })
		nc, err := bus.Conn()
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
			t.Fatal(err)
		}
		o, err := outbox.Open(t.Context(), from, outbox.Config{Conn: nc})
		if err != nil {
			t.Fatal(err)
		}
		for i := range each {
			if err := gtx.Run(t.Context(), func(ctx context.Context) error {
				_, err := o.Publish(ctx, from, outbox.Message{Subject: "orders.a", Key: "k", Body: fmt.Append(nil, round, i)})
				return err
			}, gtx.WithCoordinator(bus)); err != nil {
				t.Fatal(err)
			}
		}
		in, err := inbox.Open(t.Context(), to, inbox.Config{Name: "billing", JetStream: js, Logger: quietLog})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- in.Consume(ctx, inbox.Source{Stream: "ORDERS"}, func(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
				_, err := tx.ExecContext(ctx, "INSERT INTO effect (id) VALUES (?)", m.ID)
				return err
			})
		}()
		eventually(t, "all are handled", func() bool { return in.Stats().Handled == each })
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		drained(t, o)
		if err := o.Close(); err != nil {
			t.Error(err)
		}
		if err := bus.Close(); err != nil {
			t.Error(err)
		}
	}
	var n int
	if err := to.QueryRowContext(t.Context(), "SELECT count(*) FROM effect").Scan(&n); err != nil || n != 2*each {
		t.Errorf("%d effects, %v, want %d", n, err, 2*each)
	}
}
