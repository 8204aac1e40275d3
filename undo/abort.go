package undo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// abort restores the before images (rule P3). The order of its steps is the rule's
// own: restoring before the guards loses the undo rows of a late branch.
// also, if not nil, is part of the local transaction.
//
// Newest first is the right order for nearly all, and the only one tried at first.
// Where a constraint refuses it (rows that took each other's unique values, a
// table that refers to itself) the local transaction is rolled back, and another
// one looks for an order that works.
//
// found tells whether anything was left.
func (r *Resolver) abort(ctx context.Context, xid gtx.XID, pushed []gtx.BranchID, wait time.Duration, also func(tx StoreTx) error) (found bool, err error) {
	found, err = r.abortInOrder(ctx, xid, pushed, wait, also)
	var no *refusal
	if err != nil && (errors.As(err, &no) || r.constraint(err)) {
		var tangled []string
		if no != nil && no.class == Duplicate {
			tangled = append(tangled, no.rows[0].Table)
		}
		found, err = true, r.abortTangled(ctx, xid, pushed, tangled, also)
	}
	if err != nil {
		return false, fmt.Errorf("resolve %s as aborted: %w", xid, err)
	}
	return found, nil
}

func (r *Resolver) constraint(err error) bool {
	class := r.store.Classify(err)
	return class == Duplicate || class == Blocked
}

// abortInOrder is one local transaction that goes through the undo rows page by
// page. Only what was restored is deleted: a branch that nobody listed may have
// committed meanwhile (N3), and the next scan finds it.
func (r *Resolver) abortInOrder(ctx context.Context, xid gtx.XID, pushed []gtx.BranchID, wait time.Duration, also func(tx StoreTx) error) (found bool, err error) {
	count := 0
	err = r.transact(ctx, TxOptions{LockWait: wait, Restores: true}, true, func(tx StoreTx) error {
		branches, visible, err := guard(ctx, tx, xid, pushed)
		if err != nil {
			return err
		}
		found = visible > 0
		for full := true; full; {
			rows, err := tx.UndoRows(ctx, xid, pageRows) // a fresh read, after the guards
			if err != nil {
				return err
			}
			done, err := tx.Restore(ctx, rows)
			if err != nil {
				return err
			}
			if err := tx.DeleteUndo(ctx, done); err != nil {
				return err
			}
			count, full = count+len(done), len(rows) == pageRows
		}
		return endAbort(ctx, tx, branches, also)
	})
	if err == nil {
		r.count.rows.Add(int64(count))
	}
	return found || count > 0, err
}

// guard inserts the header key of each branch, known or visible. It waits for
// local transactions that are still open; afterwards none of these branches can
// commit. Then all are locked, so that only one resolver goes on. The guards are
// deleted in the same local transaction (rule P4, barrier mode). visible counts
// the headers that were there.
func guard(ctx context.Context, tx StoreTx, xid gtx.XID, pushed []gtx.BranchID) (guards []Header, visible int, err error) {
	headers, err := tx.Headers(ctx, []gtx.XID{xid}, false)
	if err != nil {
		return nil, 0, err
	}
	branches := slices.Clone(pushed)
	for _, h := range headers {
		branches = append(branches, h.Branch)
	}
	slices.Sort(branches)
	branches = slices.Compact(branches)
	if err := tx.Guard(ctx, xid, branches); err != nil {
		return nil, 0, err
	}
	if _, err := tx.Headers(ctx, []gtx.XID{xid}, true); err != nil {
		return nil, 0, err
	}
	for _, b := range branches {
		guards = append(guards, Header{xid, b})
	}
	return guards, len(headers), nil
}

func endAbort(ctx context.Context, tx StoreTx, guards []Header, also func(tx StoreTx) error) error {
	if err := tx.DeleteHeaders(ctx, guards); err != nil || also == nil {
		return err
	}
	return also(tx)
}

// abortTangled restores rows in an order that the constraints allow. tangled are the
// tables whose rows stand in each other's way by a unique key; another one that
// turns out to be tangled starts the local transaction again, once for each table.
func (r *Resolver) abortTangled(ctx context.Context, xid gtx.XID, pushed []gtx.BranchID, tangled []string, also func(tx StoreTx) error) error {
	for {
		u, late := &untangler{tangled: tangled}, ""
		err := r.inTx(ctx, true, true, func(t *localTx) error {
			u.localTx = t
			branches, _, err := guard(ctx, t, xid, pushed)
			if err != nil {
				return err
			}
			if u.rows, err = t.UndoRows(ctx, xid, 0); err != nil {
				return err
			}
			if err := u.untangle(ctx); err != nil {
				return err
			}
			if err := t.DeleteUndo(ctx, u.ended); err != nil {
				return err
			}
			if err := endAbort(ctx, t, branches, also); err != nil {
				return err
			}
			late, err = t.checkLate(ctx)
			return err
		})
		var no *refusal
		switch {
		case err == nil:
			r.count.rows.Add(int64(len(u.ended)))
			return nil
		case errors.As(err, &no):
			if table := no.rows[0].Table; no.class == Duplicate && !slices.Contains(tangled, table) {
				tangled = append(tangled, table)
				continue
			}
			return blocked(&no.rows[0], no.what)
		case r.constraint(err) && len(u.rows) > 0: // at COMMIT, where no row is named
			return blocked(&Row{XID: xid, Table: u.rows[0].Table}, r.cfg.Dialect.Refusal(err)+", checked at COMMIT"+late)
		}
		return err
	}
}

// checkLate checks what has been put off to COMMIT. SQLite cannot: there it tells what
// a COMMIT that fails would mean.
func (t *localTx) checkLate(ctx context.Context) (late string, err error) {
	switch t.r.cfg.Dialect.Name() {
	case "postgres":
		if _, err := t.exec(ctx, "SET CONSTRAINTS ALL IMMEDIATE"); err != nil {
			return "", fmt.Errorf("check constraints: %w", err)
		}
	case "sqlite":
		lines, err := t.query(ctx, `SELECT "table", parent FROM pragma_foreign_key_check LIMIT 1`)
		if err != nil {
			return "", fmt.Errorf("check foreign keys: %w", err)
		}
		for _, l := range lines {
			late = fmt.Sprintf(" (a row of %s refers to a row of %s that is not there)", l[0], l[1])
		}
	}
	return late, nil
}
