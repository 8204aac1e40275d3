package sqlite

import (
	"context"
	"fmt"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// plain tells the forms that capture.twice serves: one table, no way around a
// constraint, no key that moves, nothing that answers differently a second time.
func (s *capture) plain() bool {
	st := s.Stmt
	if some(st.With) || some(st.From) || some(st.Target().IndexHint) || len(st.Upserts) > 0 ||
		st.Or != sqltext.OrFail && st.Or != sqltext.OrAbort {
		return false
	}
	if st.Kind == sqltext.Insert {
		return st.Source == sqltext.SourceValues && len(st.Rows) > 0
	}
	return !volatile(st) && !movesKey(s.Table, st.SetColumns)
}

// twice captures with (1) key and image of the rows that WHERE selects and the
// owners of their undo rows, (2) the user's statement with the keys of the rows it
// changed appended to RETURNING, which must be the keys of (1), (3) the undo rows.
// SQLite evaluates WHERE twice; (2) catches whatever answers differently the
// second time. An INSERT has no (1).
func (s *capture) twice(ctx context.Context) (*proxy.Captured, error) {
	text, err := withKeys(s.Table, s.Stmt)
	if err != nil {
		return nil, err
	}
	if s.Stmt.Kind == sqltext.Insert {
		return s.insert(ctx, text)
	}
	return s.modify(ctx, text)
}

// insert runs an INSERT. The keys come from RETURNING, the values from the table:
// RETURNING may show a value before the column's affinity is applied.
func (s *capture) insert(ctx context.Context, text string) (*proxy.Captured, error) {
	out, keys, err := s.run(ctx, text)
	if err != nil {
		return nil, err
	}
	if len(keys) != len(s.Stmt.Rows) {
		return nil, fmt.Errorf("capture INSERT into %s: %d rows were inserted, %d expected", s.Table.ID, len(keys), len(s.Stmt.Rows))
	}
	w := s.newWriter()
	defer w.close()
	again := false
	for _, key := range keys {
		identity, err := w.identity(ctx, key)
		if err != nil {
			return nil, err
		}
		h, err := keyHash(s.Table, identity)
		if err != nil {
			return nil, err
		}
		in := row{op: undo.Insert, key: key, keyh: h}
		if in.prior, err = w.owner(ctx, h); err != nil {
			return nil, err
		}
		again = again || in.prior != nil
		if err := w.write(ctx, &in); err != nil {
			return nil, err
		}
	}
	return out, s.orderBack(ctx, w, again)
}

// modify runs an UPDATE or DELETE.
func (s *capture) modify(ctx context.Context, text string) (*proxy.Captured, error) {
	rows, err := s.selected(ctx)
	if err != nil {
		return nil, err
	}
	w := s.newWriter()
	defer w.close()
	expected := make(map[string]*row, len(rows))
	for i := range rows {
		in := &rows[i]
		expected[in.key] = in
		// Before the statement runs, so that a conflict wins over the errors that the
		// other transaction's values may cause.
		if in.prior, err = w.owner(ctx, in.keyh); err != nil {
			return nil, err
		}
		if err := s.clean(in); err != nil {
			return nil, err
		}
	}
	out, keys, err := s.run(ctx, text)
	if err != nil {
		return nil, err
	}
	again := false
	// In the order of the statement, which no unique key forbids: a rollback goes
	// the same way backwards.
	for _, key := range keys {
		in := expected[key]
		if in == nil {
			return nil, s.differs(len(rows), len(keys))
		}
		delete(expected, key)
		again = again || in.prior != nil
		if err := w.write(ctx, in); err != nil {
			return nil, err
		}
	}
	if len(expected) > 0 {
		return nil, s.differs(len(rows), len(keys))
	}
	// Deleting frees unique values and takes none.
	return out, s.orderBack(ctx, w, again && s.Stmt.Kind == sqltext.Update)
}

func (s *capture) differs(captured, changed int) error {
	return fmt.Errorf("capture statement on %s: it changed other rows (%d) than were captured (%d): is its WHERE volatile?", s.Table.ID, changed, captured)
}

// selected reads the rows that the statement will change.
func (s *capture) selected(ctx context.Context) ([]row, error) {
	text, args, err := companion(s.Table, s.Stmt, s.Args)
	if err != nil {
		// An argument is missing: in the words of the base driver.
		s.failed = true
		if _, _, own := s.drain(ctx, s.Stmt.Text, false); own != nil {
			err = own
		}
		return nil, userError(err)
	}
	lines, err := s.texts(ctx, text, args)
	if err != nil {
		// All that can fail in it is the user's own condition.
		s.failed = true
		return nil, userError(err)
	}
	op := undo.Update
	if s.Stmt.Kind == sqltext.Delete {
		op = undo.Delete
	}
	rows := make([]row, len(lines))
	for i, l := range lines {
		h, err := keyHash(s.Table, l[1])
		if err != nil {
			return nil, err
		}
		rows[i] = row{op: op, key: l[0], keyh: h, before: l[2]}
	}
	return rows, nil
}

// run runs the user's statement with the keys appended and gives what it returned
// and the keys of the rows it changed. Its own errors are handed on as they are,
// but for the ones that mean a conflict.
func (s *capture) run(ctx context.Context, text string) (*proxy.Captured, []string, error) {
	rows, keys, err := s.drain(ctx, text, true)
	if err != nil {
		s.failed = true
		return nil, nil, userError(err)
	}
	out, err := s.captured(ctx, int64(len(keys)), rows)
	return out, keys, err
}

// drain runs a query to its end.
func (s *capture) drain(ctx context.Context, text string, keyed bool) (*buffered, []string, error) {
	base, err := s.query.QueryContext(ctx, text, s.Args)
	if err != nil {
		return nil, nil, err
	}
	rows, keys, err := buffer(base, keyed)
	if cerr := base.Close(); err == nil {
		err = cerr
	}
	return rows, keys, err
}

// clean refuses a row that the own XID has changed before and that is not what it
// left there (rule T4).
func (s *capture) clean(in *row) error {
	if in.prior == nil {
		return nil
	}
	left := in.prior.after
	if in.op == undo.Insert && left == nil || in.op != undo.Insert && left != nil && *left == in.before {
		return nil
	}
	return fmt.Errorf("capture row of %s: it is not what %s left there: %w", s.Table.ID, s.XID, gtx.ErrDirty)
}
