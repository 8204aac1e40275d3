package proxy

import (
	"context"
	"database/sql/driver"
	"fmt"
)

var (
	_ driver.StmtExecContext   = (*stmt)(nil)
	_ driver.StmtQueryContext  = (*stmt)(nil)
	_ driver.NamedValueChecker = (*stmt)(nil)
	_ driver.ColumnConverter   = (*stmt)(nil)
)

// stmt is a prepared statement. Where it must be captured its text runs anew;
// the prepared one is left alone.
type stmt struct {
	base driver.Stmt
	c    *conn
	text string
}

func (s *stmt) Close() error  { return s.base.Close() }
func (s *stmt) NumInput() int { return s.base.NumInput() }

func (s *stmt) CheckNamedValue(nv *driver.NamedValue) error {
	if ch, ok := s.base.(driver.NamedValueChecker); ok {
		return ch.CheckNamedValue(nv)
	}
	return s.c.CheckNamedValue(nv)
}

func (s *stmt) ColumnConverter(i int) driver.ValueConverter {
	if cc, ok := s.base.(driver.ColumnConverter); ok {
		return cc.ColumnConverter(i)
	}
	return driver.DefaultParameterConverter
}

// Exec and Query without a context are never called by database/sql here.
func (s *stmt) Exec([]driver.Value) (driver.Result, error) {
	return nil, fmt.Errorf("exec statement: use ExecContext")
}

func (s *stmt) Query([]driver.Value) (driver.Rows, error) {
	return nil, fmt.Errorf("query statement: use QueryContext")
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	b, auto, err := s.c.branchFor(ctx)
	if err != nil {
		return nil, err
	}
	if out, done, err := s.c.decided(ctx, b, auto, s.text, args, true, true); err != nil {
		return nil, err
	} else if done {
		return result{out}, nil
	}
	if b != nil {
		read, captured, err := b.do(ctx, s.text, args, false, auto)
		if err != nil {
			return nil, err
		}
		if !read {
			return result{captured}, nil
		}
	}
	s.c.ran(s.text)
	if e, ok := s.base.(driver.StmtExecContext); ok {
		res, err := e.ExecContext(ctx, args)
		return res, b.readFailed(err, auto)
	}
	values, err := positional(args)
	if err != nil {
		return nil, err
	}
	//nolint:staticcheck // the only way into a base statement without ExecContext
	return s.base.Exec(values)
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
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
		read, captured, err := b.do(ctx, s.text, args, true, auto)
		if err != nil {
			return nil, err
		}
		if !read {
			return captured.Rows, nil
		}
	}
	s.c.ran(s.text)
	if q, ok := s.base.(driver.StmtQueryContext); ok {
		rows, err := q.QueryContext(ctx, args)
		return rows, b.readFailed(err, auto)
	}
	values, err := positional(args)
	if err != nil {
		return nil, err
	}
	//nolint:staticcheck // the only way into a base statement without QueryContext
	return s.base.Query(values)
}

func positional(args []driver.NamedValue) ([]driver.Value, error) {
	values := make([]driver.Value, len(args))
	for i, a := range args {
		if a.Name != "" {
			return nil, fmt.Errorf("bind argument %q: the base driver takes no named arguments", a.Name)
		}
		values[i] = a.Value
	}
	return values, nil
}
