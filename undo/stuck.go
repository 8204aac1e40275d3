package undo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// dirtyError says which row is not what its XID left there, or cannot be restored
// any more. It matches gtx.ErrDirty.
type dirtyError struct {
	row     Row
	reason  string
	refused bool // by a constraint
}

func (e *dirtyError) Error() string {
	text := fmt.Sprintf("undo row %s of table %s, held by %s: %s", e.row.KeyHash, e.row.Table, e.row.XID, e.reason)
	if e.refused {
		return text
	}
	return text + ": " + gtx.ErrDirty.Error()
}

func (e *dirtyError) Is(target error) bool { return target == gtx.ErrDirty }

func dirty(row *Row, reason string) error { return &dirtyError{row: *row, reason: reason} }

// blocked says which constraint refuses the before image of a row. Trying again at
// once would not help; the scan goes on trying, at a slower pace.
func blocked(row *Row, what string) error {
	return &dirtyError{row: *row, reason: "the database refuses the row as it was: " + what, refused: true}
}

// stuckMark is the payload of a header in StateStuck, as JSON. It holds no value
// of a row.
type stuckMark struct {
	Since   time.Time `json:"since"`
	Table   string    `json:"table"`
	KeyHash string    `json:"keyh"`
	Reason  string    `json:"reason"`
	Refused bool      `json:"refused,omitempty"` // by a constraint
}

// StuckTx is an aborted global transaction that waits for an operator: a row is
// not what it left there, or cannot be written back (rule P8). The rows of it in this database stay as they
// are and stay locked; those in other databases are undone.
type StuckTx struct {
	XID gtx.XID
	// Since is when a resolver met the dirty row first, by its own clock.
	Since time.Time
	// Table and KeyHash name the row that was met, there may be more: see Show. KeyHash
	// is empty where a foreign key failed at COMMIT.
	Table, KeyHash string
	Reason         string
}

// LeftTx is a global transaction that has rows in the tables of this module.
type LeftTx struct {
	XID string // as stored; what no gtx.ParseXID reads is left alone by the scan
	// Created is the time of the oldest branch, by its own clock; zero where only
	// undo rows are left.
	Created  time.Time
	Branches int
	UndoRows int
	Stuck    *StuckTx // nil when it is not stuck
}

// Stuck lists the transactions that wait for an operator, by XID.
func (r *Resolver) Stuck(ctx context.Context) ([]StuckTx, error) {
	lines, err := QueryDB(r.cfg.DB)(ctx, r.text("SELECT xid, payload FROM gtx_branch WHERE mode = ? AND state = ? ORDER BY xid, branch"), ModeAT, StateStuck)
	if err != nil {
		return nil, fmt.Errorf("read stuck transactions: %w", err)
	}
	var out []StuckTx
	for _, l := range lines {
		xid, err := gtx.ParseXID(l[0])
		if err != nil {
			return nil, fmt.Errorf("read stuck transactions: %w", err)
		}
		if len(out) > 0 && out[len(out)-1].XID == xid {
			continue // the branches of one XID have one mark
		}
		var m stuckMark
		if err := json.Unmarshal([]byte(l[1]), &m); err != nil {
			m.Reason = "its mark cannot be read: " + err.Error() // the others must be listed all the same
		}
		out = append(out, StuckTx{XID: xid, Since: m.Since, Table: m.Table, KeyHash: m.KeyHash, Reason: m.Reason})
	}
	return out, nil
}

// Left lists every transaction with a visible header or undo row, by XID: running
// ones, decided ones that phase two has not reached, and stuck ones.
func (r *Resolver) Left(ctx context.Context) ([]LeftTx, error) {
	stuck, err := r.Stuck(ctx)
	if err != nil {
		return nil, err
	}
	found := map[string]*LeftTx{}
	at := func(xid string) *LeftTx {
		if found[xid] == nil {
			found[xid] = &LeftTx{XID: xid}
		}
		return found[xid]
	}
	lines, err := QueryDB(r.cfg.DB)(ctx, r.text("SELECT xid, COUNT(*), MIN(created) FROM gtx_branch GROUP BY xid"))
	if err != nil {
		return nil, fmt.Errorf("count branch headers: %w", err)
	}
	for _, l := range lines {
		micros, merr := strconv.ParseInt(l[2], 10, 64)
		n, nerr := strconv.Atoi(l[1])
		if err := errors.Join(merr, nerr); err != nil {
			return nil, fmt.Errorf("count branch headers: %w", err)
		}
		x := at(l[0])
		x.Branches, x.Created = n, time.UnixMicro(micros)
	}
	lines, err = QueryDB(r.cfg.DB)(ctx, r.text("SELECT xid, COUNT(*) FROM gtx_undo GROUP BY xid"))
	if err != nil {
		return nil, fmt.Errorf("count undo rows: %w", err)
	}
	for _, l := range lines {
		if at(l[0]).UndoRows, err = strconv.Atoi(l[1]); err != nil {
			return nil, fmt.Errorf("count undo rows: %w", err)
		}
	}
	for i := range stuck {
		at(stuck[i].XID.String()).Stuck = &stuck[i]
	}
	out := make([]LeftTx, 0, len(found))
	for _, x := range found {
		out = append(out, *x)
	}
	slices.SortFunc(out, func(a, b LeftTx) int {
		switch {
		case a.XID < b.XID:
			return -1
		case a.XID > b.XID:
			return 1
		}
		return 0
	})
	return out, nil
}

// markStuck writes into the headers what an operator needs to find the XID, in a
// local transaction of its own: the one that met the dirty row has changed
// nothing. One line is logged when the XID becomes stuck, by whoever marks it
// first. Failing to mark is told at the next try.
func (r *Resolver) markStuck(ctx context.Context, d *dirtyError) {
	xid, key := d.row.XID, rowKey{d.row.Table, d.row.KeyHash}
	r.mu.Lock()
	note := r.stuck[xid]
	note.failed()
	r.stuck[xid] = note
	r.mu.Unlock()
	if note.marked && note.row == key && note.reason == d.reason || r.cfg.Store != nil {
		return
	}
	mark := stuckMark{Since: time.Now().UTC(), Table: d.row.Table, KeyHash: d.row.KeyHash, Reason: d.reason, Refused: d.refused}
	fresh := false
	err := r.inTx(ctx, false, true, func(t *localTx) (err error) {
		fresh, err = t.mark(ctx, xid, mark)
		return err
	})
	if err != nil {
		r.cfg.Logger.Debug("mark transaction as stuck", "xid", xid.String(), "err", err)
		return
	}
	r.mu.Lock()
	if note, still := r.stuck[xid]; still {
		note.marked, note.row, note.reason = true, key, d.reason
		r.stuck[xid] = note
	}
	r.mu.Unlock()
	if fresh {
		r.cfg.Logger.Warn("global transaction is stuck: a row waits for an operator (gtx show, gtx resolve)",
			"xid", xid.String(), "table", mark.Table, "keyh", mark.KeyHash, "reason", mark.Reason)
	}
}

// mark tells whether the XID was not marked before. The time of an older mark
// stays, its row may have been settled.
func (t *localTx) mark(ctx context.Context, xid gtx.XID, m stuckMark) (fresh bool, err error) {
	lines, err := t.query(ctx, t.r.text("SELECT branch, mode, state, payload FROM gtx_branch WHERE xid = ? ORDER BY branch"+t.r.forUpdate()), xid.String())
	if err != nil {
		return false, fmt.Errorf("read branch headers: %w", err)
	}
	// Without a header there is nothing to mark, and no second process that would
	// know of it from here: undo rows alone are found by Left.
	fresh = true
	for _, l := range lines {
		var old stuckMark
		if l[2] == strconv.Itoa(StateStuck) && json.Unmarshal([]byte(l[3]), &old) == nil {
			fresh, m.Since = false, old.Since
			break
		}
	}
	payload, err := json.Marshal(m)
	if err != nil {
		return false, fmt.Errorf("write mark: %w", err)
	}
	for _, l := range lines {
		if l[1] != strconv.Itoa(ModeAT) {
			continue // the payload is another mode's
		}
		branch, err := strconv.ParseInt(l[0], 10, 64)
		if err != nil {
			return false, fmt.Errorf("read branch headers: %w", err)
		}
		if _, err := t.exec(ctx, t.r.text("UPDATE gtx_branch SET state = ?, payload = ? WHERE xid = ? AND branch = ?"),
			StateStuck, payload, xid.String(), branch); err != nil {
			return false, fmt.Errorf("mark branch header: %w", err)
		}
	}
	return fresh, nil
}

// readMark gives the mark of a stuck XID, or none.
func (t *localTx) readMark(ctx context.Context, xid gtx.XID) (m stuckMark, err error) {
	lines, err := t.query(ctx, t.r.text("SELECT payload FROM gtx_branch WHERE xid = ? AND mode = ? AND state = ? ORDER BY branch LIMIT 1"),
		xid.String(), ModeAT, StateStuck)
	if err != nil {
		return m, fmt.Errorf("read mark: %w", err)
	}
	for _, l := range lines {
		if json.Unmarshal([]byte(l[0]), &m) != nil {
			return stuckMark{}, nil // the next try of phase two writes it anew
		}
	}
	return m, nil
}

// blockedRow gives the row that the mark names as refused by a constraint.
func (t *localTx) blockedRow(ctx context.Context, xid gtx.XID) (rowKey, error) {
	m, err := t.readMark(ctx, xid)
	if err != nil || !m.Refused {
		return rowKey{}, err
	}
	return rowKey{m.Table, m.KeyHash}, nil
}

// unstuck forgets an XID of which nothing is left.
func (r *Resolver) unstuck(xid gtx.XID) {
	r.mu.Lock()
	delete(r.stuck, xid)
	r.mu.Unlock()
}

// pruneStuck forgets what somebody else has ended: xids are all that is visible
// after the XID after, up to the last one or, when complete, to the end.
func (r *Resolver) pruneStuck(after string, xids []string, complete bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for xid := range r.stuck {
		text := xid.String()
		if text <= after || !complete && text > xids[len(xids)-1] {
			continue
		}
		if _, there := slices.BinarySearch(xids, text); !there {
			delete(r.stuck, xid)
		}
	}
}
