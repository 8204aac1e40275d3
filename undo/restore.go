package undo

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/globaltx/globaltx/gtx"
)

// refusal is the answer of a constraint to the statement that writes rows.
type refusal struct {
	rows  []Row
	class ErrorClass // Duplicate or Blocked
	what  string     // Dialect.Refusal
	err   error
}

func (e *refusal) Error() string {
	return fmt.Sprintf("write before images of %d rows of %s: %v", len(e.rows), e.rows[0].Table, e.err)
}

func (e *refusal) Unwrap() error { return e.err }

// writes runs a statement that changes data rows. A constraint's answer comes as
// *refusal.
func (t *localTx) writes(ctx context.Context, rows []Row, s Statement) (int64, error) {
	n, err := t.exec(ctx, s.Text, s.Args...)
	if err == nil {
		return n, nil
	}
	switch class := t.r.cfg.Dialect.Classify(err); class {
	case Duplicate, Blocked:
		return 0, &refusal{rows: rows, class: class, what: t.r.cfg.Dialect.Refusal(err), err: err}
	}
	return 0, fmt.Errorf("restore rows of %s: %w", rows[0].Table, err)
}

// Restore implements StoreTx.
func (t *localTx) Restore(ctx context.Context, rows []Row) ([]Row, error) {
	done := make([]Row, 0, len(rows))
	for _, run := range runs(rows) {
		some, err := t.restore(ctx, run)
		if err != nil {
			return nil, err
		}
		done = append(done, some...)
	}
	return done, nil
}

// restore writes the before images of a run of rows under their locks, and verifies
// all of them (rules P3.3 and P3.4): those that equal it already stay, the others
// must have equalled their after image. It gives those that were still there: only
// their undo rows are locked, and may be deleted.
func (t *localTx) restore(ctx context.Context, rows []Row) (done []Row, err error) {
	table, err := t.table(ctx, &rows[0])
	if err != nil {
		return nil, err
	}
	rows, err = t.lockRows(ctx, table, rows)
	if err != nil {
		return nil, err
	}
	for _, run := range runs(rows) { // more than one if rows were changed before they were locked
		if _, err := t.table(ctx, &run[0]); err != nil {
			return nil, err
		}
		b := t.r.cfg.Dialect.Bulk(table, run)
		n, err := t.writes(ctx, run, b.Restore)
		if err == nil {
			err = t.verify(ctx, table, run, n)
		}
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// lockRows locks the data rows and their undo rows (rule W1), and reads the latter
// again. Without a header two resolvers may come here: the second finds nothing.
func (t *localTx) lockRows(ctx context.Context, table *Table, rows []Row) ([]Row, error) {
	if s := t.r.cfg.Dialect.Bulk(table, rows).Lock; s.Text != "" {
		if _, err := t.writes(ctx, rows, s); err != nil { // the image alone may be refused, by a domain
			return nil, fmt.Errorf("lock rows of %s: %w", table.ID, err)
		}
	}
	from := "gtx_undo"
	if t.r.cfg.Dialect.Name() == "mysql" {
		from += " FORCE INDEX (PRIMARY)" // near-empty tables are scanned otherwise, which locks the rows of others
	}
	where, args := keyList(rows[0].XID, rows)
	lines, err := t.query(ctx, t.r.text("SELECT keyh, op, schema_fp FROM "+from+" WHERE "+where+t.r.forUpdate()), args...)
	if err != nil {
		return nil, fmt.Errorf("lock undo rows of %s: %w", table.ID, err)
	}
	owned := make(map[string][]string, len(lines))
	for _, l := range lines {
		owned[l[0]] = l
	}
	var out []Row
	for _, row := range rows {
		if l := owned[row.KeyHash]; l != nil {
			row.Op, row.Fingerprint = Op(l[1]), l[2]
			out = append(out, row)
		}
	}
	return out, nil
}

// verify compares rows with their before images after a statement that affected n.
func (t *localTx) verify(ctx context.Context, table *Table, rows []Row, n int64) error {
	if n > int64(len(rows)) {
		return fmt.Errorf("restore rows of %s: wrote %d rows for %d", table.ID, n, len(rows))
	}
	right, err := t.restored(ctx, table, rows)
	if err != nil || right == len(rows) {
		return err
	}
	reason := "the row is not what the transaction left there"
	if int(n) == len(rows) {
		reason = "the restored row is not equal to its before image"
	}
	for len(rows) > 1 { // find one that is not right
		half := rows[:len(rows)/2]
		right, err := t.restored(ctx, table, half)
		if err != nil {
			return err
		}
		if right < len(half) {
			rows = half
		} else {
			rows = rows[len(half):]
		}
	}
	return dirty(&rows[0], reason)
}

func (t *localTx) restored(ctx context.Context, table *Table, rows []Row) (int, error) {
	s := t.r.cfg.Dialect.Bulk(table, rows).Restored
	lines, err := t.query(ctx, s.Text, s.Args...)
	if err != nil {
		return 0, fmt.Errorf("compare rows of %s: %w", table.ID, err)
	}
	if len(lines) != 1 {
		return 0, fmt.Errorf("compare rows of %s: got %d lines", table.ID, len(lines))
	}
	n, err := strconv.Atoi(lines[0][0])
	if err != nil {
		return 0, fmt.Errorf("compare rows of %s: %w", table.ID, err)
	}
	return n, nil
}

func (t *localTx) table(ctx context.Context, row *Row) (*Table, error) {
	table, ok := t.tables[row.Table]
	if !ok {
		var err error
		table, err = t.r.cfg.Dialect.Table(ctx, t.query, row.Table)
		switch {
		case errors.Is(err, gtx.ErrUnsupported), err != nil && t.r.cfg.Dialect.Classify(err) == NoTable:
			return nil, dirty(row, fmt.Sprintf("the table cannot be restored any more (%v)", err))
		case err != nil:
			return nil, fmt.Errorf("read catalogue of %s: %w", row.Table, err)
		}
		t.tables[row.Table] = table
	}
	if table.Fingerprint != row.Fingerprint {
		return nil, dirty(row, "the table has been changed since its rows were captured")
	}
	return table, nil
}
