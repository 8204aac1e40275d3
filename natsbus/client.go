package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

// ErrClosed is returned by every call after Close. It wraps gtx.ErrUnavailable.
var ErrClosed = fmt.Errorf("natsbus: closed: %w", gtx.ErrUnavailable)

// Config of Connect.
type Config struct {
	// URL of the NATS servers, comma separated. Required.
	URL string
	// Options are added to the connection: credentials, TLS. What this package
	// needs for safety (no reconnect buffer) is set behind them and wins.
	Options []nats.Option
	// Timeout bounds a call whose context allows more, retries included,
	// default 10 s.
	Timeout time.Duration
	// TryTimeout is how long one try waits for its answer, default 2 s.
	TryTimeout time.Duration
	// ResolveTimeout bounds the context of one Resolver call, default 30 s.
	ResolveTimeout time.Duration
	// Workers is how many decisions each Serve hands to its Resolver at a time,
	// default 16.
	Workers int
	// Logger gets what no caller can be told: failed phase-two deliveries,
	// connection losses. Default slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	if c.TryTimeout <= 0 {
		c.TryTimeout = 2 * time.Second
	}
	if c.ResolveTimeout <= 0 {
		c.ResolveTimeout = 30 * time.Second
	}
	if c.Workers <= 0 {
		c.Workers = 16
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

var _ gtx.Coordinator = (*Bus)(nil)

// Bus reaches a coordinator over NATS. It implements gtx.Coordinator and is safe
// for concurrent use.
type Bus struct {
	cfg    Config
	nc     *nats.Conn
	ctx    context.Context // ends with Close; every call is bound to it
	cancel context.CancelFunc
	host   *host // of Embedded, else nil

	closeOnce sync.Once
	closed    chan struct{} // closed when Close has done its work

	// mu protects the following.
	mu     sync.Mutex
	ended  bool
	served map[*subscription]struct{}
}

// Connect joins the coordinator behind cfg.URL. It returns when a server and a
// leading coordinator have answered; ctx bounds the wait, at most cfg.Timeout.
func Connect(ctx context.Context, cfg Config) (*Bus, error) {
	if cfg.URL == "" {
		return nil, errors.New("connect to coordinator: Config.URL is empty")
	}
	b, err := connect(cfg.withDefaults())
	if err != nil {
		return nil, err
	}
	if _, err := b.Stats(ctx); err != nil {
		b.Close()
		return nil, fmt.Errorf("connect to coordinator: %w", err)
	}
	return b, nil
}

func connect(cfg Config) (*Bus, error) {
	nc, err := dial(cfg.URL, cfg.Logger, cfg.Options...)
	if err != nil {
		return nil, fmt.Errorf("connect to coordinator: %w: %w", gtx.ErrUnavailable, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Bus{
		cfg: cfg, nc: nc, ctx: ctx, cancel: cancel,
		closed: make(chan struct{}), served: map[*subscription]struct{}{},
	}, nil
}

// dial connects with what a transaction needs: nothing may be sent after its
// caller has given up, so there is no reconnect buffer.
func dial(url string, log *slog.Logger, opts ...nats.Option) (*nats.Conn, error) {
	opts = append([]nats.Option{
		nats.Name("globaltx"),
		nats.PingInterval(2 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(50*time.Millisecond, 100*time.Millisecond),
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			subject := ""
			if s != nil {
				subject = s.Subject
			}
			log.Warn("nats error", "subject", subject, "err", err)
		}),
	}, opts...)
	opts = append(opts, nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
	return nats.Connect(url, opts...)
}

// Run is gtx.Run with this coordinator.
func (b *Bus) Run(ctx context.Context, fn func(context.Context) error, opts ...gtx.Option) error {
	return gtx.Run(ctx, fn, append([]gtx.Option{gtx.WithCoordinator(b)}, opts...)...)
}

// Begin implements gtx.Coordinator. A lost answer may leave a transaction
// behind that ends by its deadline.
func (b *Bus) Begin(ctx context.Context, req gtx.BeginRequest) (gtx.XID, error) {
	// Rounded up: less than a millisecond must not become the default.
	ms := (req.Timeout + time.Millisecond - 1) / time.Millisecond
	r, err := b.call(ctx, opBegin, request{Name: req.Name, TimeoutMS: int64(ms), First: req.First})
	return r.XID, err
}

// Register implements gtx.Coordinator.
func (b *Bus) Register(ctx context.Context, xid gtx.XID, ref gtx.BranchRef) error {
	_, err := b.call(ctx, opRegister, request{XID: xid, Ref: ref})
	return err
}

// Commit implements gtx.Coordinator. It asks again when no answer came, which
// is safe because the request is idempotent (rule C3).
func (b *Bus) Commit(ctx context.Context, xid gtx.XID, confirmed, dead []gtx.BranchRef) (gtx.Status, error) {
	r, err := b.call(ctx, opCommit, request{XID: xid, Confirmed: confirmed, Dead: dead})
	return r.Status, err
}

// Rollback implements gtx.Coordinator.
func (b *Bus) Rollback(ctx context.Context, xid gtx.XID) (gtx.Status, error) {
	r, err := b.call(ctx, opRollback, request{XID: xid})
	return r.Status, err
}

// Outcome implements gtx.Coordinator. For phase two Expired is as good as
// Aborted: a committed transaction expires only after all have acknowledged
// (rule G4).
func (b *Bus) Outcome(ctx context.Context, xid gtx.XID) (gtx.Status, error) {
	r, err := b.call(ctx, opOutcome, request{XID: xid})
	return r.Status, err
}

// Await implements gtx.Coordinator. The coordinator answers when holder has
// ended; meanwhile the question is repeated, for the coordinator may have
// changed.
func (b *Bus) Await(ctx context.Context, waiter, holder gtx.XID) (gtx.Status, error) {
	r, err := b.call(ctx, opAwait, request{XID: holder, Waiter: waiter, Nonce: rand.Uint64()})
	return r.Status, err
}

// Acknowledge implements gtx.Coordinator.
func (b *Bus) Acknowledge(ctx context.Context, xid gtx.XID, r gtx.ResourceID) error {
	_, err := b.call(ctx, opAck, request{XID: xid, Resource: r})
	return err
}

// Stats counts what the coordinator holds now.
func (b *Bus) Stats(ctx context.Context) (coordinator.Stats, error) {
	r, err := b.call(ctx, opStats, request{})
	if err != nil || r.Stats == nil {
		return coordinator.Stats{}, err
	}
	return *r.Stats, nil
}

// Idle waits until the coordinator holds no transaction that is live, being
// committed, or committed and not acknowledged by all its databases. It returns
// the error of ctx, with what is left, when that ends first.
func (b *Bus) Idle(ctx context.Context) error {
	for try := 0; ; try++ {
		st, err := b.Stats(ctx)
		if err != nil {
			return fmt.Errorf("wait for an idle coordinator: %w", err)
		}
		if st.Idle() {
			return nil
		}
		if !pause(ctx, time.Millisecond, 50*time.Millisecond, try) {
			return fmt.Errorf("wait for an idle coordinator (%d live, %d committing, %d unfinished): %w",
				st.Live, st.Committing, st.Unfinished, ctx.Err())
		}
	}
}

// Close ends every Serve, waits for deliveries under way, and closes the
// connection; with Embedded it stops the coordinator and the server, too. Calls
// under way and later ones return ErrClosed. It may be called more than once.
func (b *Bus) Close() error {
	b.closeOnce.Do(func() {
		defer close(b.closed)
		b.mu.Lock()
		b.ended = true
		subs := make([]*subscription, 0, len(b.served))
		for s := range b.served {
			subs = append(subs, s)
		}
		b.mu.Unlock()
		for _, s := range subs {
			s.stop()
		}
		b.cancel()
		b.nc.Close()
		if b.host != nil {
			b.host.stop()
		}
	})
	<-b.closed
	return nil
}

// call sends a request until it is answered, ctx ends or the time is over. All
// operations may be repeated: Begin leaves at worst an empty transaction, the
// others are idempotent (rules B2, B3, C3, G2).
func (b *Bus) call(ctx context.Context, op string, req request) (reply, error) {
	body := mustJSON(req)
	if len(body) > maxBody {
		return reply{}, fmt.Errorf("call coordinator (%s): %w: %d bytes", op, ErrRefused, len(body))
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()
	var before error // of the last try that ctx did not end: the likely cause
	for try := 0; ; try++ {
		r, err := b.try(ctx, op, body)
		again := err != nil && !errors.Is(err, ErrClosed)
		if err == nil {
			err = r.err()
			again = r.Code == codeNotLeader || op == opCommit && r.Code == codeOK && r.Status == gtx.Pending
		}
		if again && pause(ctx, 10*time.Millisecond, 250*time.Millisecond, try) {
			before = err
			continue
		}
		if again && err != nil && before != nil && ctx.Err() != nil {
			err = fmt.Errorf("%w, and before that: %w", err, before)
		}
		if b.ctx.Err() != nil && again {
			err = ErrClosed
		}
		if err != nil {
			err = fmt.Errorf("call coordinator (%s): %w", op, err)
		}
		return r, err
	}
}

// try sends the request once. Its error wraps gtx.ErrUnavailable and says
// nothing about whether the coordinator got it.
func (b *Bus) try(ctx context.Context, op string, body []byte) (reply, error) {
	if b.ctx.Err() != nil {
		return reply{}, ErrClosed
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.TryTimeout)
	defer cancel()
	m, err := b.nc.RequestWithContext(ctx, svcPrefix+op, body)
	if err != nil {
		if b.ctx.Err() != nil || errors.Is(err, nats.ErrConnectionClosed) {
			return reply{}, ErrClosed
		}
		return reply{}, fmt.Errorf("%w: %w", gtx.ErrUnavailable, err)
	}
	var r reply
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return reply{}, fmt.Errorf("%w: read reply: %w", gtx.ErrUnavailable, err)
	}
	return r, nil
}

// pause waits from·2^try, at most limit, with jitter; false when ctx ended.
func pause(ctx context.Context, from, limit time.Duration, try int) bool {
	d := min(from<<min(try, 10), limit)
	t := time.NewTimer(d/2 + rand.N(d/2+1))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
