package proxy

import (
	"context"
	"database/sql/driver"
	"errors"
)

var (
	_ driver.StmtExecContext  = (*stmt)(nil)
	_ driver.StmtQueryContext = (*stmt)(nil)
)

// stmt is a prepared statement; offeredStmt adds what its base statement has
// beyond. Where it must be captured its text runs anew; the prepared one is left
// alone.
type stmt struct {
	base   driver.Stmt
	c      *conn
	text   string
	effect effect // of text
	closed bool
}

// Close is the base statement's, also the second time.
func (s *stmt) Close() error {
	if !s.closed {
		s.c.open--
	}
	s.closed, s.text = true, "" // others of its slab may live on
	if s.c.given {
		return nil // it ends with the connection
	}
	return s.base.Close()
}

func (s *stmt) NumInput() int { return s.base.NumInput() }

func (s *stmt) check(nv *driver.NamedValue) error {
	return s.base.(driver.NamedValueChecker).CheckNamedValue(nv) //nolint:errcheck // offered where it is one
}

func (s *stmt) converter(i int) driver.ValueConverter {
	return s.base.(driver.ColumnConverter).ColumnConverter(i) //nolint:staticcheck,errcheck // offered where it is one
}

// Exec is for callers that are not database/sql, which brings a context.
func (s *stmt) Exec(values []driver.Value) (driver.Result, error) {
	if s.plainly(context.Background()) {
		s.ran()
		return s.base.Exec(values) //nolint:staticcheck // as it was called
	}
	return s.ExecContext(context.Background(), numbered(values))
}

// Query is as Exec.
func (s *stmt) Query(values []driver.Value) (driver.Rows, error) {
	if s.plainly(context.Background()) {
		s.ran()
		return s.base.Query(values) //nolint:staticcheck // as it was called
	}
	return s.QueryContext(context.Background(), numbered(values))
}

// ran is that of the connection; the text is looked at once.
func (s *stmt) ran() {
	if s.effect == unknown {
		s.effect = effectOf(s.text)
	}
	s.c.affected(s.effect, s.text)
}

// plainly tells that the base statement runs unread.
func (s *stmt) plainly(ctx context.Context) bool {
	return !s.c.lost() && s.c.outside(ctx)
}

// usable is nil for a statement that can be looked at.
func (s *stmt) usable() error {
	switch {
	case s.c.lost():
		return driver.ErrBadConn
	case s.closed:
		return errClosed
	}
	return nil
}

var errClosed = errors.New("run statement: it is closed")

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if s.plainly(ctx) {
		return s.execBase(ctx, args)
	}
	if err := s.usable(); err != nil {
		return nil, err
	}
	b, auto, err := s.c.branchFor(ctx)
	if err != nil {
		return nil, err
	}
	if out, done, err := s.c.decided(ctx, b, auto, s.text, args, true, true); err != nil {
		return nil, err
	} else if done {
		return &result{c: out}, nil
	}
	if b != nil {
		b.described = true
		read, captured, err := b.do(ctx, s.text, args, false, auto)
		b.described = false
		if err != nil {
			return nil, err
		}
		if !read {
			return b.answer(captured), nil
		}
	}
	res, err := s.execBase(ctx, args)
	return b.ran(res, err, auto)
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if s.plainly(ctx) {
		return s.queryBase(ctx, args)
	}
	if err := s.usable(); err != nil {
		return nil, err
	}
	b, auto, err := s.c.branchFor(ctx)
	if err != nil {
		return nil, err
	}
	if out, done, err := s.c.decided(ctx, b, auto, s.text, args, true, false); err != nil {
		return nil, err
	} else if done {
		return out.Rows, nil
	}
	if b != nil {
		b.described = true
		read, captured, err := b.do(ctx, s.text, args, true, auto)
		b.described = false
		if err != nil {
			return nil, err
		}
		if !read {
			return captured.Rows, nil
		}
	}
	rows, err := s.queryBase(ctx, args)
	return b.ranRows(rows, err, auto)
}

// execBase calls a base statement as database/sql would.
func (s *stmt) execBase(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.ran()
	if e, ok := s.base.(driver.StmtExecContext); ok {
		return e.ExecContext(ctx, args)
	}
	values, err := positional(ctx, args)
	if err != nil {
		return nil, err
	}
	//nolint:staticcheck // the only way into a base statement without ExecContext
	return s.base.Exec(values)
}

func (s *stmt) queryBase(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.ran()
	if q, ok := s.base.(driver.StmtQueryContext); ok {
		return q.QueryContext(ctx, args)
	}
	values, err := positional(ctx, args)
	if err != nil {
		return nil, err
	}
	//nolint:staticcheck // the only way into a base statement without QueryContext
	return s.base.Query(values)
}
