package gtx

import "context"

type readCommittedKey struct{}

// ReadCommitted gives a context whose SELECTs, through a driver of this module,
// return no row whose fate is open: none that an undecided global transaction
// has inserted or changed, other than the context's own. A SELECT that meets
// such a row waits until the row's transaction has ended, and then runs again;
// after gtx_lock_wait it returns ErrConflict. Without it a plain SELECT shows
// what the database holds (read uncommitted, as far as global transactions go),
// which costs nothing.
//
//	var balance int64
//	err := db.QueryRowContext(gtx.ReadCommitted(ctx), "SELECT balance FROM account WHERE id = 1").Scan(&balance)
//
// It works inside a global transaction and outside of any. A context of BeginTx
// asks for all SELECTs of the local transaction, the context of a statement for
// that one. In a local transaction that has done something before, nothing is
// waited for: ErrConflict comes at once, and Run tries again. Outside a global
// transaction the local one is left open then.
//
// What is not returned cannot be looked at: a row that an open transaction has
// deleted, or changed so that the condition does not hold, is missing. Lock the
// rows, or read them by key, where that matters.
//
// Aggregates, GROUP BY and DISTINCT are exact as well: they wait for every row
// that the condition selects. Statements whose rows cannot be told are refused
// with an UnsupportedError (code "read-committed"): UNION, WITH, subqueries,
// views. The result is read to its end before the first row is returned.
//
// A locking SELECT (FOR UPDATE, FOR SHARE) in a global transaction is held to the
// same without being asked.
func ReadCommitted(ctx context.Context) context.Context {
	return context.WithValue(ctx, readCommittedKey{}, true)
}

// IsReadCommitted tells a driver whether ReadCommitted was asked for.
func IsReadCommitted(ctx context.Context) bool {
	asked, _ := ctx.Value(readCommittedKey{}).(bool)
	return asked
}
