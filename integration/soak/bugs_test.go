package soak

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/natsbus/outbox"
)

// dieAt is the message at which a process with a bug dies, so that it shows.
const dieAt = 20

// loop hands out messages without Consume.
type loop struct {
	db   *sql.DB
	js   jetstream.JetStream
	dies bool
	n    int
}

var consumerBugs = map[string]func(context.Context, *loop){
	"acknowledges before it commits": func(ctx context.Context, c *loop) {
		c.each(ctx, func(msg jetstream.Msg) error {
			if err := msg.DoubleAck(ctx); err != nil {
				return err
			}
			c.mayDie()
			return c.effect(ctx, msg)
		})
	},
	"does not know what comes again": func(ctx context.Context, c *loop) {
		c.each(ctx, func(msg jetstream.Msg) error {
			if err := c.effect(ctx, msg); err != nil {
				return err
			}
			c.mayDie()
			return msg.DoubleAck(ctx)
		})
	},
}

func (c *loop) mayDie() {
	if c.n++; c.dies && c.n == dieAt {
		dieSelf()
	}
}

func (c *loop) effect(ctx context.Context, msg jetstream.Msg) error {
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := take(ctx, tx, msg.Data()); err != nil {
		return err
	}
	return tx.Commit()
}

// each hands out messages in the order of the stream.
func (c *loop) each(ctx context.Context, handle func(jetstream.Msg) error) {
	var iter jetstream.MessagesContext
	persist(ctx, "make consumer", func(ctx context.Context) error {
		cons, err := c.js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
			Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Second, MaxAckPending: 1,
		})
		if err == nil {
			iter, err = cons.Messages()
		}
		return err
	})
	for {
		msg, err := iter.Next()
		if err == nil {
			err = handle(msg)
		}
		if err != nil {
			slog.Warn("handle", "err", err)
			await(ctx, 10*time.Millisecond)
		}
	}
}

// buggyRelay is a relay as it must not be.
type buggyRelay struct {
	db   *sql.DB
	js   jetstream.JetStream
	dies bool
	n    int
}

var relayBugs = map[string]func(context.Context, *buggyRelay){
	"removes before it publishes": func(ctx context.Context, r *buggyRelay) {
		r.batches(ctx, "pos, id", func(list []*nats.Msg, ids []string) error {
			if err := r.remove(ctx, ids); err != nil {
				return err
			}
			r.mayDie(len(list))
			return r.publish(ctx, list)
		})
	},
	"publishes without an id": func(ctx context.Context, r *buggyRelay) {
		r.batches(ctx, "pos, id", func(list []*nats.Msg, ids []string) error {
			for _, m := range list {
				m.Header.Del(outbox.HeaderID)
			}
			if err := r.publish(ctx, list); err != nil {
				return err
			}
			r.mayDie(len(list))
			return r.remove(ctx, ids)
		})
	},
	"keeps no order": func(ctx context.Context, r *buggyRelay) {
		r.batches(ctx, "pos DESC, id DESC", func(list []*nats.Msg, ids []string) error {
			if err := r.publish(ctx, list); err != nil {
				return err
			}
			r.mayDie(len(list))
			return r.remove(ctx, ids)
		})
	},
}

func (r *buggyRelay) mayDie(messages int) {
	if r.n += messages; r.dies && r.n >= dieAt {
		dieSelf()
	}
}

// batches hands out what waits, for ever.
func (r *buggyRelay) batches(ctx context.Context, order string, relay func(list []*nats.Msg, ids []string) error) {
	for await(ctx, 5*time.Millisecond) {
		list, ids, err := r.batch(ctx, order)
		if err == nil && len(list) > 0 {
			err = relay(list, ids)
		}
		if err != nil {
			slog.Warn("relay", "err", err)
		}
	}
}

func (r *buggyRelay) batch(ctx context.Context, order string) (list []*nats.Msg, ids []string, err error) {
	rows, err := r.db.QueryContext(ctx, "SELECT id, subject, okey, body FROM gtx_outbox ORDER BY "+order+" LIMIT 10")
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id, key string
		m := &nats.Msg{}
		if err := rows.Scan(&id, &m.Subject, &key, &m.Data); err != nil {
			return nil, nil, err
		}
		m.Header = nats.Header{outbox.HeaderID: {id}, outbox.HeaderKey: {key}, outbox.HeaderSource: {"soak"}}
		list, ids = append(list, m), append(ids, id)
	}
	return list, ids, rows.Err()
}

func (r *buggyRelay) publish(ctx context.Context, list []*nats.Msg) error {
	for _, m := range list {
		if _, err := r.js.PublishMsg(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (r *buggyRelay) remove(ctx context.Context, ids []string) error {
	_, err := r.db.ExecContext(ctx, "DELETE FROM gtx_outbox WHERE id IN ('"+strings.Join(ids, "', '")+"')")
	return err
}

// TestSoakFindsBugs runs relays and consumers with a bug, each of which dies once in the
// middle: the judge must see what comes of it.
func TestSoakFindsBugs(t *testing.T) {
	for _, c := range []struct {
		relay, consumer string
		want            func(f *findings) int
	}{
		{"", "acknowledges before it commits", func(f *findings) int { return f.lost }},
		{"", "does not know what comes again", func(f *findings) int { return f.doubled }},
		{"removes before it publishes", "", func(f *findings) int { return f.lost }},
		{"publishes without an id", "", func(f *findings) int { return f.doubled }},
		{"keeps no order", "", func(f *findings) int { return f.disordered }},
	} {
		t.Run(c.relay+c.consumer, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t.Context(), t, plan{
				from: "sqlite", to: "sqlite", workers: 2, lanes: 1, senders: 1, limit: 4 * dieAt, relayBug: c.relay, consumerBug: c.consumer, seed: 1,
			})
			f, err := w.ail(t.Context())
			if err != nil {
				t.Fatalf("%v\n%s", err, w.state(t.Context()))
			}
			if c.want(f) == 0 {
				t.Errorf("the judge says: %v", f)
			}
		})
	}
}

// ail runs a world with a bug until the process that has it has died, and all that it can
// bring through is through.
func (w *world) ail(ctx context.Context) (*findings, error) {
	ctx, cancel := context.WithTimeout(ctx, stall)
	defer cancel()
	role := "relay"
	if w.plan.consumerBug != "" {
		role = "consumer"
	}
	s := w.role(role)[0]
	w.order(orderGo)
	select {
	case <-s.proc.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the death of the %s: %w", role, ctx.Err())
	}
	if err := w.start(s); err != nil {
		return nil, err
	}
	if err := w.drain(ctx); err != nil {
		return nil, err
	}
	return judge(w.evidence(ctx)), nil
}
