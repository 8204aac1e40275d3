package sqlite

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// orderBack makes sure that a rollback can restore the rows of a table one by one.
// Where the XID changed each row once, the order of the changes, backwards, breaks
// no unique key. Where it came back to a row (again), only trying tells: all its
// rows of the table are restored in a savepoint, those that meet a taken unique
// key after the others, and the order that works is stored. Rows that exchange
// unique values have none: the statement fails, rather than leave a transaction
// behind that cannot be rolled back.
func (s *capture) orderBack(ctx context.Context, w *writer, again bool) error {
	if !again {
		return nil
	}
	if moves, err := s.movesUnique(ctx, w); err != nil || !moves {
		return err
	}
	var before [2]int64
	for i, ask := range []string{"SELECT last_insert_rowid()", "PRAGMA defer_foreign_keys"} {
		var err error
		if before[i], err = s.number(ctx, ask); err != nil {
			return err
		}
	}
	if err := s.all(ctx, "try to restore rows", "SAVEPOINT gtx_order", "PRAGMA defer_foreign_keys = ON"); err != nil {
		return err
	}
	order, err := s.tryBack(ctx, w)
	if err != nil {
		return err
	}
	// The trial inserted rows; an insert of ours is the only way to set back what
	// last_insert_rowid() tells the user.
	err = s.all(ctx, "end trial of restoring", "ROLLBACK TO gtx_order", "RELEASE gtx_order",
		fmt.Sprintf("PRAGMA defer_foreign_keys = %d", before[1]), journalTable[0], journalTable[1],
		fmt.Sprintf("INSERT INTO temp.gtx_journal (n) VALUES (%d)", before[0]), journalTable[1])
	if err != nil {
		return err
	}
	slices.Reverse(order) // the one restored last has the smallest number
	for _, r := range order {
		if r.Branch != s.Branch {
			continue // has its place among the rows of an earlier branch
		}
		if err := w.one(ctx, "UPDATE main.gtx_undo SET seq = ?1 WHERE tbl = ?2 AND keyh = ?3", w.number(), r.Table, r.KeyHash); err != nil {
			return wrap("number undo row", err)
		}
	}
	return nil
}

func (s *capture) all(ctx context.Context, what string, texts ...string) error {
	for _, text := range texts {
		if err := s.exec(ctx, text); err != nil {
			return wrap(what, err)
		}
	}
	return nil
}

// movesUnique tells whether the statement may change what a unique index other
// than the key's holds.
func (s *capture) movesUnique(ctx context.Context, w *writer) (bool, error) {
	lines, err := w.lines(ctx, `SELECT iif(l.partial, -2, x.cid) FROM pragma_index_list(?1, 'main') AS l, pragma_index_xinfo(l.name, 'main') AS x`+
		` WHERE l."unique" = 1 AND l.origin <> 'pk' AND x.key = 1`, s.Table.ID)
	if err != nil {
		return false, wrap("read indexes of "+s.Table.ID, err)
	}
	if len(lines) == 0 || s.Stmt.Kind != sqltext.Update || s.Stmt.Or == sqltext.OrReplace || movesKey(s.Table, s.Stmt.SetColumns) {
		return len(lines) > 0, nil
	}
	for _, l := range lines {
		cid, ok := l[0].(int64)
		// An expression, or the condition of a partial index, may read any column.
		if !ok || cid < 0 || int(cid) >= len(s.Table.Columns) || s.Table.Columns[cid].Generated {
			return true, nil
		}
		if slices.ContainsFunc(s.Stmt.SetColumns, func(c sqltext.Column) bool {
			at := index(s.Table, c.Name)
			return at < 0 || at == int(cid)
		}) {
			return true, nil
		}
	}
	return false, nil
}

// tryBack restores the rows of the XID in the table, as a rollback does, and gives
// the order in which it was possible.
func (s *capture) tryBack(ctx context.Context, w *writer) (order []undo.Row, err error) {
	lines, err := w.lines(ctx, "SELECT keyh, op, branch FROM main.gtx_undo WHERE xid = ?1 AND tbl = ?2 ORDER BY branch DESC, seq DESC, keyh",
		s.XID.String(), s.Table.ID)
	if err != nil {
		return nil, wrap("read undo rows", err)
	}
	left := make([]undo.Row, len(lines))
	for i, l := range lines {
		branch, err := strconv.ParseInt(fmt.Sprint(l[2]), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read undo rows: branch: %w", err)
		}
		left[i] = undo.Row{Table: s.Table.ID, KeyHash: fmt.Sprint(l[0]), XID: s.XID, Op: undo.Op(fmt.Sprint(l[1])), Branch: gtx.BranchID(branch)}
	}
	for len(left) > 0 {
		var blocked []undo.Row
		for _, r := range left {
			taken, err := s.back(ctx, w, &r)
			switch {
			case err != nil:
				return nil, err
			case taken:
				blocked = append(blocked, r)
			default:
				order = append(order, r)
			}
		}
		if len(blocked) == len(left) {
			return nil, fmt.Errorf("capture statement on %s: rows would have exchanged values of a unique key in this transaction,"+
				" which cannot be restored row by row", s.Table.ID)
		}
		left = blocked
		slices.Reverse(left) // a chain goes one way or the other
	}
	return order, nil
}

// back restores one row; taken says that a unique key is in the way.
func (s *capture) back(ctx context.Context, w *writer, r *undo.Row) (taken bool, err error) {
	d := Dialect{}
	is := d.IsBefore(s.Table, r)
	lines, err := w.lines(ctx, is.Text, is.Args...)
	if err != nil {
		return false, wrap("try to restore row", err)
	}
	if len(lines) == 1 && lines[0][0] == int64(1) {
		return false, nil
	}
	st := d.Restore(s.Table, r)
	err = w.one(ctx, st.Text, st.Args...)
	switch {
	case err == nil:
		return false, nil
	case d.Classify(err) == undo.Duplicate:
		return true, nil
	default:
		return false, wrap("try to restore row of "+s.Table.ID, err)
	}
}
