package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// Capture runs in one local transaction, which holds the write lock of the
// database: (1) the header, (2) key and image of the rows that WHERE selects and
// the owners of their undo rows, (3) the user's statement with the keys of the
// rows it changed appended to RETURNING, which must be the keys of (2), (4) the
// undo rows. SQLite evaluates WHERE twice; (3) catches whatever answers
// differently the second time.
func (Dialect) Capture(ctx context.Context, c driver.Conn, r *proxy.Capture) (*proxy.Captured, error) {
	s, err := newCapture(c, r)
	if err != nil {
		return nil, err
	}
	if r.Begin != "" {
		if err := s.exec(ctx, r.Begin); err != nil {
			return nil, wrap("begin local transaction", err)
		}
	}
	if r.Header {
		if err := s.exec(ctx, "INSERT INTO main.gtx_branch (xid, branch, mode, state, created) VALUES (?, ?, ?, ?, ?)",
			r.XID.String(), int64(r.Branch), int64(undo.ModeAT), int64(undo.StateOpen), time.Now().UnixMicro()); err != nil {
			return nil, wrap("insert branch header", err)
		}
	}
	switch r.Stmt.Kind {
	case sqltext.Insert:
		return s.insert(ctx)
	default:
		return s.modify(ctx)
	}
}

// capture is one call of Capture.
type capture struct {
	*proxy.Capture
	exe   driver.ExecerContext
	query driver.QueryerContext
	conn  driver.ConnPrepareContext
	text  string // the user's statement with the keys appended
}

// row is one row that the statement changes.
type row struct {
	key    string // key image, before the change
	keyh   string
	before string // full image; empty for INSERT
	prior  *prior
}

func newCapture(c driver.Conn, r *proxy.Capture) (*capture, error) {
	s := &capture{Capture: r}
	var ok [3]bool
	s.exe, ok[0] = c.(driver.ExecerContext)
	s.query, ok[1] = c.(driver.QueryerContext)
	s.conn, ok[2] = c.(driver.ConnPrepareContext)
	if ok != [3]bool{true, true, true} {
		return nil, fmt.Errorf("capture statement: %T is not a connection of modernc.org/sqlite", c)
	}
	if err := refuseStatement(r.Table, r.Stmt); err != nil {
		return nil, err
	}
	text, err := withKeys(r.Table, r.Stmt)
	if err != nil {
		return nil, err
	}
	s.text = text
	return s, nil
}

// insert runs an INSERT. The keys come from RETURNING, the values from the table:
// RETURNING may show a value before the column's affinity is applied.
func (s *capture) insert(ctx context.Context) (*proxy.Captured, error) {
	out, keys, err := s.run(ctx)
	if err != nil {
		return nil, err
	}
	if len(keys) != len(s.Stmt.Rows) {
		return nil, fmt.Errorf("capture INSERT into %s: %d rows were inserted, %d expected", s.Table.ID, len(keys), len(s.Stmt.Rows))
	}
	w := s.newWriter()
	defer w.close()
	for _, key := range keys {
		identity, err := w.identity(ctx, key)
		if err != nil {
			return nil, err
		}
		h, err := keyHash(s.Table, identity)
		if err != nil {
			return nil, err
		}
		in := row{key: key, keyh: h}
		if in.prior, err = w.owner(ctx, h); err != nil {
			return nil, err
		}
		if err := w.write(ctx, &in); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// modify runs an UPDATE or DELETE.
func (s *capture) modify(ctx context.Context) (*proxy.Captured, error) {
	rows, err := s.selected(ctx)
	if err != nil {
		return nil, err
	}
	w := s.newWriter()
	defer w.close()
	expected := make(map[string]bool, len(rows))
	for i := range rows {
		in := &rows[i]
		expected[in.key] = true
		// Before the statement runs, so that a conflict wins over the errors that the
		// other transaction's values may cause.
		if in.prior, err = w.owner(ctx, in.keyh); err != nil {
			return nil, err
		}
		if in.prior != nil && (in.prior.after == nil || *in.prior.after != in.before) {
			return nil, fmt.Errorf("capture row of %s: it is not what %s left there: %w", s.Table.ID, s.XID, gtx.ErrDirty)
		}
	}
	out, keys, err := s.run(ctx)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if !expected[key] {
			return nil, s.differs(len(rows), len(keys))
		}
		delete(expected, key)
	}
	if len(expected) > 0 {
		return nil, s.differs(len(rows), len(keys))
	}
	for i := range rows {
		if err := w.write(ctx, &rows[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *capture) differs(captured, changed int) error {
	return fmt.Errorf("capture statement on %s: it changed other rows (%d) than were captured (%d): is its WHERE volatile?", s.Table.ID, changed, captured)
}

// selected reads the rows that the statement will change.
func (s *capture) selected(ctx context.Context) ([]row, error) {
	text, args, err := companion(s.Table, s.Stmt, s.Args)
	if err != nil {
		return nil, err
	}
	lines, err := s.texts(ctx, text, args)
	if err != nil {
		return nil, wrap("read rows before the change", err)
	}
	rows := make([]row, len(lines))
	for i, l := range lines {
		h, err := keyHash(s.Table, l[1])
		if err != nil {
			return nil, err
		}
		rows[i] = row{key: l[0], keyh: h, before: l[2]}
	}
	return rows, nil
}

// run runs the user's statement and gives what it returned and the keys of the
// rows it changed. Its own errors are handed on as they are, but for the ones
// that mean a conflict.
func (s *capture) run(ctx context.Context) (*proxy.Captured, []string, error) {
	base, err := s.query.QueryContext(ctx, s.text, s.Args)
	if err != nil {
		return nil, nil, userError(err)
	}
	rows, keys, err := buffer(base)
	if cerr := base.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, nil, userError(err)
	}
	id, err := s.texts(ctx, "SELECT last_insert_rowid()", nil)
	if err != nil {
		return nil, nil, wrap("read last_insert_rowid", err)
	}
	out := &proxy.Captured{RowsAffected: int64(len(keys))}
	if _, err := fmt.Sscan(id[0][0], &out.LastInsertID); err != nil {
		return nil, nil, fmt.Errorf("read last_insert_rowid: %w", err)
	}
	if s.WantRows {
		out.Rows = rows
	}
	return out, keys, nil
}

func userError(err error) error {
	if (Dialect{}).Classify(err) == undo.Conflict {
		return errors.Join(err, gtx.ErrConflict)
	}
	return err
}

func (s *capture) exec(ctx context.Context, text string, args ...any) error {
	_, err := s.exe.ExecContext(ctx, text, named(args))
	return err
}

// texts runs a query of ours and gives its rows as texts.
func (s *capture) texts(ctx context.Context, text string, args []driver.NamedValue) ([][]string, error) {
	rows, err := s.query.QueryContext(ctx, text, args)
	if err != nil {
		return nil, err
	}
	out, err := readTexts(rows)
	if cerr := rows.Close(); err == nil {
		err = cerr
	}
	return out, err
}

func named(args []any) []driver.NamedValue {
	out := make([]driver.NamedValue, len(args))
	for i, a := range args {
		out[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	return out
}
