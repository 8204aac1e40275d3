package xa

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

const database gtx.ResourceID = "3b8b3c9e-7d1c-4c4e-9d5e-0d1a2b3c4d5e"

var (
	errUnknownName = errors.New("XAER_NOTA")
	errBroken      = errors.New("broken pipe")
)

// memory is a database with prepared branches.
type memory struct {
	mu      sync.Mutex
	left    map[Name]bool // true: its session lives, nobody else can end it
	ended   map[Name]bool // how
	calls   []string
	listErr error
	endErr  error
	gate    chan struct{} // if not nil, List waits for a value
	onAgain func(n Name)

	attached []string
}

func newMemory(names ...Name) *memory {
	m := &memory{left: map[Name]bool{}, ended: map[Name]bool{}}
	for _, n := range names {
		m.left[n] = false
	}
	return m
}

func (m *memory) Database(context.Context) (gtx.ResourceID, error) { return database, nil }

func (m *memory) List(context.Context) ([]Name, error) {
	m.mu.Lock()
	m.calls = append(m.calls, "list")
	names := make([]Name, 0, len(m.left))
	for n := range m.left {
		names = append(names, n)
	}
	err, gate := m.listErr, m.gate
	m.mu.Unlock()
	if gate != nil {
		<-gate
	}
	return names, err
}

func (m *memory) End(_ context.Context, n Name, commit bool) error {
	m.mu.Lock()
	m.calls = append(m.calls, fmt.Sprintf("end %d %t", n.Branch, commit))
	tied, there := m.left[n]
	err, again := m.endErr, m.onAgain
	if err == nil && there && !tied {
		delete(m.left, n)
		m.ended[n] = commit
		m.mu.Unlock()
		return nil
	}
	m.mu.Unlock()
	if err != nil {
		return err
	}
	if again != nil {
		again(n)
	}
	return errUnknownName
}

func (m *memory) Attached(context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.attached), nil
}

func (m *memory) Again(err error) bool        { return errors.Is(err, errUnknownName) }
func (m *memory) Check(context.Context) error { return nil }

func (m *memory) Classify(err error) undo.ErrorClass {
	if errors.Is(err, errBroken) {
		return undo.Lost
	}
	return undo.Other
}

func (m *memory) untie(n Name) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.left[n]; ok {
		m.left[n] = false
	}
}

func (m *memory) count(call string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.calls {
		if c == call {
			n++
		}
	}
	return n
}

// oracle is a coordinator that knows outcomes.
type oracle struct {
	gtx.Coordinator
	mu       sync.Mutex
	outcomes map[gtx.XID]gtx.Status
	acked    []gtx.XID
	claimed  []gtx.XID
	err      error
	decided  chan struct{} // Await returns when it is closed
}

func (o *oracle) Outcome(_ context.Context, x gtx.XID) (gtx.Status, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	st, ok := o.outcomes[x]
	if !ok {
		st = gtx.Aborted
	}
	return st, o.err
}

func (o *oracle) Await(ctx context.Context, _, x gtx.XID) (gtx.Status, error) {
	select {
	case <-o.decided:
		return o.Outcome(ctx, x)
	case <-ctx.Done():
		return gtx.Pending, nil
	}
}

func (o *oracle) Acknowledge(_ context.Context, x gtx.XID, _ gtx.ResourceID) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.acked = append(o.acked, x)
	return nil
}

func (o *oracle) Ready(context.Context, gtx.XID, gtx.ResourceID) error { return nil }
func (o *oracle) CanCommit(context.Context, gtx.ResourceID) error      { return nil }
func (o *oracle) Claim(ctx context.Context, x gtx.XID, _ []gtx.ResourceID) (gtx.Status, error) {
	o.mu.Lock()
	o.claimed = append(o.claimed, x)
	o.mu.Unlock()
	return o.Outcome(ctx, x)
}

func xid(seq uint64) gtx.XID { return gtx.XID{Log: 9, Epoch: 1, Seq: seq} }

func name(seq uint64, b gtx.BranchID) Name { return Name{xid(seq), database, b} }

func resolver(t *testing.T, m *memory, o *oracle) *Resolver {
	t.Helper()
	r, err := NewResolver(Config{
		Store: m, Coordinator: func() gtx.Coordinator { return o }, ScanInterval: time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r
}

func TestResolveEndsOnlyItsXID(t *testing.T) {
	for _, st := range []gtx.Status{gtx.Committed, gtx.Aborted} {
		m := newMemory(name(1, 1), name(1, 2), name(2, 1))
		r := resolver(t, m, &oracle{})
		if err := r.Resolve(t.Context(), gtx.Resolution{XID: xid(1), Status: st}); err != nil {
			t.Fatal(err)
		}
		if len(m.left) != 1 || len(m.ended) != 2 || m.ended[name(1, 1)] != (st == gtx.Committed) || m.ended[name(1, 2)] != (st == gtx.Committed) {
			t.Errorf("%s: left %v, ended %v", st, m.left, m.ended)
		}
		if err := r.Resolve(t.Context(), gtx.Resolution{XID: xid(1), Status: st}); err != nil {
			t.Errorf("again: %v", err)
		}
	}
}

// TestX3UnknownNameIsNoEnd holds that a branch which the server does not know by its name,
// and lists, is looked at again until it has ended, and not acknowledged before.
func TestX3UnknownNameIsNoEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, o := newMemory(name(1, 1)), &oracle{}
		m.left[name(1, 1)] = true
		r := resolver(t, m, o)
		res := gtx.Resolution{XID: xid(1), Status: gtx.Committed}
		err := gtx.Deliver(t.Context(), o, ResourceOf(database), r, res)
		if !errors.Is(err, gtx.ErrConflict) || len(o.acked) != 0 || len(m.left) != 1 {
			t.Fatalf("tied: %v, acknowledged %v, left %v", err, o.acked, m.left)
		}
		tries := 0
		m.onAgain = func(n Name) {
			if tries++; tries == 3 {
				m.untie(n)
			}
		}
		if err := gtx.Deliver(t.Context(), o, ResourceOf(database), r, res); err != nil {
			t.Fatal(err)
		}
		if !m.ended[name(1, 1)] || len(o.acked) != 1 || tries != 3 {
			t.Errorf("ended %v, acknowledged %v, %d tries", m.ended, o.acked, tries)
		}
	})
}

// TestX4WaitsForSessions ends a branch by its name only when every session that had a
// prepared branch after it was listed has been without since.
func TestX4WaitsForSessions(t *testing.T) {
	m := newMemory(name(1, 1))
	r, err := NewResolver(Config{Store: m, Coordinator: func() gtx.Coordinator { return &oracle{} }, Solo: true})
	if err != nil {
		t.Fatal(err)
	}
	res := gtx.Resolution{XID: xid(1), Status: gtx.Committed}
	for _, attached := range [][]string{{"a", "b"}, {"b", "c"}, {"b"}} {
		m.attached = attached
		if err := r.Resolve(t.Context(), res); !errors.Is(err, gtx.ErrConflict) || m.count("end 1 true") != 0 {
			t.Fatalf("while %v live: %v, %v", attached, err, m.calls)
		}
	}
	m.attached = []string{"a", "c"}
	if err := r.Resolve(t.Context(), res); err != nil || len(m.left) != 0 || len(r.attached) != 0 {
		t.Errorf("%v, left %v, remembered %v", err, m.left, r.attached)
	}
}

func TestResolveTellsThatTheDatabaseIsAway(t *testing.T) {
	m := newMemory(name(1, 1))
	r := resolver(t, m, &oracle{})
	m.listErr = errBroken
	if err := r.Resolve(t.Context(), gtx.Resolution{XID: xid(1), Status: gtx.Committed}); !errors.Is(err, gtx.ErrAway) {
		t.Errorf("list: %v", err)
	}
	m.listErr, m.endErr = nil, errBroken
	if err := r.Resolve(t.Context(), gtx.Resolution{XID: xid(1), Status: gtx.Committed}); !errors.Is(err, gtx.ErrAway) {
		t.Errorf("end: %v", err)
	}
	for _, st := range []gtx.Status{gtx.Pending, gtx.Expired} {
		if err := r.Resolve(t.Context(), gtx.Resolution{XID: xid(1), Status: st}); err == nil {
			t.Errorf("%s was taken for a decision", st)
		}
	}
}

// TestEndNeedsNoLook is the short cut of the process that prepared.
func TestEndNeedsNoLook(t *testing.T) {
	m := newMemory(name(1, 1), name(1, 2))
	r := resolver(t, m, &oracle{})
	r.Prepared(name(1, 1))
	r.End(t.Context(), xid(1), gtx.Committed)
	if m.count("list") != 0 || !m.ended[name(1, 1)] || len(m.left) != 1 {
		t.Errorf("calls %v, left %v", m.calls, m.left)
	}
	r.Prepared(name(1, 2))
	r.End(t.Context(), xid(1), gtx.Pending)
	if len(r.mine) != 0 || len(m.left) != 1 {
		t.Errorf("an unknown outcome: left %v, remembered %v", m.left, r.mine)
	}
}

// TestLooksAreShared holds that a look that began before the call is never its answer.
func TestLooksAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.gate = make(chan struct{})
		r := resolver(t, m, &oracle{})
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				if err := r.Resolve(t.Context(), gtx.Resolution{XID: xid(uint64(i + 1)), Status: gtx.Committed}); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		// The first look is under way; a branch appears that it does not show.
		m.mu.Lock()
		m.left[name(10, 1)] = false
		m.mu.Unlock()
		m.gate <- struct{}{}
		m.gate <- struct{}{}
		all.Wait()
		if got := m.count("list"); got != 2 {
			t.Errorf("%d looks for ten, want 2", got)
		}
		if !m.ended[name(10, 1)] {
			t.Error("the last one missed what was prepared before it asked")
		}
	})
}

// TestScan ends what is decided, leaves what is not, and what another log knows.
func TestScan(t *testing.T) {
	m := newMemory(name(1, 1), name(2, 1), name(3, 1), name(4, 1))
	o := &oracle{outcomes: map[gtx.XID]gtx.Status{xid(1): gtx.Committed, xid(2): gtx.Pending, xid(3): gtx.Expired}}
	r := resolver(t, m, o)
	left, err := r.Scan(t.Context())
	if err != nil || left != 1 {
		t.Errorf("left %d, %v", left, err)
	}
	if !m.ended[name(1, 1)] || m.ended[name(3, 1)] || m.ended[name(4, 1)] || len(m.ended) != 3 {
		t.Errorf("ended %v", m.ended)
	}
	if !slices.Equal(o.acked, []gtx.XID{xid(1)}) {
		t.Errorf("acknowledged %v", o.acked)
	}
	o.err = errors.New("another log's")
	if left, err := r.Scan(t.Context()); err != nil || left != 1 || len(m.left) != 1 {
		t.Errorf("foreign: left %d, %v", left, err)
	}
	o.err = gtx.ErrUnavailable
	if left, err := r.Scan(t.Context()); !errors.Is(err, gtx.ErrUnavailable) || left != 1 {
		t.Errorf("no coordinator: left %d, %v", left, err)
	}
}

// TestStartScansUntilStop finds at once what an earlier process left, and what stays
// for longer than an interval.
func TestStartScansUntilStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(name(1, 1))
		r := resolver(t, m, &oracle{})
		r.Start()
		synctest.Wait()
		if len(m.left) != 0 {
			t.Errorf("after start: %v", m.left)
		}
		m.mu.Lock()
		m.left[name(2, 1)] = false
		m.mu.Unlock()
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if len(m.left) != 0 {
			t.Errorf("after two intervals: %v", m.left)
		}
		r.Stop()
		r.Stop()
		r.Start()
		m.mu.Lock()
		m.calls = nil
		m.mu.Unlock()
		time.Sleep(time.Minute)
		if m.count("list") != 0 {
			t.Error("it scans after Stop")
		}
	})
}

// session is a connection that is tied to a branch.
type session struct {
	m      *memory
	n      Name
	fails  bool
	closed bool
}

func (s *session) Prepare(string) (driver.Stmt, error) { return nil, errBroken }
func (s *session) Begin() (driver.Tx, error)           { return nil, errBroken }
func (s *session) IsValid() bool                       { return !s.closed }

func (s *session) Close() error {
	s.closed = true
	s.m.untie(s.n)
	return nil
}

func (s *session) ExecContext(ctx context.Context, text string, _ []driver.NamedValue) (driver.Result, error) {
	if s.fails {
		return nil, errBroken
	}
	s.m.untie(s.n)
	return driver.RowsAffected(0), s.m.End(ctx, s.n, text == "commit")
}

// words is a dialect of two texts.
type words struct{ Dialect }

func (words) End(_ Name, commit bool) string {
	if commit {
		return "commit"
	}
	return "rollback"
}

// TestKeptConnections are ended on by themselves when the decision is known, whoever it is
// pushed to, and then have another user; where they fail the list has the last word.
func TestKeptConnections(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory(name(1, 1))
			m.left[name(1, 1)] = true
			o := &oracle{outcomes: map[gtx.XID]gtx.Status{xid(1): gtx.Committed}, decided: make(chan struct{})}
			r := resolver(t, m, o)
			r.cfg.Dialect = words{}
			s := &session{m: m, n: name(1, 1), fails: fails}
			r.Keep(s.n, s, "memo", o)
			synctest.Wait()
			if st := r.Stats(); st.Kept != 1 || len(m.ended) != 0 {
				t.Errorf("before the decision: %+v, ended %v", st, m.ended)
			}
			close(o.decided)
			synctest.Wait()
			if !m.ended[s.n] || len(o.acked) != 1 {
				t.Errorf("ended %v, acknowledged %v", m.ended, o.acked)
			}
			got, memo := r.Spare(t.Context())
			if fails && (got != nil || !s.closed) || !fails && (got != driver.Conn(s) || memo != "memo") {
				t.Errorf("spare %v, %v, closed %t", got, memo, s.closed)
			}
			if again, _ := r.Spare(t.Context()); again != nil {
				t.Error("one connection was given away twice")
			}
			r.Stop()
		})
	}
}

// TestStopLetsGo closes what is kept, so that others can end it.
func TestStopLetsGo(t *testing.T) {
	m := newMemory(name(1, 1))
	m.left[name(1, 1)] = true
	r := resolver(t, m, &oracle{decided: make(chan struct{})})
	s := &session{m: m, n: name(1, 1)}
	r.Keep(s.n, s, "memo", &oracle{decided: make(chan struct{})})
	r.Stop()
	late := &session{m: m, n: name(2, 1)}
	r.Keep(late.n, late, "memo", &oracle{})
	if !s.closed || !late.closed || m.left[s.n] {
		t.Errorf("closed %t, late one %t, left %v", s.closed, late.closed, m.left)
	}
	if err := r.CanCommit(t.Context()); !errors.Is(err, ErrDraining) {
		t.Errorf("a vote after Stop: %v", err)
	}
}

func TestDrainVotesNo(t *testing.T) {
	r := resolver(t, newMemory(), &oracle{})
	r.Drain(true)
	if err := r.CanCommit(t.Context()); !errors.Is(err, ErrDraining) {
		t.Errorf("got %v", err)
	}
	r.Drain(false)
	if err := r.CanCommit(t.Context()); err != nil {
		t.Errorf("got %v", err)
	}
}

// TestH4Claims asks for the end of what is pre-committed here and not decided for long.
func TestH4Claims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(name(16, 1))
		o := &oracle{outcomes: map[gtx.XID]gtx.Status{xid(16): gtx.Pending}}
		r := resolver(t, m, o)
		res := gtx.Resolution{XID: xid(16), Status: gtx.PreCommitted, Participants: []gtx.ResourceID{ResourceOf(database)}}
		for range 2 {
			if err := r.Resolve(t.Context(), res); err != nil {
				t.Fatal(err)
			}
		}
		if len(m.left) != 1 {
			t.Fatal("told is not decided")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		o.mu.Lock()
		if len(o.claimed) != 0 {
			t.Errorf("claimed after a second: %v", o.claimed)
		}
		o.mu.Unlock()
		time.Sleep(4 * time.Second)
		synctest.Wait()
		o.mu.Lock()
		o.outcomes[xid(16)] = gtx.Committed
		asked := len(o.claimed)
		o.mu.Unlock()
		if asked == 0 {
			t.Error("nobody asked")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !m.ended[name(16, 1)] || len(o.acked) != 1 || len(r.told) != 0 || r.claiming {
			t.Errorf("ended %v, acknowledged %v, told %v, claiming %t", m.ended, o.acked, r.told, r.claiming)
		}
		if err := r.Resolve(t.Context(), gtx.Resolution{XID: xid(17), Status: gtx.PreCommitted, Participants: res.Participants}); err == nil {
			t.Error("a transaction that has two phases was pre-committed")
		}
		r.Stop()
	})
}
