package coordinator

import (
	"errors"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// await asks and gives the answer, if there is one already.
func (r *rig) await(waiter, holder gtx.XID, nonce uint64) (call int, answered bool) {
	call = r.call()
	r.step(Await{Call: call, Waiter: waiter, Holder: holder, Nonce: nonce})
	_, answered = r.replies[call]
	return call, answered
}

func (r *rig) wantReply(call int, st gtx.Status) {
	r.t.Helper()
	if _, ok := r.replies[call]; !ok {
		r.t.Errorf("no answer, want %s", st)
		return
	}
	if a := r.answer(call); a.Err != nil || a.Status != st {
		r.t.Errorf("answered %s, %v, want %s", a.Status, a.Err, st)
	}
}

func TestW5OnlyTheOlderWaits(t *testing.T) {
	r := lead(t, new([][]byte), 1, some)
	old, young := r.begin(a1), r.begin(b1)
	call, _ := r.await(young, old, 1)
	r.wantReply(call, gtx.Pending) // dies
	call, answered := r.await(old, young, 2)
	if answered {
		t.Fatal("the older was answered before the end")
	}
	r.rollback(young)
	r.wantReply(call, gtx.Aborted)
}

func TestW5ATryHasTheAgeOfTheFirst(t *testing.T) {
	r := lead(t, new([][]byte), 1, some)
	first, other := r.begin(a1), r.begin(b1)
	r.rollback(first)
	c := r.call()
	r.step(Begin{Call: c, First: first})
	again := r.answer(c).XID
	if _, answered := r.await(again, other, 1); answered {
		t.Error("the second try of the older did not wait")
	}
	if call, answered := r.await(other, again, 2); !answered {
		t.Error("the younger waited for the second try of the older")
	} else {
		r.wantReply(call, gtx.Pending)
	}
	c = r.call()
	r.step(Begin{Call: c, First: gtx.XID{Log: testLog + 1, Epoch: 1, Seq: 1}})
	if _, answered := r.await(r.answer(c).XID, other, 3); !answered {
		t.Error("an age of another log counts")
	}
}

func TestW5WhoHoldsNothingWaitsForEverybody(t *testing.T) {
	r := lead(t, new([][]byte), 1, some)
	holder := r.begin(a1)
	call, answered := r.await(gtx.XID{}, holder, 1)
	if answered {
		t.Fatal("answered before the end")
	}
	r.commit(holder, []gtx.BranchRef{a1}, nil)
	if _, ok := r.replies[call]; ok {
		t.Fatal("answered before the record was in the log")
	}
	// What is being committed waits for nobody: the youngest may wait, too.
	young := r.begin(b1)
	second, answered := r.await(young, holder, 2)
	if answered {
		t.Fatal("answered before the record was in the log")
	}
	r.land()
	r.wantReply(call, gtx.Committed)
	r.wantReply(second, gtx.Committed)
	call, _ = r.await(young, holder, 3)
	r.wantReply(call, gtx.Committed)
}

func TestW5TheEndedWaitsForNobody(t *testing.T) {
	r := lead(t, new([][]byte), 1, some)
	old, young := r.begin(a1), r.begin(b1)
	r.rollback(old)
	call, _ := r.await(old, young, 1)
	r.wantReply(call, gtx.Pending)
}

func TestW2AwaitEndsWithTheDeadline(t *testing.T) {
	r := lead(t, new([][]byte), 1, some)
	c := r.call()
	r.step(Begin{Call: c, Timeout: time.Second})
	call, _ := r.await(gtx.XID{}, r.answer(c).XID, 1)
	r.pass(2 * time.Second)
	r.wantReply(call, gtx.Aborted)
}

func TestAwaitAgainTakesThePlaceOfTheFormer(t *testing.T) {
	r := lead(t, new([][]byte), 1, some)
	holder := r.begin(a1)
	former, _ := r.await(gtx.XID{}, holder, 7)
	later, _ := r.await(gtx.XID{}, holder, 7)
	r.rollback(holder)
	if _, ok := r.replies[former]; ok {
		t.Error("the former was answered")
	}
	r.wantReply(later, gtx.Aborted)
}

func TestAwaitHearsOfTheStepDown(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	holder := r.begin(a1)
	call, _ := r.await(gtx.XID{}, holder, 1)
	lead(t, log, 2, some)
	r.step(Barrier{})
	r.land()
	if a := r.answer(call); !errors.Is(a.Err, ErrNotLeader) {
		t.Errorf("answered %+v", a)
	}
}

func TestAwaitIsBounded(t *testing.T) {
	r := lead(t, new([][]byte), 1, some)
	holder := r.begin(a1)
	for n := range uint64(maxWatchers) {
		if _, answered := r.await(gtx.XID{}, holder, n+1); answered {
			t.Fatalf("number %d was answered", n)
		}
	}
	call, _ := r.await(gtx.XID{}, holder, maxWatchers+1)
	r.wantReply(call, gtx.Pending)

	other := r.begin(a1)
	if _, answered := r.await(gtx.XID{}, other, 1); answered {
		t.Fatal("another holder has no room")
	}
	r.m.awaits = maxAwaits // as many at other holders
	call, _ = r.await(gtx.XID{}, other, 2)
	r.wantReply(call, gtx.Pending)
}
