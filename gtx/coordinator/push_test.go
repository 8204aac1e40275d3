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

// window gives the XIDs pushed to res since the last call, in order.
func (r *rig) window(res gtx.ResourceID) (xs []gtx.XID) {
	for _, p := range r.pushes {
		if p.Resource == res && p.Status == gtx.Committed {
			xs = append(xs, p.XID)
		}
	}
	r.pushes = nil
	return xs
}

// backlog commits n transactions at a and leaves them unacknowledged.
func (r *rig) backlog(n int) (xs []gtx.XID) {
	for range n {
		x := r.begin(a1)
		r.commit(x, []gtx.BranchRef{a1}, nil)
		xs = append(xs, x)
	}
	r.land()
	return xs
}

func TestG2PushesAreBoundedByTheWindow(t *testing.T) {
	cfg := some
	cfg.PushWindow = 8
	r := lead(t, new([][]byte), 1, cfg)
	xs := r.backlog(100)
	if diff := cmp.Diff(xs[:8], r.window("a")); diff != "" {
		t.Fatal(diff)
	}
	// Each acknowledgement makes room for one, and the queue runs dry without a
	// pause.
	for i := range xs {
		r.ack(xs[i], "a")
		want := xs[min(i+8, 100):min(i+9, 100)]
		if got := r.window("a"); !slices.Equal(got, want) {
			t.Fatalf("after %d acknowledgements pushed %v, want %v", i+1, got, want)
		}
	}
	if r.m.Stats().Unfinished != 0 {
		t.Errorf("stats %+v", r.m.Stats())
	}
}

// TestG2LossOfADatabase: nothing is acknowledged for an hour, and what is
// pushed meanwhile does not grow with what waits.
func TestG2LossOfADatabase(t *testing.T) {
	cfg := some
	cfg.PushWindow, cfg.PushMax = 16, 30*time.Second
	r := lead(t, new([][]byte), 1, cfg)
	xs := r.backlog(2000)
	pushed := 0
	for range 3600 {
		r.pass(time.Second)
		pushed += len(r.window("a"))
	}
	if most := 16 * (3600/30 + 10); pushed > most {
		t.Errorf("%d pushes in an hour, want at most %d", pushed, most)
	}
	// It is back and says so: a window at once, the rest as it acknowledges.
	r.step(Hello{Call: r.call(), Resource: "a"})
	n := 0
	for todo := r.window("a"); len(todo) > 0; todo = r.window("a") {
		if n == 0 && len(todo) < 8 {
			t.Errorf("%d pushes at once", len(todo))
		}
		n += len(todo)
		r.step(Ack{Call: r.call(), Resource: "a", XIDs: todo})
	}
	if n != len(xs) || !r.m.Stats().Idle() {
		t.Errorf("pushed %d of %d, stats %+v", n, len(xs), r.m.Stats())
	}
	// Without Hello it takes one pause.
	r.land()
	r.backlog(100)
	r.pass(time.Hour)
	r.window("a")
	r.pass(30 * time.Second)
	if len(r.window("a")) == 0 {
		t.Error("nothing pushed after the longest pause")
	}
}

func TestG2StuckCommitsDoNotBlockOthers(t *testing.T) {
	cfg := some
	cfg.PushWindow = 8
	r := lead(t, new([][]byte), 1, cfg)
	stuck := r.backlog(100)
	pushed := map[gtx.XID]int{}
	isStuck := func(x gtx.XID) bool { return slices.Contains(stuck, x) }
	work := func() {
		for xs := r.window("a"); len(xs) > 0; xs = r.window("a") {
			var done []gtx.XID
			for _, x := range xs {
				if pushed[x]++; !isStuck(x) {
					done = append(done, x)
				}
			}
			r.step(Ack{Call: r.call(), Resource: "a", XIDs: done})
		}
	}
	// Their first round goes out eight by eight with growing pauses.
	for range 100 {
		work()
		r.pass(4 * time.Second)
	}
	work()
	// From now on a fresh commit is pushed at once, whatever is stuck.
	for range 50 {
		x := r.committed(a1)
		work()
		if pushed[x] != 1 {
			t.Fatalf("fresh commit pushed %d times", pushed[x])
		}
		r.pass(time.Second)
		work()
	}
	// And each of the stuck has its turn.
	clear(pushed)
	for range 100 {
		r.pass(4 * time.Second)
		work()
	}
	for _, x := range stuck {
		if pushed[x] == 0 {
			t.Fatalf("%s was not pushed again; pushed %d others", x, len(pushed))
		}
	}
}

func TestG2HelloIsNoAmplifier(t *testing.T) {
	cfg := some
	cfg.PushWindow = 8
	r := lead(t, new([][]byte), 1, cfg)
	r.backlog(100)
	r.pass(10 * time.Second)
	r.window("a")
	for range 1000 {
		r.step(Hello{Call: r.call(), Resource: "a"})
	}
	if n := len(r.window("a")); n == 0 || n > 8 {
		t.Errorf("%d pushes for a flood of Hello", n)
	}
}

func TestG2AckOfMany(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	xs := r.backlog(5)
	aborted := r.begin(a1)
	r.rollback(aborted)
	live := r.begin(a1)
	c := r.call()
	r.step(Ack{Call: c, Resource: "a", XIDs: append(xs[1:3], aborted, live)})
	if a := r.answer(c); a.Err != nil {
		t.Errorf("answered %+v", a)
	}
	if n := r.m.Stats().Unfinished; n != 3 {
		t.Errorf("%d unfinished, want 3", n)
	}
	foreign := gtx.XID{Log: 1, Epoch: 1, Seq: 1}
	c = r.call()
	r.step(Ack{Call: c, Resource: "a", XIDs: []gtx.XID{foreign, xs[0]}})
	if a := r.answer(c); !errors.Is(a.Err, ErrForeignLog) {
		t.Errorf("answered %+v", a)
	}
	if n := r.m.Stats().Unfinished; n != 2 {
		t.Errorf("%d unfinished, want 2: one bad XID must not cost the others", n)
	}
	r.want(live, gtx.Pending)
}

func TestP6OneWorkerScans(t *testing.T) {
	r := lead(t, new([][]byte), 1, some)
	scan := func(res gtx.ResourceID, worker uint64, d time.Duration) error {
		c := r.call()
		r.step(Scan{Call: c, Resource: res, Worker: worker, For: d})
		return r.answer(c).Err
	}
	for _, s := range []struct {
		res    gtx.ResourceID
		worker uint64
		after  time.Duration
		want   error
	}{
		{"a", 1, 0, nil},
		{"a", 2, 0, ErrBusy},
		{"b", 2, 0, nil},
		{"a", 1, 5 * time.Second, nil}, // prolonged
		{"a", 2, 9 * time.Second, ErrBusy},
		{"a", 2, time.Second, nil}, // over
		{"a", 1, 0, ErrBusy},
		{"", 1, 0, ErrInvalid},
	} {
		r.pass(s.after)
		if err := scan(s.res, s.worker, 10*time.Second); !errors.Is(err, s.want) || s.want == nil && err != nil {
			t.Errorf("scan of %q by %d: %v, want %v", s.res, s.worker, err, s.want)
		}
	}
	// No number of names fills the memory or keeps anybody from scanning.
	for i := range 2 * maxLeases {
		if err := scan(gtx.ResourceID(fmt.Sprint(i)), 1, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.m.leases); n > maxLeases {
		t.Errorf("%d leases", n)
	}
	r.pass(maxLease)
	if err := scan("new", 1, time.Hour); err != nil || len(r.m.leases) > 1 {
		t.Errorf("%v, %d leases after all had expired", err, len(r.m.leases))
	}
}

func TestG2PausesStartAgainWithProgress(t *testing.T) {
	r := lead(t, new([][]byte), 1, some) // pauses of 1, 2, 4, 4, … seconds
	xs := r.backlog(2)
	wait := func(what string, ds ...time.Duration) {
		t.Helper()
		for i, d := range ds {
			r.window("a")
			r.pass(d*time.Second - 1)
			if got := r.window("a"); len(got) != 0 {
				t.Errorf("%s: push %d came early", what, i+1)
			}
			r.pass(1)
			if got := r.window("a"); len(got) == 0 {
				t.Errorf("%s: push %d did not come after %ds", what, i+1, d)
			}
		}
	}
	wait("silence", 1, 2, 4, 4)
	r.ack(xs[0], "a")
	wait("progress", 2, 2, 4, 4)
	r.step(Hello{Call: r.call(), Resource: "a"})
	wait("hello", 2, 4, 4)
}
