package coordinator

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
)

var (
	a1, a2, b1 = ref("a", 1), ref("a", 2), ref("b", 1)
	some       = Config{Tombstone: time.Hour, DoneDelay: time.Second, PushMin: time.Second, PushMax: 4 * time.Second}
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
	for _, e := range []Event{Begin{Call: 1}, Register{Call: 1, XID: x, Ref: a1}, Commit{Call: 1, XID: x}, Rollback{Call: 1, XID: x}, Outcome{Call: 1, XID: x}, Ack{Call: 1, XID: x, Resource: "a"}} {
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
	if err := load(2, 3); !errors.Is(err, ErrGap) {
		t.Errorf("head missing: %v", err)
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
	r := lead(t, log, 1, Config{MaxBatch: 100})
	for range 10 {
		r.commit(r.begin(a1), []gtx.BranchRef{a1}, nil)
	}
	r.land()
	if len(*log) < 4 {
		t.Errorf("log has %d messages", len(*log))
	}
	lead(t, log, 2, some).want(gtx.XID{Log: testLog, Epoch: 1, Seq: 10}, gtx.Committed)
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

func TestB2Register(t *testing.T) {
	r := lead(t, new([][]byte), 1, Config{MaxBranches: 2})
	x := r.begin(a1, a1, b1)
	var limit *LimitError
	if err := r.register(x, a2); !errors.As(err, &limit) {
		t.Errorf("third branch: %v", err)
	}
	if err := r.register(x, ref("", 1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("no resource: %v", err)
	}
	c := r.commit(x, []gtx.BranchRef{a1, b1}, nil)
	if err := r.register(x, a1); !errors.Is(err, gtx.ErrEnded) {
		t.Errorf("while committing: %v", err)
	}
	r.land()
	if err := r.register(x, a1); !errors.Is(err, gtx.ErrEnded) {
		t.Errorf("after commit: %v", err)
	}
	if a := r.answer(c); a.Status != gtx.Committed {
		t.Errorf("commit: %+v", a)
	}
}

func TestB3DeadlineAbortsAndPushesOnce(t *testing.T) {
	r := lead(t, new([][]byte), 1, some)
	x := r.begin(a1, a2, b1)
	r.pass(time.Minute)
	want := []Push{
		{"a", gtx.Resolution{XID: x, Status: gtx.Aborted, Branches: []gtx.BranchID{1, 2}}},
		{"b", gtx.Resolution{XID: x, Status: gtx.Aborted, Branches: []gtx.BranchID{1}}},
	}
	if diff := cmp.Diff(want, r.pushes); diff != "" {
		t.Error(diff)
	}
	r.pass(time.Hour)
	if len(r.pushes) != 2 {
		t.Errorf("pushed again: %+v", r.pushes)
	}
	if _, ok := r.m.Next(); ok || !r.m.Stats().Idle() {
		t.Errorf("still waiting: %+v", r.m.Stats())
	}
}

func TestB3DeadlineHoldsWithoutItsTick(t *testing.T) {
	r := lead(t, new([][]byte), 1, some)
	x := r.begin(a1)
	r.now = r.now.Add(time.Minute)
	if a := r.answer(r.commit(x, []gtx.BranchRef{a1}, nil)); a.Status != gtx.Aborted {
		t.Errorf("commit after the deadline: %+v", a)
	}
}

func TestB3CommittingIsNotTouchedByTheDeadline(t *testing.T) {
	r := lead(t, new([][]byte), 1, some)
	x := r.begin(a1)
	c := r.commit(x, []gtx.BranchRef{a1}, nil)
	r.pass(time.Hour)
	r.want(x, gtx.Pending)
	r.land()
	if a := r.answer(c); a.Status != gtx.Committed {
		t.Errorf("answered %+v", a)
	}
}

func TestC1CommitNeedsEveryBranch(t *testing.T) {
	type refs = []gtx.BranchRef
	for name, c := range map[string]struct {
		registered, confirmed, dead refs
		want                        gtx.Status
	}{
		"all confirmed":            {refs{a1, b1}, refs{a1, b1}, nil, gtx.Committed},
		"one dead":                 {refs{a1, b1}, refs{a1}, refs{b1}, gtx.Committed},
		"all dead":                 {refs{a1, b1}, nil, refs{a1, b1}, gtx.Committed},
		"dead and never asked":     {refs{a1}, refs{a1}, refs{b1}, gtx.Committed},
		"named twice":              {refs{a1}, refs{a1, a1}, nil, gtx.Committed},
		"none":                     {nil, nil, nil, gtx.Committed},
		"one missing":              {refs{a1, b1}, refs{a1}, nil, gtx.Aborted},
		"one never registered":     {refs{a1}, refs{a1, b1}, nil, gtx.Aborted},
		"other branch of resource": {refs{a1}, refs{a2}, nil, gtx.Aborted},
		"confirmed and dead":       {refs{a1}, refs{a1}, refs{a1}, gtx.Aborted},
	} {
		t.Run(name, func(t *testing.T) {
			r := lead(t, new([][]byte), 1, some)
			x := r.begin(c.registered...)
			call := r.commit(x, c.confirmed, c.dead)
			r.land()
			if a := r.answer(call); a.Status != c.want || a.Err != nil {
				t.Errorf("answered %+v, want %s", a, c.want)
			}
			r.want(x, c.want)
		})
	}
}

func TestC3EveryRepetitionGetsTheSameAnswer(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	x := r.begin(a1)
	calls := []int{r.commit(x, []gtx.BranchRef{a1}, nil), r.commit(x, []gtx.BranchRef{a1}, nil), r.commit(x, nil, nil)}
	r.land()
	calls = append(calls, r.commit(x, nil, nil))
	for _, c := range calls {
		if a := r.answer(c); a.Status != gtx.Committed {
			t.Errorf("answered %+v", a)
		}
	}
	if st := r.rollback(x); st != gtx.Committed {
		t.Errorf("rollback after commit: %s", st)
	}
	next := lead(t, log, 2, some)
	if st := next.rollback(x); st != gtx.Committed {
		t.Errorf("rollback at the next leader: %s", st)
	}
}

func TestC5FinishedCommitsExpireButNeverAbort(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	x := r.committed(a1)
	r.ack(x, "a")
	r.pass(time.Second)
	r.land()
	y := r.committed(a1) // not acknowledged
	r.want(x, gtx.Committed)
	r.pass(2 * time.Hour)
	r.want(x, gtx.Expired)
	r.want(y, gtx.Committed)
	z := r.begin(a1)
	r.rollback(z)
	r.want(z, gtx.Aborted)

	next := follow(t, log, 2, some)
	next.now = r.now
	next.land()
	next.step(Tick{})
	next.want(x, gtx.Expired)
	next.want(y, gtx.Committed)
}

func TestC5TombstonesAreBounded(t *testing.T) {
	cfg := some
	cfg.MaxTombstones = 2
	r := lead(t, new([][]byte), 1, cfg)
	var xs []gtx.XID
	for range 4 {
		x := r.committed(a1)
		r.ack(x, "a")
		r.pass(time.Second)
		r.land()
		xs = append(xs, x)
	}
	for i, want := range []gtx.Status{gtx.Expired, gtx.Expired, gtx.Committed, gtx.Committed} {
		r.want(xs[i], want)
	}
}

func TestG2CommitIsPushedUntilAllHaveAcknowledged(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	x := r.committed(a1, b1)
	pushed := func() (rs []gtx.ResourceID) {
		for _, p := range r.pushes {
			if p.XID != x || p.Status != gtx.Committed {
				t.Errorf("pushed %+v", p)
			}
			rs = append(rs, p.Resource)
		}
		r.pushes = nil
		return rs
	}
	if diff := cmp.Diff([]gtx.ResourceID{"a", "b"}, pushed()); diff != "" {
		t.Error(diff)
	}
	r.ack(x, "a")
	r.ack(x, "a")
	r.ack(x, "c")
	for _, wait := range []time.Duration{1, 2, 4, 4} { // doubles, capped
		r.pass(wait*time.Second - 1)
		if rs := pushed(); rs != nil {
			t.Errorf("pushed %v too early", rs)
		}
		r.pass(1)
		if diff := cmp.Diff([]gtx.ResourceID{"b"}, pushed()); diff != "" {
			t.Error(diff)
		}
	}
	r.step(Hello{Call: r.call(), Resource: "b"})
	r.step(Hello{Call: r.call(), Resource: "a"})
	if diff := cmp.Diff([]gtx.ResourceID{"b"}, pushed()); diff != "" {
		t.Error(diff)
	}

	next := lead(t, log, 2, some) // acknowledgements live in memory: both again
	if len(next.pushes) != 2 {
		t.Errorf("next leader pushed %+v", next.pushes)
	}
	next.ack(x, "a")
	next.ack(x, "b")
	if st := next.m.Stats(); !st.Idle() || st.Forgetting != 1 {
		t.Errorf("stats %+v", st)
	}
	next.pass(time.Second)
	next.land()
	if st := next.m.Stats(); st.Forgetting != 0 || st.Tombstones != 1 {
		t.Errorf("stats %+v", st)
	}
	last := lead(t, log, 3, some)
	if len(last.pushes) != 0 || !last.m.Stats().Idle() {
		t.Errorf("pushed %+v after Done", last.pushes)
	}
	last.want(x, gtx.Committed)
}

func TestG2DoneRidesWithTheNextCommit(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	r.ack(r.committed(a1), "a")
	n := len(*log)
	r.committed(a1)
	if st := r.m.Stats(); len(*log) != n+1 || st.Forgetting != 0 {
		t.Errorf("%d messages, stats %+v", len(*log)-n, st)
	}
}

func TestAdmission(t *testing.T) {
	r := lead(t, new([][]byte), 1, Config{MaxLive: 2, MaxUnfinished: 1})
	refused := func(what string) {
		t.Helper()
		c := r.call()
		r.step(Begin{Call: c})
		var limit *LimitError
		if err := r.answer(c).Err; !errors.As(err, &limit) || limit.What != what || !errors.Is(err, gtx.ErrUnavailable) {
			t.Errorf("begin: %v", err)
		}
	}
	x, y := r.begin(a1), r.begin(a1)
	refused("live transactions")
	r.rollback(y)
	r.commit(x, []gtx.BranchRef{a1}, nil)
	r.land()
	refused("unfinished transactions")
	r.ack(x, "a")
	r.begin()
}
