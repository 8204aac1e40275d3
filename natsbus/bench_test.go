//go:build unix

package natsbus_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
	"github.com/globaltx/globaltx/natsbus"
)

// BenchmarkTransactions runs whole transactions without a database: Begin, two
// Register, Commit, and phase two at both resources by a Resolver that has
// nothing to do. Clients, coordinator and server share the process; cpu-µs/tx is
// all that it used.
func BenchmarkTransactions(b *testing.B) {
	for _, clients := range []int{1, 8, 64, 256, 1024} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) { benchmarkTransactions(b, clients) })
	}
}

func benchmarkTransactions(b *testing.B, clients int) {
	bus := embedded(b, b.TempDir(), natsbus.WithCoordinator(coordinator.Config{}))
	for _, r := range []gtx.ResourceID{"a", "b"} {
		if _, err := bus.Serve(r, nothing{}); err != nil { // Close stops it
			b.Fatal(err)
		}
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	cpu := cpuTime(b)
	for range clients {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := transaction(bus); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := bus.Idle(testContext(b)); err != nil {
		b.Fatal(err)
	}
	used := cpuTime(b) - cpu
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
	b.ReportMetric(float64(used.Nanoseconds())/1e3/float64(b.N), "cpu-µs/tx")
}

func transaction(bus *natsbus.Bus) error {
	ctx := context.Background()
	xid, err := bus.Begin(ctx, gtx.BeginRequest{})
	if err != nil {
		return err
	}
	refs := []gtx.BranchRef{{Resource: "a", Branch: 1}, {Resource: "b", Branch: 2}}
	for _, ref := range refs {
		if err := bus.Register(ctx, xid, ref); err != nil {
			return err
		}
	}
	st, err := bus.Commit(ctx, xid, refs, nil)
	if err == nil && st != gtx.Committed {
		err = fmt.Errorf("commit: %s", st)
	}
	return err
}

// cpuTime is what the process has used of all cores, in user and kernel mode.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
