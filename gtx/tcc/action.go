package tcc

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"runtime/debug"

	"github.com/globaltx/globaltx/gtx"
)

// Tx is the local transaction that an action works in. *sql.Tx is one, and so is that of a
// mapper on top of it.
type Tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Action is work in three parts. The methods are called concurrently, in any process that
// registers the action. ctx carries no global transaction, so that what is written through
// tx is plain SQL; it carries a [Call]. They must neither end tx nor run statements that do
// (DDL on MySQL). tx is nil where the resource has no database.
type Action[A any] interface {
	// Try does or reserves what Cancel can take back. After an error or a panic nothing
	// of it stays, and neither Confirm nor Cancel is called. Without a database see [Bare].
	Try(ctx context.Context, tx Tx, args A) error
	// Confirm makes it final. It must succeed sooner or later: an error or a panic rolls
	// tx back, and it is called again.
	Confirm(ctx context.Context, tx Tx, args A) error
	// Cancel takes back what Try did. As Confirm.
	Cancel(ctx context.Context, tx Tx, args A) error
}

// Upgrader is an Action that reads arguments which an older version has stored, see
// [Version].
type Upgrader[A any] interface {
	Upgrade(version int, args []byte) (A, error)
}

// Call tells an action what it is called for. Together XID and Branch name one Try and
// what follows it, in every process and for ever: a key for effects outside the database.
type Call struct {
	XID    gtx.XID
	Branch gtx.BranchID
	Action string
	// Attempt counts from 1, the failures that were recorded and this one. A process
	// that died in between has recorded nothing.
	Attempt int
	// MaybeEmpty: Cancel is called for a Try of which nobody knows whether it has done
	// anything. Only without a database.
	MaybeEmpty bool
}

type callKey struct{}

// FromContext gives the Call of the action that ctx was given to.
func FromContext(ctx context.Context) (Call, bool) {
	c, ok := ctx.Value(callKey{}).(Call)
	return c, ok
}

// within is the context of an action.
func within(ctx context.Context, g *guard) context.Context {
	return context.WithValue(gtx.Detach(ctx), callKey{}, Call{
		XID: g.xid, Branch: g.branch, Action: g.action, Attempt: g.tries + 1, MaybeEmpty: g.maybeEmpty,
	})
}

// Option changes how an action is registered.
type Option func(*entry)

// Version is that of the arguments, from 1, which is the default. A process reads the
// arguments of its own version and, by Upgrader, those of older ones; those of newer ones it
// leaves to other processes. So the new version may be deployed beside the old.
func Version(n int) Option { return func(e *entry) { e.version = n } }

// entry is a registered action.
type entry struct {
	name    string
	version int
	call    func(ctx context.Context, tx Tx, g *guard, p phase) error
	slots   chan struct{} // bounds how often it runs at a time
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// Register makes a known to res under a name that stands in its guards: 1 to 100 letters,
// digits, dots, hyphens and underscores. The name must stay what it is as long as guards with
// it may exist. Phase two begins with the first action.
func Register[A any](res *Resource, name string, a Action[A], opts ...Option) (*Handle[A], error) {
	e := &entry{name: name, version: 1, slots: make(chan struct{}, res.cfg.Workers)}
	for _, opt := range opts {
		opt(e)
	}
	if !nameForm.MatchString(name) {
		return nil, fmt.Errorf("register action %q: want 1 to 100 letters, digits, dots, hyphens and underscores", name)
	}
	if e.version < 1 {
		return nil, fmt.Errorf("register action %s: version %d, want 1 or more", name, e.version)
	}
	e.call = func(ctx context.Context, tx Tx, g *guard, p phase) error {
		args, err := decode(a, g.version, e.version, g.args)
		if err != nil {
			return err
		}
		if p == confirming {
			return a.Confirm(ctx, tx, args)
		}
		return a.Cancel(ctx, tx, args)
	}
	if err := res.add(e); err != nil {
		return nil, fmt.Errorf("register action %s: %w", name, err)
	}
	return &Handle[A]{res, e, a}, nil
}

// run calls Confirm or Cancel, in a goroutine of its own, which is all that an action can end
// by runtime.Goexit. It gives an *actionError, also for a panic.
func (e *entry) run(ctx context.Context, tx Tx, g *guard, p phase) error {
	ended := make(chan error, 1)
	go func() {
		err := error(&actionError{err: fmt.Errorf("%s of action %s has ended its goroutine", p, e.name)})
		defer func() {
			if v := recover(); v != nil {
				err = &actionError{err: fmt.Errorf("%s of action %s: panic: %v", p, e.name, v), stack: debug.Stack()}
			}
			ended <- err
		}()
		if err = e.call(within(ctx, g), tx, g, p); err != nil {
			err = &actionError{err: fmt.Errorf("%s of action %s: %w", p, e.name, err)}
		}
	}()
	return <-ended
}
