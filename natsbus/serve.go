package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
)

// backlog bounds the decisions that wait for a worker of one Serve. What does
// not fit is dropped: a commit is pushed again, and scans find the rest.
const backlog = 1024

// subscription delivers the decisions about one resource to one Resolver.
type subscription struct {
	bus  *Bus
	id   gtx.ResourceID
	res  gtx.Resolver
	sub  *nats.Subscription
	work chan gtx.Resolution
	wg   sync.WaitGroup
	once sync.Once
	gone chan struct{} // closed when stop has done its work

	// mu protects the following.
	mu     sync.Mutex
	ended  bool
	flying map[gtx.XID]struct{} // queued or being resolved
}

// Serve implements gtx.Coordinator. Processes that serve the same resource
// share its decisions: each goes to one of them. Decisions still waiting for a
// worker when stop is called are dropped and pushed again later.
func (b *Bus) Serve(r gtx.ResourceID, res gtx.Resolver) (stop func(), err error) {
	subject, err := subjectOf(r)
	if err != nil {
		return nil, fmt.Errorf("serve resource: %w", err)
	}
	s := &subscription{
		bus: b, id: r, res: res, work: make(chan gtx.Resolution, backlog),
		gone: make(chan struct{}), flying: map[gtx.XID]struct{}{},
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return nil, ErrClosed
	}
	if s.sub, err = b.nc.QueueSubscribe(subject, rmQueue, s.take); err != nil {
		return nil, fmt.Errorf("serve resource %s: %w: %w", r, gtx.ErrUnavailable, err)
	}
	b.served[s] = struct{}{}
	for range b.cfg.Workers {
		s.wg.Go(s.worker)
	}
	// The subscription reaches the server before this request on the same
	// connection, so nothing pushed for it is missed. A hint: no answer, no retry.
	_ = b.nc.Publish(svcPrefix+opHello, mustJSON(request{Resource: r}))
	return s.stop, nil
}

// take queues one pushed decision, unless it is under way already.
func (s *subscription) take(m *nats.Msg) {
	var p push
	if err := json.Unmarshal(m.Data, &p); err != nil || p.XID.IsZero() || p.Status != gtx.Committed && p.Status != gtx.Aborted {
		s.bus.cfg.Logger.Warn("drop event that is not a decision", "subject", m.Subject, "err", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.flying[p.XID]; ok || s.ended {
		return
	}
	select {
	case s.work <- gtx.Resolution{XID: p.XID, Status: p.Status, Branches: p.Branches}:
		s.flying[p.XID] = struct{}{}
	default:
	}
}

func (s *subscription) worker() {
	for r := range s.work {
		s.mu.Lock()
		ended := s.ended
		s.mu.Unlock()
		if !ended {
			s.deliver(r)
		}
		s.mu.Lock()
		delete(s.flying, r.XID)
		s.mu.Unlock()
	}
}

// deliver acknowledges only after the Resolver has nothing left (rules P2, P3).
// An abort has no record to forget, so it needs no acknowledgement (G1).
func (s *subscription) deliver(r gtx.Resolution) {
	ctx, cancel := context.WithTimeout(context.Background(), s.bus.cfg.ResolveTimeout)
	defer cancel()
	if err := s.res.Resolve(ctx, r); err != nil {
		level := slog.LevelWarn
		if errors.Is(err, gtx.ErrConflict) {
			level = slog.LevelDebug // a busy database
		}
		s.bus.cfg.Logger.Log(ctx, level, "phase two failed, will be tried again", "xid", r.XID.String(),
			"status", r.Status.String(), "resource", string(s.id), "err", err)
		return
	}
	if r.Status != gtx.Committed {
		return
	}
	if err := s.bus.Acknowledge(ctx, r.XID, s.id); err != nil {
		s.bus.cfg.Logger.Debug("acknowledgement lost, the next push repeats it", "xid", r.XID.String(), "err", err)
	}
}

// stop ends the subscription and waits for the deliveries under way.
func (s *subscription) stop() {
	s.once.Do(func() {
		defer close(s.gone)
		_ = s.sub.Unsubscribe()
		s.mu.Lock()
		s.ended = true
		close(s.work) // take sends only under mu while not ended
		s.mu.Unlock()
		s.wg.Wait()
		s.bus.mu.Lock()
		delete(s.bus.served, s)
		s.bus.mu.Unlock()
	})
	<-s.gone
}
