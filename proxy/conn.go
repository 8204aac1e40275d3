package proxy

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

var (
	_ driver.ConnBeginTx        = (*conn)(nil)
	_ driver.ConnPrepareContext = (*conn)(nil)
)

// conn is one connection, as far as every base driver has it; offered adds what
// this one has beyond. Like every driver.Conn it is used by one goroutine at a time.
type conn struct {
	base driver.Conn
	at   baseConn
	res  *Resource
	// tx is the open local transaction of a global one.
	tx *branch
	// plain says that a local transaction outside any global one is open.
	plain bool
	// plainDecided and plainIsolation are what its BeginTx asked for.
	plainDecided   bool
	plainIsolation driver.IsolationLevel
	// byText: the program has begun a local transaction by a text.
	byText bool
	// owed are results that a program may still ask, of transactions that have not ended.
	owed []*owed
	// bad: the connection must not be used again.
	bad bool
	// given: base belongs to somebody else now (xa.Resolver.Keep).
	given bool
	// open counts prepared statements of the program.
	open int

	// apart: what the tables do may differ on this connection from others (foreign
	// keys that are checked, a temporary trigger), so it shares no catalogue.
	apart bool

	// strayed: the current database may be another than that of the DSN.
	strayed bool

	// What is known of the session, until something may have changed it.
	touched   bool // the local transaction may have changed it
	custom    bool // the program may have, at any time
	inspected bool
	guardable bool // autocommit is on
	committed bool // reads nothing that is not committed
	flavour   sqltext.Dialect
	mode      sqltext.Mode
	names     map[sqltext.Name]string
	// statements are kept by the dialect.
	statements Statements

	stmts slab[stmt]
	txs   slab[plainTx]
}

// Wrap puts res before a base connection. What it returns offers the optional
// interfaces of database/sql/driver that base does, no others, but for those that
// bring a context: what decides is in it.
func Wrap(base driver.Conn, res *Resource) driver.Conn {
	return offered(&conn{base: base, at: interfacesOf(base), res: res, names: map[sqltext.Name]string{}})
}

func (c *conn) Close() error {
	var err error
	if !c.given {
		err = c.base.Close()
	}
	if c.res.Closed != nil {
		if cerr := c.res.Closed(); err == nil {
			err = cerr
		}
	}
	return err
}

func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if c.lost() {
		return nil, driver.ErrBadConn
	}
	base, err := c.at.prepare(ctx, c.base, query)
	if err != nil {
		return nil, err
	}
	c.open++
	s := c.stmts.take()
	s.base, s.c, s.text = base, c, query
	return offeredStmt(s), nil
}

func (c *conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if c.lost() {
		return nil, driver.ErrBadConn
	}
	g, global := gtx.FromContext(ctx)
	if c.tx != nil || global && c.plain {
		// A local transaction is still open: database/sql begins on a sql.Conn while it
		// is about to roll one back whose context was cancelled. That ROLLBACK would
		// undo the new one's work, and a BEGIN of MySQL would commit the old one's.
		return nil, driver.ErrBadConn
	}
	if global {
		b, err := c.newBranch(ctx, g, opts)
		if err != nil {
			return nil, err
		}
		if err := b.open(ctx); err != nil {
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
	t := c.txs.take()
	t.base, t.c = base, c
	return t, nil
}

func (c *conn) beginBase(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.at.begin(ctx, c.base, opts)
}

// plainTx is a local transaction outside any global one.
type plainTx struct {
	base driver.Tx
	c    *conn
}

func (t *plainTx) Commit() error { return t.end(driver.Tx.Commit) }

func (t *plainTx) Rollback() error { return t.end(driver.Tx.Rollback) }

// end lets go of the base driver's transaction, which may hold the caller's context
// while others of its slab live on.
func (t *plainTx) end(how func(driver.Tx) error) error {
	base := t.base
	if base == nil { // the next one may be open
		return sql.ErrTxDone
	}
	t.base, t.c.plain = nil, false
	defer t.c.txEnded()
	return how(base)
}

// lost tells that the connection was given up. Its base driver may see nothing
// wrong with it, but a local transaction may still be open on it. Nothing is sent
// then, and database/sql takes another connection.
func (c *conn) lost() bool { return c.bad && c.tx == nil }

// outside tells that a statement with ctx goes to the base driver unread.
func (c *conn) outside(ctx context.Context) bool {
	if c.tx != nil || c.res.Guard || c.plain && c.plainDecided {
		return false
	}
	if _, ok := gtx.FromContext(ctx); ok {
		return false
	}
	return !gtx.IsReadCommitted(ctx)
}

func (c *conn) exec(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	switch {
	case c.lost():
		return nil, driver.ErrBadConn
	case c.outside(ctx):
		return c.execBase(ctx, query, args)
	}
	b, auto, err := c.branchFor(ctx)
	if err != nil {
		return nil, err
	}
	if b != nil && b.xa != nil && c.skips(query, args) {
		return nil, driver.ErrSkip
	}
	if out, done, err := c.decided(ctx, b, auto, query, args, false, true); err != nil {
		return nil, err
	} else if done {
		return &result{c: out}, nil
	}
	if b == nil {
		return c.execBase(ctx, query, args)
	}
	b.described = c.skips(query, args)
	read, captured, err := b.do(ctx, query, args, false, auto)
	b.described = false
	if err != nil {
		return nil, err
	}
	if read {
		res, err := c.execBase(ctx, query, args)
		return b.ran(res, err, auto)
	}
	return b.answer(captured), nil
}

func (c *conn) queryRows(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	switch {
	case c.lost():
		return nil, driver.ErrBadConn
	case c.outside(ctx):
		return c.queryBase(ctx, query, args)
	}
	b, auto, err := c.branchFor(ctx)
	if err != nil {
		return nil, err
	}
	if b != nil && b.xa != nil && c.skips(query, args) {
		return nil, driver.ErrSkip
	}
	if out, done, err := c.decided(ctx, b, auto, query, args, false, false); err != nil {
		return nil, err
	} else if done {
		return out.Rows, nil
	}
	if b == nil {
		return c.queryBase(ctx, query, args)
	}
	b.described = c.skips(query, args)
	read, captured, err := b.do(ctx, query, args, true, auto)
	b.described = false
	if err != nil {
		return nil, err
	}
	if read {
		rows, err := c.queryBase(ctx, query, args)
		return b.ranRows(rows, err, auto)
	}
	return captured.Rows, nil
}

// skips tells that the base driver as the user has it would have the text prepared.
func (c *conn) skips(query string, args []driver.NamedValue) bool {
	return c.res.Skip != nil && c.res.Skip(query, len(args))
}

func (c *conn) execBase(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if c.skips(query, args) {
		return nil, driver.ErrSkip
	}
	if c.res.Alone != nil && strings.IndexByte(query, ';') >= 0 {
		return c.execAlone(ctx, query, args)
	}
	c.ran(query)
	return c.at.execute(ctx, query, args)
}

func (c *conn) queryBase(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if c.skips(query, args) {
		return nil, driver.ErrSkip
	}
	if c.res.Alone != nil && strings.IndexByte(query, ';') >= 0 {
		return c.queryAlone(ctx, query, args)
	}
	c.ran(query)
	return c.at.rows(ctx, query, args)
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
		if c.at.execs == nil || c.at.queries == nil {
			return nil, c.mustPrepare()
		}
		var err error
		c.flavour, c.mode, err = c.res.Dialect.Inspect(ctx, c.base)
		if errors.Is(err, driver.ErrSkip) { // database/sql would prepare, to no avail
			return nil, c.mustPrepare()
		} else if err != nil {
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
