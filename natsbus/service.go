package natsbus

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

// flushTime bounds how long Stop waits for the last append.
const flushTime = 2 * time.Second

// ServiceConfig of Serve.
type ServiceConfig struct {
	// URL of the NATS servers, comma separated. Required. The user of the
	// connection needs the stream GTX_LOG, gtx.svc.> and gtx.evt.>.
	URL string
	// Options are added to the connection: credentials, TLS.
	Options []nats.Option
	// Replicas of the stream when it is created, default 1. A stream with fewer
	// is refused.
	Replicas int
	// MaxBytes of the stream when it is created, default 8 GiB. A full log takes
	// no commit: transactions then stay undecided until it is made larger.
	MaxBytes int64
	// Coordinator holds the limits and times of the coordinator.
	Coordinator coordinator.Config
	// Logger gets leadership and append trouble. Default slog.Default().
	Logger *slog.Logger
}

func (c ServiceConfig) withDefaults() ServiceConfig {
	if c.Replicas <= 0 {
		c.Replicas = 1
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = 8 << 30
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Service is a coordinator at work. It leads until Stop or until another
// coordinator takes the log over; it never leads again after that.
type Service struct {
	cfg    ServiceConfig
	nc     *nats.Conn
	log    *decisionLog
	events chan coordinator.Event
	writes chan coordinator.Append // to the appender, at most one outstanding
	wrote  chan coordinator.Event  // from the appender
	ready  chan struct{}           // closed when leading
	stops  chan struct{}           // closed by Stop
	done   chan struct{}           // closed when the service has ended
	epoch  atomic.Uint64           // once leading
	once   sync.Once
	wg     sync.WaitGroup
	err    error // valid after done
}

// Serve takes the log over and runs a coordinator until Stop. It returns when
// the own epoch is in the log and every decision of the epochs before is known;
// ctx bounds only this start. A coordinator that led until now steps down.
func Serve(ctx context.Context, cfg ServiceConfig) (*Service, error) {
	if cfg.URL == "" {
		return nil, errors.New("start coordinator: ServiceConfig.URL is empty")
	}
	cfg = cfg.withDefaults()
	nc, err := dial(cfg.URL, cfg.Logger, cfg.Options...)
	if err != nil {
		return nil, fmt.Errorf("start coordinator: %w: %w", gtx.ErrUnavailable, err)
	}
	s, err := serveOn(ctx, nc, cfg)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("start coordinator: %w", err)
	}
	return s, nil
}

// serveOn takes ownership of nc when it returns without error.
func serveOn(ctx context.Context, nc *nats.Conn, cfg ServiceConfig) (*Service, error) {
	m, err := coordinator.New(cfg.Coordinator, random(), random())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	log, err := openLog(ctx, nc, &cfg)
	if err != nil {
		return nil, err
	}
	if err := log.load(ctx, m); err != nil {
		return nil, err
	}
	actions, err := m.Campaign()
	if err != nil {
		return nil, err
	}
	s := &Service{
		cfg: cfg, nc: nc, log: log,
		events: make(chan coordinator.Event, 4096),
		writes: make(chan coordinator.Append, 1), wrote: make(chan coordinator.Event, 1),
		ready: make(chan struct{}), stops: make(chan struct{}), done: make(chan struct{}),
	}
	life, end := context.WithCancel(context.Background())
	s.wg.Go(func() { s.appender(life) })
	go func() {
		err := s.loop(m, actions)
		end()
		s.wg.Wait()
		s.nc.Close()
		s.err = err
		close(s.done)
	}()
	select {
	case <-s.ready:
		return s, nil
	case <-s.done:
		return nil, s.err
	case <-ctx.Done():
		s.Stop()
		return nil, fmt.Errorf("wait for the epoch record: %w", ctx.Err())
	}
}

func random() uint64 {
	for {
		var b [8]byte
		_, _ = crand.Read(b[:]) // never fails, see its documentation
		if v := binary.BigEndian.Uint64(b[:]); v != 0 {
			return v
		}
	}
}

// Stop ends the service, after the append under way, and waits. Undecided
// transactions are aborted by the next epoch. It may be called more than once.
func (s *Service) Stop() {
	s.once.Do(func() { close(s.stops) })
	<-s.done
}

// Done is closed when the service has ended.
func (s *Service) Done() <-chan struct{} { return s.done }

// Err tells, after Done, why the service ended: nil after Stop.
func (s *Service) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// statsEvent asks the loop for Stats; the machine does not see it.
type statsEvent struct {
	coordinator.Event
	msg *nats.Msg
}

// loop owns the machine.
func (s *Service) loop(m *coordinator.Machine, actions []coordinator.Action) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var subs []*nats.Subscription
	defer func() {
		for _, sub := range subs {
			_ = sub.Unsubscribe()
		}
	}()
	stops := s.stops
	var giveUp <-chan time.Time
	for {
		if err := s.do(actions); err != nil {
			s.cfg.Logger.Error("coordinator stepped down", "epoch", m.Epoch(), "err", err)
			return err
		}
		if subs == nil && m.Leading() {
			s.epoch.Store(m.Epoch())
			var err error
			if subs, err = s.subscribe(); err != nil {
				return err
			}
			_ = s.nc.Publish(epochSubject, mustJSON(m.Epoch()))
			s.cfg.Logger.Info("coordinator leads", "log", fmt.Sprintf("%016x", m.Log()), "epoch", m.Epoch())
			close(s.ready)
		}
		if stops == nil && m.Quiet() {
			return nil
		}
		if at, ok := m.Next(); ok {
			timer.Reset(time.Until(at))
		} else {
			timer.Stop()
		}
		var e coordinator.Event
		select {
		case e = <-s.wrote:
		case e = <-s.events:
		case <-timer.C:
			e = coordinator.Tick{}
		case <-stops:
			stops, giveUp = nil, time.After(flushTime)
			e = coordinator.Flush{}
			for _, sub := range subs {
				_ = sub.Unsubscribe()
			}
			if !m.Leading() {
				return nil
			}
		case <-giveUp:
			return nil
		}
		if st, ok := e.(statsEvent); ok {
			stats := m.Stats()
			s.respond(st.msg, reply{Stats: &stats})
			actions = nil
			continue
		}
		actions = m.Step(time.Now(), e)
	}
}

// do performs actions; an error ends the service.
func (s *Service) do(actions []coordinator.Action) error {
	for _, a := range actions {
		switch a := a.(type) {
		case coordinator.Append:
			s.writes <- a // never blocks: one is outstanding
		case coordinator.Reply:
			if msg, ok := a.Call.(*nats.Msg); ok {
				r := reply{XID: a.XID, Status: a.Status}
				if a.Err != nil {
					r.Code, r.Text = codeOf(a.Err), a.Err.Error()
				}
				s.respond(msg, r)
			}
		case coordinator.Push:
			// Lost ones are pushed again, or found by a scan.
			if subject, err := subjectOf(a.Resource); err == nil {
				_ = s.nc.Publish(subject, mustJSON(push{XID: a.XID, Status: a.Status, Branches: a.Branches}))
			}
		case coordinator.StepDown:
			return a.Err
		}
	}
	return nil
}

// appender performs appends, one at a time, and repeats what stays unclear.
func (s *Service) appender(ctx context.Context) {
	tries, last := 0, uint64(0)
	for {
		var w coordinator.Append
		select {
		case w = <-s.writes:
		case <-ctx.Done():
			return
		}
		if w.Prev != last {
			tries, last = 0, w.Prev
		}
		if tries > 0 && !pause(ctx, 5*time.Millisecond, 500*time.Millisecond, tries) {
			return
		}
		e, err := s.log.append(ctx, w)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			s.cfg.Logger.Warn("append to decision log unclear, repeating it", "prev", w.Prev, "try", tries, "err", err)
		}
		tries++
		s.wrote <- e // never blocks: one is outstanding
	}
}

// subscribe opens the service. Leaders share a queue group; one that is
// deposed and does not know it yet does no harm (rule L8).
func (s *Service) subscribe() ([]*nats.Subscription, error) {
	var subs []*nats.Subscription
	for _, op := range []string{opBegin, opRegister, opCommit, opRollback, opOutcome, opAwait, opAck, opHello, opStats} {
		sub, err := s.nc.QueueSubscribe(svcPrefix+op, svcQueue, func(m *nats.Msg) { s.request(op, m) })
		if err != nil {
			return subs, fmt.Errorf("subscribe %s: %w", op, err)
		}
		// The loop is the limit: what it has not taken waits here, and its caller
		// gives up by its own deadline. Dropping would look the same to it.
		if err := sub.SetPendingLimits(1<<16, 64<<20); err != nil {
			return subs, fmt.Errorf("subscribe %s: %w", op, err)
		}
		subs = append(subs, sub)
	}
	// A leader that hears of a later epoch looks into the log, which is what
	// deposes it: the message itself is not believed.
	sub, err := s.nc.Subscribe(epochSubject, func(m *nats.Msg) {
		var epoch uint64
		if json.Unmarshal(m.Data, &epoch) == nil && epoch > s.epoch.Load() {
			s.send(coordinator.Barrier{})
		}
	})
	if err != nil {
		return subs, fmt.Errorf("subscribe %s: %w", epochSubject, err)
	}
	return append(subs, sub), s.nc.FlushTimeout(appendTimeout)
}

// send hands an event to the loop.
func (s *Service) send(e coordinator.Event) {
	select {
	case s.events <- e:
	case <-s.done:
	}
}

// request turns a message into an event for the loop.
func (s *Service) request(op string, m *nats.Msg) {
	if m.Reply != "" && !strings.HasPrefix(m.Reply, "_INBOX.") && !strings.HasPrefix(m.Reply, "_R_.") {
		// A caller may name any subject: answering there would let it write with
		// the rights of the coordinator.
		s.cfg.Logger.Warn("drop request with a foreign reply subject", "op", op)
		return
	}
	var r request
	if len(m.Data) > maxBody {
		s.respond(m, reply{Code: codeInvalid, Text: fmt.Sprintf("request of %d bytes", len(m.Data))})
		return
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		s.respond(m, reply{Code: codeInvalid, Text: "request is not valid JSON of this version: " + err.Error()})
		return
	}
	var e coordinator.Event
	switch op {
	case opBegin:
		ms := min(max(r.TimeoutMS, 0), int64(24*365*time.Hour/time.Millisecond))
		e = coordinator.Begin{Call: m, Timeout: time.Duration(ms) * time.Millisecond, First: r.First}
	case opRegister:
		e = coordinator.Register{Call: m, XID: r.XID, Ref: r.Ref}
	case opCommit:
		e = coordinator.Commit{Call: m, XID: r.XID, Confirmed: r.Confirmed, Dead: r.Dead}
	case opRollback:
		e = coordinator.Rollback{Call: m, XID: r.XID}
	case opOutcome:
		e = coordinator.Outcome{Call: m, XID: r.XID}
	case opAwait:
		e = coordinator.Await{Call: m, Waiter: r.Waiter, Holder: r.XID, Nonce: r.Nonce}
	case opAck:
		e = coordinator.Ack{Call: m, XID: r.XID, Resource: r.Resource}
	case opHello:
		e = coordinator.Hello{Call: m, Resource: r.Resource}
	case opStats:
		e = statsEvent{msg: m}
	}
	s.send(e)
}

func (s *Service) respond(m *nats.Msg, r reply) {
	if m.Reply != "" {
		_ = s.nc.Publish(m.Reply, mustJSON(r)) // lost: the caller asks again
	}
}
