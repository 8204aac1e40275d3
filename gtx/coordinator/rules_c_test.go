package coordinator

import (
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

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
