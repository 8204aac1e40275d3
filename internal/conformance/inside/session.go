package inside

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/conformance/hook"
)

// session is what the connections of a process share: the test that runs and its
// segment. Safe for concurrent use.
type session struct {
	mode  Mode
	coord gtx.Coordinator
	rec   recorder
	// settle bounds phase two of one segment.
	settle time.Duration

	// mu protects the following. It is held while databases are read, so that a segment
	// begins once and no statement slips between the two looks of a comparison.
	mu      sync.Mutex
	tests   []hook.T // more than one: parallel tests, which share a segment
	seg     *segment
	targets map[string]*target // by identity
}

func newSession(mode Mode, c gtx.Coordinator, out io.Writer) *session {
	return &session{
		mode: mode, coord: c, settle: settleTime, rec: recorder{out: out},
		targets: map[string]*target{},
	}
}

// test begins a test: until its clean-up, the last of all its own, segments begin.
func (s *session) test(t hook.T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tests = append(s.tests, t)
	t.Cleanup(func() { s.testEnded(t) })
}

func (s *session) testEnded(t hook.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, x := range s.tests {
		if x == t {
			s.tests = append(s.tests[:i:i], s.tests[i+1:]...)
			break
		}
	}
	if len(s.tests) == 0 {
		s.end(t, s.mode, false)
	}
	if err := s.rec.failed(); err != nil {
		t.Errorf("write record: %v", err)
	}
}

// testName is of the test that runs. s.mu is held.
func (s *session) testName() string {
	if len(s.tests) == 0 {
		return ""
	}
	return s.tests[0].Name()
}

// segmentTimeout is longer than any test of a suite may take.
const segmentTimeout = time.Hour

// segment is one global transaction.
type segment struct {
	ctx    context.Context // carries it
	xid    gtx.XID
	finish chan error // ends the function of gtx.Run
	done   chan error // what gtx.Run returned

	// Protected by session.mu.
	over    bool
	open    int // local transactions
	running int // statements and Commits that have not returned
	written []text
	before  map[*target]*snapshot
	closers []func() // of databases that the test closed meanwhile
}

// begin gives the current segment, a new one if there is none. Nil outside of tests.
// s.mu is held.
func (s *session) begin() (*segment, error) {
	if s.seg != nil || len(s.tests) == 0 {
		return s.seg, nil
	}
	g := &segment{finish: make(chan error, 1), done: make(chan error, 1), before: map[*target]*snapshot{}}
	began := make(chan context.Context, 1)
	go func() {
		g.done <- gtx.Run(context.Background(), func(ctx context.Context) error {
			began <- ctx
			return <-g.finish
		}, gtx.WithCoordinator(s.coord), gtx.WithName(s.testName()), gtx.WithTimeout(segmentTimeout), gtx.WithRetries(0))
	}()
	select {
	case g.ctx = <-began:
	case err := <-g.done:
		return nil, err
	}
	tx, _ := gtx.FromContext(g.ctx)
	g.xid = tx.XID()
	s.seg = g
	return g, nil
}

// enter makes the segment ready for a write to a database. s.mu is held.
func (s *session) enter(src *source) (*segment, error) {
	g, err := s.begin()
	if g == nil || err != nil {
		return g, err
	}
	tg, err := s.target(src)
	if err != nil {
		return nil, fmt.Errorf("inside: look at the database: %w", err)
	}
	if _, ok := g.before[tg]; ok {
		return g, nil
	}
	var snap *snapshot
	if s.mode == Abort {
		if snap, err = tg.snapshot(); err != nil {
			return nil, fmt.Errorf("inside: %w", err)
		}
	}
	g.before[tg] = snap
	return g, nil
}

// pass is what a statement runs under.
type pass struct {
	seg  *segment // nil: outside
	done func(error)
}

// statement decides for a statement of a connection without local transaction.
func (s *session) statement(src *source, query string) (pass, error) {
	t := read(query)
	s.mu.Lock()
	defer s.mu.Unlock()
	var g *segment
	var err error
	switch t.kind {
	case defines:
		return s.define(src, t), nil
	case reads:
		g = s.seg
	case writes:
		if g, err = s.enter(src); err != nil {
			return pass{}, err
		}
		if g != nil {
			g.written = append(g.written, t)
		}
	}
	return s.run(g, query), nil
}

// local decides for a statement in a local transaction of segment g.
func (s *session) local(g *segment, query string) pass {
	t := read(query)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.kind != reads {
		g.written = append(g.written, t)
	}
	return s.run(g, query)
}

// run counts a statement as running until done. s.mu is held.
func (s *session) run(g *segment, query string) pass {
	if g == nil {
		return pass{done: func(error) {}}
	}
	g.running++
	name := s.testName()
	return pass{seg: g, done: func(err error) {
		s.rec.statement(name, query, err)
		s.mu.Lock()
		defer s.mu.Unlock()
		g.running--
	}}
}

// define lets DDL run outside, after the end of a segment that has written what it
// touches. s.mu is held.
func (s *session) define(src *source, t text) pass {
	p := s.beside(src, t)
	if !t.table || t.drop || t.temporary {
		return p
	}
	return pass{done: func(err error) {
		if err == nil {
			s.key(src)
		}
		p.done(err)
	}}
}

// beside is define, but for keys.
func (s *session) beside(src *source, t text) pass {
	g := s.seg
	if g == nil {
		return pass{done: func(error) {}}
	}
	touches := !t.table && len(g.written) > 0
	for _, w := range g.written {
		touches = touches || w.mentions(t.names)
	}
	if touches && !t.temporary && g.open == 0 && g.running == 0 {
		mode := s.mode
		if !t.drop {
			mode = Commit
		}
		s.end(s.tests[0], mode, mode != s.mode)
		return pass{done: func(error) {}}
	}
	return pass{done: func(error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.seg != g {
			return
		}
		tg, err := s.target(src)
		if err == nil && g.before[tg] != nil {
			err = tg.refresh(g.before[tg], t)
		}
		if err != nil {
			s.tests[0].Errorf("inside: look at the database after DDL: %v", err)
		}
	}}
}
