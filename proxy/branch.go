package proxy

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// finishTime bounds what must be done to end a local transaction although its
// context may be cancelled: database/sql gives Commit and Rollback no context.
const finishTime = 15 * time.Second

// branch is one local transaction of a global one (driver.Tx). It becomes a
// branch for the coordinator with its first captured statement; a transaction
// that only reads never does.
type branch struct {
	c        *conn
	global   *gtx.Tx
	ctx      context.Context // of BeginTx: database/sql hands none to Commit
	opts     driver.TxOptions
	resource gtx.ResourceID

	begun bool
	base  driver.Tx // nil when begun by text
	used  bool      // something has run, so nothing may be repeated unseen

	ref      gtx.BranchRef
	enlisted bool
	header   bool // the row in gtx_branch is written
	seq      int64
	register *registration
	failed   error // the local transaction has been rolled back because of it
	ended    bool
}

// registration is the call to the coordinator that runs beside the local
// transaction (rule T3, barrier mode: it starts once the header is written).
type registration struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid after done
}

func (c *conn) newBranch(ctx context.Context, g *gtx.Tx, opts driver.TxOptions) (*branch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := g.Active(); err != nil {
		return nil, err
	}
	id, err := c.res.Enter(ctx, g)
	if err != nil {
		return nil, err
	}
	return &branch{c: c, global: g, ctx: ctx, opts: opts, resource: id}, nil
}

// do runs a statement in the branch. read means that the text only reads and the
// caller must run it on the base connection, in the local transaction that do
// has begun.
func (b *branch) do(ctx context.Context, text string, args []driver.NamedValue, rows, auto bool) (read bool, out *Captured, err error) {
	if b.failed != nil {
		return false, nil, fmt.Errorf("local transaction was rolled back before: %w", b.failed)
	}
	s, err := b.c.analyse(ctx, text)
	if err != nil {
		return false, nil, err
	}
	if err := Supported(s); err != nil {
		return false, nil, err
	}
	if Reads(s) {
		if !auto {
			if err := b.begin(ctx); err != nil {
				return false, nil, err
			}
			b.used = true
		}
		return true, nil, nil
	}
	if b.opts.ReadOnly {
		return false, nil, &gtx.UnsupportedError{Code: "read-only", Reason: "the local transaction was begun read-only"}
	}
	r := &Capture{Stmt: s, Args: args, WantRows: rows}
	for i := range s.Targets {
		t, err := b.c.target(ctx, s.Targets[i].Name)
		if err != nil {
			return false, nil, err
		}
		r.Tables = append(r.Tables, t)
	}
	if r.Tables != nil {
		r.Table = r.Tables[0]
	}
	out, err = b.capture(ctx, r)
	if !auto {
		return false, out, err
	}
	if err != nil {
		// Also where it was refused before it ran: a base driver may have begun.
		return false, nil, errors.Join(err, b.Rollback())
	}
	if err := b.Commit(); err != nil {
		return false, nil, err
	}
	return false, out, nil
}

// target finds a table that a statement changes.
func (c *conn) target(ctx context.Context, name sqltext.Name) (*undo.Table, error) {
	if strings.HasPrefix(strings.ToLower(name.Table), "gtx_") {
		switch strings.ToLower(name.Table) {
		case "gtx_undo", "gtx_branch", "gtx_resource":
			return nil, &gtx.UnsupportedError{Code: "own-table", Reason: name.Table + " belongs to globaltx"}
		}
	}
	id, ok := c.names[name]
	if !ok {
		var err error
		if id, err = c.res.Dialect.Resolve(ctx, c.query, name); err != nil {
			return nil, err
		}
		c.names[name] = id
	}
	return c.res.table(ctx, c.query, id)
}

func (b *branch) captureOnce(ctx context.Context, r *Capture) (*Captured, error) {
	if err := b.registered(false); err != nil {
		return nil, err
	}
	lazy := b.c.res.Dialect.LazyBegin()
	r.Begin = ""
	switch {
	case b.begun:
	case lazy:
		begin, err := b.c.res.Dialect.Begin(b.opts)
		if err != nil {
			return nil, err
		}
		r.Begin = begin
	default:
		if err := b.begin(ctx); err != nil {
			return nil, err
		}
	}
	if !b.enlisted {
		ref, err := b.global.Enlist(b.resource)
		if err != nil {
			return nil, err
		}
		b.ref, b.enlisted = ref, true
	}
	b.seq++
	r.Kept, r.Wrote = false, false
	r.XID, r.Branch, r.Header, r.Seq = b.global.XID(), b.ref.Branch, !b.header, b.seq
	out, err := b.c.res.Dialect.Capture(ctx, b.c.base, r)
	if err != nil {
		// An UnsupportedError tells that nothing was sent, not even BEGIN.
		if r.Begin != "" && !errors.Is(err, gtx.ErrUnsupported) {
			b.begun = true
		}
		if r.Kept && r.Wrote {
			b.headed()
		}
		return nil, err
	}
	b.begun = true
	if r.Header {
		b.headed()
	}
	return out, nil
}

// headed goes on after the header was written: its branch is registered beside
// the rest of the local transaction (rule T3).
func (b *branch) headed() {
	b.header = true
	b.startRegister()
}

// begin begins the local transaction unless it is begun.
func (b *branch) begin(ctx context.Context) error {
	if b.begun {
		return nil
	}
	if !b.c.res.Dialect.LazyBegin() {
		base, err := b.c.beginBase(ctx, b.opts)
		if err != nil {
			return err
		}
		b.base, b.begun = base, true
		return nil
	}
	text, err := b.c.res.Dialect.Begin(b.opts)
	if err != nil {
		return err
	}
	b.begun = true // a failed BEGIN may have begun
	return b.exec(ctx, text)
}

func (b *branch) exec(ctx context.Context, text string) error {
	e, ok := b.c.base.(driver.ExecerContext)
	if !ok {
		return fmt.Errorf("%s: %T cannot execute without preparing", strings.ToLower(text), b.c.base)
	}
	_, err := e.ExecContext(ctx, text, nil)
	return err
}

func (b *branch) startRegister() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), finishTime)
	r := &registration{cancel: cancel, done: make(chan struct{})}
	b.register = r
	go func() {
		defer close(r.done)
		r.err = b.global.Coordinator().Register(ctx, b.global.XID(), b.ref)
	}()
}

// registered gives the coordinator's answer; without wait only if it is there.
func (b *branch) registered(wait bool) error {
	r := b.register
	if r == nil {
		return nil
	}
	if !wait {
		select {
		case <-r.done:
		default:
			return nil
		}
	}
	<-r.done
	if r.err != nil {
		return fmt.Errorf("register branch of %s: %w", b.global.XID(), r.err)
	}
	return nil
}

// Commit commits locally, only after the coordinator's ok (rule T2).
func (b *branch) Commit() error {
	if b.ended {
		return nil
	}
	if b.failed != nil {
		b.end()
		return fmt.Errorf("commit local transaction: it was rolled back before: %w", b.failed)
	}
	if !b.begun {
		if b.enlisted { // its statements were refused before anything ran
			b.global.Dead(b.ref)
		}
		b.end()
		return nil
	}
	if b.header {
		err := b.registered(true)
		if err == nil {
			err = b.global.Active()
		}
		if err == nil {
			err = b.ctx.Err()
		}
		if err != nil {
			b.abandon(err)
			b.end()
			return fmt.Errorf("commit local transaction (it was rolled back): %w", err)
		}
	}
	err := b.commitBase()
	b.end()
	switch {
	case err == nil:
		if b.header {
			b.global.Confirm(b.ref)
		} else if b.enlisted {
			b.global.Dead(b.ref)
		}
		return nil
	case !b.header: // nothing was captured, so nothing of it counts
		b.c.bad = true
		if b.enlisted {
			b.global.Dead(b.ref)
		}
		return err
	}
	return b.settle(err)
}

func (b *branch) commitBase() error {
	if b.base != nil {
		return b.base.Commit()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), finishTime)
	defer cancel()
	return b.exec(ctx, "COMMIT")
}

// settle finds out what became of a COMMIT that returned cause (rule T5). The
// connection is given up, so that the server ends whatever is still open on it.
func (b *branch) settle(cause error) error {
	b.c.bad = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), finishTime)
	defer cancel()
	// A live connection may still hold the transaction open (SQLITE_BUSY).
	if err := b.rollbackBase(ctx); err != nil {
		b.c.res.Logger.Debug("roll back after failed commit", "xid", b.global.XID().String(), "err", err)
	}
	confirmed, err := b.c.res.Settle(ctx, b.global.XID(), b.ref.Branch)
	switch {
	case err != nil:
		// Neither confirmed nor dead: the coordinator will abort. The causes are not
		// wrapped, so that nobody takes them for "nothing was sent".
		//nolint:errorlint // see above
		return fmt.Errorf("commit local transaction of %s: it is not known whether it happened (%v; %v)", b.global.XID(), cause, err)
	case confirmed:
		b.global.Confirm(b.ref)
		return nil
	default:
		b.global.Dead(b.ref)
		if b.c.res.Dialect.Classify(cause) == undo.Conflict {
			return fmt.Errorf("commit local transaction: %w (%w)", cause, gtx.ErrConflict)
		}
		return fmt.Errorf("commit local transaction: %w", cause)
	}
}

// Rollback rolls the local transaction back; the branch is dead afterwards even
// where the ROLLBACK failed, since no COMMIT was or will be sent.
func (b *branch) Rollback() error {
	if b.ended {
		return nil
	}
	defer b.end()
	if b.failed != nil {
		return nil
	}
	b.abandon(errRolledBack)
	return nil
}

var errRolledBack = errors.New("rolled back by the caller")

// abandon rolls back and remembers why. Where ROLLBACK fails the connection is
// given up: the server rolls back when it closes.
func (b *branch) abandon(cause error) {
	b.failed = cause
	if b.register != nil {
		b.register.cancel()
		<-b.register.done
	}
	if b.begun {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), finishTime)
		defer cancel()
		if err := b.rollbackBase(ctx); err != nil {
			b.c.bad = true
			b.c.res.Logger.Debug("roll back local transaction, connection discarded", "xid", b.global.XID().String(), "err", err)
		}
	}
	if b.enlisted {
		b.global.Dead(b.ref)
	}
}

func (b *branch) rollbackBase(ctx context.Context) error {
	if b.base != nil {
		return b.base.Rollback()
	}
	return b.exec(ctx, "ROLLBACK")
}

// renew makes an abandoned branch usable for a new local transaction, which
// takes a new BranchID (rule I3).
func (b *branch) renew() {
	b.begun, b.base, b.used = false, nil, false
	b.enlisted, b.header, b.register, b.seq = false, false, nil, 0
	b.failed = nil
}

func (b *branch) end() {
	b.ended = true
	if b.register != nil {
		b.register.cancel()
	}
	if b.c.tx == b {
		b.c.tx = nil
	}
}
