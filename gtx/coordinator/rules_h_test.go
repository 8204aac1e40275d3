package coordinator

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
)

var ab = []gtx.ResourceID{"a", "b"}

// begin3 begins a three-phase transaction of a and b.
func (r *rig) begin3(refs ...gtx.BranchRef) gtx.XID {
	r.t.Helper()
	c := r.call()
	r.step(Begin{Call: c, Timeout: time.Minute, Mode: gtx.ThreePhase, Resources: []gtx.ResourceID{"b", "a", "b"}})
	a := r.answer(c)
	if a.Err != nil || !a.XID.ThreePhase() {
		r.t.Fatalf("begin: %+v", a)
	}
	for _, ref := range refs {
		if err := r.register(a.XID, ref); err != nil {
			r.t.Fatal(err)
		}
	}
	return a.XID
}

// preCommitted gives a transaction that has passed C1, and the call that waits.
func (r *rig) preCommitted() (gtx.XID, int) {
	r.t.Helper()
	x := r.begin3(a1, b1)
	c := r.commit(x, []gtx.BranchRef{a1, b1}, nil)
	if _, answered := r.replies[c]; answered || r.append != nil {
		r.t.Fatal("decided before the participants know")
	}
	return x, c
}

func (r *rig) ready(x gtx.XID, res gtx.ResourceID) {
	r.t.Helper()
	c := r.call()
	r.step(Ready{Call: c, Resource: res, XIDs: []gtx.XID{x}})
	if a := r.answer(c); a.Err != nil {
		r.t.Fatal(a.Err)
	}
}

func (r *rig) claim(x gtx.XID, rs ...gtx.ResourceID) int {
	c := r.call()
	r.step(Claim{Call: c, XID: x, Participants: rs})
	return c
}

// wantStatus checks a decision that some call has got.
func (r *rig) wantStatus(call int, st gtx.Status) {
	r.t.Helper()
	if a := r.answer(call); a.Err != nil || a.Status != st {
		r.t.Fatalf("call %d: %+v, want %s", call, a, st)
	}
}

// records gives the kinds of records in the log.
func (r *rig) records(k kind) (n int) {
	r.t.Helper()
	for _, body := range *r.log {
		for _, rec := range must(decode(body)).records {
			if rec.kind == k {
				n++
			}
		}
	}
	return n
}

func told(x gtx.XID, rs ...gtx.ResourceID) (ps []Push) {
	for _, r := range rs {
		ps = append(ps, Push{r, gtx.Resolution{XID: x, Status: gtx.PreCommitted, Participants: ab}})
	}
	return ps
}

func TestH1NumbersTellTheMode(t *testing.T) {
	r := lead(t, new([][]byte), 1, some)
	for range 40 {
		if x := r.begin(); x.ThreePhase() {
			t.Fatalf("%s of mode AT says three-phase", x)
		}
	}
	x, y := r.begin3(), r.begin3()
	if x.Seq != 48 || y.Seq != 64 {
		t.Errorf("got %s and %s", x, y)
	}
	r.want(gtx.XID{Log: testLog, Epoch: 1, Seq: 16}, gtx.Aborted) // skipped
}

func TestH1OnlyTheNamedRegister(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	x := r.begin3(a1)
	if err := r.register(x, ref("c", 1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a resource that was not named: %v", err)
	}
	r.handOver()
	next := lead(t, log, 2, some)
	if err := next.register(x, ref("c", 1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("the same after a hand-over: %v", err)
	}
	if err := next.register(x, b1); err != nil {
		t.Errorf("a named one after a hand-over: %v", err)
	}
	for what, e := range map[string]Begin{
		"nobody is named":     {Mode: gtx.ThreePhase},
		"named in mode XA":    {Mode: gtx.XA, Resources: ab},
		"no such mode":        {Mode: gtx.ThreePhase + 1, Resources: ab},
		"a name without text": {Mode: gtx.ThreePhase, Resources: []gtx.ResourceID{""}},
	} {
		c := next.call()
		e.Call = c
		next.step(e)
		if a := next.answer(c); !errors.Is(a.Err, ErrInvalid) {
			t.Errorf("%s: %+v", what, a)
		}
	}
	few := lead(t, new([][]byte), 1, Config{MaxBranches: 1, MaxLive: 1})
	c := few.call()
	few.step(Begin{Call: c, Mode: gtx.ThreePhase, Resources: ab})
	var limit *LimitError
	if a := few.answer(c); !errors.As(a.Err, &limit) {
		t.Errorf("too many named: %+v", a)
	}
}

func TestH2AllAreToldBeforeTheDecision(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	x, c := r.preCommitted()
	again := r.commit(x, []gtx.BranchRef{a1, b1}, nil)
	if diff := cmp.Diff(told(x, "a", "b"), r.pushes); diff != "" {
		t.Fatal(diff)
	}
	r.pushes = nil
	r.ready(x, "a")
	r.ready(x, "a") // repeated
	r.ready(x, "c") // takes no part
	r.want(x, gtx.Pending)
	if st := r.rollback(x); st != gtx.Pending {
		t.Errorf("rollback while pre-committed: %s", st)
	}
	if err := r.register(x, ref("a", 9)); !errors.Is(err, gtx.ErrEnded) {
		t.Errorf("register while pre-committed: %v", err)
	}
	if r.append != nil {
		t.Fatal("decided without b")
	}
	r.ready(x, "b")
	if r.append == nil {
		t.Fatal("not decided although all are ready")
	}
	r.ready(x, "b") // stale
	r.land()
	r.wantStatus(c, gtx.Committed)
	r.wantStatus(again, gtx.Committed)
	want := []Push{
		{"a", gtx.Resolution{XID: x, Status: gtx.Committed}},
		{"b", gtx.Resolution{XID: x, Status: gtx.Committed}},
	}
	if diff := cmp.Diff(want, r.pushes); diff != "" {
		t.Error(diff)
	}
	lead(t, log, 2, some).want(x, gtx.Committed)
}

// TestH2NobodyIsToldBeforeC1: what has not passed the rule is not even pre-committed.
func TestH2NobodyIsToldBeforeC1(t *testing.T) {
	r := lead(t, new([][]byte), 1, some)
	x := r.begin3(a1, b1)
	r.wantStatus(r.commit(x, []gtx.BranchRef{a1}, nil), gtx.Aborted)
	for _, p := range r.pushes {
		if p.Status != gtx.Aborted {
			t.Errorf("pushed %+v", p)
		}
	}
	r.want(x, gtx.Aborted)
}

func TestH2PatienceEnds(t *testing.T) {
	cfg := some
	cfg.PushMin, cfg.PreCommitWait = 400*time.Millisecond, time.Second
	r := lead(t, new([][]byte), 1, cfg)
	x, c := r.preCommitted()
	r.ready(x, "b")
	r.pushes = nil
	if at, ok := r.m.Next(); !ok || !at.Equal(r.now.Add(400*time.Millisecond)) {
		t.Errorf("next tick at %s", at)
	}
	r.pass(400 * time.Millisecond)
	r.pass(400 * time.Millisecond)
	if diff := cmp.Diff(told(x, "a", "a"), r.pushes); diff != "" { // not b, which knows
		t.Error(diff)
	}
	if r.append != nil || r.m.Quiet() {
		t.Fatal("decided too early, or taken for quiet")
	}
	r.pass(200 * time.Millisecond)
	r.land()
	r.wantStatus(c, gtx.Committed)
}

// TestH2ReadyIsNoAck holds that neither answer counts as the other.
func TestH2ReadyIsNoAck(t *testing.T) {
	r := lead(t, new([][]byte), 1, some)
	x, _ := r.preCommitted()
	r.ack(x, "a")
	r.ack(x, "b")
	if r.append != nil {
		t.Fatal("acknowledgements have decided")
	}
	r.ready(x, "a")
	r.ready(x, "b")
	r.land()
	r.ready(x, "a")
	r.ready(x, "b")
	r.pass(time.Minute)
	if st := r.m.Stats(); st.Unfinished != 1 || r.append != nil {
		t.Errorf("answers to PreCommit have finished it: %+v", st)
	}
	r.ack(x, "a")
	r.ack(x, "b")
	if st := r.m.Stats(); st.Unfinished != 0 {
		t.Errorf("acknowledged by all: %+v", st)
	}
}

func TestH2TheDeadlineDoesNotTouchIt(t *testing.T) {
	cfg := some
	cfg.PreCommitWait = time.Hour
	r := lead(t, new([][]byte), 1, cfg)
	x, c := r.preCommitted()
	r.pass(59 * time.Minute)
	r.want(x, gtx.Pending)
	r.ready(x, "a")
	r.ready(x, "b")
	r.land()
	r.wantStatus(c, gtx.Committed)
}

func TestH2OneWithoutParticipantsIsDecidedAtOnce(t *testing.T) {
	r := lead(t, new([][]byte), 1, some)
	x := r.begin3(a1)
	c := r.commit(x, nil, []gtx.BranchRef{a1})
	r.land()
	r.wantStatus(c, gtx.Committed)
	if len(r.pushes) != 0 {
		t.Errorf("pushed %+v", r.pushes)
	}
}

// TestH2HandoverDecides: the next leader would not know who has been told.
func TestH2HandoverDecides(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	x, c := r.preCommitted()
	active := r.begin3(a1)
	r.handOver()
	r.wantStatus(c, gtx.Committed)
	next := lead(t, log, 2, some)
	next.want(x, gtx.Committed)
	next.want(active, gtx.Pending)
	next.pass(time.Minute) // its own, whatever the window: the deadline aborts it
	next.want(active, gtx.Aborted)
	if n := next.records(kindClose); n != 0 {
		t.Errorf("%d Close records, none was needed", n)
	}

	flushed := lead(t, new([][]byte), 1, some)
	_, c = flushed.preCommitted()
	flushed.step(Flush{})
	flushed.land()
	flushed.wantStatus(c, gtx.Committed)
}

// orphan gives a transaction that was pre-committed at a leader that has crashed.
func orphan(t *testing.T, log *[][]byte) gtx.XID {
	t.Helper()
	r := lead(t, log, 1, some)
	x, _ := r.preCommitted()
	return x
}

func TestH3UnknownIsNotAbortedInTheWindow(t *testing.T) {
	log := new([][]byte)
	x := orphan(t, log)
	r := lead(t, log, 2, some)
	normal := gtx.XID{Log: testLog, Epoch: 1, Seq: 1}
	r.want(normal, gtx.Aborted)
	r.pass(5*time.Second - 1)
	r.want(x, gtx.Pending)
	r.wantStatus(r.commit(x, []gtx.BranchRef{a1, b1}, nil), gtx.Pending) // the TM's word is no claim
	if st := r.rollback(x); st != gtx.Pending {
		t.Errorf("rollback: %s", st)
	}
	c, answered := r.await(gtx.XID{}, x, 1)
	if !answered || r.answer(c).Status != gtx.Pending {
		t.Error("waits for one that nobody may ever decide")
	}
	if err := r.register(x, a1); !errors.Is(err, gtx.ErrEnded) {
		t.Errorf("register: %v", err)
	}
	r.ready(x, "a")
	r.ack(x, "a")
	if r.append != nil || len(*log) != 2 {
		t.Error("something was written")
	}
	r.want(gtx.XID{Log: testLog, Epoch: 1, Seq: 160}, gtx.Pending) // never begun, for all it knows
}

func TestH4AClaimCommits(t *testing.T) {
	log := new([][]byte)
	x := orphan(t, log)
	r := lead(t, log, 2, some)
	r.want(x, gtx.Pending)
	c, again := r.claim(x, "b", "a", "b"), r.claim(x, "a", "b")
	r.want(x, gtx.Pending)
	tm := r.commit(x, []gtx.BranchRef{a1, b1}, nil)
	r.land()
	for _, c := range []int{c, again, tm, r.claim(x, "a", "b")} {
		r.wantStatus(c, gtx.Committed)
	}
	want := []Push{
		{"a", gtx.Resolution{XID: x, Status: gtx.Committed}},
		{"b", gtx.Resolution{XID: x, Status: gtx.Committed}},
	}
	if diff := cmp.Diff(want, r.pushes); diff != "" {
		t.Error(diff)
	}
	// A later one closes the epoch and keeps the commit.
	next := lead(t, log, 3, some)
	next.pass(5 * time.Second)
	next.want(gtx.XID{Log: testLog, Epoch: 1, Seq: 32}, gtx.Pending)
	next.land()
	next.want(gtx.XID{Log: testLog, Epoch: 1, Seq: 32}, gtx.Aborted)
	next.want(x, gtx.Committed)
	next.ack(x, "a")
	next.ack(x, "b")
	next.pass(time.Second)
	next.land()
	lead(t, log, 4, some).want(x, gtx.Committed)
}

func TestH4WhatIsNoClaim(t *testing.T) {
	log := new([][]byte)
	x := orphan(t, log)
	r := lead(t, log, 2, some)
	for what, c := range map[string]int{
		"nobody takes part":   r.claim(x),
		"a name without text": r.claim(x, ""),
		"not three-phase":     r.claim(gtx.XID{Log: testLog, Epoch: 1, Seq: 1}, "a"),
		"too many":            r.claim(x, slices.Repeat(ab, maxParticipants)...),
		"never begun":         r.claim(gtx.XID{Log: testLog, Epoch: 2, Seq: 16}, "a"),
	} {
		if a := r.answer(c); !errors.Is(a.Err, ErrInvalid) {
			t.Errorf("%s: %+v", what, a)
		}
	}
	if a := r.answer(r.claim(gtx.XID{Log: 1, Epoch: 1, Seq: 16}, "a")); !errors.Is(a.Err, ErrForeignLog) {
		t.Errorf("foreign log: %+v", a)
	}
	own := r.begin3(a1)
	r.wantStatus(r.claim(own, "a"), gtx.Pending) // its leader is here
	r.wantStatus(r.commit(own, nil, nil), gtx.Aborted)
	r.wantStatus(r.claim(own, "a"), gtx.Aborted) // its leader has forgotten it
	if r.append != nil {
		t.Error("something was written")
	}
}

// TestH4AClaimOfADeposedLeader: its append is refused, so the claim is as if it had
// never been made; the next leader may take another.
func TestH4AClaimOfADeposedLeader(t *testing.T) {
	log := new([][]byte)
	x := orphan(t, log)
	deposed := lead(t, log, 2, some)
	c := deposed.claim(x, "a", "b")
	late := *deposed.append
	next := lead(t, log, 3, some)
	next.pass(5 * time.Second)
	next.want(x, gtx.Pending)
	next.land()
	next.want(x, gtx.Aborted)
	deposed.land()
	deposed.wantDown(ErrFenced)
	if a := deposed.answer(c); a.Err == nil {
		t.Errorf("the deposed one answers %+v", a)
	}
	*log = append(*log, late.Body) // the server lets it in behind the fence
	lead(t, log, 4, some).want(x, gtx.Aborted)
}

// TestH4ThePreCommitOfADeposedLeader: it does not know that it is deposed, and tells
// the participants after the next one has closed its epoch.
func TestH4ThePreCommitOfADeposedLeader(t *testing.T) {
	log := new([][]byte)
	deposed := lead(t, log, 1, some)
	x := deposed.begin3(a1, b1)
	next := lead(t, log, 2, some)
	next.pass(5 * time.Second)
	next.want(x, gtx.Pending)
	next.land()
	next.want(x, gtx.Aborted)
	c := deposed.commit(x, []gtx.BranchRef{a1, b1}, nil)
	if diff := cmp.Diff(told(x, "a", "b"), deposed.pushes); diff != "" {
		t.Fatal(diff)
	}
	deposed.ready(x, "a")
	deposed.ready(x, "b")
	deposed.land()
	if a := deposed.answer(c); !errors.Is(a.Err, ErrNotLeader) {
		t.Errorf("the deposed one answers %+v", a)
	}
	next.wantStatus(next.claim(x, "a", "b"), gtx.Aborted)
}
