package undo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/globaltx/globaltx/gtx"
)

// maxReorders bounds how often a rollback starts again with another order of rows
// because a unique key was still taken by a row restored later.
const maxReorders = 16

// abort restores the before images (rule P3). The order of its steps is the rule's
// own: restoring before the guards loses the undo rows of a late branch.
// also, if not nil, is part of the local transaction.
func (r *Resolver) abort(ctx context.Context, xid gtx.XID, pushed []gtx.BranchID, also func(t *localTx) error) error {
	err := r.reorder(func(last []rowKey) (*rowKey, error) { return r.abortOnce(ctx, xid, pushed, last, also) })
	if err != nil {
		return fmt.Errorf("resolve %s as aborted: %w", xid, err)
	}
	return nil
}

// reorder runs once until it names no row that it has not met before. last are the
// rows to write after all others, found by trying.
func (r *Resolver) reorder(once func(last []rowKey) (blocked *rowKey, err error)) error {
	var last []rowKey
	for {
		blocked, err := once(last)
		if err == nil || blocked == nil || len(last) >= maxReorders || slices.Contains(last, *blocked) {
			return err
		}
		last = append(last, *blocked)
	}
}

type rowKey struct{ table, keyHash string }

// abortOnce is one local transaction. blocked names a row whose restore met a
// unique key that is taken.
func (r *Resolver) abortOnce(ctx context.Context, xid gtx.XID, pushed []gtx.BranchID, last []rowKey, also func(t *localTx) error) (blocked *rowKey, err error) {
	err = r.inTx(ctx, true, true, func(t *localTx) error {
		branches, err := t.guard(ctx, xid, pushed)
		if err != nil {
			return err
		}
		rows, err := t.undoRows(ctx, xid) // a fresh read, after the guards
		if err != nil {
			return err
		}
		rows = moveLast(rows, last)
		tables := map[string]*Table{}
		for i := range rows {
			if err := t.undo(ctx, tables, rows[i]); err != nil {
				if r.cfg.Dialect.Classify(err) == Duplicate {
					blocked = &rowKey{rows[i].Table, rows[i].KeyHash}
				}
				return err
			}
		}
		// Only what was restored: a branch that nobody listed may have committed
		// meanwhile (N3), and the next scan finds it.
		if err := t.deleteUndo(ctx, xid, rows); err != nil {
			return err
		}
		if err := t.deleteHeaders(ctx, xid, branches); err != nil || also == nil {
			return err
		}
		return also(t)
	})
	return blocked, err
}

// guard inserts the header key of each branch, known or visible. It waits for
// local transactions that are still open; afterwards none of these branches can
// commit. Then all are locked, so that only one resolver goes on. The guards are
// deleted in the same local transaction (rule P4, barrier mode).
func (t *localTx) guard(ctx context.Context, xid gtx.XID, pushed []gtx.BranchID) ([]gtx.BranchID, error) {
	branches, err := t.headers(ctx, xid, false)
	if err != nil {
		return nil, err
	}
	branches = append(branches, pushed...)
	slices.Sort(branches)
	branches = slices.Compact(branches)
	text := insertHeader + " ON CONFLICT DO NOTHING"
	if t.r.cfg.Dialect.Name() == "mysql" {
		// IGNORE would take a shared lock on the duplicate, and two resolvers with one
		// each would deadlock over the delete.
		text = insertHeader + " ON DUPLICATE KEY UPDATE state = state"
	}
	for _, b := range branches {
		if _, err := t.exec(ctx, t.r.text(text), headerArgs(xid, b)...); err != nil {
			return nil, fmt.Errorf("insert guard of branch %d: %w", b, err)
		}
	}
	if _, err := t.headers(ctx, xid, true); err != nil {
		return nil, err
	}
	return branches, nil
}

// undoRows reads the undo rows of xid, newest first.
func (t *localTx) undoRows(ctx context.Context, xid gtx.XID) ([]Row, error) {
	lines, err := t.query(ctx, t.r.text("SELECT tbl, keyh, branch, seq, op, schema_fp FROM gtx_undo WHERE xid = ?"+
		" ORDER BY branch DESC, seq DESC, tbl, keyh"), xid.String())
	if err != nil {
		return nil, fmt.Errorf("read undo rows: %w", err)
	}
	rows := make([]Row, len(lines))
	for i, l := range lines {
		branch, berr := strconv.ParseInt(l[2], 10, 64)
		seq, serr := strconv.ParseInt(l[3], 10, 64)
		if err := errors.Join(berr, serr); err != nil {
			return nil, fmt.Errorf("read undo rows: %w", err)
		}
		rows[i] = Row{Table: l[0], KeyHash: l[1], XID: xid, Branch: gtx.BranchID(branch), Seq: seq, Op: Op(l[4]), Fingerprint: l[5]}
	}
	return rows, nil
}

func moveLast(rows []Row, last []rowKey) []Row {
	if len(last) == 0 {
		return rows
	}
	place := func(r Row) int { return slices.Index(last, rowKey{r.Table, r.KeyHash}) }
	slices.SortStableFunc(rows, func(a, b Row) int { return place(a) - place(b) })
	return rows
}

// undo restores one row under its locks.
func (t *localTx) undo(ctx context.Context, tables map[string]*Table, row Row) error {
	d := t.r.cfg.Dialect
	table, err := t.table(ctx, tables, &row)
	if err != nil {
		return err
	}
	if found, err := t.lock(ctx, table, &row); err != nil || !found {
		return err
	}
	if before, err := t.isBefore(ctx, table, &row); err != nil || before {
		return err
	}
	s := d.Restore(table, &row)
	n, err := t.exec(ctx, s.Text, s.Args...)
	if err != nil {
		return fmt.Errorf("restore row of %s: %w", row.Table, err)
	}
	if n != 1 {
		return dirty(&row, "the row is not what the transaction left there")
	}
	before, err := t.isBefore(ctx, table, &row)
	if err == nil && !before {
		err = dirty(&row, "the restored row is not equal to its before image")
	}
	return err
}

// lock locks the data row and its undo row, and reads the latter again. Without a
// header two resolvers may come here: the second finds nothing.
func (t *localTx) lock(ctx context.Context, table *Table, row *Row) (found bool, err error) {
	for _, s := range t.r.cfg.Dialect.Lock(table, row) {
		if s.Text == "" {
			continue
		}
		if _, err := t.exec(ctx, s.Text, s.Args...); err != nil {
			return false, fmt.Errorf("lock row of %s: %w", row.Table, err)
		}
	}
	owned, err := t.query(ctx, t.r.text("SELECT op, schema_fp FROM gtx_undo WHERE tbl = ? AND keyh = ? AND xid = ?"),
		row.Table, row.KeyHash, row.XID.String())
	if err != nil {
		return false, fmt.Errorf("read undo row of %s: %w", row.Table, err)
	}
	if len(owned) == 0 {
		return false, nil
	}
	row.Op, row.Fingerprint = Op(owned[0][0]), owned[0][1]
	return true, nil
}

func (t *localTx) table(ctx context.Context, tables map[string]*Table, row *Row) (*Table, error) {
	table, ok := tables[row.Table]
	if !ok {
		var err error
		table, err = t.r.cfg.Dialect.Table(ctx, t.query, row.Table)
		switch {
		case errors.Is(err, gtx.ErrUnsupported), err != nil && t.r.cfg.Dialect.Classify(err) == NoTable:
			return nil, dirty(row, fmt.Sprintf("the table cannot be restored any more (%v)", err))
		case err != nil:
			return nil, fmt.Errorf("read catalogue of %s: %w", row.Table, err)
		}
		tables[row.Table] = table
	}
	if table.Fingerprint != row.Fingerprint {
		return nil, dirty(row, "the table has been changed since its rows were captured")
	}
	return table, nil
}

func (t *localTx) isBefore(ctx context.Context, table *Table, row *Row) (bool, error) {
	s := t.r.cfg.Dialect.IsBefore(table, row)
	lines, err := t.query(ctx, s.Text, s.Args...)
	if err != nil {
		return false, fmt.Errorf("compare row of %s: %w", row.Table, err)
	}
	return len(lines) == 1 && lines[0][0] == "1", nil
}

func dirty(row *Row, reason string) error {
	return &dirtyError{row: *row, reason: reason}
}
