package coordinator

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

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

func TestOnlyTheBeginnerEnds(t *testing.T) {
	r := lead(t, new([][]byte), 1, some)
	c := r.call()
	r.step(Begin{Call: c, Key: 7})
	x := r.answer(c).XID
	if err := r.register(x, a1); err != nil {
		t.Errorf("register needs no key: %v", err)
	}
	for _, key := range []uint64{0, 8} {
		for _, e := range []Event{Commit{Call: "call", XID: x, Key: key, Confirmed: []gtx.BranchRef{a1}}, Rollback{Call: "call", XID: x, Key: key}} {
			r.step(e)
			if a := r.replies["call"]; !errors.Is(a.Err, ErrNotOwner) || a.Status != gtx.Pending {
				t.Errorf("%T with key %d: %+v", e, key, a)
			}
			delete(r.replies, "call")
			r.want(x, gtx.Pending)
		}
	}
	r.step(Commit{Call: "owner", XID: x, Key: 7, Confirmed: []gtx.BranchRef{a1}})
	r.step(Rollback{Call: "thief", XID: x, Key: 8}) // while committing
	if a := r.replies["thief"]; !errors.Is(a.Err, ErrNotOwner) {
		t.Errorf("rollback while committing: %+v", a)
	}
	r.land()
	if a := r.replies["owner"]; a.Status != gtx.Committed {
		t.Errorf("owner: %+v", a)
	}
	// What is decided is no secret: everybody may ask in any way (rule C4).
	if st := r.rollback(x); st != gtx.Committed {
		t.Errorf("rollback afterwards: %s", st)
	}
}

func TestBeginIsRefusedWhileTheLogTakesNoWrites(t *testing.T) {
	r := lead(t, new([][]byte), 1, Config{StallAfter: time.Second})
	begin := func() error {
		c := r.call()
		r.step(Begin{Call: c})
		return r.answer(c).Err
	}
	r.commit(r.begin(a1), []gtx.BranchRef{a1}, nil)
	for range 3 {
		r.append = nil
		r.step(Unclear{}) // repeating does not make it younger
		r.pass(time.Second / 4)
		if err := begin(); err != nil {
			t.Fatal(err)
		}
	}
	r.pass(time.Second / 4)
	if err := begin(); !errors.Is(err, ErrBusy) || !errors.Is(err, gtx.ErrUnavailable) {
		t.Errorf("begin: %v", err)
	}
	r.land()
	if err := begin(); err != nil {
		t.Errorf("begin after the append: %v", err)
	}
}

func TestNothingGrowsWithNames(t *testing.T) {
	r := lead(t, new([][]byte), 1, Config{MaxLive: 10, MaxBranches: 100})
	name := func(i int) gtx.ResourceID { return gtx.ResourceID(fmt.Sprint("r", i)) }
	for i := range 1000 {
		r.step(Ack{Call: r.call(), Resource: name(i), XIDs: []gtx.XID{{Log: testLog, Epoch: 1, Seq: 1}}})
		r.step(Hello{Call: r.call(), Resource: name(i)})
	}
	if n := len(r.m.resources); n != 0 {
		t.Errorf("%d resources that nobody uses", n)
	}
	var limit *LimitError
	var xs []gtx.XID
	refused := 0
	for range 10 {
		x := r.begin()
		xs = append(xs, x)
		for i := range 100 {
			if err := r.register(x, ref(name(i), 1)); errors.As(err, &limit) {
				refused++
			}
		}
	}
	if refused != 1000-10*branchesPerLive {
		t.Errorf("%d branches refused", refused)
	}
	var confirmed []gtx.BranchRef
	for i := range 100 {
		confirmed = append(confirmed, ref(name(i), 1))
	}
	r.commit(xs[0], confirmed, nil)
	r.land()
	for _, x := range xs[1:] {
		r.rollback(x)
	}
	if n := len(r.m.resources); n != 100 || r.m.branches != 0 || r.m.owed != 100 {
		t.Errorf("%d resources, %d branches, %d owed", n, r.m.branches, r.m.owed)
	}
	for i := range 100 {
		r.ack(xs[0], name(i))
	}
	if len(r.m.resources) != 0 || r.m.owed != 0 || len(r.m.alarms) != 0 || len(r.m.deadlines) != 0 {
		t.Errorf("%d resources, %d owed, %d alarms, %d deadlines are left", len(r.m.resources), r.m.owed, len(r.m.alarms), len(r.m.deadlines))
	}
}
