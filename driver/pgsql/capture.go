package pgsql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// Capture runs r as one statement. Errors of the server come back as the base driver
// gave them, but for those of class undo.Conflict, which wrap gtx.ErrConflict too.
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
	switch r.Stmt.Kind {
	case sqltext.Savepoint, sqltext.RollbackTo, sqltext.Release:
		return d.savepoint(ctx, c, r)
	}
	if d.base.Refuse != nil {
		if err := d.base.Refuse(r.Args); err != nil {
			return nil, err
		}
	}
	t, buf, err := d.run(ctx, c, r)
	if t == nil {
		return nil, err
	}
	if err != nil {
		err = d.placed(err, r, t)
		if holder, ok := guardHolder(err); ok {
			return nil, &gtx.ConflictError{Holder: holder, Table: t.parts[0].Table.ID}
		}
		if d.Classify(err) == undo.Conflict {
			return nil, fmt.Errorf("capture in %s: %w: %w", t.parts[0].Table.ID, gtx.ErrConflict, err)
		}
		if d.outdated(err, r) {
			return nil, fmt.Errorf("capture in %s: %w: a prepared statement does not fit any more: %w", t.parts[0].Table.ID, gtx.ErrConflict, err)
		}
		r.Kept = d.users(err) && !t.gone(err, r.Stmt.Text) || t.unsent
		if r.Stale = structural(err); r.Stale && !r.Kept { // a name of ours is not there
			return nil, fmt.Errorf("capture in %s: %w: the table was changed: %w", t.parts[0].Table.ID, gtx.ErrConflict, err)
		}
		return nil, err
	}
	n, err := d.account(ctx, c, r, t, buf)
	if err != nil {
		return nil, err
	}
	got := &proxy.Captured{RowsAffected: n, Changed: t.changes}
	_, got.LastInsertErr = driver.RowsAffected(n).LastInsertId() // as lib/pq and pgx
	if r.WantRows {
		got.Rows = buf
	}
	return got, nil
}

// account proves that every changed row was captured and has its undo row, and
// leaves in buf what the user's statement returned.
func (d Dialect) account(ctx context.Context, c driver.Conn, r *proxy.Capture, t *text, buf *proxy.Buffer) (int64, error) {
	if len(buf.Lines) == 0 || buf.Width() < t.leading {
		return 0, errors.New("capture statement: no counts came back")
	}
	head := buf.Lines[0]
	if t.header && asInt(head[colHeader]) != 1 {
		return 0, fmt.Errorf("write branch header: %d rows", asInt(head[colHeader]))
	}
	var changed int64
	for i, part := range t.parts {
		var err error
		if changed, err = d.accountPart(ctx, c, r, part, head[1+i*partCols:1+(i+1)*partCols]); err != nil {
			return 0, err
		}
		switch {
		case t.changes < 0 || part.uncountable():
			t.changes = -1
		default:
			t.changes += changed
		}
	}
	switch {
	case t.query:
		if head[t.leading] == nil {
			buf.Lines = nil // the outer join's row of NULLs
		}
		buf.Strip(t.leading + 1)
		return int64(len(buf.Lines)), nil
	case buf.Width() == t.leading:
		*buf = proxy.Buffer{}
		return changed, nil
	}
	if changed == 0 {
		buf.Lines = nil // the outer join's row of NULLs
	}
	if int64(len(buf.Lines)) != changed {
		return 0, fmt.Errorf("capture in %s: %d rows returned, %d changed", r.Table.ID, len(buf.Lines), changed)
	}
	buf.Strip(t.leading + t.own)
	return changed, nil
}

// accountPart proves it for one of the changes, from its leading columns, and
// gives the number of changed rows.
func (d Dialect) accountPart(ctx context.Context, c driver.Conn, r *proxy.Capture, w *writer, head []driver.Value) (int64, error) {
	changed, written := asInt(head[colChanged]), asInt(head[colUndo])
	switch {
	case head[colSame] == nil && w.own.mark != "":
		r.Statements.Stop()
		return 0, fmt.Errorf("capture in %s: %w: the server has run what another session prepared", w.Table.ID, gtx.ErrConflict)
	case head[colSame] != true:
		// Not an UnsupportedError: the statement has run and must be rolled back.
		r.Stale = true
		return 0, fmt.Errorf("capture in %s: %w: the table was changed, or %q no longer means it on this connection", w.Table.ID, gtx.ErrConflict, w.Stmt.Target().Name.Table)
	case w.captured != "" && asInt(head[colCaptured]) != changed:
		return 0, fmt.Errorf("capture in %s: %w: locked %d rows, changed %d, a key was changed meanwhile",
			w.Table.ID, gtx.ErrConflict, asInt(head[colCaptured]), changed)
	case changed < 0:
		return 0, fmt.Errorf("capture in %s: count of changed rows is %v", w.Table.ID, head[colChanged])
	case written != asInt(head[colDue]):
		return 0, d.held(ctx, c, r, w.Table, asText(head[colHeld]))
	case asInt(head[colMoved]) != 0:
		return 0, fmt.Errorf("capture in %s: rows took each other's primary keys, which could not be undone one by one: move them in several statements over unused keys", w.Table.ID)
	}
	return changed, nil
}

// held finds out, with a fresh look, who keeps the row with this key hash. A look
// inside the statement would not see a holder that committed while it waited.
func (d Dialect) held(ctx context.Context, c driver.Conn, r *proxy.Capture, t *undo.Table, hash string) error {
	buf, err := query(ctx, c, "SELECT xid FROM "+tableUndo+" WHERE tbl = "+literal(t.ID)+" AND keyh = "+literal(hash), d.Passing(nil, false))
	switch {
	case err != nil && d.Classify(err) != undo.Conflict:
		return fmt.Errorf("read holder of a row of %s: %w", t.ID, err)
	case err != nil || len(buf.Lines) == 0:
		return fmt.Errorf("capture in %s: %w: its holder has just ended", t.ID, gtx.ErrConflict)
	}
	if text := asText(buf.Lines[0][0]); text != r.XID.String() {
		holder, err := gtx.ParseXID(text)
		if err != nil {
			return fmt.Errorf("read holder of a row of %s: %w", t.ID, err)
		}
		return &gtx.ConflictError{Holder: holder, Table: t.ID}
	}
	return fmt.Errorf("capture in %s: row %s changed between two statements of %s: %w", t.ID, hash, r.XID, gtx.ErrDirty)
}
