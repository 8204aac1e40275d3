package inside

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/globaltx/globaltx/gtx"
)

var (
	_ driver.Connector          = (*connector)(nil)
	_ io.Closer                 = (*connector)(nil)
	_ driver.ConnBeginTx        = (*conn)(nil)
	_ driver.ConnPrepareContext = (*conn)(nil)
	_ driver.ExecerContext      = (*conn)(nil)
	_ driver.QueryerContext     = (*conn)(nil)
	_ driver.Pinger             = (*conn)(nil)
	_ driver.SessionResetter    = (*conn)(nil)
	_ driver.Validator          = (*conn)(nil)
	_ driver.NamedValueChecker  = (*conn)(nil)
)

// connector is what one sql.DB of the suite holds.
type connector struct {
	driver.Connector
	s   *session
	src *source
}

func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	base, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := keyed(ctx, base, c.src.base); err != nil {
		return nil, errors.Join(err, base.Close())
	}
	return &conn{Conn: base, s: c.s, src: c.src}, nil
}

// errUnknownVariable is the number of MariaDB's answer.
const errUnknownVariable = "Error 1193 "

// keyed lets MySQL give a key, in a column that no SELECT * shows, to tables that a
// suite makes without one: their rows could not be captured. For MariaDB see
// session.key; the others have no such columns.
func keyed(ctx context.Context, c driver.Conn, base string) error {
	e, ok := c.(driver.ExecerContext)
	if !ok || base != "mysql" {
		return nil
	}
	_, err := e.ExecContext(ctx, "SET SESSION sql_generate_invisible_primary_key = ON", nil)
	if err != nil && !strings.HasPrefix(err.Error(), errUnknownVariable) {
		return fmt.Errorf("inside: ask for keys: %w", err)
	}
	return nil
}

// Close waits for the end of the segment: phase two is served by what is closed here.
func (c *connector) Close() error {
	cl, ok := c.Connector.(io.Closer)
	if !ok {
		return nil
	}
	c.s.mu.Lock()
	g := c.s.seg
	if g != nil {
		g.closers = append(g.closers, func() { _ = cl.Close() })
	}
	c.s.mu.Unlock()
	if g != nil {
		return nil
	}
	return cl.Close()
}

// conn hands every call on, most with another context.
type conn struct {
	driver.Conn
	s   *session
	src *source
	// local is the segment of the open local transaction, plain an open one outside.
	local *segment
	plain bool
}

// Raw gives the connection below, as otelsql's does, for driver.Unwrap.
func (c *conn) Raw() driver.Conn { return c.Conn }

// pass decides for a statement.
func (c *conn) pass(ctx context.Context, query string) (context.Context, func(error), error) {
	if _, own := gtx.FromContext(ctx); own || c.plain {
		return ctx, func(error) {}, nil
	}
	var p pass
	if c.local != nil {
		p = c.s.local(c.local, query)
	} else {
		var err error
		if p, err = c.s.statement(c.src, query); err != nil {
			return nil, nil, err
		}
	}
	return within(ctx, p.seg), p.done, nil
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	e, ok := c.Conn.(driver.ExecerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	ctx, done, err := c.pass(ctx, query)
	if err != nil {
		return nil, err
	}
	res, err := e.ExecContext(ctx, query, args)
	done(err)
	return res, err
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	q, ok := c.Conn.(driver.QueryerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	ctx, done, err := c.pass(ctx, query)
	if err != nil {
		return nil, err
	}
	rows, err := q.QueryContext(ctx, query, args)
	done(err)
	return rows, err
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	var base driver.Stmt
	var err error
	if p, ok := c.Conn.(driver.ConnPrepareContext); ok {
		base, err = p.PrepareContext(within(ctx, c.current()), query)
	} else {
		base, err = c.Conn.Prepare(query)
	}
	if err != nil {
		return nil, err
	}
	s := &stmt{Stmt: base, c: c, text: query}
	if cc, ok := base.(driver.ColumnConverter); ok {
		return &convertingStmt{s, cc}, nil
	}
	return s, nil
}

// current is the segment that a call which writes nothing belongs to, if any.
func (c *conn) current() *segment {
	if c.local != nil || c.plain {
		return c.local
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.s.seg
}

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	var g *segment
	if _, own := gtx.FromContext(ctx); !own {
		c.s.mu.Lock()
		var err error
		if g, err = c.s.enter(c.src); g != nil {
			g.open++
		}
		c.s.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
	base, err := c.begin(within(ctx, g), opts)
	if err != nil {
		if g != nil {
			c.s.localEnded(g, "BEGIN", err)
		}
		return nil, err
	}
	c.local, c.plain = g, g == nil
	return &tx{Tx: base, c: c}, nil
}

func (c *conn) begin(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if b, ok := c.Conn.(driver.ConnBeginTx); ok {
		return b.BeginTx(ctx, opts)
	}
	//nolint:staticcheck // as database/sql does
	return c.Conn.Begin()
}

func (c *conn) Ping(ctx context.Context) error {
	if p, ok := c.Conn.(driver.Pinger); ok {
		return p.Ping(ctx)
	}
	return nil
}

func (c *conn) ResetSession(ctx context.Context) error {
	if r, ok := c.Conn.(driver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

func (c *conn) IsValid() bool {
	if v, ok := c.Conn.(driver.Validator); ok {
		return v.IsValid()
	}
	return true
}

func (c *conn) CheckNamedValue(nv *driver.NamedValue) error {
	if ch, ok := c.Conn.(driver.NamedValueChecker); ok {
		return ch.CheckNamedValue(nv)
	}
	return driver.ErrSkip
}

// tx is a local transaction.
type tx struct {
	driver.Tx
	c *conn
}

func (t *tx) Commit() error {
	err := t.Tx.Commit()
	t.ended("COMMIT", err)
	return err
}

func (t *tx) Rollback() error {
	err := t.Tx.Rollback()
	t.ended("ROLLBACK", err)
	return err
}

func (t *tx) ended(text string, err error) {
	g := t.c.local
	t.c.local, t.c.plain = nil, false
	if g != nil {
		t.c.s.localEnded(g, text, err)
	}
}

func (s *session) localEnded(g *segment, text string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.open--
	s.rec.statement(s.testName(), text, err)
}

// within gives ctx the global transaction of a segment. Cancellation stays the
// caller's.
func within(ctx context.Context, g *segment) context.Context {
	if g == nil {
		return ctx
	}
	return merged{ctx, g.ctx}
}

type merged struct {
	context.Context
	values context.Context
}

func (m merged) Value(key any) any {
	if v := m.Context.Value(key); v != nil {
		return v
	}
	return m.values.Value(key)
}
