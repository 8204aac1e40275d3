package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/undo"
)

// Capture runs in one local transaction, which holds the write lock of the
// database: the header first, outside every savepoint (rule T1), then the user's
// statement with its capture in a savepoint of ours, so that a statement that
// fails leaves nothing behind and the local transaction goes on. capture.twice
// serves the plain forms, capture.journal the others.
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
	if r.Table == nil {
		return s.savepoint(ctx)
	}
	if err := s.exec(ctx, "SAVEPOINT gtx_capture"); err != nil {
		return nil, wrap("set savepoint", err)
	}
	var out *proxy.Captured
	if s.plain() {
		out, err = s.twice(ctx)
	} else {
		out, err = s.journal(ctx)
	}
	if err != nil {
		s.keep(ctx, err)
		return nil, err
	}
	if err := s.exec(ctx, "RELEASE gtx_capture"); err != nil {
		return nil, wrap("release savepoint", err)
	}
	return out, nil
}

// capture is one call of Capture.
type capture struct {
	*proxy.Capture
	exe   driver.ExecerContext
	query driver.QueryerContext
	conn  driver.ConnPrepareContext
	// failed: the error is that of the user's own statement.
	failed bool
	// settled: it failed, and what stays of it is captured.
	settled bool
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
	if r.Table == nil {
		return s, nil
	}
	return s, refuseStatement(r.Table, r.Stmt)
}

// savepoint runs SAVEPOINT, ROLLBACK TO or RELEASE. Header and undo rows live in
// the same local transaction: they follow by themselves.
func (s *capture) savepoint(ctx context.Context) (*proxy.Captured, error) {
	if _, err := s.exe.ExecContext(ctx, s.Stmt.Text, s.Args); err != nil {
		if s.own(ctx, err) {
			s.Kept, s.Wrote = true, s.Header
		}
		return nil, userError(err)
	}
	return s.captured(ctx, 0, &buffered{})
}

// captured is the answer for a statement that has ended.
func (s *capture) captured(ctx context.Context, affected int64, rows *buffered) (*proxy.Captured, error) {
	id, err := s.number(ctx, "SELECT last_insert_rowid()")
	if err != nil {
		return nil, err
	}
	out := &proxy.Captured{RowsAffected: affected, LastInsertID: id}
	if s.WantRows {
		out.Rows = rows
	}
	return out, nil
}

// own tells whether err is one after which the bare driver's local transaction
// goes on.
func (s *capture) own(ctx context.Context, err error) bool {
	if ctx.Err() != nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	class := Dialect{}.Classify(err)
	return class != undo.Conflict && class != undo.Lost
}

// keep takes back what a failed statement left, unless the local transaction has
// to end anyway. SQLite itself may have ended it (a constraint with ON CONFLICT
// ROLLBACK): then the savepoint is gone.
func (s *capture) keep(ctx context.Context, cause error) {
	if !s.failed || !s.own(ctx, cause) {
		return
	}
	if !s.settled {
		// A statement takes itself back, but a constraint with ON CONFLICT FAIL keeps
		// the rows before, which are not captured. ROLLBACK TO would be enough for all
		// others; where it can be done without, rows that the user reads stay open.
		if constraint(cause) {
			if n, err := s.number(ctx, "SELECT changes()"); err != nil || n != 0 {
				return
			}
		} else if s.exec(ctx, "ROLLBACK TO gtx_capture") != nil {
			return
		}
	}
	if s.exec(ctx, "RELEASE gtx_capture") == nil {
		s.Kept, s.Wrote = true, s.Header
	}
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

// number runs a query of ours that gives one integer.
func (s *capture) number(ctx context.Context, text string) (int64, error) {
	lines, err := s.texts(ctx, text, nil)
	if err != nil {
		return 0, wrap("ask "+text, err)
	}
	if len(lines) != 1 {
		return 0, fmt.Errorf("ask %s: %d rows", text, len(lines))
	}
	n, err := strconv.ParseInt(lines[0][0], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("ask %s: %w", text, err)
	}
	return n, nil
}
