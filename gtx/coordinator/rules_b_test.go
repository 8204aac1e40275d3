package coordinator

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
)

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
