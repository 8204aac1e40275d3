package proxy

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

func is[T any](v any) bool {
	_, ok := v.(T)
	return ok
}

// TestOffered: a connection and a statement have an optional interface of their
// base, and none that it lacks; a context comes with four.
func TestOffered(t *testing.T) {
	for conn := range fakeConns {
		for stmt := range fakeStmts {
			if conn%len(fakeStmts) != stmt && conn != len(fakeConns)-1 {
				continue
			}
			base := fakeConns[conn](&fakeConn{b: &fakeBase{conn: conn, stmt: stmt}})
			c := Wrap(base, NewResource(Config{Dialect: unread{}}))
			bs, err := base.Prepare("x")
			if err != nil {
				t.Fatal(err)
			}
			s, err := c.Prepare("x")
			if err != nil {
				t.Fatal(err)
			}
			for name, has := range map[string][2]bool{
				"ExecerContext":            {is[driver.ExecerContext](base) || is[driver.Execer](base), is[driver.ExecerContext](c)},
				"QueryerContext":           {is[driver.QueryerContext](base) || is[driver.Queryer](base), is[driver.QueryerContext](c)},
				"Execer":                   {false, is[driver.Execer](c)},
				"Queryer":                  {false, is[driver.Queryer](c)},
				"ConnBeginTx":              {true, is[driver.ConnBeginTx](c)},
				"ConnPrepareContext":       {true, is[driver.ConnPrepareContext](c)},
				"NamedValueChecker":        {is[driver.NamedValueChecker](base), is[driver.NamedValueChecker](c)},
				"Pinger":                   {is[driver.Pinger](base), is[driver.Pinger](c)},
				"SessionResetter":          {is[driver.SessionResetter](base), is[driver.SessionResetter](c)},
				"Validator":                {is[driver.Validator](base), is[driver.Validator](c)},
				"checker of a statement":   {is[driver.NamedValueChecker](bs), is[driver.NamedValueChecker](s)},
				"converter of a statement": {is[driver.ColumnConverter](bs), is[driver.ColumnConverter](s)},
				"StmtExecContext":          {true, is[driver.StmtExecContext](s)},
				"StmtQueryContext":         {true, is[driver.StmtQueryContext](s)},
			} {
				if has[0] != has[1] {
					t.Errorf("connection %v, statement %v: %s is %t, want %t", pick(kinds, conn), pick(stmtKinds, stmt), name, has[1], has[0])
				}
			}
		}
	}
}

// lastConn has all interfaces that bring a context.
func wrapLast(t *testing.T, b *fakeBase) (driver.Conn, *conn) {
	t.Helper()
	b.conn, b.stmt = len(fakeConns)-1, len(fakeStmts)-1
	base, err := b.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := Wrap(base, NewResource(Config{Dialect: unread{}}))
	return c, c.(wrapping).wrapped()
}

// TestGivenUp: what was given up sends nothing any more, whatever its base driver
// says of it, so that the pool takes another connection.
func TestGivenUp(t *testing.T) {
	b := &fakeBase{}
	c, inner := wrapLast(t, b)
	ctx := t.Context()
	s, err := c.Prepare("x")
	if err != nil {
		t.Fatal(err)
	}
	inner.bad = true
	b.trace = nil
	if c.(driver.Validator).IsValid() {
		t.Error("it says that it is valid")
	}
	for name, f := range map[string]func() error{
		"exec":     func() error { _, err := c.(driver.ExecerContext).ExecContext(ctx, "x", nil); return err },
		"query":    func() error { _, err := c.(driver.QueryerContext).QueryContext(ctx, "x", nil); return err },
		"prepare":  func() error { _, err := c.Prepare("x"); return err },
		"begin":    func() error { _, err := c.(driver.ConnBeginTx).BeginTx(ctx, driver.TxOptions{}); return err },
		"ping":     func() error { return c.(driver.Pinger).Ping(ctx) },
		"reset":    func() error { return c.(driver.SessionResetter).ResetSession(ctx) },
		"stmt":     func() error { _, err := s.(driver.StmtExecContext).ExecContext(ctx, nil); return err },
		"stmt old": func() error { _, err := s.Exec(nil); return err }, //nolint:staticcheck // as lib/pq is used for COPY
		"rows":     func() error { _, err := s.(driver.StmtQueryContext).QueryContext(ctx, nil); return err },
		"rows old": func() error { _, err := s.Query(nil); return err }, //nolint:staticcheck // as above
		"unwrap":   func() error { _, err := Unwrap(c); return err },
	} {
		if err := f(); err != driver.ErrBadConn { //nolint:errorlint // unchanged
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(b.trace) > 0 {
		t.Errorf("sent %q", b.trace)
	}
}

// TestStatementTwice: who closes a statement once more, or uses it after that, does
// not meet one that was prepared since.
func TestStatementTwice(t *testing.T) {
	b := &fakeBase{}
	c, _ := wrapLast(t, b)
	seen := map[driver.Stmt]bool{}
	for range 3 * slabSize {
		s, err := c.Prepare("x")
		if err != nil || seen[s] {
			t.Fatalf("%v, or a statement is given twice", err)
		}
		seen[s] = true
		for range 2 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestTransactionTwice: who ends a local transaction once more does not end the next
// one, nor what is known of it, and what the base driver gave is let go.
func TestTransactionTwice(t *testing.T) {
	b := &fakeBase{}
	c, inner := wrapLast(t, b)
	begin := func() driver.Tx {
		tx, err := c.(driver.ConnBeginTx).BeginTx(t.Context(), driver.TxOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	for _, end := range []func(driver.Tx) error{driver.Tx.Commit, driver.Tx.Rollback} {
		one := begin()
		if err := end(one); err != nil || inner.plain {
			t.Fatalf("%v, open %t", err, inner.plain)
		}
		two := begin()
		sent := len(b.trace)
		if err := errors.Join(one.Rollback(), one.Commit()); err == nil || !inner.plain || len(b.trace) != sent {
			t.Errorf("%v, the next one is open: %t, sent %q", err, inner.plain, b.trace[sent:])
		}
		if one.(*plainTx).base != nil {
			t.Error("the base driver's transaction is kept")
		}
		if err := two.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBaseTooOld: in a global transaction, and where rows must be decided, a base
// connection without what capture needs is refused, and nothing runs on it.
func TestBaseTooOld(t *testing.T) {
	for conn := range fakeConns {
		base := fakeConns[conn](&fakeConn{b: &fakeBase{}})
		if is[driver.ExecerContext](base) && is[driver.QueryerContext](base) {
			continue
		}
		b := &fakeBase{conn: conn, stmt: len(fakeStmts) - 1}
		enter := func(context.Context, *gtx.Tx) (gtx.ResourceID, error) { return "r", nil }
		db := sql.OpenDB(wrapConnector{b, NewResource(Config{Dialect: unread{}, Enter: enter})})
		exec := func(ctx context.Context) error { _, err := db.ExecContext(ctx, "insert"); return err }
		query := func(ctx context.Context) error {
			rows, err := db.QueryContext(ctx, "select")
			if err == nil {
				err = errors.Join(rows.Err(), rows.Close())
			}
			return err
		}
		_, _, err := gtx.Join(t.Context(), nil, gtx.XID{Seq: 1}, func(ctx context.Context) error {
			refusedBase(t, pick(kinds, conn), exec(ctx))
			refusedBase(t, pick(kinds, conn), query(ctx))
			refusedBase(t, pick(kinds, conn), query(gtx.ReadCommitted(t.Context())))
			return nil
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Error(err)
		}
		for _, call := range b.trace {
			if strings.HasPrefix(call, "exec") || strings.HasPrefix(call, "query") || strings.HasPrefix(call, "begin") {
				t.Errorf("connection %v: sent %q", pick(kinds, conn), call)
			}
		}
	}
}

// TestBaseSkips: so is one that has them and answers ErrSkip, as wrappers do.
func TestBaseSkips(t *testing.T) {
	_, c := wrapLast(t, &fakeBase{})
	c.res.Dialect = skips{}
	_, err := c.analyse(t.Context(), "insert")
	refusedBase(t, nil, err)
}

type skips struct{ unread }

func (skips) Inspect(context.Context, driver.Conn) (sqltext.Dialect, sqltext.Mode, error) {
	return 0, sqltext.Mode{}, driver.ErrSkip
}

func refusedBase(t *testing.T, conn []string, err error) {
	t.Helper()
	if u := (*gtx.UnsupportedError)(nil); !errors.As(err, &u) || u.Code != "base-driver" {
		t.Errorf("connection %v: %v", conn, err)
	}
}

type raw struct{ driver.Conn }

func (r raw) Raw() driver.Conn { return r.Conn }

// TestUnwrap: the innermost connection is found behind other wrappers on both
// sides, but not while a local transaction of a global one is open.
func TestUnwrap(t *testing.T) {
	base, err := (&fakeBase{}).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := Wrap(raw{base}, NewResource(Config{Dialect: unread{}}))
	inner := c.(wrapping).wrapped()
	inner.inspected = true
	for name, of := range map[string]any{"ours": c, "theirs around ours": raw{c}, "theirs": raw{base}, "none": base} {
		if got, err := Unwrap(of); err != nil || got != base {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if inner.inspected || !inner.touched {
		t.Errorf("what is known of the session is kept: %+v", inner)
	}
	inner.tx = &branch{guard: true}
	if _, err := Unwrap(c); err != nil {
		t.Errorf("guarded: %v", err)
	}
	inner.tx = &branch{}
	var u *gtx.UnsupportedError
	if got, err := Unwrap(raw{c}); !errors.As(err, &u) || u.Code != "raw" || got != nil {
		t.Errorf("in a global transaction: %v, %v", got, err)
	}
	if _, err := Unwrap(7); err == nil {
		t.Error("a number is a connection")
	}
}

// TestRowsAreTheBases: outside, rows are those of the base driver, of whatever type.
func TestRowsAreTheBases(t *testing.T) {
	c, _ := wrapLast(t, &fakeBase{})
	rows, err := c.(driver.QueryerContext).QueryContext(context.Background(), "x", nil)
	if err != nil || !is[*fakeRows](rows) {
		t.Errorf("got %T, %v", rows, err)
	}
	s, err := c.Prepare("x")
	if err != nil {
		t.Fatal(err)
	}
	rows, err = s.(driver.StmtQueryContext).QueryContext(context.Background(), nil)
	if err != nil || !is[*fakeRows](rows) {
		t.Errorf("got %T of a statement, %v", rows, err)
	}
}
