package natsbus

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

// ErrClosed is returned by every call after Close. It wraps gtx.ErrUnavailable.
var ErrClosed = fmt.Errorf("natsbus: closed: %w", gtx.ErrUnavailable)

const (
	// pauseMin is the first, pauseMax the longest pause between two tries.
	pauseMin, pauseMax = 10 * time.Millisecond, 250 * time.Millisecond
	// writeTimeout is how long the network may not take a write, which keeps all
	// who want to send, before the connection counts as broken.
	writeTimeout = 2 * time.Second
	// flushTime bounds how long Close waits for the server to have it all.
	flushTime = 500 * time.Millisecond
	// maxTime bounds a time on the wire.
	maxTime = 365*24*time.Hour - time.Millisecond
)

// Config of Connect.
type Config struct {
	// URL of the NATS servers, comma separated. Required.
	URL string
	// Options are added to the connection: credentials, TLS, an inbox prefix that
	// begins with "_INBOX". What this package needs for safety (no reconnect
	// buffer) is set behind them and wins.
	Options []nats.Option
	// Timeout bounds a call whose context allows more, retries included,
	// default 10 s. Await has what its context allows.
	Timeout time.Duration
	// TryTimeout is how long one try waits for its answer, default 1 s. It is what
	// a client loses when the coordinator that it has asked dies.
	TryTimeout time.Duration
	// ResolveTimeout bounds the context of one Resolver call, default 30 s.
	ResolveTimeout time.Duration
	// Workers is how many decisions each Serve hands to its Resolver at a time,
	// default 64. Many cost little: a resolver ends those it has at one time
	// together.
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
		c.TryTimeout = time.Second
	}
	if c.ResolveTimeout <= 0 {
		c.ResolveTimeout = 30 * time.Second
	}
	if c.Workers <= 0 {
		c.Workers = 64
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

var (
	_ gtx.Coordinator  = (*Bus)(nil)
	_ gtx.ScanLeaser   = (*Bus)(nil)
	_ gtx.Greeter      = (*Bus)(nil)
	_ gtx.PreCommitter = (*Bus)(nil)
)

// Bus reaches a coordinator over NATS. It implements gtx.Coordinator and is safe
// for concurrent use. Calls from many goroutines share messages.
//
// What a Bus has begun only this Bus can commit or roll back: it gives the
// coordinator a secret with every transaction. Others, a Bus of the next start
// of the same program among them, may register branches, ask for the outcome and
// wait for it; a Commit or Rollback of theirs returns [ErrRefused] while the
// transaction is undecided, and tells the decision afterwards.
type Bus struct {
	cfg      Config
	nc       *nats.Conn
	out      *batcher
	complain *complaints
	key      uint64          // owner of every transaction begun here
	ctx      context.Context // ends with Close; every call is bound to it
	cancel   context.CancelFunc
	host     *host         // of Embedded, else nil
	closed   chan struct{} // closed when Close has done its work

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
	cfg.Options = append([]nats.Option{nats.FlusherTimeout(writeTimeout)}, cfg.Options...)
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
	complain := newComplaints(cfg.Logger)
	out, err := newBatcher(nc, 0, complain)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("connect to coordinator: %w: %w", gtx.ErrUnavailable, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Bus{
		cfg: cfg, nc: nc, out: out, complain: complain, key: newKey(), ctx: ctx, cancel: cancel,
		closed: make(chan struct{}), served: map[*subscription]struct{}{},
	}, nil
}

// newKey is never 0, which means none.
func newKey() uint64 {
	var b [8]byte
	_, _ = crand.Read(b[:]) // never fails, see its documentation
	return max(1, binary.BigEndian.Uint64(b[:]))
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
	opts = append(opts, nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.ReconnectOnFlusherError())
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
	timeout := min(max(req.Timeout, 0), maxTime) + time.Millisecond - 1
	a, err := b.call(ctx, &request{Op: opBegin, Timeout: timeout, First: req.First, Key: b.key, Mode: req.Mode, Resources: req.Resources})
	return a.XID, err
}

// Register implements gtx.Coordinator.
func (b *Bus) Register(ctx context.Context, xid gtx.XID, ref gtx.BranchRef) error {
	_, err := b.call(ctx, &request{Op: opRegister, XID: xid, Ref: ref})
	return err
}

// Commit implements gtx.Coordinator. It asks again, the next leader too, when no
// answer came, which is safe because the request is idempotent (rule C3).
func (b *Bus) Commit(ctx context.Context, xid gtx.XID, confirmed, dead []gtx.BranchRef) (gtx.Status, error) {
	a, err := b.call(ctx, &request{Op: opCommit, XID: xid, Key: b.key, Confirmed: confirmed, Dead: dead})
	return a.Status, err
}

// Rollback implements gtx.Coordinator.
func (b *Bus) Rollback(ctx context.Context, xid gtx.XID) (gtx.Status, error) {
	a, err := b.call(ctx, &request{Op: opRollback, XID: xid, Key: b.key})
	return a.Status, err
}

// Outcome implements gtx.Coordinator. For phase two Expired is as good as
// Aborted: a committed transaction expires only after all have acknowledged
// (rule G4).
func (b *Bus) Outcome(ctx context.Context, xid gtx.XID) (gtx.Status, error) {
	a, err := b.call(ctx, &request{Op: opOutcome, XID: xid})
	return a.Status, err
}

// Await implements gtx.Coordinator. The coordinator answers when holder has
// ended; meanwhile the question is repeated, for the coordinator may have
// changed. It takes the time that ctx gives, Config.Timeout without a deadline.
func (b *Bus) Await(ctx context.Context, waiter, holder gtx.XID) (gtx.Status, error) {
	a, err := b.call(ctx, &request{Op: opAwait, XID: holder, Waiter: waiter, Nonce: rand.Uint64()})
	return a.Status, err
}

// Acknowledge implements gtx.Coordinator. It does not wait: what ends at one
// time is told together, and what gets lost is pushed again. The only error is
// ErrClosed.
func (b *Bus) Acknowledge(_ context.Context, xid gtx.XID, r gtx.ResourceID) error {
	if b.ctx.Err() != nil {
		return fmt.Errorf("acknowledge %s: %w", xid, ErrClosed)
	}
	b.out.ack(word{opAck, r}, xid)
	return nil
}

// Ready implements gtx.PreCommitter. It does not wait, as Acknowledge.
func (b *Bus) Ready(_ context.Context, xid gtx.XID, r gtx.ResourceID) error {
	if b.ctx.Err() != nil {
		return fmt.Errorf("answer that %s is pre-committed: %w", xid, ErrClosed)
	}
	b.out.ack(word{opReady, r}, xid)
	return nil
}

// Claim implements gtx.PreCommitter. It waits for the record of a claim that is
// accepted; Pending is no answer yet, and is not asked again here.
func (b *Bus) Claim(ctx context.Context, xid gtx.XID, participants []gtx.ResourceID) (gtx.Status, error) {
	a, err := b.call(ctx, &request{Op: opClaim, XID: xid, Resources: participants})
	return a.Status, err
}

// Hello implements gtx.Greeter.
func (b *Bus) Hello(r gtx.ResourceID) { b.out.tell(&request{Op: opHello, Resource: r}) }

// Scan implements gtx.ScanLeaser.
func (b *Bus) Scan(ctx context.Context, r gtx.ResourceID, worker uint64, d time.Duration) (bool, error) {
	_, err := b.call(ctx, &request{Op: opScan, Resource: r, Nonce: worker, Timeout: min(max(d, 0), maxTime)})
	if errors.Is(err, coordinator.ErrBusy) {
		return false, nil
	}
	return err == nil, err
}

// Stats counts what the coordinator holds now.
func (b *Bus) Stats(ctx context.Context) (coordinator.Stats, error) {
	a, err := b.call(ctx, &request{Op: opStats})
	if err != nil || a.Stats == nil {
		return coordinator.Stats{}, err
	}
	return *a.Stats, nil
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

// Close ends every Serve, waits for deliveries under way, which have at most
// Config.ResolveTimeout, and closes the connection; with Embedded it stops the
// coordinator and the server, too. Calls under way and later ones return
// ErrClosed. It may be called more than once, but not by a Resolver of this Bus:
// it would wait for itself.
func (b *Bus) Close() error {
	b.mu.Lock()
	first := !b.ended
	b.ended = true
	subs := slices.Collect(maps.Keys(b.served))
	b.mu.Unlock()
	if !first {
		<-b.closed
		return nil
	}
	defer close(b.closed)
	for _, s := range subs {
		s.end()
	}
	b.cancel()
	b.out.stop()
	_ = b.nc.FlushTimeout(flushTime) // acknowledgements; lost ones are pushed again
	b.nc.Close()
	if b.host != nil {
		b.host.stop()
	}
	return nil
}

// call sends a request until it is answered, ctx ends or the time is over; see
// [coordinator.Call] for what is asked again.
func (b *Bus) call(ctx context.Context, q *request) (a answer, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("call coordinator (%s): %w", q.Op, err)
		}
	}()
	if b.ctx.Err() != nil {
		return a, ErrClosed
	}
	out, err := b.out.start(q)
	if err != nil {
		return a, err
	}
	defer b.out.drop(out)
	now := time.Now()
	c := coordinator.Call{
		Deadline: now.Add(b.cfg.Timeout),
		Pace:     coordinator.Pace{Try: b.cfg.TryTimeout, PauseMin: pauseMin, PauseMax: pauseMax},
		Decide:   q.Op == opCommit,
	}
	// How long to wait for a holder's end is for the waiter to say (gtx_lock_wait).
	if at, ok := ctx.Deadline(); ok && (at.Before(c.Deadline) || q.Op == opAwait) {
		c.Deadline = at
	}
	next := coordinator.Next{Done: true}
	if ctx.Err() != nil {
		c.GiveUp(ctx.Err()) // never sent
	} else {
		next = c.Start(now)
	}
	for !next.Done {
		if next.Send {
			b.out.send(out)
		}
		out.timer.Reset(time.Until(next.At))
		select {
		case r := <-out.got:
			switch {
			case r.last:
				return answer{}, r.err
			case r.err != nil:
				next = c.Fail(time.Now(), r.err, rand.Float64())
			default:
				a.Stats = r.Stats
				next = c.Reply(time.Now(), r.Reply, rand.Float64())
			}
		case <-out.timer.C:
			next = c.Expire(time.Now(), rand.Float64())
		case <-ctx.Done():
			next = c.GiveUp(ctx.Err())
		case <-b.ctx.Done():
			next = c.GiveUp(ErrClosed)
		}
	}
	a.Reply, err = c.Result()
	return a, err
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
