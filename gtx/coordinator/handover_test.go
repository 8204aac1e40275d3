package coordinator

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
)

// handOver freezes r and performs everything up to its end.
func (r *rig) handOver() {
	r.t.Helper()
	r.step(Handover{})
	r.land()
	r.wantDown(ErrHandedOver)
}

func TestO2TheNextLeaderAdopts(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	ended := r.begin(a1)
	r.rollback(ended)
	old := r.begin(a1, b1)
	c := r.call()
	r.step(Begin{Call: c, Timeout: 10 * time.Second, First: ended, Key: 7})
	x := r.answer(c).XID
	r.pass(4 * time.Second)
	r.handOver()

	next := lead(t, log, 2, some)
	next.want(x, gtx.Pending)
	if st := next.m.Stats(); st.Live != 2 {
		t.Errorf("stats %+v", st)
	}
	// Branches, key and age are those of before.
	if err := next.register(x, b1); err != nil {
		t.Error(err)
	}
	if a := next.answer(next.commit(x, []gtx.BranchRef{b1}, nil)); !errors.Is(a.Err, ErrNotOwner) {
		t.Errorf("commit without the key: %+v", a)
	}
	if _, answered := next.await(x, old, 1); answered {
		t.Error("the second try of an older transaction did not wait")
	}
	cc := next.commit(old, []gtx.BranchRef{a1, b1}, nil)
	next.land()
	if a := next.answer(cc); a.Status != gtx.Committed {
		t.Errorf("commit of an adopted one: %+v", a)
	}
	next.pass(6*time.Second - 1)
	next.want(x, gtx.Pending)
	next.pass(1) // what was left of its ten seconds
	next.want(x, gtx.Aborted)

	// Every later reader believes the adopter's record (rule L7).
	last := lead(t, log, 3, some)
	last.want(old, gtx.Committed)
	last.want(x, gtx.Aborted)
}

func TestO2FrozenIsSilent(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	x, y, holder := r.begin(a1), r.begin(a1), r.begin(a1)
	waits, _ := r.await(gtx.XID{}, holder, 1)
	under := r.commit(x, []gtx.BranchRef{a1}, nil)  // its append is outstanding
	queued := r.commit(y, []gtx.BranchRef{a1}, nil) // waits for the next one
	r.step(Handover{})
	if a := r.answer(waits); !errors.Is(a.Err, ErrNotLeader) {
		t.Errorf("watcher: %+v", a)
	}
	r.calls++
	for _, e := range []Event{
		Begin{Call: r.calls},
		Register{Call: r.calls, XID: holder, Ref: a1},
		Commit{Call: r.calls, XID: holder},
		Rollback{Call: r.calls, XID: holder},
		Outcome{Call: r.calls, XID: x},
		Await{Call: r.calls, Holder: x},
		Ack{Call: r.calls, Resource: "a", XIDs: []gtx.XID{x}},
		Hello{Call: r.calls, Resource: "a"},
		Scan{Call: r.calls, Resource: "a", Worker: 1, For: time.Second},
	} {
		delete(r.replies, r.calls)
		r.step(e)
		if a := r.answer(r.calls); !errors.Is(a.Err, ErrNotLeader) || a.Status != gtx.Pending {
			t.Errorf("%T while frozen: %+v", e, a)
		}
	}
	r.pushes = nil
	r.pass(time.Hour) // no deadline passes
	if len(r.pushes) != 0 {
		t.Errorf("pushed %+v", r.pushes)
	}
	if _, ok := r.m.Next(); ok {
		t.Error("wants a tick")
	}
	r.append = nil
	r.step(Unclear{}) // rule L4 holds to the end
	r.land()
	for _, c := range []int{under, queued} {
		if a := r.answer(c); a.Status != gtx.Committed {
			t.Errorf("commit that waited: %+v", a)
		}
	}
	r.wantDown(ErrHandedOver)
	next := lead(t, log, 2, some)
	next.want(x, gtx.Committed)
	next.want(y, gtx.Committed)
	if _, ok := next.m.txs[key{holder.Epoch, holder.Seq}]; !ok {
		t.Error("not adopted: its deadline had passed while it was frozen, and the adopter is to say so")
	}
}

func TestO2OnlyTheVeryNextEpochAdopts(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	x := r.begin(a1)
	r.handOver()
	// Two candidates behind the table: the one that loses must not adopt.
	p, q := follow(t, log, 2, some), follow(t, log, 3, some)
	p.land()
	p.want(x, gtx.Pending)
	q.land()
	q.want(x, gtx.Aborted)
	if st := q.m.Stats(); st.Live != 0 {
		t.Errorf("adopted twice: %+v", st)
	}
	// The first is deposed and finds out.
	c := p.commit(x, []gtx.BranchRef{a1}, nil)
	p.land()
	p.wantDown(ErrFenced)
	if a := p.answer(c); a.Err == nil {
		t.Errorf("answered %+v", a)
	}
}

func TestO2AnyRecordBehindTheTableDropsIt(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	x := r.begin(a1)
	r.handOver()
	seq, hash := r.m.Position()
	behind := message{log: testLog, epoch: 1, prev: seq, writer: 1, chain: hash} // a barrier
	*log = append(*log, behind.encode())
	lead(t, log, 2, some).want(x, gtx.Aborted)
}

func TestO2TableOfManyMessages(t *testing.T) {
	for _, cut := range []int{0, 1, 3} {
		t.Run(fmt.Sprintf("%d messages lost", cut), func(t *testing.T) {
			log := new([][]byte)
			cfg := some
			cfg.MaxBatch = 1 << 10
			r := lead(t, log, 1, cfg)
			var xs []gtx.XID
			for i := range 100 {
				xs = append(xs, r.begin(a1, ref(gtx.ResourceID(fmt.Sprint("resource ", i)), 1)))
			}
			before := len(*log)
			r.step(Handover{})
			for range 3 { // ambiguous: repeated, and answers nothing
				r.append = nil
				r.step(Unclear{})
			}
			r.land()
			if n := len(*log) - before; n < 8 {
				t.Fatalf("%d messages", n)
			}
			for _, body := range (*log)[before:] {
				if len(body) > cfg.MaxBatch+headerLen+trailerLen {
					t.Errorf("message of %d bytes", len(body))
				}
			}
			*log = (*log)[:len(*log)-cut] // the leader died before
			want := gtx.Pending
			if cut > 0 {
				want = gtx.Aborted
			}
			next := lead(t, log, 2, cfg)
			for _, x := range xs {
				next.want(x, want)
			}
			if cut > 0 && len(next.m.resources) != 0 {
				t.Errorf("%d resources are left of the incomplete table", len(next.m.resources))
			}
		})
	}
}

func TestO2HandedOverTwice(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	x, y := r.begin(a1), r.begin(a1)
	for writer := uint64(2); writer < 6; writer++ {
		r.handOver()
		r = lead(t, log, writer, some)
		r.want(x, gtx.Pending)
	}
	r.handOver()
	r = lead(t, log, 6, some)
	r.want(y, gtx.Pending)
	c := r.commit(x, []gtx.BranchRef{a1}, nil)
	r.land()
	if a := r.answer(c); a.Status != gtx.Committed {
		t.Errorf("commit after many hand-overs: %+v", a)
	}
	next := lead(t, log, 7, some)
	next.want(x, gtx.Committed)
	next.want(y, gtx.Aborted)
}

func TestO2ACrashAfterTheAdoptionAborts(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	x := r.begin(a1)
	r.handOver()
	adopter := lead(t, log, 2, some)
	adopter.commit(x, []gtx.BranchRef{a1}, nil)
	late := *adopter.append
	next := lead(t, log, 3, some)
	next.want(x, gtx.Aborted)
	if next.store(late) {
		t.Fatal("the fence let a late commit in")
	}
	*log = append(*log, late.Body) // the server lets it in behind the fence
	lead(t, log, 4, some).want(x, gtx.Aborted)
}

// TestL7ReadersRefuseACommitOfAFormerEpoch: only what the leader has adopted.
func TestL7ReadersRefuseACommitOfAFormerEpoch(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	x := r.begin(a1)
	r.handOver()
	lead(t, log, 2, some)
	next := lead(t, log, 3, some) // a second Epoch record drops what the first adopted
	seq, hash := next.m.Position()
	forged := message{log: testLog, epoch: 3, prev: seq, writer: 3, chain: hash, records: []record{
		{kind: kindCommit, epoch: x.Epoch, seq: x.Seq, participants: []gtx.ResourceID{"a"}},
	}}
	m, err := New(some, 4, testLog)
	if err != nil {
		t.Fatal(err)
	}
	for i, body := range append(*log, forged.encode()) {
		err = m.Load(uint64(i+1), start, body)
	}
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("load: %v", err)
	}
}

func TestO2TheCutDoesNotSplitAnAdoption(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, short)
	held, late := r.begin(a1), r.begin(a1)
	r.finished(3)
	r.handOver()
	table := uint64(len(*log))
	r = followAt(t, log, 2, short, r.now)
	r.land()
	r.finished(50)
	if upTo := slices.Max(append(r.purges, 0)); upTo >= table {
		t.Fatalf("purged %d, the table is at %d", upTo, table)
	}
	c := r.commit(late, []gtx.BranchRef{a1}, nil)
	r.rollback(held)
	r.land()
	if a := r.answer(c); a.Status != gtx.Committed {
		t.Fatalf("commit: %+v", a)
	}
	r.ack(late, "a")
	commit := uint64(len(*log))
	// Wherever the log is cut later, it can be read.
	seen := map[string]bool{}
	for i := range 400 {
		r.finished(1)
		cut := slices.Max(append(r.purges, 0))
		seen[fmt.Sprint(cut >= table, cut >= commit)] = true
		if i%20 == 0 {
			part := slices.Clone(*log)
			clear(part[:cut])
			next := followAt(t, &part, 3, short, r.now)
			next.land()
			if st := next.outcome(late); st != gtx.Committed && st != gtx.Expired {
				t.Fatalf("cut at %d: %s", cut, st)
			}
		}
	}
	if diff := cmp.Diff(map[string]bool{"false false": true, "true true": true}, seen); diff != "" {
		t.Errorf("cuts seen (behind the table, behind the commit): %s", diff)
	}
}

// TestO2NothingToHandOver: an idle leader says in the log that it has gone, too, else
// the next one would wait for its beats.
func TestO2NothingToHandOver(t *testing.T) {
	log := new([][]byte)
	lead(t, log, 1, some).handOver()
	next := follow(t, log, 2, some)
	if !next.m.Offered() {
		t.Error("nobody leads, and the log does not say so")
	}
	next.land()
	if st := next.m.Stats(); !next.m.Leading() || st.Live != 0 || next.m.Offered() {
		t.Errorf("stats %+v", st)
	}
	c := follow(t, log, 2, some)
	c.step(Handover{})
	c.wantDown(ErrHandedOver)
}

func TestO2WhatIsFinishedIsSettledFirst(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	x := r.committed(a1)
	r.begin(a1)
	r.ack(x, "a") // its Done record waits for company
	r.handOver()
	next := lead(t, log, 2, some)
	if len(next.pushes) != 0 || next.m.Stats().Live != 1 {
		t.Errorf("pushed %+v, stats %+v", next.pushes, next.m.Stats())
	}
	next.want(x, gtx.Committed)
}

func TestO2ChunksOutOfOrderMakeNoTable(t *testing.T) {
	for _, order := range [][]uint64{{0, 1, 2}, {0, 2, 1}, {1, 2, 0}, {0, 1}, {0, 0, 1}, {1, 2}} {
		log := new([][]byte)
		r := lead(t, log, 1, some)
		r.begin(a1)
		r.begin(a1)
		r.begin(a1)
		for _, i := range order {
			msg := message{log: testLog, epoch: 1, prev: uint64(len(*log)), writer: 1, chain: hashOf((*log)[len(*log)-1])}
			k := key{1, 1 + i}
			msg.records = []record{{kind: kindHandover, table: &table{chunk: i, chunks: 3, active: []handed{{key: k, age: k, left: 1e9}}}}}
			*log = append(*log, msg.encode())
		}
		want := 0
		if slices.Equal(order, []uint64{0, 1, 2}) {
			want = 3
		}
		if n := lead(t, log, 2, some).m.Stats().Live; n != want {
			t.Errorf("chunks %v: adopted %d", order, n)
		}
	}
}
