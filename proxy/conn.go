package proxy

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

var (
	_ driver.ConnBeginTx        = (*conn)(nil)
	_ driver.ConnPrepareContext = (*conn)(nil)
	_ driver.ExecerContext      = (*conn)(nil)
	_ driver.QueryerContext     = (*conn)(nil)
	_ driver.Pinger             = (*conn)(nil)
	_ driver.SessionResetter    = (*conn)(nil)
	_ driver.Validator          = (*conn)(nil)
	_ driver.NamedValueChecker  = (*conn)(nil)
)

// conn is one connection. Like every driver.Conn it is used by one goroutine at
// a time.
type conn struct {
	base driver.Conn
	res  *Resource
	// tx is the open local transaction of a global one.
	tx *branch
	// plain says that a local transaction outside any global one is open.
	plain bool
	// plainDecided and plainIsolation are what its BeginTx asked for.
	plainDecided   bool
	plainIsolation driver.IsolationLevel
	// bad: the connection must not go back to the pool.
	bad bool

	// apart: what the tables do may differ on this connection from others (foreign
	// keys that are checked, a temporary trigger), so it shares no catalogue.
	apart bool

	// strayed: the current database may be another than that of the DSN.
	strayed bool

	// What is known of the session, until something may have changed it.
	touched   bool // the local transaction may have changed it
	inspected bool
	guardable bool // autocommit is on
	committed bool // reads nothing that is not committed
	flavour   sqltext.Dialect
	mode      sqltext.Mode
	names     map[sqltext.Name]string
	// statements are kept by the dialect.
	statements Statements
}

// Wrap puts res before a base connection.
func Wrap(base driver.Conn, res *Resource) driver.Conn {
	return &conn{base: base, res: res, names: map[sqltext.Name]string{}}
}

// Unwrap gives the base connection, for sql.Conn.Raw.
func (c *conn) Unwrap() driver.Conn { return c.base }

func (c *conn) Close() error { return c.base.Close() }

func (c *conn) Ping(ctx context.Context) error {
	if p, ok := c.base.(driver.Pinger); ok {
		return p.Ping(ctx)
	}
	return nil
}

func (c *conn) ResetSession(ctx context.Context) error {
	if c.bad {
		return driver.ErrBadConn
	}
	if r, ok := c.base.(driver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

func (c *conn) IsValid() bool {
	if c.bad {
		return false
	}
	if v, ok := c.base.(driver.Validator); ok {
		return v.IsValid()
	}
	return true
}

func (c *conn) CheckNamedValue(nv *driver.NamedValue) error {
	if ch, ok := c.base.(driver.NamedValueChecker); ok {
		return ch.CheckNamedValue(nv)
	}
	return driver.ErrSkip
}

func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	var base driver.Stmt
	var err error
	if p, ok := c.base.(driver.ConnPrepareContext); ok {
		base, err = p.PrepareContext(ctx, query)
	} else {
		base, err = c.base.Prepare(query)
	}
	if err != nil {
		return nil, err
	}
	return &stmt{base: base, c: c, text: query}, nil
}

func (c *conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if g, ok := gtx.FromContext(ctx); ok {
		b, err := c.newBranch(ctx, g, opts)
		if err != nil {
			return nil, err
		}
		c.tx = b
		return b, nil
	}
	if c.res.Guard {
		return c.beginGuarded(ctx, opts)
	}
	base, err := c.beginBase(ctx, opts)
	if err != nil {
		return nil, err
	}
	c.plain, c.plainDecided, c.plainIsolation = true, gtx.IsReadCommitted(ctx), opts.Isolation
	return &plainTx{base: base, c: c}, nil
}

func (c *conn) beginBase(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if b, ok := c.base.(driver.ConnBeginTx); ok {
		return b.BeginTx(ctx, opts)
	}
	if opts != (driver.TxOptions{}) {
		return nil, fmt.Errorf("begin local transaction: %T takes no options", c.base)
	}
	//nolint:staticcheck // the only way into a base driver without BeginTx
	return c.base.Begin()
}

// plainTx is a local transaction outside any global one.
type plainTx struct {
	base driver.Tx
	c    *conn
}

func (t *plainTx) Commit() error {
	defer t.end()
	return t.base.Commit()
}

func (t *plainTx) Rollback() error {
	defer t.end()
	return t.base.Rollback()
}

func (t *plainTx) end() {
	t.c.plain = false
	t.c.txEnded()
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	b, auto, err := c.branchFor(ctx)
	if err != nil {
		return nil, err
	}
	if out, done, err := c.decided(ctx, b, auto, query, args, false, true); err != nil {
		return nil, err
	} else if done {
		return result{out}, nil
	}
	if b == nil {
		return c.execBase(ctx, query, args)
	}
	read, captured, err := b.do(ctx, query, args, false, auto)
	if err != nil {
		return nil, err
	}
	if read {
		res, err := c.execBase(ctx, query, args)
		return res, b.readFailed(err, auto)
	}
	return result{captured}, nil
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	b, auto, err := c.branchFor(ctx)
	if err != nil {
		return nil, err
	}
	if out, done, err := c.decided(ctx, b, auto, query, args, false, false); err != nil {
		return nil, err
	} else if done {
		return out.Rows, nil
	}
	if b == nil {
		return c.queryBase(ctx, query, args)
	}
	read, captured, err := b.do(ctx, query, args, true, auto)
	if err != nil {
		return nil, err
	}
	if read {
		rows, err := c.queryBase(ctx, query, args)
		return rows, b.readFailed(err, auto)
	}
	return captured.Rows, nil
}

func (c *conn) execBase(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	e, ok := c.base.(driver.ExecerContext)
	if !ok || c.res.Skip != nil && c.res.Skip(query, len(args)) {
		return nil, driver.ErrSkip
	}
	c.ran(query)
	return e.ExecContext(ctx, query, args)
}

func (c *conn) queryBase(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	q, ok := c.base.(driver.QueryerContext)
	if !ok || c.res.Skip != nil && c.res.Skip(query, len(args)) {
		return nil, driver.ErrSkip
	}
	c.ran(query)
	return q.QueryContext(ctx, query, args)
}

// branchFor finds the branch that a statement belongs to: the open local
// transaction's, or a new one for a statement of its own (auto). Nil outside
// global transactions.
func (c *conn) branchFor(ctx context.Context) (b *branch, auto bool, err error) {
	g, ok := gtx.FromContext(ctx)
	switch {
	case c.tx != nil && !(ok && c.tx.guard):
		if ok && g.XID() != c.tx.xid {
			return nil, false, &gtx.UnsupportedError{
				Code:   "other-xid",
				Reason: fmt.Sprintf("the local transaction belongs to %s, the statement's context to %s", c.tx.xid, g.XID()),
				Hint:   "begin a local transaction with the context of the inner one",
			}
		}
		return c.tx, false, nil
	case !ok && c.res.Guard && !c.plain:
		return c.newGuarded(ctx, driver.TxOptions{}, true), true, nil
	case !ok:
		return nil, false, nil
	case c.plain, c.tx != nil:
		return nil, false, &gtx.UnsupportedError{
			Code:   "plain-tx",
			Reason: "the local transaction was begun outside the global transaction, so its statements cannot be undone with it",
			Hint:   "call BeginTx with the context that gtx.Run gave to the function",
		}
	}
	b, err = c.newBranch(ctx, g, driver.TxOptions{})
	return b, true, err
}

// analyse understands a text in the modes of the session.
func (c *conn) analyse(ctx context.Context, text string) (*sqltext.Statement, error) {
	if !c.inspected {
		var err error
		if c.flavour, c.mode, err = c.res.Dialect.Inspect(ctx, c.base); err != nil {
			return nil, err
		}
		if err = c.atHome(ctx); err != nil {
			return nil, err
		}
		c.inspected = true
	}
	s, err := c.res.text.Parse(text, c.flavour, c.mode)
	var r *sqltext.Refusal
	if errors.As(err, &r) {
		return nil, &gtx.UnsupportedError{Code: r.Code, Reason: r.Reason}
	}
	return s, err
}
