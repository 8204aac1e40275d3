package compare

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	waternats "github.com/ThreeDotsLabs/watermill-nats/v2/pkg/nats"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/natsbus/inbox"
)

// tasks is the stream that is received from.
const (
	tasks   = "TASKS"
	subject = "tasks.a"
	// inboxName names the inbox, and its durable consumer.
	inboxName = "compare"
	// ackWait is when a delivery that got lost comes again.
	ackWait = 10 * time.Second
)

// Receiver inserts a row for each message of a stream.
type Receiver struct {
	r       *Rig
	workers int
	// consume handles n deliveries, and returns then. effect inserts the row.
	consume func(ctx context.Context, n int, effect effect) error
}

// effect is what a message does.
type effect func(ctx context.Context, tx *sql.Tx, id string) error

// Receivers handle the messages of a stream: without knowing them again, with a table of
// ids written by hand, with an inbox, and with Watermill's deduplicator.
func Receivers(ctx context.Context, r *Rig, workers int) ([]Contestant, error) {
	var list []Contestant
	for _, name := range []string{"plain", "by hand", "inbox", "Watermill"} {
		c, err := NewReceiver(ctx, r, name, workers)
		if err != nil {
			return nil, err
		}
		list = append(list, Contestant{name, c.Prepare, c.work, c.check})
	}
	return list, nil
}

// NewReceiver gives the receiver of that name, as a process that has just started has it.
func NewReceiver(ctx context.Context, r *Rig, name string, workers int) (*Receiver, error) {
	err := r.exec(ctx, "CREATE TABLE IF NOT EXISTS effect (uid varchar(40) PRIMARY KEY, id varchar(64) NOT NULL)",
		"CREATE TABLE IF NOT EXISTS hand_inbox (id varchar(64) PRIMARY KEY)")
	if err != nil {
		return nil, err
	}
	c := &Receiver{r: r, workers: workers}
	switch name {
	case "plain":
		c.consume = func(ctx context.Context, n int, do effect) error { return c.byHand(ctx, n, do, false) }
	case "by hand":
		c.consume = func(ctx context.Context, n int, do effect) error { return c.byHand(ctx, n, do, true) }
	case "inbox":
		in, err := inbox.Open(ctx, r.Ours, inbox.Config{Name: inboxName, JetStream: r.JS, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return nil, err
		}
		c.consume = func(ctx context.Context, n int, do effect) error { return c.inboxed(ctx, in, n, do) }
	case "Watermill":
		dedup := &middleware.Deduplicator{KeyFactory: func(m *message.Message) (string, error) { return m.UUID, nil }}
		once := dedup.Middleware
		c.consume = func(ctx context.Context, n int, do effect) error { return c.routed(ctx, n, do, once) }
	default:
		return nil, fmt.Errorf("no receiver is named %q", name)
	}
	return c, nil
}

// Prepare makes a stream of n messages, and removes the effects of former ones.
func (c *Receiver) Prepare(ctx context.Context, n int) error {
	if err := c.r.stream(ctx, tasks); err != nil {
		return err
	}
	if err := c.r.empty(ctx, "effect"); err != nil {
		return err
	}
	batch := rand.Text()
	for i := range n {
		id := fmt.Sprintf("%s-%d", batch, i)
		m := &nats.Msg{Subject: subject, Data: body(i), Header: nats.Header{waternats.WatermillUUIDHdr: {id}}}
		if _, err := c.r.JS.PublishMsgAsync(m, jetstream.WithMsgID(id)); err != nil {
			return err
		}
	}
	select {
	case <-c.r.JS.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Receiver) work(ctx context.Context, n int) error { return c.consume(ctx, n, c.insert) }

// insert is the effect that is measured.
func (c *Receiver) insert(ctx context.Context, tx *sql.Tx, id string) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO effect (uid, id) VALUES ("+c.r.holders(2)+")", rand.Text(), id)
	return err
}

func (c *Receiver) check(ctx context.Context, n int) error {
	if err := c.r.rows(ctx, "effect", n); err != nil {
		return err
	}
	return c.r.rows(ctx, "(SELECT DISTINCT id FROM effect) AS d", n)
}

// newDurable names a durable consumer. Under an old name, what a former one has asked for
// may be answered with messages of this one, and be heard by nobody.
func newDurable() string { return "compare-" + rand.Text() }

// byHand is a consumer with a loop of its own.
func (c *Receiver) byHand(ctx context.Context, n int, do effect, dedup bool) error {
	cons, err := c.r.JS.CreateConsumer(ctx, tasks, jetstream.ConsumerConfig{Durable: newDurable(), AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait})
	if err != nil {
		return err
	}
	// With few, nats.go 1.55 may ask for no more when an answer is faster than its own
	// bookkeeping of the request, and then waits 30 s.
	iter, err := cons.Messages(jetstream.PullMaxMessages(max(8, c.workers)))
	if err != nil {
		return err
	}
	defer iter.Stop()
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	errs := make([]error, c.workers)
	for w := range c.workers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				m, err := iter.Next(jetstream.NextMaxWait(30 * time.Second))
				if err == nil {
					err = c.handOne(ctx, m, do, dedup)
				}
				if err != nil {
					errs[w] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// handOne gives a message back whose handler fails.
func (c *Receiver) handOne(ctx context.Context, m jetstream.Msg, do effect, dedup bool) error {
	id := m.Headers().Get(jetstream.MsgIDHeader)
	tx, err := c.r.Base.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	fresh := int64(1)
	if dedup {
		res, err := tx.ExecContext(ctx, c.r.pick("INSERT IGNORE INTO hand_inbox (id) VALUES (?)",
			"INSERT INTO hand_inbox (id) VALUES ($1) ON CONFLICT DO NOTHING", "INSERT INTO hand_inbox (id) VALUES (?) ON CONFLICT DO NOTHING"), id)
		if err != nil {
			return err
		}
		if fresh, err = res.RowsAffected(); err != nil {
			return err
		}
	}
	if fresh == 1 {
		if err := do(ctx, tx, id); err != nil {
			return m.Nak()
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return m.Ack()
}

func (c *Receiver) inboxed(ctx context.Context, in *inbox.Inbox, n int, do effect) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	count := func() int {
		s := in.Stats()
		return int(s.Handled + s.Duplicates + s.Failed)
	}
	before := count()
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for count() < before+n && ctx.Err() == nil {
			<-tick.C
		}
		cancel()
	}()
	return in.Consume(ctx, inbox.Source{Stream: tasks, Workers: c.workers}, func(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
		return do(ctx, tx, m.Header.Get(jetstream.MsgIDHeader))
	})
}

// routed is a router of Watermill with its JetStream subscribers and the deduplicator.
func (c *Receiver) routed(ctx context.Context, n int, do effect, once message.HandlerMiddleware) error {
	// The router closes the subscriber, and that its connection.
	conn, err := nats.Connect(c.r.Conn.ConnectedUrl())
	if err != nil {
		return err
	}
	defer conn.Close()
	durable := newDurable()
	sub, err := waternats.NewSubscriberWithNatsConn(conn, waternats.SubscriberSubscriptionConfig{
		Unmarshaler: &waternats.NATSMarshaler{}, SubscribersCount: c.workers, QueueGroupPrefix: durable,
		JetStream: waternats.JetStreamConfig{
			DurablePrefix:    durable,
			SubscribeOptions: []nats.SubOpt{nats.AckExplicit(), nats.DeliverAll(), nats.AckWait(ackWait)},
		},
	}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	var left atomic.Int64
	left.Store(int64(n))
	done := make(chan struct{})
	counted := func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			out, err := h(m)
			if left.Add(-1) == 0 {
				close(done)
			}
			return out, err
		}
	}
	handler := router.AddConsumerHandler("effect", subject, sub, func(m *message.Message) error { return c.routedOne(m, do) })
	handler.AddMiddleware(counted, once)
	ended := make(chan error, 1)
	go func() { ended <- router.Run(ctx) }()
	select {
	case <-done:
	case err := <-ended:
		return errors.Join(errors.New("the router has ended"), err)
	case <-ctx.Done():
	}
	return errors.Join(router.Close(), <-ended, ctx.Err())
}

func (c *Receiver) routedOne(m *message.Message, do effect) error {
	ctx := m.Context()
	tx, err := c.r.Base.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := do(ctx, tx, m.UUID); err != nil {
		return err
	}
	return tx.Commit()
}
