package coordinator

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
)

func TestI1ForeignLogIsNeverAborted(t *testing.T) {
	r := lead(t, new([][]byte), 1, some)
	x := r.begin()
	for _, x := range []gtx.XID{{Log: testLog + 1, Epoch: 1, Seq: 1}, {Log: testLog, Partition: 1, Epoch: 1, Seq: 1}} {
		c := r.call()
		r.step(Rollback{Call: c, XID: x})
		if a := r.answer(c); !errors.Is(a.Err, ErrForeignLog) || a.Status != gtx.Pending {
			t.Errorf("rollback of %s: %+v", x, a)
		}
	}
	r.want(x, gtx.Pending)
}

func TestI1LogKeepsItsIdentity(t *testing.T) {
	log := new([][]byte)
	lead(t, log, 1, some)
	m, err := New(some, 2, testLog+1)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Load(1, start, (*log)[0]); err != nil {
		t.Fatal(err)
	}
	if m.Log() != testLog {
		t.Errorf("log is %x, want %x", m.Log(), testLog)
	}
}

func TestI2EpochIsOneMoreThanTheHighest(t *testing.T) {
	log := new([][]byte)
	for want := uint64(1); want <= 3; want++ {
		r := lead(t, log, want, some)
		if x := r.begin(); x.Epoch != want || x.Seq != 1 {
			t.Errorf("first xid of epoch %d is %s", want, x)
		}
	}
	// Two candidates for one number: the loser takes the next.
	p, q := follow(t, log, 10, some), follow(t, log, 11, some)
	p.land()
	q.land()
	if p.m.Epoch() != 4 || q.m.Epoch() != 5 {
		t.Errorf("epochs %d and %d, want 4 and 5", p.m.Epoch(), q.m.Epoch())
	}
}

func TestL1NothingIsAnsweredBeforeTheEpochIsInTheLog(t *testing.T) {
	log := new([][]byte)
	x := lead(t, log, 1, some).begin(a1)
	r := follow(t, log, 2, some)
	r.calls = 1
	for _, e := range []Event{Begin{Call: 1}, Register{Call: 1, XID: x, Ref: a1}, Commit{Call: 1, XID: x}, Rollback{Call: 1, XID: x}, Outcome{Call: 1, XID: x}, Ack{Call: 1, Resource: "a", XIDs: []gtx.XID{x}}} {
		clear(r.replies)
		r.step(e)
		if a := r.answer(1); !errors.Is(a.Err, ErrNotLeader) || a.Status != gtx.Pending {
			t.Errorf("%T before the epoch: %+v", e, a)
		}
	}
	r.land()
	r.want(x, gtx.Aborted)
}

func TestL2GapsAndDamageAreRefused(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	r.committed(a1)
	r.committed(a1)
	load := func(seqs ...uint64) error {
		m, err := New(some, 2, testLog)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range seqs {
			if err := m.Load(s, start, (*log)[s-1]); err != nil {
				return err
			}
		}
		return nil
	}
	if err := load(1, 2, 3); err != nil {
		t.Fatal(err)
	}
	if err := load(1, 3); !errors.Is(err, ErrGap) {
		t.Errorf("hole: %v", err)
	}
	keep := (*log)[1]
	for i := range keep {
		(*log)[1] = append([]byte(nil), keep...)
		(*log)[1][i] ^= 4
		if err := load(1, 2, 3); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
	}
	// A whole, well-formed message in the wrong place breaks the chain.
	other := new([][]byte)
	o := lead(t, other, 1, some)
	o.committed(b1)
	(*log)[1] = (*other)[1]
	if err := load(1, 2, 3); !errors.Is(err, ErrCorrupt) {
		t.Errorf("replaced message: %v", err)
	}
}

func TestL3AppendThatLandedElsewhereIsNoSuccess(t *testing.T) {
	r := lead(t, new([][]byte), 1, some)
	x := r.begin(a1)
	c := r.commit(x, []gtx.BranchRef{a1}, nil)
	r.append = nil
	r.step(Landed{Seq: 9})
	if a := r.answer(c); !errors.Is(a.Err, ErrNotLeader) {
		t.Errorf("answered %+v", a)
	}
	r.wantDown(ErrGap)
}

func TestL3ReadersIgnoreWhatWasMeantForAnEarlierPlace(t *testing.T) {
	log := new([][]byte)
	old := lead(t, log, 1, some)
	x := old.begin(a1)
	old.commit(x, []gtx.BranchRef{a1}, nil)
	next := lead(t, log, 2, some)
	*log = append(*log, old.append.Body) // the server let it in behind the fence
	y := next.committed(b1)              // L4b: sends again behind it
	r := lead(t, log, 3, some)
	r.want(x, gtx.Aborted)
	r.want(y, gtx.Committed)
}

// TestL3AnotherLogsFirstMessageIsIgnored: two coordinators found the log empty and
// made an identity each; the first Epoch record of the one that lost goes in late.
func TestL3AnotherLogsFirstMessageIsIgnored(t *testing.T) {
	m, err := New(short, 9, testLog+1)
	if err != nil {
		t.Fatal(err)
	}
	actions, err := m.Campaign()
	if err != nil {
		t.Fatal(err)
	}
	foreign := bytes.Clone(actions[0].(Append).Body)

	log := new([][]byte)
	r := lead(t, log, 1, short)
	*log = append(*log, foreign)
	x := r.committed(b1) // L4b: sends again behind it
	next := lead(t, log, 2, short)
	next.want(x, gtx.Committed)
	next.finished(300)
	if len(next.purges) == 0 {
		t.Fatal("nothing was trimmed")
	}
	next.purge(1) // the log begins with it now, and has its name from the others
	last := lead(t, log, 3, short)
	last.want(x, gtx.Committed)
	if last.m.Log() != testLog {
		t.Errorf("log %x", last.m.Log())
	}
}

func TestL4UnclearAppendIsRepeatedAndAnswersNobody(t *testing.T) {
	r := lead(t, new([][]byte), 1, some)
	x := r.begin(a1)
	c := r.commit(x, []gtx.BranchRef{a1}, nil)
	first := *r.append
	for range 3 {
		r.append = nil
		r.step(Unclear{})
		if diff := cmp.Diff(first, *r.append); diff != "" {
			t.Fatalf("repeated another append: %s", diff)
		}
		if st := r.rollback(x); st != gtx.Pending {
			t.Fatalf("rollback while committing: %s", st)
		}
		r.want(x, gtx.Pending)
	}
	if len(r.pushes) != 0 {
		t.Fatalf("pushed %+v", r.pushes)
	}
	r.store(first) // it had landed, or lands now; the repetition is refused
	r.land()
	if a := r.answer(c); a.Status != gtx.Committed || a.Err != nil {
		t.Errorf("answered %+v", a)
	}
}

func TestL4StepsDown(t *testing.T) {
	setup := func(t *testing.T) (*rig, int, *[][]byte) {
		log := new([][]byte)
		r := lead(t, log, 1, some)
		x := r.begin(a1)
		return r, r.commit(x, []gtx.BranchRef{a1}, nil), log
	}
	t.Run("at a foreign epoch", func(t *testing.T) {
		r, c, log := setup(t)
		next := lead(t, log, 2, some)
		r.land()
		if a := r.answer(c); !errors.Is(a.Err, ErrNotLeader) || a.Status != gtx.Pending {
			t.Errorf("answered %+v", a)
		}
		r.wantDown(ErrFenced)
		next.want(gtx.XID{Log: testLog, Epoch: 1, Seq: 1}, gtx.Aborted)
	})
	t.Run("at a deleted message", func(t *testing.T) {
		r, _, _ := setup(t)
		r.append = nil
		r.step(Found{})
		r.wantDown(ErrGap)
	})
	t.Run("by a barrier", func(t *testing.T) {
		log := new([][]byte)
		r := lead(t, log, 1, some)
		lead(t, log, 2, some)
		r.step(Barrier{})
		r.land()
		r.wantDown(ErrFenced)
	})
}

func TestL5DecisionsShareTheNextAppend(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	var calls []int
	for range 10 {
		calls = append(calls, r.commit(r.begin(a1), []gtx.BranchRef{a1}, nil))
	}
	r.land()
	for _, c := range calls {
		if a := r.answer(c); a.Status != gtx.Committed {
			t.Errorf("answered %+v", a)
		}
	}
	if len(*log) != 3 { // epoch, the first, the nine others
		t.Errorf("log has %d messages, want 3", len(*log))
	}
}

func TestL5BatchIsBounded(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, Config{MaxBatch: 20})
	for range 10 {
		r.commit(r.begin(a1), []gtx.BranchRef{a1}, nil)
	}
	r.land()
	if len(*log) < 4 {
		t.Errorf("log has %d messages", len(*log))
	}
	lead(t, log, 2, some).want(gtx.XID{Log: testLog, Epoch: 1, Seq: 10}, gtx.Committed)
}

// TestG2DoneIsNotStarved: more commits than fit into one message all the time keep
// nothing from being forgotten.
func TestG2DoneIsNotStarved(t *testing.T) {
	cfg := some
	cfg.MaxBatch = 1 << 10
	r := lead(t, new([][]byte), 1, cfg)
	queue := func(n int) {
		for range n {
			r.commit(r.begin(a1), []gtx.BranchRef{a1}, nil)
		}
	}
	queue(1000)
	most := 0
	for range 100 {
		before := len(r.pushes)
		a := *r.append
		r.append = nil
		r.store(a)
		r.step(Landed{Seq: a.Prev + 1})
		landed := r.pushes[before:]
		for _, p := range slices.Clone(landed) {
			r.ack(p.XID, p.Resource)
		}
		queue(len(landed))
		st := r.m.Stats()
		if st.Committing < 900 {
			t.Fatalf("the queue runs empty: %+v", st)
		}
		most = max(most, st.Forgetting)
	}
	if most > 1000 {
		t.Errorf("%d are finished and not forgotten", most)
	}
}

func TestL6LaterEpochIsNotMine(t *testing.T) {
	log := new([][]byte)
	deposed := lead(t, log, 1, some)
	x := lead(t, log, 2, some).begin(a1)
	c := deposed.call()
	deposed.step(Outcome{Call: c, XID: x})
	if a := deposed.answer(c); !errors.Is(a.Err, ErrNotLeader) || !errors.Is(a.Err, gtx.ErrUnavailable) {
		t.Errorf("answered %+v", a)
	}
}

func TestL7NoRequestCreatesAnXID(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	x := r.begin(a1)
	r.rollback(x)
	if err := r.register(x, a1); !errors.Is(err, gtx.ErrAborted) {
		t.Errorf("register: %v", err)
	}
	if a := r.answer(r.commit(x, []gtx.BranchRef{a1}, nil)); a.Status != gtx.Aborted {
		t.Errorf("commit: %+v", a)
	}
	r.want(x, gtx.Aborted)
	c := r.call()
	r.step(Rollback{Call: c, XID: gtx.XID{Log: testLog, Epoch: 1, Seq: 99}})
	if a := r.answer(c); !errors.Is(a.Err, ErrInvalid) {
		t.Errorf("an xid that was never begun: %+v", a)
	}
	if len(*log) != 1 {
		t.Errorf("log has %d messages, want only the epoch", len(*log))
	}
}

func TestL2OnlyTheWriterOfTheEpochIsBelieved(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	seq, hash := r.m.Position()
	for _, forged := range []message{
		{log: testLog, epoch: 1, prev: seq, writer: 9, chain: hash},
		{log: testLog, epoch: 2, prev: seq, writer: 1, chain: hash},
		{log: testLog, epoch: 1, prev: seq, writer: 1, chain: hash, records: []record{{kind: kindEpoch}}},
		{log: testLog, part: 1, epoch: 1, prev: seq, writer: 1, chain: hash},
	} {
		m, err := New(some, 2, testLog)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Load(1, start, (*log)[0]); err != nil {
			t.Fatal(err)
		}
		if err := m.Load(2, start, forged.encode()); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%+v: %v", forged, err)
		}
	}
}

func TestI2ALoserYieldsAndKeepsWhatItKnows(t *testing.T) {
	log := new([][]byte)
	first := lead(t, log, 1, some)
	x := first.committed(a1)
	p, q := follow(t, log, 2, some), follow(t, log, 3, some)
	p.land()
	a := *q.append
	q.append = nil
	q.step(Found{Body: (*log)[a.Prev], At: q.now})
	if !q.yielded || q.down != nil || q.m.Leading() || q.m.Epoch() != 2 {
		t.Fatalf("yielded %v, down %v, epoch %d", q.yielded, q.down, q.m.Epoch())
	}
	c := q.call()
	q.step(Outcome{Call: c, XID: x})
	if a := q.answer(c); !errors.Is(a.Err, ErrNotLeader) {
		t.Errorf("answers after it has yielded: %+v", a)
	}
	y := p.committed(a1)
	q.load() // follows
	q.campaign()
	q.land()
	if q.m.Epoch() != 3 {
		t.Errorf("epoch %d, want 3", q.m.Epoch())
	}
	q.want(x, gtx.Committed)
	q.want(y, gtx.Committed)
}
