package proxy

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// fakeBase is a base driver that writes down every call. Which optional interfaces
// its connections and statements have is a row of the tables; a call can be made to
// fail, or to cancel the context of its caller.
type fakeBase struct {
	conn, stmt int // rows of fakeConns and fakeStmts
	trace      []string
	conns      int
	invalid    bool // what IsValid says
	// at is asked at each call; what it returns is the error of the call.
	at func(call string) error
}

func (b *fakeBase) log(call string, args ...any) error {
	line := call
	for _, a := range args {
		line += fmt.Sprintf(" %#v", a)
	}
	b.trace = append(b.trace, line)
	if b.at == nil {
		return nil
	}
	return b.at(call)
}

func (b *fakeBase) Connect(ctx context.Context) (driver.Conn, error) {
	b.conns++
	if err := b.log("connect"); err != nil {
		return nil, err
	}
	return fakeConns[b.conn](&fakeConn{b: b, id: b.conns}), nil
}

func (b *fakeBase) Driver() driver.Driver { return nil }

type fakeConn struct {
	b  *fakeBase
	id int
}

func (c *fakeConn) log(call string, args ...any) error {
	return c.b.log(call, append([]any{c.id}, args...)...)
}

func (c *fakeConn) Close() error { return c.log("close") }

func (c *fakeConn) Prepare(query string) (driver.Stmt, error) { return c.prepared("prepare", query) }

func (c *fakeConn) prepared(call, query string) (driver.Stmt, error) {
	if err := c.log(call, query); err != nil {
		return nil, err
	}
	return fakeStmts[c.b.stmt](&fakeStmt{c, query}), nil
}

func (c *fakeConn) Begin() (driver.Tx, error) { return c.begun("begin", driver.TxOptions{}) }

func (c *fakeConn) begun(call string, opts driver.TxOptions) (driver.Tx, error) {
	if err := c.log(call, opts); err != nil {
		return nil, err
	}
	return fakeTx{c}, nil
}

type fakeTx struct{ c *fakeConn }

func (t fakeTx) Commit() error   { return t.c.log("commit") }
func (t fakeTx) Rollback() error { return t.c.log("rollback") }

type (
	fakeExecer         fakeConn
	fakeExecerContext  fakeConn
	fakeQueryer        fakeConn
	fakeQueryerContext fakeConn
	fakeBegins         fakeConn
	fakePrepares       fakeConn
	fakeChecks         fakeConn
	fakePings          fakeConn
	fakeResets         fakeConn
	fakeValidates      fakeConn
)

func (c *fakeExecer) Exec(query string, args []driver.Value) (driver.Result, error) {
	return affected((*fakeConn)(c).log("exec", query, args))
}

func (c *fakeExecerContext) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return affected((*fakeConn)(c).log("exec context", query, args, of(ctx)))
}

func (c *fakeQueryer) Query(query string, args []driver.Value) (driver.Rows, error) {
	return rowsOf((*fakeConn)(c), (*fakeConn)(c).log("query", query, args))
}

func (c *fakeQueryerContext) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return rowsOf((*fakeConn)(c), (*fakeConn)(c).log("query context", query, args, of(ctx)))
}

func (c *fakeBegins) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return (*fakeConn)(c).begun("begin context "+of(ctx), opts)
}

func (c *fakePrepares) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	return (*fakeConn)(c).prepared("prepare context "+of(ctx), query)
}

func (c *fakeChecks) CheckNamedValue(nv *driver.NamedValue) error {
	return checked(nv, (*fakeConn)(c).log("check", *nv))
}

func (c *fakePings) Ping(ctx context.Context) error { return (*fakeConn)(c).log("ping", of(ctx)) }

func (c *fakeResets) ResetSession(ctx context.Context) error {
	return (*fakeConn)(c).log("reset", of(ctx))
}

func (c *fakeValidates) IsValid() bool {
	return (*fakeConn)(c).log("valid") == nil && !c.b.invalid
}

type fakeStmt struct {
	c    *fakeConn
	text string
}

func (s *fakeStmt) Close() error { return s.c.log("close statement", s.text) }

// NumInput counts the markers unless the text says that nobody can.
func (s *fakeStmt) NumInput() int {
	if strings.Contains(s.text, "unknown") {
		return -1
	}
	return strings.Count(s.text, "?")
}

func (s *fakeStmt) Exec(args []driver.Value) (driver.Result, error) {
	return affected(s.c.log("exec statement", s.text, args))
}

func (s *fakeStmt) Query(args []driver.Value) (driver.Rows, error) {
	return rowsOf(s.c, s.c.log("query statement", s.text, args))
}

type (
	fakeStmtExecs    fakeStmt
	fakeStmtQueries  fakeStmt
	fakeStmtChecks   fakeStmt
	fakeStmtConverts fakeStmt
)

func (s *fakeStmtExecs) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return affected(s.c.log("exec statement context", s.text, args, of(ctx)))
}

func (s *fakeStmtQueries) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return rowsOf(s.c, s.c.log("query statement context", s.text, args, of(ctx)))
}

func (s *fakeStmtChecks) CheckNamedValue(nv *driver.NamedValue) error {
	return checked(nv, s.c.log("check of statement", *nv))
}

func (s *fakeStmtConverts) ColumnConverter(i int) driver.ValueConverter {
	_ = s.c.log("convert", i)
	return fakeConverter{}
}

// fakeConverter converts what the default cannot.
type fakeConverter struct{}

func (fakeConverter) ConvertValue(v any) (driver.Value, error) {
	if p, ok := v.(point); ok {
		return fmt.Sprint(p), nil
	}
	return driver.DefaultParameterConverter.ConvertValue(v)
}

// Arguments that a checker treats in its own ways.
type (
	point   struct{ X, Y int } // no driver.Value
	removed struct{}
	refused struct{}
	skipped string
)

func checked(nv *driver.NamedValue, err error) error {
	if err != nil {
		return err
	}
	switch nv.Value.(type) {
	case removed:
		return driver.ErrRemoveArgument
	case refused:
		return errRefused
	case point:
		return nil // handed over as it is
	}
	return driver.ErrSkip
}

var errRefused = errors.New("no such type")

func affected(err error) (driver.Result, error) {
	if err != nil {
		return nil, err
	}
	return driver.RowsAffected(7), nil
}

type fakeRows struct {
	c    *fakeConn
	next int64
}

func rowsOf(c *fakeConn, err error) (driver.Rows, error) {
	if err != nil {
		return nil, err
	}
	return &fakeRows{c: c}, nil
}

func (*fakeRows) Columns() []string { return []string{"n"} }
func (r *fakeRows) Close() error    { return r.c.log("close rows") }

func (r *fakeRows) Next(dest []driver.Value) error {
	if err := r.c.log("next"); err != nil {
		return err
	}
	if r.next == 2 {
		return io.EOF
	}
	r.next++
	dest[0] = r.next
	return nil
}

// ColumnTypeDatabaseTypeName is one of the optional interfaces of rows.
func (r *fakeRows) ColumnTypeDatabaseTypeName(int) string { return "FAKE" }

// ColumnTypeScanType is another.
func (r *fakeRows) ColumnTypeScanType(int) reflect.Type { return reflect.TypeFor[int64]() }

type markKey struct{}

// of tells which context reached the base driver.
func of(ctx context.Context) string {
	mark, _ := ctx.Value(markKey{}).(string)
	return mark
}

// unread is a dialect of which nothing but the name may be asked: whatever parses a
// statement asks for the modes of its session first.
type unread struct{ Dialect }

func (unread) Name() string { return "postgres" }
