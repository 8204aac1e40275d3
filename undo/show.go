package undo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/globaltx/globaltx/gtx"
)

// ShownRow is one undo row beside the data row that it protects. Values are the
// user's data: do not log them.
type ShownRow struct {
	Row
	// Key is the primary key of the row, nil when Problem says why.
	Key []ShownValue
	// Columns are those that are stored, in table order.
	Columns []ShownColumn
	// HadBefore is false for an inserted row; Exists tells of the row now.
	HadBefore, Exists bool
	// Left: the row, or its absence, is what the transaction left.
	Left bool
	// Restored: the row, or its absence, is what was before the transaction.
	Restored bool
	// Dirty rows are neither: an operator has to decide.
	Dirty bool
	// Refused is why the database does not take the before image, as the last try of
	// phase two has found: a constraint, such as a unique key whose values another row
	// has now. Such a row need not be dirty.
	Refused string
	// Problem is why the row cannot be compared at all (its table was changed or
	// dropped). Such a row is dirty.
	Problem string
}

// ShownValue is a value as the server prints it, nil for NULL.
type ShownValue struct {
	Column string
	Value  *string
}

// ShownColumn is a column before the transaction and now. Both are nil where
// there is no row, see ShownRow.
type ShownColumn struct {
	Column      string
	Before, Now *string
}

// Show reads the undo rows of xid, newest first, and compares each with its data
// row. It locks nothing but a SQLite database, for as long as it reads.
func (r *Resolver) Show(ctx context.Context, xid gtx.XID) ([]ShownRow, error) {
	var out []ShownRow
	err := r.inTx(ctx, true, false, func(t *localTx) error {
		rows, err := t.UndoRows(ctx, xid, 0)
		if err != nil {
			return err
		}
		refused, err := t.readMark(ctx, xid)
		if err != nil {
			return err
		}
		for i := range rows {
			shown := ShownRow{Row: rows[i]}
			if refused.Refused && keyOf(&rows[i]) == (rowKey{refused.Table, refused.KeyHash}) {
				shown.Refused = refused.Reason
			}
			table, err := t.table(ctx, &rows[i])
			var d *dirtyError
			if errors.As(err, &d) {
				shown.Dirty, shown.Problem = true, d.reason
				out = append(out, shown)
				continue
			} else if err != nil {
				return err
			}
			if found, err := t.show(ctx, table, &shown); err != nil {
				return err
			} else if found {
				out = append(out, shown)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("show %s: %w", xid, err)
	}
	return out, nil
}

// show fills s. found is false when the undo row has gone meanwhile.
func (t *localTx) show(ctx context.Context, table *Table, s *ShownRow) (found bool, err error) {
	text := t.r.cfg.Dialect.Show(table, &s.Row)
	lines, err := t.query(ctx, text.Text, text.Args...)
	if err != nil {
		return false, fmt.Errorf("show row of %s: %w", s.Table, err)
	}
	if len(lines) == 0 {
		return false, nil
	}
	if len(lines) != 1 || len(lines[0]) != 6 {
		return false, fmt.Errorf("show row of %s: got %d lines", s.Table, len(lines))
	}
	l := lines[0]
	s.Exists, s.Left, s.Restored = l[0] == "1", l[1] == "1", l[2] == "1"
	s.Dirty = !s.Left && !s.Restored
	s.HadBefore = s.Op != Insert
	key, err := readTexts(l[3], len(table.Key), true)
	if err != nil {
		return false, fmt.Errorf("show key of a row of %s: %w", s.Table, err)
	}
	for i, k := range table.Key {
		s.Key = append(s.Key, ShownValue{table.Columns[k].Name, key[i]})
	}
	var names []string
	for _, c := range table.Columns {
		if !c.Generated {
			names = append(names, c.Name)
		}
	}
	before, berr := readTexts(l[4], len(names), s.HadBefore)
	now, nerr := readTexts(l[5], len(names), s.Exists)
	if err := errors.Join(berr, nerr); err != nil {
		return false, fmt.Errorf("show row of %s: %w", s.Table, err)
	}
	for i, name := range names {
		s.Columns = append(s.Columns, ShownColumn{name, before[i], now[i]})
	}
	return true, nil
}

// readTexts reads n texts; all are nil where there is no row.
func readTexts(array string, n int, row bool) ([]*string, error) {
	if !row {
		return make([]*string, n), nil
	}
	var out []*string
	if array == "" {
		return nil, errors.New("the server gave no text for the row: it may be too large")
	}
	if err := json.Unmarshal([]byte(array), &out); err != nil {
		return nil, fmt.Errorf("read texts of a row: %w", err)
	}
	if len(out) != n {
		return nil, fmt.Errorf("read texts of a row: got %d columns, want %d", len(out), n)
	}
	return out, nil
}
