package natsbus_test

import (
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

// live transactions, with two branches each, that a change of leader meets.
const live = 100_000

func beginMany(b *testing.B, bus *natsbus.Bus) []gtx.XID {
	b.Helper()
	ctx := b.Context()
	xids := make([]gtx.XID, live)
	var wg sync.WaitGroup
	const workers = 256
	for w := range workers {
		wg.Go(func() {
			for i := w; i < live; i += workers {
				var err error
				xids[i], err = bus.Begin(ctx, gtx.BeginRequest{Timeout: time.Hour})
				for n := gtx.BranchID(1); n <= 2 && err == nil; n++ {
					err = bus.Register(ctx, xids[i], gtx.BranchRef{Resource: "bank-of-somewhere", Branch: n})
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
	return xids
}

// BenchmarkHandover tells how long nobody answers when the leader of 100,000 live
// transactions is stopped, until an adopted one has committed at the standby.
func BenchmarkHandover(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		url := natsServer(b) // without those of the round before
		first, second := service(b, url), service(b, url)
		bus := client(b, url)
		xids := beginMany(b, bus)
		before, err := bus.Stats(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		begun := time.Now()
		stopped := make(chan struct{})
		go func() {
			first.Stop()
			close(stopped)
		}()
		waitLeading(b, second)
		b.ReportMetric(time.Since(begun).Seconds(), "s-to-lead")
		refs := []gtx.BranchRef{{Resource: "bank-of-somewhere", Branch: 1}, {Resource: "bank-of-somewhere", Branch: 2}}
		if st, err := bus.Commit(b.Context(), xids[0], refs, nil); err != nil || st != gtx.Committed {
			b.Fatalf("commit of an adopted transaction: %s, %v", st, err)
		}
		b.ReportMetric(time.Since(begun).Seconds(), "s-to-commit")
		b.StopTimer()
		<-stopped
		after, err := bus.Stats(b.Context())
		if err != nil || after.Live != live-1 {
			b.Fatalf("%+v, %v", after, err)
		}
		b.ReportMetric(float64(after.LogSeq-before.LogSeq), "messages")
		bus.Close()
		second.Stop()
		b.StartTimer()
	}
}

// BenchmarkTakeover tells how long nobody answers when nothing is heard any more
// of the leader of 100,000 live transactions. TakeoverAfter is its default.
func BenchmarkTakeover(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		url := natsServer(b) // without those of the round before
		slow := func(c *natsbus.ServiceConfig) { c.TakeoverAfter = 0 }
		way := newLine()
		first := service(b, url, slow, func(c *natsbus.ServiceConfig) { c.Options = []nats.Option{way.option()} })
		second := service(b, url, slow)
		bus := client(b, url)
		beginMany(b, bus)
		b.StartTimer()
		begun := time.Now()
		way.holdNow()
		way.cut()
		waitLeading(b, second)
		b.ReportMetric(time.Since(begun).Seconds(), "s-to-lead")
		if _, err := bus.Begin(b.Context(), gtx.BeginRequest{}); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(begun).Seconds(), "s-to-begin")
		b.StopTimer()
		way.release()
		bus.Close()
		first.Stop()
		second.Stop()
		b.StartTimer()
	}
}
