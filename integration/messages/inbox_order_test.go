package messages

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/natsbus/inbox"
)

// orderCheck is a table with the last message of each key.
type orderCheck struct {
	r     *inboxRig
	wrong atomic.Int32
}

func newOrderCheck(r *inboxRig, keys int) *orderCheck {
	mustExec(r.t, r.db, "CREATE TABLE line (k integer PRIMARY KEY, last integer NOT NULL)")
	for k := range keys {
		mustExec(r.t, r.db, fmt.Sprintf("INSERT INTO line VALUES (%d, 0)", k))
	}
	return &orderCheck{r: r}
}

// step is a handler: a message says key and number, and the number must be the next.
func (o *orderCheck) step(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
	key, num, _ := strings.Cut(string(m.Body), " ")
	n, err := strconv.Atoi(num)
	if err != nil {
		return err
	}
	var last int
	if err := tx.QueryRowContext(ctx, "SELECT last FROM line WHERE k = "+key).Scan(&last); err != nil {
		return err
	}
	if n != last+1 {
		o.wrong.Add(1)
		o.r.t.Errorf("message %d of key %s comes after %d", n, key, last)
	}
	if err := o.r.effect(ctx, tx, m); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, fmt.Sprintf("UPDATE line SET last = %d WHERE k = %s", n, key))
	return err
}

// TestInboxOrdered: two processes on the lanes of one inbox, with handlers that fail and
// panic, one that stands still in the middle for longer than AckWait and then goes on, and
// another that is stopped. The order of each key is that of the stream, nothing is lost and
// nothing happens twice.
func TestInboxOrdered(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		dsn := s.dsn(t)
		r := newInboxRig(t, s, open(t, s, dsn))
		const keys, each = 4, 12
		o := newOrderCheck(r, keys)
		for n := 1; n <= each; n++ {
			for k := range keys {
				r.publish(fmt.Sprintf("orders.%d.x", k%2), "", fmt.Appendf(nil, "%d %d", k, n))
			}
		}
		seed := rand.Uint64()
		t.Log("seed", seed)
		var stood atomic.Bool
		release := make(chan struct{})
		fn := func(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
			rnd := rand.New(rand.NewPCG(seed, m.Deliveries<<32^uint64(m.Time.UnixNano())))
			if err := o.step(ctx, tx, m); err != nil {
				return err
			}
			if string(m.Body) == "1 3" && stood.CompareAndSwap(false, true) {
				select {
				case <-release:
				case <-ctx.Done():
				}
			}
			switch rnd.IntN(12) {
			case 0:
				return errUndo
			case 1:
				panic("now and then")
			}
			return nil
		}
		src := inbox.Source{Ordered: true, Lanes: []string{"orders.0.>", "orders.1.>"}, AckWait: time.Second}
		var ins []*inbox.Inbox
		var stops []func()
		for range 2 {
			in := r.open(open(t, s, dsn), inbox.Config{JetStream: r.b.jetStream(t), MaxTries: 1000, Wait: time.Second})
			ins = append(ins, in)
			stops = append(stops, r.consume(in, src, fn))
		}
		eventually(t, "one stands still", stood.Load)
		// The server has handed it to nobody else, because heartbeats go on; the other lane
		// goes on where the database lets two write.
		if s.driver != "gtx-sqlite" {
			eventually(t, "the other lane is done", func() bool { return r.number("SELECT min(last) FROM line WHERE k IN (0, 2)") == each })
		}
		close(release)
		eventually(t, "some are handled", func() bool { return ins[0].Stats().Handled+ins[1].Stats().Handled > keys*each/2 })
		stops[0]()
		eventually(t, "all are handled", func() bool { return r.number("SELECT min(last) FROM line") == each })
		stops[1]()
		r.once(keys * each)
	})
}

// TestInboxStandsStill: a process hears nothing and says nothing for longer than AckWait,
// with the message in its hands; another gets it and what follows. The first then goes on.
func TestInboxStandsStill(t *testing.T) {
	for _, s := range servers()[1:] { // SQLite would let nobody else write meanwhile
		t.Run(s.name, func(t *testing.T) {
			r := newInboxRig(t, s, open(t, s, s.dsn(t)))
			o := newOrderCheck(r, 1)
			for n := 1; n <= 5; n++ {
				r.publish("orders.x", "", fmt.Appendf(nil, "0 %d", n))
			}
			c, err := r.js.CreateConsumer(t.Context(), "ORDERS", jetstream.ConsumerConfig{
				Durable: "billing", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second, MaxAckPending: 1,
			})
			if err != nil {
				t.Fatal(err)
			}
			still := r.open(r.db, inbox.Config{Heartbeat: time.Hour})
			first := r.next(c)
			inside, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
			go func() {
				done <- still.Handle(t.Context(), first, func(ctx context.Context, tx *sql.Tx) error {
					err := o.step(ctx, tx, &inbox.Message{ID: "first", Body: first.Data()})
					close(inside)
					select {
					case <-release:
					case <-ctx.Done():
					}
					return err
				})
			}()
			<-inside
			var waits atomic.Int32
			other := r.open(r.db, inbox.Config{Wait: 100 * time.Millisecond})
			r.consume(other, inbox.Source{Ordered: true}, func(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
				waits.Add(1)
				return o.step(ctx, tx, m)
			})
			// The other gets it, and cannot run it.
			eventually(t, "the other has met the row", func() bool { return other.Stats().Failed > 0 })
			if waits.Load() > 0 {
				t.Error("a message runs twice at a time, or too early")
			}
			close(release)
			if err := <-done; err != nil {
				t.Error(err)
			}
			eventually(t, "all are handled", func() bool { return r.number("SELECT last FROM line") == 5 })
			r.once(5)
		})
	}
}

// TestInboxWorkers: without order, many at a time, two processes, handlers that fail, and
// a broker that is started anew in the middle.
func TestInboxWorkers(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		dsn := s.dsn(t)
		r := newInboxRig(t, s, open(t, s, dsn))
		const n = 300
		for i := range n {
			r.publish("orders.x", fmt.Sprint(i), nil)
		}
		var calls atomic.Int32
		var ins []*inbox.Inbox
		for range 2 {
			db := open(t, s, dsn)
			if s.driver == "gtx-sqlite" {
				db.SetMaxOpenConns(1) // as many programs do
			}
			in := r.open(db, inbox.Config{JetStream: r.b.jetStream(t), MaxTries: 1000})
			ins = append(ins, in)
			r.consume(in, inbox.Source{AckWait: 2 * time.Second}, func(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
				if err := r.effect(ctx, tx, m); err != nil {
					return err
				}
				if calls.Add(1)%9 == 0 {
					return errUndo
				}
				return nil
			})
		}
		eventually(t, "some are handled", func() bool { return ins[0].Stats().Handled+ins[1].Stats().Handled > n/4 })
		r.b.stop()
		r.b.start(t)
		eventually(t, "all are handled", func() bool { return r.number("SELECT count(*) FROM effect") >= n })
		eventually(t, "nothing is left", func() bool {
			lag, err := ins[0].Lag(t.Context())
			return err == nil && lag == inbox.Lag{}
		})
		r.once(n)
	})
}

// TestInboxUnfit: a durable consumer that gives up, or keeps no order, is refused, and so
// is a dead-letter subject that the inbox would consume.
func TestInboxUnfit(t *testing.T) {
	s := servers()[0]
	r := newInboxRig(t, s, open(t, s, s.dsn(t)))
	for name, cfg := range map[string]jetstream.ConsumerConfig{
		"gives up": {AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 5, MaxAckPending: 1},
		"no order": {AckPolicy: jetstream.AckExplicitPolicy},
		"acks all": {AckPolicy: jetstream.AckAllPolicy, MaxAckPending: 1},
		"filters":  {AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 1, FilterSubject: "orders.new"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Durable = strings.ReplaceAll(name, " ", "-")
			if _, err := r.js.CreateConsumer(t.Context(), "ORDERS", cfg); err != nil {
				t.Fatal(err)
			}
			in := r.open(r.db, inbox.Config{})
			if err := in.Consume(t.Context(), inbox.Source{Stream: "ORDERS", Durable: cfg.Durable, Ordered: true}, r.effect); err == nil {
				t.Error("accepted")
			}
		})
	}
	for name, cfg := range map[string]inbox.Config{
		"itself": {DeadSubject: "orders.dead"}, "nobody": {DeadSubject: "nobody.listens"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := r.open(r.db, cfg).Consume(t.Context(), inbox.Source{Stream: "ORDERS"}, r.effect); err == nil {
				t.Error("accepted")
			}
		})
	}
	t.Run("deleted", func(t *testing.T) {
		in, done := r.open(r.db, inbox.Config{Name: "gone"}), make(chan error, 1)
		go func() { done <- in.Consume(t.Context(), inbox.Source{Stream: "ORDERS"}, r.effect) }()
		r.publish("orders.new", "", nil)
		eventually(t, "consumes", func() bool { return in.Stats().Handled > 0 })
		if err := r.js.DeleteConsumer(t.Context(), "ORDERS", "gone"); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, jetstream.ErrConsumerDeleted) && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			t.Errorf("got %v", err)
		}
	})
}
