package soak

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/natsbus/inbox"
)

// failShare is how many runs of a handler fail behind their effect.
const failShare = 0.001

// consumerConfig of the role "consumer".
type consumerConfig struct {
	URL      string
	Database database
	Lanes    int
	Own      bool   // with a loop of its own, and Handle in place of Consume; one lane
	Bug      string // a key of consumerBugs; empty: none
	Dies     bool   // with Bug: in the middle
}

// message is one message, its effect, or its business row.
type message struct {
	id  uint64
	key int
	seq int64
}

func (m message) encode() []byte { return fmt.Appendf(nil, "%d %d %d", m.id, m.key, m.seq) }

func (m message) String() string {
	return fmt.Sprintf("message %d of sender %d (key %d, number %d)", m.id&(1<<32-1), m.id>>32, m.key, m.seq)
}

func decode(body []byte) (m message, err error) {
	if _, err = fmt.Sscanf(string(body), "%d %d %d", &m.id, &m.key, &m.seq); err != nil {
		return m, fmt.Errorf("read body %q: %w", body, err)
	}
	return m, nil
}

// take is the effect of a message.
func take(ctx context.Context, tx *sql.Tx, body []byte) error {
	m, err := decode(body)
	if err != nil {
		return inbox.Permanent(err)
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO soak_effect (id, k, seq) VALUES (%d, %d, %d)", m.id, m.key, m.seq)); err != nil {
		return fmt.Errorf("insert effect: %w", err)
	}
	return nil
}

// runConsumer handles messages, those of one key in order.
func runConsumer(ctx context.Context, in *json.Decoder, out *reporter) error {
	var c consumerConfig
	if err := in.Decode(&c); err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	obey(in, noOrders)
	_, js, err := dial(c.URL)
	if err != nil {
		return err
	}
	db, err := c.Database.open(c.Lanes + 4)
	if err != nil {
		return err
	}
	out.tell(event{Kind: kindReady})
	if c.Bug != "" {
		go consumerBugs[c.Bug](ctx, &loop{db: db, js: js, dies: c.Dies})
		select {}
	}
	var box *inbox.Inbox
	persist(ctx, "open inbox", func(ctx context.Context) (err error) {
		box, err = inbox.Open(ctx, db, inbox.Config{Name: durable, JetStream: js})
		return err
	})
	if c.Own {
		own := &loop{db: db, js: js}
		go own.each(ctx, func(msg jetstream.Msg) error {
			return box.Handle(ctx, msg, func(ctx context.Context, tx *sql.Tx) error { return take(ctx, tx, msg.Data()) })
		})
		select {}
	}
	var repeated atomic.Int64
	handle := func(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
		if m.Deliveries > 1 {
			repeated.Add(1)
		}
		if err := take(ctx, tx, m.Body); err != nil {
			return err
		}
		if rand.Float64() < failShare {
			return errors.New("fails on purpose")
		}
		return nil
	}
	src := inbox.Source{Stream: stream, Durable: durable, Ordered: true, Lanes: laneFilters(c.Lanes), AckWait: time.Second}
	go func() {
		for {
			slog.Warn("consume ends", "err", box.Consume(ctx, src, handle))
			await(ctx, 100*time.Millisecond)
		}
	}()
	go func() {
		for await(ctx, sumEvery) {
			st := box.Stats()
			out.tell(event{Kind: kindSum, Sum: counts{
				Handled: int64(st.Handled), InInbox: int64(st.Duplicates), Repeated: repeated.Load(), FailedRuns: int64(st.Failed),
			}})
		}
	}()
	select {}
}
