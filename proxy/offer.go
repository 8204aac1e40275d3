package proxy

import (
	"context"
	"database/sql/driver"
)

// database/sql chooses its ways by the optional interfaces that a connection has:
// whether a statement is prepared first, who converts arguments, whether a
// connection survives the roll back of a cancelled transaction. So each connection
// is of a type that has those of its base connection and no more (offered, in
// offer_table.go). A base driver that has Execer without a context gets
// ExecerContext, where exec calls it as database/sql would; with Queryer alike.
type (
	execer    conn
	queryer   conn
	checker   conn
	pinger    conn
	resetter  conn
	validator conn
)

var (
	_ driver.ExecerContext     = (*execer)(nil)
	_ driver.QueryerContext    = (*queryer)(nil)
	_ driver.NamedValueChecker = (*checker)(nil)
	_ driver.Pinger            = (*pinger)(nil)
	_ driver.SessionResetter   = (*resetter)(nil)
	_ driver.Validator         = (*validator)(nil)
)

func (e *execer) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return (*conn)(e).exec(ctx, query, args)
}

func (q *queryer) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return (*conn)(q).queryRows(ctx, query, args)
}

func (c *checker) CheckNamedValue(nv *driver.NamedValue) error {
	return c.at.checks.CheckNamedValue(nv)
}

func (p *pinger) Ping(ctx context.Context) error {
	if (*conn)(p).lost() {
		return driver.ErrBadConn
	}
	return p.at.pings.Ping(ctx)
}

func (r *resetter) ResetSession(ctx context.Context) error {
	if r.bad {
		return driver.ErrBadConn
	}
	return r.at.resets.ResetSession(ctx)
}

func (v *validator) IsValid() bool {
	return !v.bad && v.at.validates.IsValid()
}

// combinations is how many values combination has.
const combinations = 1 << 6

func (b *baseConn) combination() (bits int) {
	for i, has := range [...]bool{
		b.execs != nil || b.oldExecs != nil, b.queries != nil || b.oldQuery != nil,
		b.checks != nil, b.pings != nil, b.resets != nil, b.validates != nil,
	} {
		if has {
			bits |= 1 << i
		}
	}
	return bits
}

// offeredStmt gives s the interfaces that its base statement has. A struct of one
// pointer needs no memory of its own in an interface.
func offeredStmt(s *stmt) driver.Stmt {
	_, checks := s.base.(driver.NamedValueChecker)
	_, converts := s.base.(driver.ColumnConverter) //nolint:staticcheck // database/sql still calls it
	switch {
	case checks && converts:
		return bothStmt{s}
	case checks:
		return checkingStmt{s}
	case converts:
		return convertingStmt{s}
	}
	return s
}

type (
	checkingStmt   struct{ *stmt }
	convertingStmt struct{ *stmt }
	bothStmt       struct{ *stmt }
)

func (s checkingStmt) CheckNamedValue(nv *driver.NamedValue) error { return s.check(nv) }

func (s convertingStmt) ColumnConverter(i int) driver.ValueConverter { return s.converter(i) }

func (s bothStmt) CheckNamedValue(nv *driver.NamedValue) error { return s.check(nv) }

func (s bothStmt) ColumnConverter(i int) driver.ValueConverter { return s.converter(i) }
