package coordinator

import (
	"fmt"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/globaltx/globaltx/gtx"
)

// BenchmarkBeginRegisterCommit is the whole life of a transaction with two
// branches, n of them per append.
func BenchmarkBeginRegisterCommit(b *testing.B) {
	for _, n := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("%d per append", n), func(b *testing.B) {
			r := benchLeader(b)
			refs := []gtx.BranchRef{ref("0b1c2d3e-0000-4000-8000-00000000000a", 1), ref("0b1c2d3e-0000-4000-8000-00000000000b", 1)}
			xs := make([]gtx.XID, 0, n)
			now := start
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(50 * time.Microsecond)
				x := r.Step(now, Begin{Key: 1})[0].(Reply).XID
				for _, ref := range refs {
					r.Step(now, Register{XID: x, Ref: ref})
				}
				r.Step(now, Commit{XID: x, Key: 1, Confirmed: refs})
				if xs = append(xs, x); len(xs) < n {
					continue
				}
				for r.flight != nil {
					r.Step(now, Landed{Seq: r.flight.prev + 1})
				}
				for _, ref := range refs {
					r.Step(now, Ack{Resource: ref.Resource, XIDs: xs})
				}
				xs = xs[:0]
				if at, ok := r.Next(); ok && !at.After(now) {
					r.Step(now, Tick{})
				}
			}
		})
	}
}

func benchLeader(b *testing.B) *Machine {
	b.Helper()
	m, err := New(Config{}, 1, testLog)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := m.Campaign(); err != nil {
		b.Fatal(err)
	}
	m.Step(start, Landed{Seq: 1})
	return m
}

// BenchmarkLive measures what 100 000 live transactions with two branches each
// hold in memory.
func BenchmarkLive(b *testing.B) {
	const n = 100_000
	heap := func() uint64 {
		var ms runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&ms)
		return ms.HeapAlloc
	}
	for b.Loop() {
		m := benchLeader(b)
		before := heap()
		for i := range n {
			x := m.Step(start, Begin{Key: 1, Timeout: time.Duration(i%1000+1) * time.Second})[0].(Reply).XID
			// Names as they come from a decoder: a string of its own each time.
			m.Step(start, Register{XID: x, Ref: ref(gtx.ResourceID(fmt.Sprintf("0b1c2d3e-0000-4000-8000-%012x", i%10)), 1)})
			m.Step(start, Register{XID: x, Ref: ref(gtx.ResourceID(fmt.Sprintf("0b1c2d3e-0000-4000-8000-%012x", i%10+1)), 1)})
		}
		b.ReportMetric(float64(heap()-before)/n, "bytes/live")
		runtime.KeepAlive(m)
	}
	b.ReportMetric(float64(unsafe.Sizeof(tx{})), "bytes/tx")
}

// BenchmarkTakeover measures from the Epoch record to the first answer with
// 100 000 adopted and 100 000 unfinished transactions.
func BenchmarkTakeover(b *testing.B) {
	const n = 100_000
	var log [][]byte
	m := benchLeader(b)
	first := &message{log: testLog, epoch: 1, writer: 1, records: []record{{kind: kindEpoch}}}
	log = append(log, first.encode())
	keep := func(actions []Action) {
		for i := 0; i < len(actions); i++ {
			if a, ok := actions[i].(Append); ok {
				log = append(log, a.Body)
				actions, i = m.Step(start, Landed{Seq: a.Prev + 1}), -1
			}
		}
	}
	a, bb := ref("a", 1), ref("b", 1)
	for i := range 2 * n {
		x := m.Step(start, Begin{})[0].(Reply).XID
		m.Step(start, Register{XID: x, Ref: a})
		m.Step(start, Register{XID: x, Ref: bb})
		if i%2 == 0 {
			keep(m.Step(start, Commit{XID: x, Confirmed: []gtx.BranchRef{a, bb}}))
		}
	}
	keep(m.Step(start, Handover{}))
	for b.Loop() {
		b.StopTimer()
		next, err := New(Config{}, 2, testLog)
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		for i, body := range log {
			if err := next.Load(uint64(i+1), start, body); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "load-ms")
		if _, err := next.Campaign(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		next.Step(start, Landed{Seq: uint64(len(log) + 1)})
		if st := next.Stats(); st.Live != n || st.Unfinished != n {
			b.Fatalf("%+v", st)
		}
	}
}

// BenchmarkAwaitAgain is a question that is repeated, as it is once a second, for
// a holder that as many as may wait for.
func BenchmarkAwaitAgain(b *testing.B) {
	m := benchLeader(b)
	holder := m.Step(start, Begin{Key: 1})[0].(Reply).XID
	for n := range uint64(maxWatchers) {
		m.Step(start, Await{Holder: holder, Nonce: n + 1})
	}
	n := uint64(0)
	for b.Loop() {
		n++
		m.Step(start, Await{Holder: holder, Nonce: n%maxWatchers + 1})
	}
}
