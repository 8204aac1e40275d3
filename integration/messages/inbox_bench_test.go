package messages

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/natsbus/inbox"
)

// BenchmarkInbox is messages of 256 bytes, each of which inserts a row: through an inbox,
// and with a consumer written by hand that does the same without one, in turns. It reports
// messages a second for each second of processor time of this process (the broker is in
// it for both), and a second of the clock.
func BenchmarkInbox(b *testing.B) {
	for _, s := range servers() {
		b.Run(s.name, func(b *testing.B) {
			r := newInboxRig(b, s, open(b, s, s.dsn(b)))
			r.db.SetMaxIdleConns(16)
			const turn, workers = 1000, 8
			in := r.open(r.db, inbox.Config{})
			var mine, theirs cost
			n := 0
			for b.Loop() {
				for _, inboxed := range []bool{true, false} {
					if err := r.js.DeleteStream(b.Context(), "ORDERS"); err != nil {
						b.Fatal(err)
					}
					if _, err := r.js.CreateStream(b.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
						b.Fatal(err)
					}
					for range turn {
						n++
						if _, err := r.js.PublishAsync("orders.x", make([]byte, 256), jetstream.WithMsgID(fmt.Sprint(n))); err != nil {
							b.Fatal(err)
						}
					}
					<-r.js.PublishAsyncComplete()
					if inboxed {
						mine.add(turn, func() { r.inboxed(b, in, turn, workers) })
					} else {
						theirs.add(turn, func() { r.byHand(b, turn, workers) })
					}
				}
			}
			b.ReportMetric(mine.perCPU(), "inbox-msgs/cpu-s")
			b.ReportMetric(theirs.perCPU(), "byhand-msgs/cpu-s")
			b.ReportMetric(mine.perClock(), "inbox-msgs/s")
			b.ReportMetric(theirs.perClock(), "byhand-msgs/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func (r *inboxRig) inboxed(b *testing.B, in *inbox.Inbox, n, workers int) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	before := in.Stats().Handled
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for in.Stats().Handled < before+uint64(n) && ctx.Err() == nil {
			<-tick.C
		}
		cancel()
	}()
	if err := in.Consume(ctx, inbox.Source{Stream: "ORDERS", Workers: workers}, r.effect); err != nil {
		b.Error(err)
	}
}

func (r *inboxRig) byHand(b *testing.B, n, workers int) {
	c, err := r.js.CreateConsumer(b.Context(), "ORDERS", jetstream.ConsumerConfig{Durable: "hand", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		b.Fatal(err)
	}
	iter, err := c.Messages(jetstream.PullMaxMessages(workers))
	if err != nil {
		b.Fatal(err)
	}
	defer iter.Stop()
	text := "INSERT INTO effect (uid, id) VALUES (" + r.s.holder(1) + ", " + r.s.holder(2) + ")"
	var left atomic.Int64
	left.Store(int64(n))
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				msg, err := iter.Next()
				if err != nil {
					b.Error(err)
					return
				}
				tx, err := r.db.BeginTx(b.Context(), nil)
				if err == nil {
					if _, err = tx.ExecContext(b.Context(), text, rand.Text(), msg.Headers().Get(jetstream.MsgIDHeader)); err == nil {
						err = tx.Commit()
					}
				}
				if err != nil {
					b.Error(err)
					return
				}
				_ = msg.Ack()
			}
		})
	}
	wg.Wait()
}

// cost sums what work has taken.
type cost struct {
	messages   int
	cpu, clock time.Duration
}

func (c *cost) add(n int, work func()) {
	cpu, clock := cpuTime(), time.Now()
	work()
	c.messages += n
	c.cpu += cpuTime() - cpu
	c.clock += time.Since(clock)
}

func (c *cost) perCPU() float64   { return float64(c.messages) / c.cpu.Seconds() }
func (c *cost) perClock() float64 { return float64(c.messages) / c.clock.Seconds() }

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
