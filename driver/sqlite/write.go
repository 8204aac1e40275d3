package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// prior is the undo row that an earlier statement of the same XID left.
type prior struct {
	op    undo.Op
	after *string // nil: the row does not exist any more
}

// keyHash gives gtx_undo.keyh for a key identity.
func keyHash(t *undo.Table, identity string) (string, error) {
	for _, bad := range []struct{ mark, reason string }{
		{`"n"`, "a key with NULL is not unique"},
		{`"z"`, "a key with a NUL character is not unique under NOCASE"},
	} {
		if strings.Contains(identity, bad.mark) {
			return "", fmt.Errorf("capture row of %s: %s", t.ID, bad.reason)
		}
	}
	sum := sha256.Sum256([]byte(identity))
	return hex.EncodeToString(sum[:]), nil
}

// row is one row that the statement changes.
type row struct {
	op     undo.Op // what the statement did, all in all
	key    string  // key image, before the change where there was a row
	keyh   string
	before string // full image; empty for Insert
	prior  *prior
}

// writer keeps the statements that run once for each row.
type writer struct {
	s        *capture
	prepared map[string]driver.Stmt
	rows     int64 // written so far
}

func (s *capture) newWriter() *writer {
	return &writer{s: s, prepared: map[string]driver.Stmt{}}
}

func (w *writer) close() {
	for _, st := range w.prepared {
		_ = st.Close() // frees memory only
	}
}

func (w *writer) stmt(ctx context.Context, text string) (driver.Stmt, error) {
	if st, ok := w.prepared[text]; ok {
		return st, nil
	}
	st, err := w.s.conn.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	w.prepared[text] = st
	return st, nil
}

func (w *writer) lines(ctx context.Context, text string, args ...any) ([][]driver.Value, error) {
	st, err := w.stmt(ctx, text)
	if err != nil {
		return nil, err
	}
	q, ok := st.(driver.StmtQueryContext)
	if !ok {
		return nil, fmt.Errorf("%T has no QueryContext", st)
	}
	rows, err := q.QueryContext(ctx, named(args))
	if err != nil {
		return nil, err
	}
	out, err := readValues(rows)
	return out, errors.Join(err, rows.Close())
}

// one runs a statement that must change exactly one row.
func (w *writer) one(ctx context.Context, text string, args ...any) error {
	st, err := w.stmt(ctx, text)
	if err != nil {
		return err
	}
	e, ok := st.(driver.StmtExecContext)
	if !ok {
		return fmt.Errorf("%T has no ExecContext", st)
	}
	res, err := e.ExecContext(ctx, named(args))
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(fmt.Errorf("%d rows changed instead of one", n), err)
	}
	return nil
}

// keyParam is the condition on a key image given as first parameter.
func keyParam(t *undo.Table) string { return hasKey(t, "d", "?1") }

// identity reads the key identity of the row with a key image.
func (w *writer) identity(ctx context.Context, key string) (string, error) {
	t := w.s.Table
	lines, err := w.lines(ctx, "SELECT "+keyIdentity(t, "d")+" FROM "+t.Name+" AS d WHERE "+keyParam(t), key)
	if err != nil {
		return "", wrap("read inserted row", err)
	}
	if len(lines) != 1 {
		return "", fmt.Errorf("read inserted row of %s: %d rows have its key (a key with NULL?)", t.ID, len(lines))
	}
	id, ok := lines[0][0].(string)
	if !ok {
		return "", fmt.Errorf("read inserted row of %s: key is %T", t.ID, lines[0][0])
	}
	return id, nil
}

// owner finds the undo row of a key: nil when there is none, a
// *gtx.ConflictError when it belongs to another XID.
func (w *writer) owner(ctx context.Context, keyh string) (*prior, error) {
	lines, err := w.lines(ctx, "SELECT xid, op, after_img FROM main.gtx_undo WHERE tbl = ?1 AND keyh = ?2", w.s.Table.ID, keyh)
	if err != nil {
		return nil, wrap("read undo row", err)
	}
	if len(lines) == 0 {
		return nil, nil
	}
	xid, op := fmt.Sprint(lines[0][0]), undo.Op(fmt.Sprint(lines[0][1]))
	if xid != w.s.XID.String() {
		holder, err := gtx.ParseXID(xid)
		if err != nil {
			return nil, fmt.Errorf("read undo row: %w", err)
		}
		return nil, &gtx.ConflictError{Holder: holder, Table: w.s.Table.ID}
	}
	p := &prior{op: op}
	if after, ok := lines[0][2].(string); ok {
		p.after = &after
	}
	return p, nil
}

// transition gives the op of the undo row after a statement that did op found the
// own undo row p (rule T4). The before image never changes, so the op says how to
// come back from now to before the first statement:
//
//	before   statement   after   undone by
//	I        U           I       deleting the row
//	I        D           I       nothing, no row is expected
//	I gone   I           I       deleting the row
//	U        U           U       writing the first before image
//	U        D           D       inserting the first before image
//	D        I           U       writing the first before image
//
// The others mean that the row is not what the XID left there.
func transition(p *prior, op undo.Op) (undo.Op, bool) {
	there := p.after != nil
	switch {
	case op == undo.Insert && !there && p.op == undo.Insert:
		return undo.Insert, true
	case op == undo.Insert && !there && p.op == undo.Delete:
		return undo.Update, true
	case op == undo.Update && there:
		return p.op, true
	case op == undo.Delete && there && p.op == undo.Insert:
		return undo.Insert, true
	case op == undo.Delete && there && p.op == undo.Update:
		return undo.Delete, true
	}
	return "", false
}

// number gives gtx_undo.seq for the next row: statements in the upper half, rows
// inside a statement in the lower one, so that a rollback walks back through both.
func (w *writer) number() int64 {
	w.rows++
	return w.s.Seq<<32 + w.rows
}

// write writes or moves on the undo row of a row that the statement has changed,
// and leaves its op in in.op.
func (w *writer) write(ctx context.Context, in *row) error {
	t, s := w.s.Table, w.s
	image := "(SELECT " + fullImage(t, "d") + " FROM " + t.Name + " AS d WHERE " + keyParam(t) + ")"
	before := in.before
	switch in.op {
	case undo.Insert:
		before = in.key
	case undo.Delete:
		// ?1 stays a parameter, so that all texts take the same arguments.
		image = "nullif(?1, ?1)"
	}
	if in.prior != nil {
		next, ok := transition(in.prior, in.op)
		if !ok {
			return fmt.Errorf("capture row of %s: it is not what %s left there: %w", t.ID, s.XID, gtx.ErrDirty)
		}
		err := w.one(ctx, "UPDATE main.gtx_undo SET after_img = "+image+", op = ?2 WHERE tbl = ?3 AND keyh = ?4 AND xid = ?5",
			in.key, string(next), t.ID, in.keyh, s.XID.String())
		if err != nil {
			return wrap("update undo row", err)
		}
		in.op = next
		return nil
	}
	err := w.one(ctx, "INSERT INTO main.gtx_undo (tbl, keyh, xid, branch, seq, op, before_img, after_img, schema_fp)"+
		" VALUES (?2, ?3, ?4, ?5, ?6, ?7, ?8, "+image+", ?9)",
		in.key, t.ID, in.keyh, s.XID.String(), int64(s.Branch), w.number(), string(in.op), before, t.Fingerprint)
	if err != nil {
		return wrap("insert undo row", err)
	}
	return nil
}
