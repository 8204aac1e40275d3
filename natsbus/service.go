package natsbus

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

// startTime bounds Serve when ctx does not: a long log takes its time.
const startTime = 5 * time.Minute

// ServiceConfig of Serve.
type ServiceConfig struct {
	// URL of the NATS servers, comma separated. Required. The user of the
	// connection needs the streams GTX_LOG, GTX_ANCHOR, GTX_GUARD and GTX_GUARD_ANCHOR, gtx.svc.>,
	// gtx.evt.>, gtx.ctl.> and gtx.guard.>.
	URL string
	// Options are added to the connection: credentials, TLS.
	Options []nats.Option
	// SystemURL and System reach the system account of the same servers, where a
	// coordinator asks every one of them whether it syncs before it acknowledges.
	// SystemURL empty means URL. Without System, AssumeSyncAlways must be set.
	SystemURL string
	System    []nats.Option
	// AssumeSyncAlways says that somebody has made sure of `sync_interval: always`
	// in the jetstream block of every server. A server without it loses
	// acknowledged decisions when its power fails.
	AssumeSyncAlways bool
	// Name of this node in logs and in Nodes, default the host and process id.
	Name string
	// Replicas of the stream when it is created, default 1. A stream with fewer
	// is refused.
	Replicas int
	// MaxBytes of the stream when it is created, default 8 GiB. A full log takes
	// no commit: transactions then stay undecided until it is made larger.
	MaxBytes int64
	// TakeoverAfter is how long a standby hears nothing of a leader before it
	// takes over, default 2 s; a quarter of it is added at random. It decides
	// about the pause after a crash only: two leaders do no harm (rule L8), so a
	// short time costs transactions that are aborted without need, nothing else.
	TakeoverAfter time.Duration
	// HandoverTime bounds how long Stop waits until the undecided transactions
	// are in the log, default 10 s. Later they are aborted by the next leader.
	// Where there are none it waits for a second at most.
	HandoverTime time.Duration
	// Coordinator holds the limits and times of the coordinator.
	Coordinator coordinator.Config
	// Now is the wall clock, default time.Now. It is read once for each term of
	// leadership; setting the clock while a node leads changes nothing.
	Now func() time.Time
	// Logger gets leadership and append trouble. Default slog.Default().
	Logger *slog.Logger

	// eager campaigns without listening for others: the directory is locked.
	eager bool
	// abandon lets Stop leave the undecided transactions to be aborted.
	abandon bool
}

func (c ServiceConfig) withDefaults() ServiceConfig {
	if c.Replicas <= 0 {
		c.Replicas = 1
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = 8 << 30
	}
	if c.Name == "" {
		host, _ := os.Hostname() // empty where there is none
		c.Name = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
	if c.TakeoverAfter <= 0 {
		c.TakeoverAfter = 2 * time.Second
	}
	if c.HandoverTime <= 0 {
		c.HandoverTime = 10 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Service is a node of the coordinator. It follows the log as a standby, takes
// over when no leader is heard, leads until another takes over, and then follows
// again, until Stop. Its methods are safe for concurrent use.
type Service struct {
	cfg   ServiceConfig
	id    uint64 // random
	nc    *nats.Conn
	in    *intake
	beats chan *nats.Msg // of leaders, the own ones, too
	stop  context.CancelFunc
	ready chan struct{} // closed when it first leads or follows a living leader
	done  chan struct{} // closed when the service has ended
	err   error         // valid after done

	// mu protects the following.
	mu      sync.Mutex
	status  NodeStatus
	changed chan struct{} // closed and replaced when role or leader changes
}

// Serve runs a node of the coordinator until Stop. It returns when the node
// leads, with every decision of the epochs before known, or when it follows a
// living leader. ctx bounds only this start. An error means that the log cannot
// be served from now: [coordinator.ErrGap], [coordinator.ErrCorrupt] and
// [coordinator.ErrTruncated] say that it is damaged. A node that has started
// does not end on its own: what is wrong later is logged, and tried again.
func Serve(ctx context.Context, cfg ServiceConfig) (*Service, error) {
	if cfg.URL == "" {
		return nil, errors.New("start coordinator: ServiceConfig.URL is empty")
	}
	cfg = cfg.withDefaults()
	nc, err := dial(cfg.URL, cfg.Logger, append([]nats.Option{
		nats.Name("globaltx coordinator " + cfg.Name), nats.FlusherTimeout(writeTimeout), nats.IgnoreAuthErrorAbort(),
	}, cfg.Options...)...)
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
	if _, err := coordinator.New(cfg.Coordinator, random(), random()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	life, stop := context.WithCancel(context.Background())
	s := &Service{
		cfg: cfg, id: random(), nc: nc, stop: stop,
		in: newIntake(nc, cfg.Coordinator.Partition, cfg.Logger),
		// Loading keeps the loop from its beats for minutes at worst.
		beats: make(chan *nats.Msg, 4096),
		ready: make(chan struct{}), done: make(chan struct{}), changed: make(chan struct{}),
		status: NodeStatus{Name: cfg.Name, Partition: cfg.Coordinator.Partition, Role: RoleStandby},
	}
	guards, err := openGuards(nc, &s.cfg)
	if err != nil {
		stop()
		return nil, err
	}
	go func() {
		s.err = (&node{Service: s}).run(life)
		stop()
		guards.close()
		nc.Close()
		close(s.done)
	}()
	select {
	case <-s.ready:
		return s, nil
	case <-s.done:
		return nil, s.err
	case <-ctx.Done():
		s.Stop()
		if trouble := s.Status().Trouble; trouble != "" {
			return nil, fmt.Errorf("wait for the log: %w: %s", ctx.Err(), trouble)
		}
		return nil, fmt.Errorf("wait for a leader: %w", ctx.Err())
	}
}

// Stop ends the node and waits. A leader first hands over: undecided
// transactions go into the log, where the next leader finds them, a standby or
// the next start; see HandoverTime. It may be called more than once.
func (s *Service) Stop() {
	s.stop()
	<-s.done
}

// Done is closed when the node has ended.
func (s *Service) Done() <-chan struct{} { return s.done }

// Err tells, after Done, why the node ended: nil after Stop.
func (s *Service) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Leading reports whether the node leads now, as far as it knows.
func (s *Service) Leading() bool { return s.Status().Role == RoleLeader }

// Status is what the node knows now.
func (s *Service) Status() NodeStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Watch gives the status and a channel that is closed when its Role or Leader
// changes.
func (s *Service) Watch() (NodeStatus, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status, s.changed
}

// WaitLeading returns when the node leads. It returns the error of ctx, or
// [ErrClosed] when the node ends before.
func (s *Service) WaitLeading(ctx context.Context) error {
	for {
		now, changed := s.Watch()
		if now.Role == RoleLeader {
			return nil
		}
		select {
		case <-changed:
		case <-s.done:
			return fmt.Errorf("wait for leadership: %w", ErrClosed)
		case <-ctx.Done():
			return fmt.Errorf("wait for leadership: %w", ctx.Err())
		}
	}
}

// tell changes the status. Only the node's goroutine calls it.
func (s *Service) tell(change func(*NodeStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	role, leader := s.status.Role, s.status.Leader
	change(&s.status)
	if s.status.Role != role || s.status.Leader != leader {
		close(s.changed)
		s.changed = make(chan struct{})
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
