package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
)

// backlog bounds the decisions that wait for a worker of one Serve. What does
// not fit is dropped: a commit is pushed again, and scans find the rest.
const backlog = 8192

// subscription delivers the decisions about one resource to one Resolver.
type subscription struct {
	bus *Bus
	id  gtx.ResourceID
	res gtx.Resolver
	sub *nats.Subscription
	wg  sync.WaitGroup // of workers and votes

	// Where res can vote, else nil.
	can    *nats.Subscription
	voting context.Context // of its votes, until leave: nobody waits for one then
	leave  context.CancelFunc

	// mu protects the following.
	mu      sync.Mutex
	ended   bool
	workers int
	votes   int
	queue   []gtx.Resolution
	flying  map[gtx.XID]*flying // queued or being resolved
}

// flying is what is under way for one XID.
type flying struct {
	status gtx.Status
	then   *gtx.Resolution // the decision, which came while PreCommitted was under way
}

// Serve implements gtx.Coordinator. Processes that serve the same resource
// share its decisions: each goes to one of them. Decisions still waiting for a
// worker when stop is called are dropped and pushed again later. A Resolver may
// not call its own stop, which waits for it.
func (b *Bus) Serve(r gtx.ResourceID, res gtx.Resolver) (stop func(), err error) {
	subject, err := subjectOf(evtPrefix, r)
	if err != nil {
		return nil, fmt.Errorf("serve resource: %w", err)
	}
	s := &subscription{bus: b, id: r, res: res, flying: map[gtx.XID]*flying{}}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return nil, ErrClosed
	}
	if s.sub, err = b.nc.QueueSubscribe(subject, rmQueue, s.take); err != nil {
		return nil, fmt.Errorf("serve resource %s: %w: %w", r, gtx.ErrUnavailable, err)
	}
	// take never blocks; the bound that counts is backlog.
	if err := s.sub.SetPendingLimits(-1, droppedBytes); err != nil {
		return nil, fmt.Errorf("serve resource %s: %w: %w", r, gtx.ErrUnavailable, err)
	}
	if err := s.serveVotes(); err != nil {
		_ = s.sub.Unsubscribe()
		return nil, err
	}
	b.served[s] = struct{}{}
	// The subscription reaches the server before this request on the same
	// connection, so nothing pushed for it is missed.
	b.Hello(r)
	return s.end, nil
}

// take queues pushed decisions, but for those under way already.
func (s *subscription) take(m *nats.Msg) {
	kind, body, err := header(m.Data)
	if err == nil && kind != kindPushes {
		err = fmt.Errorf("%w: kind %d is not a batch of pushes", errWire, kind)
	}
	r := reader{b: body}
	s.mu.Lock()
	full := 0
	for err == nil && len(r.b) > 0 {
		p := r.push()
		if r.bad || p.XID.IsZero() || !pushable(&p) {
			err = errWire
			break
		}
		if !s.add(p) {
			full++
		}
	}
	s.mu.Unlock()
	if err != nil {
		s.bus.complain.warn("drop events that are no decisions", "subject", m.Subject, "err", err)
	}
	if full > 0 {
		s.bus.complain.warn("phase two is slower than the decisions come, the rest will be pushed again",
			"resource", string(s.id), "waiting", backlog, "dropped", full)
	}
}

// pushable tells whether a coordinator says that.
func pushable(p *gtx.Resolution) bool {
	switch p.Status {
	case gtx.Committed, gtx.Aborted:
		return true
	case gtx.PreCommitted:
		return p.XID.ThreePhase() && len(p.Participants) > 0
	}
	return false
}

// add queues p and sees to a worker for it; false when the queue is full.
// Callers hold s.mu.
func (s *subscription) add(p gtx.Resolution) bool {
	if f := s.flying[p.XID]; f != nil || s.ended {
		if f != nil && f.status == gtx.PreCommitted && p.Status != gtx.PreCommitted {
			f.then = &p // in this order: the Resolver must not hear the older news last
		}
		return true
	}
	if len(s.queue) >= backlog {
		return false
	}
	s.flying[p.XID] = &flying{status: p.Status}
	s.queue = append(s.queue, p)
	if s.workers < s.bus.cfg.Workers {
		s.workers++
		s.wg.Go(s.work)
	}
	return true
}

// work delivers until nothing waits.
func (s *subscription) work() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) > 0 && !s.ended {
		p := s.queue[0]
		s.queue = s.queue[1:]
		s.mu.Unlock()
		s.deliver(p)
		s.mu.Lock()
		f := s.flying[p.XID]
		delete(s.flying, p.XID)
		if f.then != nil {
			s.add(*f.then) // dropped if there is no room, as any other
		}
	}
	s.workers--
}

func (s *subscription) deliver(p gtx.Resolution) {
	ctx, cancel := context.WithTimeout(context.Background(), s.bus.cfg.ResolveTimeout)
	defer cancel()
	err := gtx.Deliver(ctx, s.bus, s.id, s.res, p)
	if err == nil {
		return
	}
	level := slog.LevelWarn
	if errors.Is(err, gtx.ErrConflict) || errors.Is(err, gtx.ErrAway) || errors.Is(err, gtx.ErrNotAcknowledged) {
		level = slog.LevelDebug // a busy or absent database, a lost message: the next push repeats it
	}
	s.bus.cfg.Logger.Log(ctx, level, "phase two failed, will be tried again", "xid", p.XID.String(),
		"status", p.Status.String(), "resource", string(s.id), "err", err)
}

// end ends the subscription and waits for the deliveries under way. It may be
// called more than once.
func (s *subscription) end() {
	s.mu.Lock()
	first := !s.ended
	s.ended = true
	s.queue = nil
	s.mu.Unlock()
	if first {
		_ = s.sub.Unsubscribe()
		if s.can != nil {
			_ = s.can.Unsubscribe()
			s.leave()
		}
		s.bus.mu.Lock()
		delete(s.bus.served, s)
		s.bus.mu.Unlock()
	}
	s.wg.Wait() // nobody adds to it any more
}
