package undo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// Header names a row of gtx_branch.
type Header struct {
	XID    gtx.XID
	Branch gtx.BranchID
}

// Store is what phase two needs of a database: the steps of rules P2, P3 and T5, whose
// order is the Resolver's. NewResolver makes one of Config.DB; a simulation brings
// its own (Config.Store). Safe for concurrent use.
type Store interface {
	// Resource gives the identity of the database.
	Resource(ctx context.Context) (gtx.ResourceID, error)
	// Leftovers gives the XIDs that have a committed header or undo row and whose texts
	// are behind after, ascending, at most limit. It locks nothing.
	Leftovers(ctx context.Context, after string, limit int) ([]string, error)
	// Begin begins a local transaction at READ COMMITTED (rule T6).
	Begin(ctx context.Context, o TxOptions) (StoreTx, error)
	// Classify sorts the errors of this Store and of its transactions. A Store without
	// constraints has none of class Duplicate or Blocked; the search for an order of
	// restoring that constraints allow is for SQL alone.
	Classify(err error) ErrorClass
}

// TxOptions of Store.Begin.
type TxOptions struct {
	// LockWait bounds every wait for a lock (rule P7). Beyond it the error is of class
	// Conflict.
	LockWait time.Duration
	// Restores: rows of the program are going to be written.
	Restores bool
}

// StoreTx is a local transaction of phase two. Every step sees what has committed
// until it began, and waits for locks; none skips a locked row. For use by one
// goroutine, and after an error for Rollback only.
type StoreTx interface {
	// Headers gives the visible headers of the XIDs, ascending, and locks them in that
	// order if lock is set.
	Headers(ctx context.Context, xids []gtx.XID, lock bool) ([]Header, error)
	// Claim inserts the key of a header, after a wait for the local transaction that may
	// be inserting it. Taken: there is one. The only step beside Rollback.
	Claim(ctx context.Context, h Header) (taken bool, err error)
	// Guard inserts the keys of the headers that are not there, after a wait for local
	// transactions that are inserting them.
	Guard(ctx context.Context, xid gtx.XID, branches []gtx.BranchID) error
	// UndoRows gives the undo rows of xid, newest first, at most limit.
	UndoRows(ctx context.Context, xid gtx.XID, limit int) ([]Row, error)
	// Restore locks the data rows and undo rows of rows, in the order given, and writes
	// the before image over each data row that equals its after image; one that equals
	// its before image stays; any other is an error made by Dirty. It gives the rows
	// whose undo rows were still there: only those may be deleted.
	Restore(ctx context.Context, rows []Row) (done []Row, err error)
	// DeleteUndo deletes the undo rows of rows, each where it still is its XID's.
	DeleteUndo(ctx context.Context, rows []Row) error
	// DropUndo deletes all undo rows that the XIDs own, and tells how many.
	DropUndo(ctx context.Context, xids []gtx.XID) (int, error)
	// DeleteHeaders deletes headers, or guards.
	DeleteHeaders(ctx context.Context, headers []Header) error
	// Commit ends the transaction. After an error it has or has not committed.
	Commit(ctx context.Context) error
	// Rollback ends the transaction, also when ctx has ended. Not after a Commit that
	// returned nil.
	Rollback(ctx context.Context)
}

// Dirty is the error of StoreTx.Restore about a row that cannot be restored. It
// matches gtx.ErrDirty.
func Dirty(row *Row, reason string) error { return dirty(row, reason) }

// errNotBegun marks what no XID is to blame for.
var errNotBegun = errors.New("begin phase two")

// transact runs fn in a local transaction and commits when it returns nil. Otherwise,
// and where commit is false, it rolls back.
func (r *Resolver) transact(ctx context.Context, o TxOptions, commit bool, fn func(tx StoreTx) error) error {
	tx, err := r.store.Begin(ctx, o)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotBegun, err)
	}
	if err := fn(tx); err != nil || !commit {
		tx.Rollback(ctx)
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		tx.Rollback(ctx)
		return fmt.Errorf("commit phase two: %w", err)
	}
	return nil
}
