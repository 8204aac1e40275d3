package tcc

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/internal/memory"
)

// shelf keeps guards in memory.
type shelf struct {
	// mu protects the following.
	mu    sync.Mutex
	rows  map[guardKey]guard
	deaf  error // what every call returns
	notes int
	looks int // calls of of
}

func (s *shelf) put(g guard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows[g.key()] = g
}

func (s *shelf) try(ctx context.Context, g guard, register func(context.Context) error, do func(context.Context, Tx) error) (settled, error) {
	if err := errors.Join(register(ctx), do(ctx, nil)); err != nil {
		return dead, err
	}
	s.put(g)
	return confirmed, nil
}

func (s *shelf) leftovers(context.Context, string, int) ([]string, error) { return nil, s.deaf }

func (s *shelf) of(_ context.Context, xid gtx.XID) (all []guard, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	for _, g := range s.rows {
		if g.xid == xid {
			all = append(all, g)
		}
	}
	slices.SortFunc(all, func(a, b guard) int { return int(a.branch - b.branch) })
	return all, s.deaf
}

func (s *shelf) bar(context.Context, gtx.XID, gtx.BranchID) (bool, error) { return false, s.deaf }

func (s *shelf) end(ctx context.Context, g guard, st gtx.Status, run func(context.Context, Tx, guard, phase) error) (bool, error) {
	p := confirming
	if st == gtx.Aborted {
		p = cancelling
	}
	if err := run(ctx, nil, g, p); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.rows, g.key())
	return true, nil
}

func (s *shelf) failed(_ context.Context, g guard) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deaf == nil {
		s.rows[g.key()], s.notes = g, s.notes+1
	}
	return s.deaf
}

func (s *shelf) away(err error) bool { return errors.Is(err, errAway) }

var errAway = errors.New("nobody is at home")

// script is an action whose Confirm is a function.
type script struct {
	keep[int]
	confirm func(ctx context.Context, n int) error
}

func (s script) Confirm(ctx context.Context, _ Tx, n int) error { return s.confirm(ctx, n) }

func shelved(t *testing.T, cfg Config) (*Resource, *shelf) {
	t.Helper()
	s := &shelf{rows: map[guardKey]guard{}}
	cfg.Coordinator = memory.New()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r := newResource(cfg.withDefaults(), "r-tcc", s)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, s
}

func committed(seq uint64) gtx.Resolution {
	return gtx.Resolution{XID: gtx.XID{Log: 1, Epoch: 1, Seq: seq}, Status: gtx.Committed}
}

// TestPauses holds that a Confirm that fails is tried again after pauses that grow from 100 ms
// to 30 s, for ever, also where the failure cannot be noted, and is told as stuck once.
func TestPauses(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			r, s := shelved(t, Config{StuckAfter: 5, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if deaf { // only notes are lost
				r.guards = noteless{s}
			}
			const n = 16
			var at []time.Time
			var attempts []int
			done := make(chan struct{})
			_, err := Register(r, "a", script{confirm: func(ctx context.Context, _ int) error {
				c, _ := FromContext(ctx)
				at, attempts = append(at, time.Now()), append(attempts, c.Attempt)
				if len(at) < n {
					return errors.New("no")
				}
				close(done)
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			d := committed(1)
			s.put(guard{xid: d.XID, branch: 1, action: "a", version: 1, args: []byte("1"), created: time.Now(), retryAt: time.UnixMicro(0)})
			if err := r.Resolve(t.Context(), d); err == nil || errors.Is(err, gtx.ErrConflict) {
				t.Errorf("first failure: %v", err)
			}
			if err := r.Resolve(t.Context(), d); !deaf && (!errors.Is(err, gtx.ErrConflict) || r.Stats().Retries != 1) {
				t.Errorf("a push that comes too early: %v, %+v", err, r.Stats())
			}
			select {
			case <-done:
			case <-time.After(time.Hour): // of the fake clock
				t.Fatalf("given up after %d calls", r.Stats().Retries)
			}
			synctest.Wait()
			first := 1
			if deaf { // nothing tells the push that it is too early
				first = 2
			}
			for i := first; i < len(at); i++ {
				limit := min(200*time.Millisecond<<(i-1), 30*time.Second)
				if pause := at[i].Sub(at[i-1]); pause < limit/2 || pause > limit {
					t.Errorf("pause %d: %s, want %s to %s", i, pause, limit/2, limit)
				}
			}
			for i, a := range attempts {
				if a != i+1 {
					t.Errorf("attempts %v", attempts)
					break
				}
			}
			if st := r.Stats(); st != (Stats{Confirmed: 1, Retries: n - 1}) {
				t.Errorf("stats %+v", st)
			}
			if got := bytes.Count(log.Bytes(), []byte("is stuck")); got != 1 {
				t.Errorf("told %d times:\n%s", got, log.String())
			}
		})
	}
}

// noteless loses the notes of failures.
type noteless struct{ *shelf }

func (noteless) failed(context.Context, guard) error { return errAway }

// TestSlowActionAlone holds that an action whose calls do not end keeps no other one waiting
// for longer than a moment (rule P7), and that Close ends it.
func TestSlowActionAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := shelved(t, Config{Workers: 2, Timeout: time.Hour})
		ended := make(chan int, 10)
		if _, err := Register(r, "slow", script{confirm: func(ctx context.Context, _ int) error {
			<-ctx.Done()
			return ctx.Err()
		}}); err != nil {
			t.Fatal(err)
		}
		if _, err := Register(r, "fast", script{confirm: func(_ context.Context, n int) error {
			ended <- n
			return nil
		}}); err != nil {
			t.Fatal(err)
		}
		for i := range 6 {
			d := committed(uint64(i + 1))
			s.put(guard{xid: d.XID, branch: 1, action: "slow", version: 1, args: []byte("1")})
			go func() { _ = r.Resolve(t.Context(), d) }()
		}
		d := committed(100)
		s.put(guard{xid: d.XID, branch: 1, action: "fast", version: 1, args: []byte("7")})
		began := time.Now()
		if err := r.Resolve(t.Context(), d); err != nil || <-ended != 7 || time.Since(began) > 0 {
			t.Errorf("the fast one: %v after %s", err, time.Since(began))
		}
		time.Sleep(10 * slotTime) // of the fake clock: those without a slot have given up
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if st := r.Stats(); st.Retries != 0 {
			t.Errorf("what Close has ended is no failure: %+v", st)
		}
		if err := r.Resolve(t.Context(), d); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// TestSlowActionLeavesLanes: the same for what this Resource comes to by itself, however many
// of the slow ones are due before the other.
func TestSlowActionLeavesLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := shelved(t, Config{Workers: 2, Timeout: time.Hour})
		ended, end := make(chan int, 100), make(chan struct{})
		slow := script{confirm: func(ctx context.Context, n int) error {
			select {
			case <-end:
				ended <- n
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		if _, err := Register(r, "slow", slow); err != nil {
			t.Fatal(err)
		}
		if _, err := Register(r, "fast", script{confirm: func(_ context.Context, n int) error {
			ended <- n
			return nil
		}}); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		const n = 20
		for i := range n {
			d := committed(uint64(i + 1))
			s.put(guard{xid: d.XID, branch: 1, action: "slow", version: 1, args: []byte("1")})
			r.plan(now, d)
		}
		d := committed(100)
		s.put(guard{xid: d.XID, branch: 1, action: "fast", version: 1, args: []byte("7")})
		r.plan(now.Add(time.Millisecond), d)
		if got := <-ended; got != 7 || time.Since(now) > n*laneTime {
			t.Errorf("%d has ended after %s", got, time.Since(now))
		}
		time.Sleep(time.Minute)
		s.mu.Lock()
		looks := s.looks
		s.mu.Unlock()
		if looks > 60*n*4 { // a slow one without a slot comes again after 250 ms or more
			t.Errorf("%d looks at %d slow actions in a minute", looks, n)
		}
		close(end)
		for range n {
			if got := <-ended; got != 1 {
				t.Errorf("%d has ended", got)
			}
		}
		synctest.Wait()
		if len(r.lanes) != 0 {
			t.Errorf("%d lanes are taken", len(r.lanes))
		}
	})
}

// TestGoexit holds that an action ends no more than itself.
func TestGoexit(t *testing.T) {
	r, s := shelved(t, Config{})
	calls := 0
	if _, err := Register(r, "a", script{confirm: func(context.Context, int) error {
		if calls++; calls == 1 {
			runtime.Goexit()
		}
		return nil
	}}); err != nil {
		t.Fatal(err)
	}
	d := committed(1)
	s.put(guard{xid: d.XID, branch: 1, action: "a", version: 1, args: []byte("1")})
	if err := r.Resolve(t.Context(), d); err == nil {
		t.Error("it was taken for a success")
	}
	if st := r.Stats(); st.Retries != 1 || st.Waiting != 1 {
		t.Errorf("stats %+v", st)
	}
}

// TestAway tries nothing, counts nothing.
func TestAway(t *testing.T) {
	r, s := shelved(t, Config{})
	s.deaf = errAway
	if err := r.Resolve(t.Context(), committed(1)); !errors.Is(err, gtx.ErrAway) {
		t.Errorf("got %v", err)
	}
	if st := r.Stats(); st != (Stats{}) {
		t.Errorf("stats %+v", st)
	}
	if err := r.Resolve(t.Context(), gtx.Resolution{XID: committed(1).XID, Status: gtx.PreCommitted}); err == nil {
		t.Error("pre-committed was taken for a decision")
	}
}

func TestRegister(t *testing.T) {
	r, _ := shelved(t, Config{})
	for _, name := range []string{"", " ", "a b", "é", "-a", "a\x00", string(bytes.Repeat([]byte("a"), 101))} {
		if _, err := Register(r, name, keep[int]{}); err == nil {
			t.Errorf("%q was taken for a name", name)
		}
	}
	if _, err := Register(r, "a", keep[int]{}, Version(0)); err == nil {
		t.Error("version 0 was taken")
	}
	if _, err := Register(r, "a", keep[int]{}); err != nil {
		t.Error(err)
	}
	if _, err := Register(r, "a", keep[int]{}); err == nil {
		t.Error("a name was taken twice")
	}
	if got, ok := Database(ResourceOf("db")); !ok || got != "db" {
		t.Errorf("got %q, %t", got, ok)
	}
	if _, ok := Database("db-xa"); ok {
		t.Error("a resource of another mode was taken")
	}
}

func TestAgenda(t *testing.T) {
	var a agenda
	now := time.UnixMicro(0)
	for i, ms := range []int{50, 10, 30, 20, 40} {
		if first := a.set(now.Add(time.Duration(ms)*time.Millisecond), committed(uint64(i+1))); first != (ms == 50 || ms == 10) {
			t.Errorf("%d ms is first: %t", ms, first)
		}
	}
	a.set(now.Add(5*time.Millisecond), committed(5)) // earlier than it was
	a.set(now.Add(60*time.Millisecond), committed(2))
	if it, wait := a.due(now); it != nil || wait != 5*time.Millisecond {
		t.Errorf("due at once: %v, %s", it, wait)
	}
	var got []uint64
	for it, _ := a.due(now.Add(time.Second)); it != nil; it, _ = a.due(now.Add(time.Second)) {
		got = append(got, it.d.XID.Seq)
	}
	if want := []uint64{5, 4, 3, 1, 2}; !slices.Equal(got, want) || len(a.byXID) != 0 {
		t.Errorf("order %v, want %v; %d left", got, want, len(a.byXID))
	}
	for i := range maxAgenda + 5 {
		a.set(now, committed(uint64(i+1)))
	}
	if a.Len() != maxAgenda {
		t.Errorf("%d planned", a.Len())
	}
}
