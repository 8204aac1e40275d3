package pgsql

import (
	"database/sql/driver"
	"errors"

	"github.com/globaltx/globaltx/driver/internal/pgbase"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

var _ proxy.Passing = Dialect{}

// Base is what the dialect has to know of the base driver that carries it. The
// zero value is for one like lib/pq, which prepares nothing by itself.
type Base = pgbase.Base

// Passing makes a text run once with the base driver keeping nothing of it.
func (d Dialect) Passing(args []driver.NamedValue, users bool) []driver.NamedValue {
	if d.base.Passing == nil {
		return args
	}
	return d.base.Passing(args, users, false)
}

// once gives the arguments of r for a text that nobody keeps.
func (d Dialect) once(r *proxy.Capture) []driver.NamedValue {
	if d.base.Passing == nil {
		return r.Args
	}
	return d.base.Passing(r.Args, users(r), r.Described)
}

// QueriesOne tells that Query takes one statement only.
func (d Dialect) QueriesOne() bool { return d.base.QueriesOne }

// keeping tells when the text of r is prepared.
func (d Dialect) keeping(r *proxy.Capture) pgbase.Keeping {
	switch {
	case r.Statements == nil || r.Statements.Stopped() || !preparable(r):
		return pgbase.Never
	case d.base.Keeping == nil:
		return pgbase.Again
	}
	return d.base.Keeping(users(r))
}

// users tells that r has arguments or rows of the user's.
func users(r *proxy.Capture) bool {
	return len(r.Args) > 0 || r.Stmt.Kind == sqltext.Select || r.Stmt.Returning.Start < r.Stmt.Returning.End
}

func (d Dialect) raisedBy(err error) string {
	if d.base.Routine != nil {
		return d.base.Routine(err)
	}
	var fields interface{ Get(field byte) string }
	if errors.As(err, &fields) {
		return fields.Get('R')
	}
	return ""
}
