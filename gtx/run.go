package gtx

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Defaults of Run.
const (
	// DefaultTimeout ends an undecided global transaction.
	DefaultTimeout = 30 * time.Second
	// DefaultRetries is how often fn runs again after a conflict.
	DefaultRetries = 64
	// awaitTime bounds the wait for the holder of a row between two tries.
	awaitTime = 5 * time.Second

	// settleTime bounds the calls that must be made although ctx is cancelled.
	settleTime = 10 * time.Second

	// endsTime bounds how long Run waits for prepared branches to be ended here.
	endsTime = 5 * time.Second
)

var defaultCoordinator atomic.Pointer[Coordinator]

// SetDefault makes c the coordinator of Run without WithCoordinator. Nil
// removes it. Like slog.SetDefault it belongs into main.
func SetDefault(c Coordinator) {
	if c == nil {
		defaultCoordinator.Store(nil)
		return
	}
	defaultCoordinator.Store(&c)
}

// Default gives the coordinator of SetDefault, or nil.
func Default() Coordinator {
	if p := defaultCoordinator.Load(); p != nil {
		return *p
	}
	return nil
}

// Option changes one call of Run.
type Option func(*options)

type options struct {
	coord   Coordinator
	name    string
	timeout time.Duration
	retries int
	first   XID // of the first try
	mode    Mode
	named   []Participant // three-phase: asked before it begins
}

// WithCoordinator uses c in place of the default coordinator.
func WithCoordinator(c Coordinator) Option { return func(o *options) { o.coord = c } }

// WithName names the transaction for operators.
func WithName(name string) Option { return func(o *options) { o.name = name } }

// WithTimeout aborts the transaction when it is undecided after d, counted for
// each try. Zero or less: DefaultTimeout.
func WithTimeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// WithRetries lets fn run up to n times again after ErrConflict. Zero: never.
func WithRetries(n int) Option { return func(o *options) { o.retries = n } }

// Run calls fn in a global transaction and commits when fn returns nil.
//
// When fn returns an error or panics the transaction is aborted, and Run returns
// the error, wrapped, or panics again with the same value. When ctx already
// carries a transaction fn joins it (propagation Required) and the outer Run
// decides. After ErrConflict fn runs again, in a new transaction of the same
// age, when the holder of the row has ended and a short random pause is over: fn
// must have no effect outside the databases that it could not have twice.
//
// The result is nil (committed), an error that matches ErrUnknown (ask
// Outcome), or any other error (aborted). A cancelled ctx never makes it nil.
func Run(ctx context.Context, fn func(ctx context.Context) error, opts ...Option) error {
	o := options{timeout: DefaultTimeout, retries: DefaultRetries}
	for _, opt := range opts {
		opt(&o)
	}
	if tx, ok := FromContext(ctx); ok {
		if err := tx.Active(); err != nil {
			return err
		}
		return fn(ctx)
	}
	if o.coord == nil {
		o.coord = Default()
	}
	if o.coord == nil {
		return ErrNoCoordinator
	}
	if o.timeout <= 0 {
		o.timeout = DefaultTimeout
	}
	for try := 0; ; try++ {
		xid, err := runOnce(ctx, fn, &o)
		if err == nil || try >= o.retries || !errors.Is(err, ErrConflict) || errors.Is(err, ErrUnknown) || ctx.Err() != nil {
			return err
		}
		if o.first.IsZero() {
			o.first = xid
		}
		if !awaitHolder(ctx, o.coord, err) {
			if !pause(ctx, try) {
				return err
			}
		} else if !pause(ctx, 0) {
			return err
		}
	}
}

// awaitHolder waits for the end of the transaction that holds the row, where
// err tells it; the own one has ended and holds nothing. False: it is not known
// or did not end.
func awaitHolder(ctx context.Context, c Coordinator, err error) bool {
	var held *ConflictError
	if !errors.As(err, &held) || held.Holder.IsZero() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, awaitTime)
	defer cancel()
	st, err := c.Await(ctx, XID{}, held.Holder)
	return err == nil && st != Pending
}

// pause waits 5 ms · 2^try, at most 500 ms, with full jitter; false when ctx
// ended first.
func pause(ctx context.Context, try int) bool {
	limit := min(5*time.Millisecond<<min(try, 10), 500*time.Millisecond)
	t := time.NewTimer(time.Millisecond + rand.N(limit))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func runOnce(ctx context.Context, fn func(context.Context) error, o *options) (XID, error) {
	if err := ctx.Err(); err != nil {
		return XID{}, fmt.Errorf("begin global transaction: %w", err)
	}
	deadline := time.Now().Add(o.timeout)
	named, err := o.canCommit(ctx)
	if err != nil {
		return XID{}, err
	}
	xid, err := o.coord.Begin(ctx, BeginRequest{Name: o.name, Timeout: o.timeout, First: o.first, Mode: o.mode, Resources: named})
	if err != nil {
		return XID{}, fmt.Errorf("begin global transaction (nothing was done): %w", err)
	}
	tx := &Tx{xid: xid, coord: o.coord, deadline: deadline, mode: o.mode, named: named, branches: map[BranchRef]branchState{}}
	fnCtx, cancel := context.WithDeadline(newContext(modeless(ctx), tx), deadline)
	defer cancel()

	returned := false
	defer func() {
		// fn panicked or called runtime.Goexit: abort and let it go on. The
		// value is not recovered, so the stack trace stays whole.
		if !returned {
			_ = tx.abort(ctx)
		}
	}()
	fnErr := fn(fnCtx)
	returned = true

	if fnErr == nil {
		fnErr = fnCtx.Err()
	}
	if fnErr == nil {
		fnErr = tx.ask(ctx)
	}
	if fnErr != nil && fnCtx.Err() != nil && ctx.Err() == nil {
		// Not the caller's context but the transaction's own deadline ended it.
		fnErr = fmt.Errorf("%w: timeout of %s has passed: %w", ErrAborted, o.timeout, fnErr)
	}
	if fnErr != nil {
		return xid, tx.abortFor(ctx, fnErr)
	}
	if n := tx.open(); n > 0 {
		return xid, tx.abortFor(ctx, fmt.Errorf("%d local transaction(s) neither committed nor rolled back when the function returned", n))
	}
	return xid, tx.commit(ctx)
}

// abortFor aborts because of cause and tells the caller what is certain.
func (tx *Tx) abortFor(ctx context.Context, cause error) error {
	err := tx.abort(ctx)
	if err == nil || errors.Is(err, ErrUnavailable) {
		// Nobody has asked for a commit, so no record can exist: the deadline, or
		// the end of the epoch, aborts without us (rule B3).
		return fmt.Errorf("global transaction %s aborted: %w", tx.xid, cause)
	}
	return fmt.Errorf("global transaction %s aborted: %w", tx.xid, errors.Join(cause, err))
}

func (tx *Tx) abort(ctx context.Context) error {
	tx.end()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	out, err := tx.coord.Rollback(ctx, tx.xid)
	if err != nil {
		out = Pending
	}
	tx.finish(context.WithoutCancel(ctx), out)
	return err
}

// commit asks for the decision and believes only the coordinator (rule C4). A
// context that ends now must not leave the decision to chance, so the call gets
// its own time.
func (tx *Tx) commit(ctx context.Context) error {
	confirmed, dead := tx.end()
	if len(confirmed) == 0 && len(dead) == 0 && !tx.isShared() {
		// Nothing to decide: Rollback only frees the coordinator's memory (C6).
		cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
		defer cancel()
		_, err := tx.coord.Rollback(cctx, tx.xid)
		if errors.Is(err, ErrUnavailable) {
			err = nil
		}
		return err
	}
	cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	out, err := tx.coord.Commit(cctx, tx.xid, confirmed, dead)
	if err != nil {
		out = Pending
	}
	tx.finish(context.WithoutCancel(ctx), out)
	switch {
	case err != nil:
		return &UnknownError{XID: tx.xid, Err: err}
	case out == Committed:
		return nil
	case out == Aborted:
		return fmt.Errorf("commit global transaction %s: %w", tx.xid, ErrAborted)
	default:
		return &UnknownError{XID: tx.xid, Err: fmt.Errorf("coordinator answered %s", out)}
	}
}

// Outcome asks the default coordinator for the fate of xid. Pending means:
// ask again. Expired comes with ErrExpired.
func Outcome(ctx context.Context, xid XID) (Status, error) {
	c := Default()
	if c == nil {
		return Pending, ErrNoCoordinator
	}
	out, err := c.Outcome(ctx, xid)
	if err == nil && out == Expired {
		err = ErrExpired
	}
	return out, err
}
