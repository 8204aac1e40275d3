package proxy

import (
	"context"
	"database/sql"
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
	global   *gtx.Tx // nil where guarded
	xid      gtx.XID
	ctx      context.Context // of BeginTx: database/sql hands none to Commit
	opts     driver.TxOptions
	resource gtx.ResourceID

	begun bool
	base  driver.Tx // nil when begun by text
	used  bool      // something has run, so nothing may be repeated unseen
	// bounded: lock waits of the local transaction have a bound (Reading.BoundWait).
	bounded bool

	xa *prepared // mode XA, see prepare.go; nil otherwise

	guard bool // outside any global transaction, see guard.go
	alone bool // for one statement of its own; known where guarded
	wrote bool // guarded, and undo rows may be there
	// described: the statement came through a prepared one, or would have.
	described bool

	ref      gtx.BranchRef
	enlisted bool
	header   bool // the row in gtx_branch is written
	seq      int64
	register *registration
	tally    tally
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
	if c.byText {
		return nil, &gtx.UnsupportedError{
			Code: "plain-tx", Reason: "the program has begun a local transaction on the connection by a text, which would be committed with the one of the global transaction",
			Hint: "end it before, or call BeginTx with the context that gtx.Run gave to the function",
		}
	}
	id, err := c.res.Enter(ctx, g)
	if err != nil {
		return nil, err
	}
	b := &branch{c: c, global: g, xid: g.XID(), ctx: ctx, opts: opts, resource: id}
	if g.ModeFor(ctx) == gtx.AT {
		return b, nil
	}
	if err := b.prepares(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

// do runs a statement in the branch. read means that the text only reads and the
// caller must run it on the base connection, in the local transaction that do
// has begun.
func (b *branch) do(ctx context.Context, text string, args []driver.NamedValue, rows, auto bool) (read bool, out *Captured, err error) {
	if b.failed != nil {
		return false, nil, fmt.Errorf("local transaction was rolled back before: %w", b.failed)
	}
	if b.xa != nil {
		return b.doXA(ctx, text, args, rows, auto)
	}
	if b.guard {
		defer func() { err = guardError(err) }()
		if read, err = b.passes(ctx, text); read || err != nil {
			b.used = b.used || read
			return read, nil, err
		}
	}
	s, err := b.c.analyse(ctx, text)
	if err != nil {
		return false, nil, err
	}
	if err := Supported(s); err != nil {
		return false, nil, err
	}
	if s.Kind == sqltext.Several {
		return b.several(ctx, s, args, rows, auto)
	}
	if Reads(s) {
		if auto {
			err = b.writesAlone(s)
		} else if err = b.begin(ctx); err == nil {
			b.used = true
		}
		return err == nil, nil, err
	}
	if b.opts.ReadOnly {
		return false, nil, errReadOnly
	}
	r, err := b.request(ctx, s, args, rows)
	if b.guard && b.c.res.keyless(err) && len(s.Targets) == 1 && !Writes(s) {
		b.used = true
		return true, nil, nil
	}
	if err != nil && b.guard {
		err = b.noTable(ctx, text, args, err)
	}
	if err != nil {
		return false, nil, err
	}
	if b.alone && !controls(s.Kind) {
		if out, done, err := b.light(ctx, text, args, rows, r); done {
			return false, out, err
		}
	}
	out, err = b.capture(ctx, r)
	if !auto {
		return false, out, err
	}
	if err != nil {
		// Also where it was refused before it ran: a base driver may have begun.
		return false, nil, b.undone(err)
	}
	if err := b.Commit(); err != nil {
		return false, nil, err
	}
	return false, out, nil
}

var errReadOnly = &gtx.UnsupportedError{Code: "read-only", Reason: "the local transaction was begun read-only"}

// request makes a statement that writes ready for capture.
func (b *branch) request(ctx context.Context, s *sqltext.Statement, args []driver.NamedValue, rows bool) (*Capture, error) {
	r := &Capture{Stmt: s, Args: args, WantRows: rows, Described: b.described}
	for i := range s.Targets {
		t, err := b.c.target(ctx, s.Targets[i].Name)
		if err != nil {
			return nil, err
		}
		r.Tables = append(r.Tables, t)
	}
	if r.Tables != nil {
		r.Table = r.Tables[0]
	}
	var err error
	if r.Members, err = b.c.members(ctx, s); err != nil {
		return nil, err
	}
	return r, nil
}

// target finds a table that a statement changes.
func (c *conn) target(ctx context.Context, name sqltext.Name) (*undo.Table, error) {
	if strings.HasPrefix(strings.ToLower(name.Table), "gtx_") {
		switch strings.ToLower(name.Table) {
		case "gtx_undo", "gtx_branch", "gtx_resource", "gtx_operator":
			return nil, &gtx.UnsupportedError{Code: "own-table", Reason: name.Table + " belongs to globaltx"}
		}
	}
	id, err := c.tableID(ctx, name)
	if err != nil {
		return nil, err
	}
	if c.apart {
		return c.res.Dialect.Table(ctx, c.query, id)
	}
	return c.res.table(ctx, c.query, id)
}

// tableID gives the Table.ID of what a statement names.
func (c *conn) tableID(ctx context.Context, name sqltext.Name) (string, error) {
	id, ok := c.names[name]
	if !ok {
		var err error
		if id, err = c.res.Dialect.Resolve(ctx, c.query, name); err != nil {
			return "", err
		}
		c.names[name] = id
	}
	return id, nil
}

func (b *branch) captureOnce(ctx context.Context, r *Capture) (*Captured, error) {
	if err := b.registered(false); err != nil {
		return nil, err
	}
	lazy := b.c.res.Dialect.LazyBegin()
	r.Begin = ""
	switch {
	case b.begun:
	case b.xa != nil:
		if err := b.beginXA(ctx); err != nil {
			return nil, err
		}
		b.locked()
	case lazy:
		begin, err := b.c.res.Dialect.Begin(b.opts)
		if err != nil {
			return nil, err
		}
		r.Begin = begin
	default:
		if err := b.begin(ctx); err != nil {
			if !b.guard && b.c.res.Dialect.Classify(err) == undo.Lost {
				// Nothing of an autocommit statement has run. Base drivers that give it to another
				// connection when it is bare, as pgx does, may not do so with a BEGIN.
				return nil, driver.ErrBadConn
			}
			return nil, err
		}
	}
	if !b.enlisted && !b.guard {
		ref, err := b.global.Enlist(b.resource)
		if err != nil {
			return nil, err
		}
		b.ref, b.enlisted = ref, true
	}
	if r.Stmt.Kind == sqltext.Savepoint || b.blurs(r) {
		if err := b.counted(ctx); err != nil {
			return nil, err
		}
	}
	b.seq++
	r.Kept, r.Wrote, r.Stale = false, false, false
	r.Statements = &b.c.statements
	r.XID, r.Branch, r.Header, r.Seq = b.xid, b.ref.Branch, !b.header && !b.guard, b.seq
	b.wrote = b.guard
	if b.xa != nil {
		r.XID, r.Header = b.xa.cover, false
	}
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
	if r.Stmt.Kind == sqltext.RollbackTo {
		b.c.untouch()
	}
	return out, b.account(ctx, r.Stmt, out)
}

// headed goes on after the header was written: its branch is registered beside
// the rest of the local transaction (rule T3).
func (b *branch) headed() {
	b.header = true
	b.startRegister()
}

// open gives the errors that BeginTx of the base driver would: what database/sql
// hears there of a connection that is gone it answers with another connection.
// BEGIN that can ride with the first statement (LazyBegin) is left to it.
func (b *branch) open(ctx context.Context) error {
	if b.xa != nil && !b.c.res.Dialect.LazyBegin() {
		if err := b.beginXA(ctx); err != nil {
			return b.notBegun(err)
		}
		return nil
	}
	if !b.c.res.Dialect.LazyBegin() {
		if err := b.begin(ctx); err != nil {
			return b.undone(err)
		}
		return nil
	}
	switch sql.IsolationLevel(b.opts.Isolation) {
	case sql.LevelDefault, sql.LevelReadUncommitted, sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable:
		return nil
	}
	tx, err := b.c.beginBase(ctx, b.opts) // only the base driver knows what it says of the others
	if err != nil {
		return err
	}
	return tx.Rollback()
}

// begin begins the local transaction unless it is begun.
func (b *branch) begin(ctx context.Context) error {
	if b.begun {
		return nil
	}
	if b.xa != nil {
		return b.beginXA(ctx)
	}
	switch lazy := b.c.res.Dialect.LazyBegin(); {
	case !lazy && b.alone: // as text: COMMIT then goes with other statements
		b.begun = true
		return b.exec(ctx, "BEGIN")
	case !lazy:
		base, err := b.c.beginBase(b.ctx, b.opts)
		if err != nil {
			return err
		}
		b.base, b.begun = base, true
		return b.countFrom(ctx)
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
		r.err = b.global.Coordinator().Register(ctx, b.xid, b.ref)
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
		return fmt.Errorf("register branch of %s: %w", b.xid, r.err)
	}
	return nil
}
