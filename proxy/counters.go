package proxy

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// Counter is what a Dialect may have beside the others: the server's own count of
// the rows that a local transaction changes. Whatever writes in the shadow of a
// statement, a function in a SELECT or a trigger that the catalogue did not show
// yet, makes it differ from what capture accounts for.
type Counter interface {
	// Changes counts the rows that this session has changed in tables of the user
	// since some time before its local transaction began; on is false where the user
	// did not ask for counting. One round trip when on.
	Changes(ctx context.Context, c driver.Conn) (n int64, on bool, err error)
	// Calls gives a function of s that could write, "" for none.
	Calls(s *sqltext.Statement) string
	// Blurs tells that Captured.Changed of r may be -1, so that nobody could say
	// later whether all was accounted for before it.
	Blurs(r *Capture) bool
}

// tally compares the two counts for one local transaction.
type tally struct {
	on    bool
	from  int64 // the server's count when everything was accounted for
	known int64 // rows changed by captured statements since
}

// countFrom begins to count: at the beginning of a local transaction, and anew
// where a part of it was taken back, which the server's count ignores.
func (b *branch) countFrom(ctx context.Context) error {
	k, ok := b.c.res.Dialect.(Counter)
	if !ok || b.guard {
		return nil
	}
	n, on, err := k.Changes(ctx, b.c.base)
	if err != nil {
		return fmt.Errorf("count changed rows: %w", err)
	}
	b.tally = tally{on: on, from: n}
	return nil
}

// counted checks that every change of the local transaction is accounted for.
func (b *branch) counted(ctx context.Context) error {
	if !b.tally.on {
		return nil
	}
	n, _, err := b.c.res.Dialect.(Counter).Changes(ctx, b.c.base) //nolint:errcheck // on says that it is one
	if err != nil {
		return fmt.Errorf("count changed rows: %w", err)
	}
	if more := n - b.tally.from - b.tally.known; more != 0 {
		return &gtx.UnsupportedError{
			Code:   "hidden-write",
			Reason: fmt.Sprintf("the server counts %d rows changed by the local transaction beside the %d that its statements changed: a function, a trigger or a rule writes", more, b.tally.known),
			Hint:   "send the writes as statements",
		}
	}
	return nil
}

// blurs: see Counter.
func (b *branch) blurs(r *Capture) bool {
	return b.tally.on && b.c.res.Dialect.(Counter).Blurs(r) //nolint:errcheck // on says that it is one
}

// account takes what a captured statement changed to the known.
func (b *branch) account(ctx context.Context, s *sqltext.Statement, out *Captured) error {
	switch {
	case !b.tally.on:
	case s.Kind == sqltext.RollbackTo || out.Changed < 0:
		return b.countFrom(ctx)
	default:
		b.tally.known += out.Changed
	}
	return nil
}

// writesAlone refuses a query outside a local transaction whose writes would count at
// once, before anybody could look.
func (b *branch) writesAlone(s *sqltext.Statement) error {
	k, ok := b.c.res.Dialect.(Counter)
	if !ok || b.guard {
		return nil
	}
	if f := k.Calls(s); f != "" {
		return &gtx.UnsupportedError{
			Code: "function", Reason: fmt.Sprintf("the function %s may write, and outside a local transaction that would count at once", f),
			Hint: "run the query in a local transaction",
		}
	}
	return nil
}
