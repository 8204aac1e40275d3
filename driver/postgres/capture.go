package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/undo"
)

// Capture runs r as one statement. Errors of the server come back as lib/pq gave
// them, but for those of class undo.Conflict, which wrap gtx.ErrConflict too.
//
// An error of the user's own statement leaves nothing of the capture, for both
// are one statement: the local transaction is in the failed state, from which
// ROLLBACK TO a savepoint leads back.
//
// The first statement of a branch also sets lock_timeout for this local
// transaction when the session has none (rule W5). Rows of RETURNING are read to
// the end before any of them is handed out, for only then the counts are known.
func (d Dialect) Capture(ctx context.Context, c driver.Conn, r *proxy.Capture) (*proxy.Captured, error) {
	if r.Begin != "" {
		return nil, errors.New("capture statement: BEGIN cannot ride along")
	}
	if r.Table == nil {
		return d.savepoint(ctx, c, r)
	}
	t, err := build(r)
	if err != nil {
		return nil, err
	}
	buf, err := query(ctx, c, t.sql, r.Args)
	if err != nil {
		if d.Classify(err) == undo.Conflict {
			return nil, fmt.Errorf("capture in %s: %w: %w", r.Table.ID, gtx.ErrConflict, err)
		}
		r.Kept = d.users(err)
		return nil, err
	}
	n, err := d.account(ctx, c, r, t, buf)
	if err != nil {
		return nil, err
	}
	got := &proxy.Captured{RowsAffected: n}
	_, got.LastInsertErr = driver.RowsAffected(n).LastInsertId() // as lib/pq
	if r.WantRows {
		got.Rows = buf
	}
	return got, nil
}

// account proves that every changed row was captured and has its undo row, and
// leaves in buf what the user's statement returned.
func (d Dialect) account(ctx context.Context, c driver.Conn, r *proxy.Capture, t *text, buf *buffer) (int64, error) {
	if len(buf.rows) == 0 || len(buf.cols) < leading {
		return 0, fmt.Errorf("capture in %s: no counts came back", r.Table.ID)
	}
	head := buf.rows[0]
	changed, written := asInt(head[colChanged]), asInt(head[colUndo])
	switch {
	case t.header && asInt(head[colHeader]) != 1:
		return 0, fmt.Errorf("write branch header: %d rows", asInt(head[colHeader]))
	case head[colSame] != true:
		// Not an UnsupportedError: the statement has run and must be rolled back.
		return 0, fmt.Errorf("capture in %s: %q no longer means this table on this connection: name the schema in the statement", r.Table.ID, r.Stmt.Target().Name.Table)
	case t.captured && asInt(head[colCaptured]) != changed:
		return 0, fmt.Errorf("capture in %s: %w: locked %d rows, changed %d, a key was changed meanwhile",
			r.Table.ID, gtx.ErrConflict, asInt(head[colCaptured]), changed)
	case changed < 0:
		return 0, fmt.Errorf("capture in %s: count of changed rows is %v", r.Table.ID, head[colChanged])
	case written != asInt(head[colDue]):
		return 0, d.held(ctx, c, r, asText(head[colHeld]))
	case asInt(head[colMoved]) != 0:
		return 0, fmt.Errorf("capture in %s: rows took each other's primary keys, which could not be undone one by one: move them in several statements over unused keys", r.Table.ID)
	}
	if len(buf.cols) == leading {
		buf.cols, buf.rows = nil, nil
		return changed, nil
	}
	if changed == 0 {
		buf.rows = nil // the outer join's row of NULLs
	}
	if int64(len(buf.rows)) != changed {
		return 0, fmt.Errorf("capture in %s: %d rows returned, %d changed", r.Table.ID, len(buf.rows), changed)
	}
	buf.strip(leading + t.own)
	return changed, nil
}

// held finds out, with a fresh look, who keeps the row with this key hash. A look
// inside the statement would not see a holder that committed while it waited.
func (d Dialect) held(ctx context.Context, c driver.Conn, r *proxy.Capture, hash string) error {
	buf, err := query(ctx, c, "SELECT xid FROM "+tableUndo+" WHERE tbl = "+literal(r.Table.ID)+" AND keyh = "+literal(hash), nil)
	switch {
	case err != nil && d.Classify(err) != undo.Conflict:
		return fmt.Errorf("read holder of a row of %s: %w", r.Table.ID, err)
	case err != nil || len(buf.rows) == 0:
		return fmt.Errorf("capture in %s: %w: its holder has just ended", r.Table.ID, gtx.ErrConflict)
	}
	if text := asText(buf.rows[0][0]); text != r.XID.String() {
		holder, err := gtx.ParseXID(text)
		if err != nil {
			return fmt.Errorf("read holder of a row of %s: %w", r.Table.ID, err)
		}
		return &gtx.ConflictError{Holder: holder, Table: r.Table.ID}
	}
	return fmt.Errorf("capture in %s: row %s changed between two statements of %s: %w", r.Table.ID, hash, r.XID, gtx.ErrDirty)
}
