package compare

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/natsbus/outbox"
)

// relaying empties an outbox into a stream.
type relaying struct {
	r       *Rig
	db      *sql.DB
	stream  string
	tables  []string // to begin with: the messages, and what else tells of them
	emptied bool     // the relay deletes what it has published
	// lanes is in how many the messages are in order: message i is in lane i % lanes.
	// None: no order.
	lanes   int
	publish func(ctx context.Context, tx *sql.Tx, seq int) error
	run     func(ctx context.Context, n int) error
}

// keys is how many keys messages have, where they have any.
const keys = 1000

// Relays publish a backlog to a stream, until the stream has all of it.
func Relays(ctx context.Context, r *Rig) ([]Contestant, error) {
	if err := r.exec(ctx, r.handTable()); err != nil {
		return nil, err
	}
	box, err := outbox.Open(ctx, r.Ours, outbox.Config{})
	if err != nil {
		return nil, err
	}
	all := []*relaying{
		{stream: "HAND", db: r.Base, tables: []string{"hand_outbox"}, emptied: true, publish: r.handPublish, run: func(ctx context.Context, _ int) error {
			return r.handRelay(ctx, r.JS)
		}},
		r.ours(box, 0),
		r.ours(box, keys),
	}
	names := []string{"by hand", "outbox, no keys", fmt.Sprintf("outbox, %d keys", keys)}
	if !r.NoWatermill {
		w, err := newWater(ctx, r)
		if err != nil {
			return nil, err
		}
		names = append(names, "Watermill")
		all = append(all, &relaying{stream: "WATERMILL", db: r.Base, tables: []string{w.table, w.acked}, lanes: 1, publish: w.publish, run: func(ctx context.Context, n int) error {
			return w.forward(ctx, func(ctx context.Context) error { return r.arrived(ctx, "WATERMILL", n) })
		}})
	}
	var list []Contestant
	for i, c := range all {
		c.r = r
		list = append(list, Contestant{names[i], c.prepare, c.run, c.check})
	}
	return list, nil
}

func (r *Rig) ours(box *outbox.Outbox, lanes int) *relaying {
	return &relaying{
		stream: "OURS", db: r.Ours, tables: []string{"gtx_outbox"}, emptied: true, lanes: lanes,
		publish: func(ctx context.Context, tx *sql.Tx, seq int) error {
			m := outbox.Message{Subject: oursSubject, Body: body(seq)}
			if lanes > 0 {
				m.Key = fmt.Sprint("key", seq%lanes)
			}
			_, err := box.Publish(ctx, tx, m)
			return err
		},
		run: func(ctx context.Context, n int) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- box.Relay(ctx, r.Conn) }()
			if err := r.arrived(ctx, "OURS", n); err != nil {
				return err
			}
			cancel() // it ends what it has in hand
			return <-ended
		},
	}
}

// arrived waits until a stream has n messages.
func (r *Rig) arrived(ctx context.Context, name string, n int) error {
	s, err := r.JS.Stream(ctx, name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		info, err := s.Info(ctx)
		if err != nil {
			return fmt.Errorf("wait for %d messages: %w", n, err)
		}
		if info.State.LastSeq >= uint64(n) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d messages: %w", info.State.LastSeq, n, ctx.Err())
		}
	}
}

func (c *relaying) prepare(ctx context.Context, n int) error {
	// A stream for each: what one has left must cost nobody else.
	for _, name := range []string{"HAND", "OURS", "WATERMILL"} {
		if err := c.r.unstream(ctx, name); err != nil {
			return err
		}
	}
	if err := c.r.stream(ctx, c.stream); err != nil {
		return err
	}
	if err := c.r.empty(ctx, c.tables...); err != nil {
		return err
	}
	for seq := 0; seq < n; {
		tx, err := c.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		for end := min(n, seq+1000); seq < end; seq++ {
			if err := c.publish(ctx, tx, seq); err != nil {
				return fmt.Errorf("publish: %w", err)
			}
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// check reads the stream: every message once, in the order that is promised.
func (c *relaying) check(ctx context.Context, n int) error {
	if c.emptied {
		if err := c.r.rows(ctx, c.tables[0], 0); err != nil {
			return err
		}
	}
	cons, err := c.r.JS.OrderedConsumer(ctx, c.stream, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	iter, err := cons.Messages()
	if err != nil {
		return err
	}
	defer iter.Stop()
	seen, last := make([]bool, n), map[int]int{}
	for range n {
		m, err := iter.Next(jetstream.NextMaxWait(30 * time.Second))
		if err != nil {
			return fmt.Errorf("read stream: %w", err)
		}
		seq, err := seqOf(m.Data())
		if err != nil || seq >= n || seen[seq] {
			return fmt.Errorf("message %d came twice, or none is it (%w)", seq, err)
		}
		seen[seq] = true
		if c.lanes == 0 {
			continue
		}
		lane := seq % c.lanes
		if before, ok := last[lane]; ok && before > seq {
			return fmt.Errorf("message %d came before %d", before, seq)
		}
		last[lane] = seq
	}
	info, err := c.r.JS.Stream(ctx, c.stream)
	if err != nil {
		return err
	}
	if got := info.CachedInfo().State.Msgs; got != uint64(n) {
		return fmt.Errorf("stream %s has %d messages, want %d", strings.ToLower(c.stream), got, n)
	}
	return nil
}
