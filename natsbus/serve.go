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
	wg  sync.WaitGroup // of workers

	// mu protects the following.
	mu      sync.Mutex
	ended   bool
	workers int
	queue   []gtx.Resolution
	flying  map[gtx.XID]struct{} // queued or being resolved
}

// Serve implements gtx.Coordinator. Processes that serve the same resource
// share its decisions: each goes to one of them. Decisions still waiting for a
// worker when stop is called are dropped and pushed again later. A Resolver may
// not call its own stop, which waits for it.
func (b *Bus) Serve(r gtx.ResourceID, res gtx.Resolver) (stop func(), err error) {
	subject, err := subjectOf(r)
	if err != nil {
		return nil, fmt.Errorf("serve resource: %w", err)
	}
	s := &subscription{bus: b, id: r, res: res, flying: map[gtx.XID]struct{}{}}
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
		if r.bad || p.XID.IsZero() || p.Status != gtx.Committed && p.Status != gtx.Aborted {
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

// add queues p and sees to a worker for it; false when the queue is full.
// Callers hold s.mu.
func (s *subscription) add(p gtx.Resolution) bool {
	if _, ok := s.flying[p.XID]; ok || s.ended {
		return true
	}
	if len(s.queue) >= backlog {
		return false
	}
	s.flying[p.XID] = struct{}{}
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
		delete(s.flying, p.XID)
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
		s.bus.mu.Lock()
		delete(s.bus.served, s)
		s.bus.mu.Unlock()
	}
	s.wg.Wait() // nobody adds to it any more
}
