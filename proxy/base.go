package proxy

import (
	"context"
	"database/sql/driver"
	"errors"
)

// baseConn is what a base connection offers beyond driver.Conn. Where a program
// reaches it through interfaces without a context, which database/sql knows how to
// call, the methods here call it in the same way, with the same errors: ours brings
// a context in any case, so database/sql no longer does.
type baseConn struct {
	prepares  driver.ConnPrepareContext
	begins    driver.ConnBeginTx
	execs     driver.ExecerContext
	oldExecs  driver.Execer //nolint:staticcheck // database/sql still calls it
	queries   driver.QueryerContext
	oldQuery  driver.Queryer //nolint:staticcheck // database/sql still calls it
	checks    driver.NamedValueChecker
	pings     driver.Pinger
	resets    driver.SessionResetter
	validates driver.Validator
}

func interfacesOf(c driver.Conn) (b baseConn) {
	b.prepares, _ = c.(driver.ConnPrepareContext)
	b.begins, _ = c.(driver.ConnBeginTx)
	b.execs, _ = c.(driver.ExecerContext)
	b.oldExecs, _ = c.(driver.Execer) //nolint:staticcheck // see baseConn
	b.queries, _ = c.(driver.QueryerContext)
	b.oldQuery, _ = c.(driver.Queryer) //nolint:staticcheck // see baseConn
	b.checks, _ = c.(driver.NamedValueChecker)
	b.pings, _ = c.(driver.Pinger)
	b.resets, _ = c.(driver.SessionResetter)
	b.validates, _ = c.(driver.Validator)
	return b
}

func (b *baseConn) prepare(ctx context.Context, c driver.Conn, text string) (driver.Stmt, error) {
	if b.prepares != nil {
		return b.prepares.PrepareContext(ctx, text)
	}
	s, err := c.Prepare(text)
	if err == nil && ctx.Err() != nil {
		_ = s.Close() // the caller hears of the context
		return nil, ctx.Err()
	}
	return s, err
}

func (b *baseConn) begin(ctx context.Context, c driver.Conn, opts driver.TxOptions) (driver.Tx, error) {
	switch {
	case b.begins != nil:
		return b.begins.BeginTx(ctx, opts)
	case opts.Isolation != 0:
		return nil, errIsolation
	case opts.ReadOnly:
		return nil, errReadOnlyOption
	}
	//nolint:staticcheck // the only way into a base driver without BeginTx
	tx, err := c.Begin()
	if err == nil && ctx.Err() != nil {
		_ = tx.Rollback() // the caller hears of the context
		return nil, ctx.Err()
	}
	return tx, err
}

func (b *baseConn) execute(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	if b.execs != nil {
		return b.execs.ExecContext(ctx, text, args)
	}
	if b.oldExecs == nil {
		return nil, driver.ErrSkip
	}
	values, err := positional(ctx, args)
	if err != nil {
		return nil, err
	}
	return b.oldExecs.Exec(text, values)
}

func (b *baseConn) rows(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	if b.queries != nil {
		return b.queries.QueryContext(ctx, text, args)
	}
	if b.oldQuery == nil {
		return nil, driver.ErrSkip
	}
	values, err := positional(ctx, args)
	if err != nil {
		return nil, err
	}
	return b.oldQuery.Query(text, values)
}

// The texts are those of database/sql.
var (
	errIsolation      = errors.New("sql: driver does not support non-default isolation level")
	errReadOnlyOption = errors.New("sql: driver does not support read-only transactions")
	errNamed          = errors.New("sql: driver does not support the use of Named Parameters")
)

// positional makes arguments for a call without a context, the end of which is
// looked at before.
func positional(ctx context.Context, args []driver.NamedValue) ([]driver.Value, error) {
	values := make([]driver.Value, len(args))
	for i, a := range args {
		if a.Name != "" {
			return nil, errNamed
		}
		values[i] = a.Value
	}
	return values, ctx.Err()
}

// numbered undoes positional.
func numbered(values []driver.Value) []driver.NamedValue {
	args := make([]driver.NamedValue, len(values))
	for i, v := range values {
		args[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return args
}

// slab gives values of T with one allocation for many. None is given twice: a
// statement that its owner closes once more, or uses after Close, must never be
// somebody else's.
type slab[T any] struct{ free []T }

const slabSize = 16

func (s *slab[T]) take() *T {
	if len(s.free) == 0 {
		s.free = make([]T, slabSize)
	}
	t := &s.free[0]
	s.free = s.free[1:]
	return t
}
