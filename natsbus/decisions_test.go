package natsbus

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
	"github.com/globaltx/globaltx/internal/testserver/natstest"
)

// BenchmarkDecisions measures what the machine and the log do without clients
// and network: one operation is one durable decision, with that many commits
// waiting at a time. Beside every append the same number of bytes is written to
// a file in the same directory and synced: decisions/fsync says how many times
// the raw rate of the disk the log reaches, fsync/s is that rate.
func BenchmarkDecisions(b *testing.B) {
	for _, servers := range []int{1, 3} {
		for _, waiting := range []int{1, 8, 64, 256} {
			b.Run(fmt.Sprintf("R%d/c=%d", servers, waiting), func(b *testing.B) {
				benchDecisions(b, natstest.Start(b, servers), servers, waiting)
			})
		}
	}
}

func benchDecisions(b *testing.B, c *natstest.Cluster, replicas, waiting int) {
	cfg := logConfig(replicas)
	cfg.MaxBytes = 512 << 20
	nc := logConn(b, c.URL())
	l, err := openLog(logContext(b), nc, cfg)
	if err != nil {
		b.Fatal(err)
	}
	d := drive(b, l)
	raw, err := os.Create(filepath.Join(c.Nodes()[0].StoreDir, "raw"))
	if err != nil {
		b.Fatal(err)
	}
	defer raw.Close()
	ref := gtx.BranchRef{Resource: "orders", Branch: 1}
	begin := func() {
		xid := d.step(coordinator.Begin{Timeout: time.Hour})
		d.step(coordinator.Register{XID: xid, Ref: ref})
		d.step(coordinator.Commit{Call: "commit", XID: xid, Confirmed: []gtx.BranchRef{ref}})
	}
	for range waiting {
		begin()
	}
	var syncs, decided, bytes int
	var inRaw time.Duration
	b.ResetTimer()
	start := time.Now()
	for decided < b.N {
		body := d.pending[0].Body
		if e := d.try(); e == (coordinator.Unclear{}) {
			continue
		}
		var xids []gtx.XID
		for xid := range d.told {
			xids = append(xids, xid)
			begin()
		}
		clear(d.told)
		decided += len(xids)
		d.step(coordinator.Ack{Resource: ref.Resource, XIDs: xids})

		at := time.Now()
		if _, err := raw.Write(body); err != nil {
			b.Fatal(err)
		}
		if err := raw.Sync(); err != nil {
			b.Fatal(err)
		}
		inRaw += time.Since(at)
		syncs++
		bytes += len(body)
	}
	own := time.Since(start) - inRaw
	b.StopTimer()
	perSec, rawSec := float64(decided)/own.Seconds(), float64(syncs)/inRaw.Seconds()
	b.ReportMetric(perSec, "decisions/s")
	b.ReportMetric(rawSec, "fsync/s")
	b.ReportMetric(perSec/rawSec, "decisions/fsync")
	b.ReportMetric(float64(bytes)/float64(syncs), "B/append")
}

// BenchmarkLoad measures how long a coordinator reads a log of 1,000,000
// commits, 64 in a message, before it can lead.
func BenchmarkLoad(b *testing.B) {
	const messages, each = 1_000_000 / 64, 64
	c := natstest.Start(b, 1, natstest.Lazy(0)) // only the writing is faster
	cfg := logConfig(1)
	cfg.MaxBytes = 900 << 20
	l, err := openLog(logContext(b), logConn(b, c.URL()), cfg)
	if err != nil {
		b.Fatal(err)
	}
	d := drive(b, l)
	d.fill(messages, each)
	for b.Loop() {
		m, err := l.open(d.ctx, freshMachine)
		if err != nil {
			b.Fatal(err)
		}
		if err := d.check(m); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(messages*each*float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}
