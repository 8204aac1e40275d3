package inbox

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

type counts struct{ handled, duplicates, failed, dead, replayed, purged atomic.Uint64 }

// Stats counts what this Inbox has done since Open.
type Stats struct {
	Handled    uint64 // messages that took effect
	Duplicates uint64 // deliveries of messages that had taken effect before
	Failed     uint64 // tries that failed
	Dead       uint64 // messages put aside
	Replayed   uint64 // of those that are put aside, handled after all
	Purged     uint64 // rows removed because of Config.Keep and KeepDead
}

// Stats asks nobody and is cheap.
func (in *Inbox) Stats() Stats {
	c := &in.counts
	return Stats{c.handled.Load(), c.duplicates.Load(), c.failed.Load(), c.dead.Load(), c.replayed.Load(), c.purged.Load()}
}

// Lag is what an inbox has before it.
type Lag struct {
	Pending uint64 // not delivered to anybody
	Unacked uint64 // being handled, or waiting for the next try
	Dead    uint64 // put aside
	// Oldest is when the oldest message that is not done with was stored; zero where there
	// is none.
	Oldest time.Time
}

// Lag asks the server and the database. Messages in the stream are told while Consume runs
// here, else Dead alone.
func (in *Inbox) Lag(ctx context.Context) (Lag, error) {
	var l Lag
	err := in.db.QueryRowContext(ctx, in.s.text("SELECT count(*) FROM "+in.s.n.dead+" WHERE consumer = ?"), in.cfg.Name).Scan(&l.Dead)
	if err != nil {
		return l, fmt.Errorf("count dead messages: %w", err)
	}
	in.mu.Lock()
	lanes := in.lanes
	in.mu.Unlock()
	for _, lane := range lanes {
		if err := lane.lag(ctx, &l); err != nil {
			return l, err
		}
	}
	return l, nil
}

func (l *lane) lag(ctx context.Context, sum *Lag) error {
	info, err := l.cons.Info(ctx)
	if err != nil {
		return fmt.Errorf("ask for durable consumer: %w", err)
	}
	sum.Pending += info.NumPending
	sum.Unacked += uint64(info.NumAckPending)
	if info.NumPending == 0 && info.NumAckPending == 0 {
		return nil
	}
	filters := l.filters
	if len(filters) == 0 {
		filters = []string{">"}
	}
	for _, f := range filters {
		msg, err := l.stream.GetMsg(ctx, info.AckFloor.Stream+1, jetstream.WithGetMsgSubject(f))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
		case err != nil:
			return fmt.Errorf("read oldest message: %w", err)
		case sum.Oldest.IsZero() || msg.Time.Before(sum.Oldest):
			sum.Oldest = msg.Time
		}
	}
	return nil
}
