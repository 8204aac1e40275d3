package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// maxError bounds what is stored of an error, in bytes.
const maxError = 4000

// Handler is the effect of a message. What it does with tx commits together with the fact
// that the message was handled; it neither commits nor rolls back. The context ends after
// Config.Timeout. It may run several times for a message; only one of them commits.
type Handler func(ctx context.Context, tx *sql.Tx, m *Message) error

// Inbox remembers in a database which messages have taken effect there. Safe for
// concurrent use.
type Inbox struct {
	cfg    Config
	db     *sql.DB
	s      store
	counts counts
	wanted chan struct{} // a replay, for Consume of this process

	identity string // of the database, "" where it has none

	// mu protects the following.
	mu    sync.Mutex
	lanes []*lane // of the running Consume
}

// Open makes the tables where they are missing. A driver of this module must have opened
// db, which the caller closes.
func Open(ctx context.Context, db *sql.DB, cfg Config) (*Inbox, error) {
	base, err := driver.DatabaseOf(db)
	if err != nil {
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	d := base.Dialect()
	if err := cfg.fill(d.Name() == "sqlite"); err != nil {
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = base.Logger()
	}
	n := namesOf(d.Name())
	if err := undo.CreateTables(gtx.Detach(ctx), db, d, n.all(), schema(d.Name(), n)); err != nil {
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	in := &Inbox{cfg: cfg, db: db, s: store{db: db, d: d, n: n, consumer: cfg.Name}, wanted: make(chan struct{}, 1)}
	if err := errors.Join(in.s.committed(gtx.Detach(ctx)), in.s.encoding(gtx.Detach(ctx))); err != nil {
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	id, err := base.Identity(gtx.Detach(ctx))
	if err != nil {
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	in.identity = string(id)
	return in, nil
}

// Handle lets a message of any consumer with explicit acknowledgement take effect once, and
// answers the server. The answer is:
//
//	nil     the effect is committed, now or by an earlier delivery; acknowledged
//	ErrDead put aside, now or by an earlier delivery; ended
//	others  not known to have taken effect; to be delivered again, after a pause that grows
//
// The MaxDeliver of the consumer should be unlimited: the inbox counts by itself. fn may
// close over more than its arguments, but must do what is to happen once with tx.
func (in *Inbox) Handle(ctx context.Context, msg jetstream.Msg, fn func(ctx context.Context, tx *sql.Tx) error) error {
	return in.serve(ctx, msg, in.cfg.Heartbeat, func(ctx context.Context, tx *sql.Tx, _ *Message) error { return fn(ctx, tx) })
}

func (in *Inbox) serve(ctx context.Context, msg jetstream.Msg, beat time.Duration, fn Handler) error {
	if _, ok := gtx.FromContext(ctx); ok {
		return ErrInside
	}
	m, err := messageOf(msg)
	if err != nil {
		return err
	}
	stop := heartbeat(msg, beat)
	defer stop()
	err = in.process(ctx, m, fn)
	if errors.Is(err, errTaken) {
		err = in.taken(ctx, m)
	}
	// An answer that is lost brings the message again, and then the row tells.
	var lost error
	switch {
	case err == nil:
		lost = msg.Ack()
	case errors.Is(err, ErrDead):
		if unsent := in.tellDead(ctx, m); unsent != nil {
			_ = msg.NakWithDelay(pause(m.Deliveries)) // the caller hears of what came first
			return errors.Join(err, unsent)
		}
		lost = msg.TermWithReason("put aside by inbox " + in.cfg.Name)
	case ctx.Err() != nil:
		lost = msg.Nak() // the next process may have it at once
	default:
		lost = msg.NakWithDelay(pause(m.Deliveries))
	}
	if lost != nil && !errors.Is(lost, jetstream.ErrMsgAlreadyAckd) {
		in.cfg.Logger.DebugContext(ctx, "inbox: answer to the server not sent", "inbox", in.cfg.Name, "id", m.ID, "err", lost)
	}
	return err
}

// process runs fn unless the message has its row (errTaken), and counts the tries.
func (in *Inbox) process(ctx context.Context, m *Message, fn Handler) error {
	again := m.Deliveries > 1
	if again {
		// A first delivery that ends without a word may have ended the process, too. So
		// each later one is counted before it runs.
		if _, found, err := in.s.state(ctx, m.ID); err != nil || found {
			if found {
				err = errTaken
			}
			return err
		}
		tries, err := in.s.count(ctx, m.ID, 1, "")
		if err != nil {
			return err
		}
		if tries > in.cfg.MaxTries {
			return in.bury(ctx, m, in.silent(ctx, m))
		}
	}
	err := in.once(ctx, m, fn)
	if err == nil {
		in.counts.handled.Add(1)
		in.forget(ctx, m)
		return nil
	}
	if errors.Is(err, errTaken) {
		return err
	}
	in.counts.failed.Add(1)
	return in.failed(ctx, m, err)
}

// failed counts what counts, and puts aside what has failed too often.
func (in *Inbox) failed(ctx context.Context, m *Message, cause error) error {
	by := 1
	if m.Deliveries > 1 {
		by = 0 // counted before
	}
	var mark *marked
	hasMark := errors.As(cause, &mark)
	switch {
	case hasMark && mark.permanent:
		return in.bury(ctx, m, cause)
	case hasMark, ctx.Err() != nil, in.innocent(cause):
		by--
		if by == 0 {
			return cause
		}
	}
	// With time of its own: a handler may have used up all there was.
	cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), in.cfg.Wait)
	defer cancel()
	text := ""
	if by >= 0 {
		text = plain(cause.Error(), maxError)
	}
	// A database that is away is nobody's fault, and counts nothing by itself.
	tries, err := in.s.count(cctx, m.ID, by, text)
	if err != nil {
		return errors.Join(cause, err)
	}
	if by >= 0 && tries >= in.cfg.MaxTries {
		return in.bury(ctx, m, cause)
	}
	return cause
}

// startError is what kept a handler from running.
type startError struct{ error }

func (e *startError) Unwrap() error { return e.error }

// innocent tells that the message had no part in its failure.
func (in *Inbox) innocent(err error) bool {
	var start *startError
	switch {
	case errors.As(err, &start), errors.Is(err, gtx.ErrConflict), errors.Is(err, gtx.ErrUnavailable), errors.Is(err, gtx.ErrUnknown), errors.Is(err, gtx.ErrNoCoordinator):
		return true
	case errors.Is(err, context.DeadlineExceeded):
		return false // the handler's own time
	}
	return in.s.d.Classify(err) == undo.Conflict || errors.Is(err, gtx.ErrAborted)
}

// silent is the error of a message whose last tries have ended with their process.
func (in *Inbox) silent(ctx context.Context, m *Message) error {
	last, err := in.s.lastError(ctx, m.ID)
	if err != nil || last == "" {
		return errors.New("the last try has ended without an answer")
	}
	return fmt.Errorf("the last try has ended without an answer, one before it with: %s", last)
}

// bury puts m aside, and says ErrDead where that is durable. Nil: Config.GiveUp has dealt
// with it.
func (in *Inbox) bury(ctx context.Context, m *Message, cause error) error {
	dealt := false
	err := in.own(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
		// The row first: two deliveries that give up at once meet at it.
		if err := in.s.take(ctx, tx, m.ID, stateDead, ""); err != nil {
			return err
		}
		if err := in.s.forget(ctx, tx, m.ID); err != nil {
			return err
		}
		if in.cfg.GiveUp != nil {
			err := run(ctx, tx, m, func(ctx context.Context, tx *sql.Tx, m *Message) (err error) {
				dealt, err = in.cfg.GiveUp(ctx, tx, m, cause)
				return err
			})
			if err != nil {
				return fmt.Errorf("give up: %w", err)
			}
		}
		if in.cfg.GiveUp != nil && in.s.d.Name() == "mysql" {
			if err := in.s.still(ctx, tx, m.ID); err != nil {
				return err
			}
		}
		if dealt {
			return in.s.bar(ctx, tx, m.ID)
		}
		return in.s.bury(ctx, tx, m, plain(cause.Error(), maxError))
	})
	switch {
	case errors.Is(err, errTaken):
		return err
	case err != nil:
		return errors.Join(cause, err)
	case dealt:
		return nil
	}
	in.counts.dead.Add(1)
	return fmt.Errorf("%w: %w", ErrDead, cause)
}

// own runs work in a local transaction of the inbox itself.
func (in *Inbox) own(ctx context.Context, work func(ctx context.Context, tx *sql.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, in.cfg.Timeout)
	defer cancel()
	tx, err := in.s.begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := work(ctx, tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit local transaction: %w", err)
	}
	return nil
}

// taken answers for a message whose row stands: nil where it has taken effect.
func (in *Inbox) taken(ctx context.Context, m *Message) error {
	state, found, err := in.s.state(ctx, m.ID)
	switch {
	case err != nil:
		return err
	case !found: // undone since, or not yet there to see
		return errOpen
	case state == stateDead:
		return ErrDead
	}
	in.counts.duplicates.Add(1)
	in.forget(ctx, m)
	return nil
}

// forget removes what was counted of a message that is done with. What is left of it
// because of an error is removed by age.
func (in *Inbox) forget(ctx context.Context, m *Message) {
	if m.Deliveries <= 1 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), in.cfg.Wait)
	defer cancel()
	if err := in.s.forget(ctx, in.db, m.ID); err != nil {
		in.cfg.Logger.DebugContext(ctx, "inbox: count of tries is left", "inbox", in.cfg.Name, "id", m.ID, "err", err)
	}
}

// once runs fn in the transaction that holds the row of the message.
func (in *Inbox) once(ctx context.Context, m *Message, fn Handler) error {
	return in.in(ctx, func(ctx context.Context, tx *sql.Tx, xid string) error {
		wctx, cancel := context.WithTimeout(ctx, in.cfg.Wait)
		err := in.s.take(wctx, tx, m.ID, stateDone, xid)
		cancel()
		if errors.Is(err, errTaken) {
			return err
		}
		if err != nil {
			return &startError{err}
		}
		if err := in.run(ctx, tx, m, fn); err != nil || in.cfg.Global || in.s.d.Name() != "mysql" {
			return err
		}
		return in.s.still(ctx, tx, m.ID)
	})
}

// in runs work in a local transaction that commits when work returns nil; where Config
// says so it is a branch of a global transaction.
func (in *Inbox) in(ctx context.Context, work func(ctx context.Context, tx *sql.Tx, xid string) error) error {
	local := func(ctx context.Context, xid string) error {
		tx, err := in.db.BeginTx(ctx, &sql.TxOptions{Isolation: in.cfg.Isolation})
		if err != nil {
			return &startError{fmt.Errorf("begin local transaction: %w", err)}
		}
		defer tx.Rollback()
		if err := work(ctx, tx, xid); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("commit local transaction: %w", err)
		}
		return nil
	}
	if in.cfg.Global {
		return gtx.Run(ctx, func(ctx context.Context) error {
			tx, _ := gtx.FromContext(ctx)
			return local(ctx, tx.XID().String())
		}, append([]gtx.Option{gtx.WithTimeout(in.cfg.Timeout)}, in.cfg.Options...)...)
	}
	ctx, cancel := context.WithTimeout(ctx, in.cfg.Timeout)
	defer cancel()
	return local(ctx, "")
}

// run calls a handler with the context that Config makes.
func (in *Inbox) run(ctx context.Context, tx *sql.Tx, m *Message, fn Handler) error {
	return run(ctx, tx, m, func(ctx context.Context, tx *sql.Tx, m *Message) error {
		if in.cfg.Context != nil {
			ctx = in.cfg.Context(ctx, m.Header)
		}
		return fn(ctx, tx, m)
	})
}

// run calls fn, and makes an error of a panic.
func run(ctx context.Context, tx *sql.Tx, m *Message, fn Handler) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
		err = foreign(err)
	}()
	return fn(ctx, tx, m)
}

// foreign hides in a handler's error what it says of another message: that one was put
// aside does not mean that this one was.
func foreign(err error) error {
	if !errors.Is(err, ErrDead) && !errors.Is(err, errTaken) && !errors.Is(err, errOpen) {
		return err
	}
	hidden := errors.New(err.Error())
	var mark *marked
	if errors.As(err, &mark) {
		return &marked{hidden, mark.permanent}
	}
	return hidden
}

// heartbeat tells the server that the message is being handled, every d.
func heartbeat(msg jetstream.Msg, d time.Duration) (stop func()) {
	var mu sync.Mutex
	var t *time.Timer
	stopped := false
	mu.Lock()
	defer mu.Unlock()
	t = time.AfterFunc(d, func() {
		mu.Lock()
		defer mu.Unlock()
		if stopped {
			return
		}
		_ = msg.InProgress() // without it the message comes again, and waits for its row
		t.Reset(d)
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		t.Stop()
	}
}

// pause before delivery n+1: 100 ms · 2^(n-1), at most 30 s, the upper half random.
func pause(n uint64) time.Duration {
	d := 30 * time.Second
	if n < 10 {
		d = min(d, 100*time.Millisecond<<max(n, 1)/2)
	}
	return d/2 + rand.N(d/2)
}
