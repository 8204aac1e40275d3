package undo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

var (
	// ErrNothing is returned when an operator's action finds nothing to do: no row
	// that it names is dirty, or nothing of the XID is left. Somebody else may have
	// been faster.
	ErrNothing = errors.New("undo: nothing waits for an operator here")

	// ErrNotAborted is returned when the coordinator says that a transaction is
	// committed or not decided: only an aborted one is settled by hand.
	ErrNotAborted = errors.New("undo: the transaction is not aborted")
)

// Action is what an operator does about the dirty rows of a stuck transaction. The
// texts are stored: do not change.
type Action string

const (
	// Retry runs phase two again: for rows that have been put right by hand.
	Retry Action = "retry"
	// ForceBefore writes the before image over whatever stands there.
	ForceBefore Action = "force-before"
	// KeepCurrent leaves the row as it is and gives up its before image.
	KeepCurrent Action = "keep-current"
)

// Lengths that gtx_operator takes, in bytes.
const (
	maxWho    = 190
	maxReason = 4000
)

// Operation is one decision of an operator.
type Operation struct {
	XID    gtx.XID
	Action Action
	// Table and KeyHash restrict ForceBefore and KeepCurrent to the rows of a table
	// (Row.Table), or to one row. Empty: all dirty rows.
	Table, KeyHash string
	// Who and Reason are recorded in gtx_operator. Both are required, of at most 190
	// and 4000 bytes.
	Who, Reason string
	// AssumeAborted goes on where there is no coordinator, or none answers. If the
	// transaction has committed after all, its effect is lost in this database only.
	AssumeAborted bool
}

// Operated is what an operation has done.
type Operated struct {
	// Rows are those that were dirty and have been written or given up.
	Rows []Row
	// Left is nil when nothing of the XID is left in this database. Otherwise it is
	// why phase two could not end; it wraps gtx.ErrDirty when other rows are dirty.
	Left error
}

// Operate settles dirty rows of an aborted transaction, and records who did so and
// why, in one local transaction; rows that are not dirty are not touched by it.
// Then phase two is run, which restores those. The transaction must be aborted by
// the coordinator's word (Expired is as good, rule G4). Errors are ErrNothing,
// ErrNotAborted, gtx.ErrDirty from Retry, or those of the coordinator and the
// database: then nothing has been changed. Only where the connection broke
// (Classify says Lost) it may have been: look again.
func (r *Resolver) Operate(ctx context.Context, o Operation) (Operated, error) {
	if err := o.check(); err != nil {
		return Operated{}, err
	}
	id, err := r.resource(ctx) // before anything is made in a database that is not ours
	if err != nil {
		return Operated{}, err
	}
	asked, err := r.mustBeAborted(ctx, o)
	if err != nil {
		return Operated{}, err
	}
	if err := r.ensureOperator(ctx); err != nil {
		return Operated{}, err
	}
	var done Operated
	if o.Action == Retry {
		err = r.retry(ctx, o)
	} else {
		done.Rows, err = r.settleRows(ctx, o)
	}
	if err != nil {
		if r.cfg.Dialect.Classify(err) == Conflict && !errors.Is(err, gtx.ErrConflict) {
			err = fmt.Errorf("%w: %w", gtx.ErrConflict, err)
		}
		return Operated{}, fmt.Errorf("%s %s: %w", o.Action, o.XID, err)
	}
	r.cfg.Logger.Warn("an operator has settled rows", "xid", o.XID.String(), "action", string(o.Action), "who", o.Who, "rows", len(done.Rows))
	if o.Action != Retry {
		done.Left = r.Resolve(ctx, gtx.Resolution{XID: o.XID, Status: gtx.Aborted})
	}
	if done.Left == nil && asked != nil {
		if err := asked.Acknowledge(ctx, o.XID, id); err != nil { // repaired by the next push
			r.cfg.Logger.Debug("acknowledge settled transaction", "xid", o.XID.String(), "err", err)
		}
	}
	return done, nil
}

func (o *Operation) check() error {
	switch {
	case o.XID.IsZero():
		return errors.New("settle rows: no XID")
	case !slices.Contains([]Action{Retry, ForceBefore, KeepCurrent}, o.Action):
		return fmt.Errorf("settle rows: unknown action %q", o.Action)
	case o.Who == "" || len(o.Who) > maxWho:
		return fmt.Errorf("settle rows: want who does it, in at most %d bytes", maxWho)
	case o.Reason == "" || len(o.Reason) > maxReason:
		return fmt.Errorf("settle rows: want a reason of at most %d bytes", maxReason)
	case o.Action == Retry && (o.Table != "" || o.KeyHash != ""):
		return errors.New("settle rows: retry is for the whole transaction, not for single rows")
	}
	return nil
}

func (o *Operation) selects(row *Row) bool {
	return (o.Table == "" || o.Table == row.Table) && (o.KeyHash == "" || o.KeyHash == row.KeyHash)
}

// mustBeAborted asks the coordinator and gives it where it has answered. No answer
// is not a decision: only the operator's own word stands in for it, and never
// against an answer.
func (r *Resolver) mustBeAborted(ctx context.Context, o Operation) (gtx.Coordinator, error) {
	c := r.cfg.Coordinator()
	err := gtx.ErrNoCoordinator
	var status gtx.Status
	if c != nil {
		status, err = c.Outcome(ctx, o.XID)
	}
	switch {
	case err == nil && (status == gtx.Aborted || status == gtx.Expired):
		return c, nil
	case err == nil:
		return nil, fmt.Errorf("settle rows of %s: the coordinator says %s: %w", o.XID, status, ErrNotAborted)
	case o.AssumeAborted && (c == nil || errors.Is(err, gtx.ErrUnavailable)):
		r.cfg.Logger.Warn("an operator assumes that a transaction was aborted", "xid", o.XID.String(), "who", o.Who)
		return nil, nil
	}
	return nil, fmt.Errorf("ask for the outcome of %s: %w", o.XID, err)
}

// ensureOperator makes gtx_operator in a database that was migrated before there
// was this table.
func (r *Resolver) ensureOperator(ctx context.Context) error {
	there := func() error {
		_, err := QueryDB(r.cfg.DB)(ctx, r.text("SELECT 1 FROM gtx_operator WHERE 1 = 0"))
		return err
	}
	err := there()
	if err == nil || r.cfg.Dialect.Classify(err) != NoTable {
		return err
	}
	for _, ddl := range r.cfg.Dialect.Schema() {
		if _, err := r.cfg.DB.ExecContext(ctx, ddl); err != nil && there() != nil { // another session may be making it
			return r.explainDenied(fmt.Errorf("create table gtx_operator: %w", err))
		}
	}
	return nil
}

// retry is phase two with its record. Without any row left there is nothing to
// record.
func (r *Resolver) retry(ctx context.Context, o Operation) error {
	lines, err := QueryDB(r.cfg.DB)(ctx, r.text("SELECT xid FROM gtx_branch WHERE xid = ? UNION SELECT xid FROM gtx_undo WHERE xid = ?"),
		o.XID.String(), o.XID.String())
	if err != nil {
		return fmt.Errorf("look for rows: %w", err)
	}
	if len(lines) == 0 {
		return ErrNothing
	}
	_, err = r.abort(ctx, o.XID, nil, r.cfg.LockWait, func(tx StoreTx) error { return tx.(*localTx).record(ctx, o, []Row{{}}) })
	r.settled(ctx, o.XID, err)
	return err
}

// settleRows is one local transaction, begun again where a unique key was still
// taken by a row written later.
func (r *Resolver) settleRows(ctx context.Context, o Operation) ([]Row, error) {
	var done []Row
	err := r.reorder(func(last []rowKey) (blocked *rowKey, err error) {
		done = nil
		err = r.inTx(ctx, true, true, func(t *localTx) error {
			// The lock on the headers lets one resolver or operator in at a time.
			if _, err := t.Headers(ctx, []gtx.XID{o.XID}, true); err != nil {
				return err
			}
			rows, err := t.UndoRows(ctx, o.XID, 0)
			if err != nil {
				return err
			}
			rows = moveLast(rows, last)
			mark, err := t.blockedRow(ctx, o.XID)
			if err != nil {
				return err
			}
			for i := range rows {
				if !o.selects(&rows[i]) {
					continue
				}
				settled, err := t.settle(ctx, o.Action, rows[i], keyOf(&rows[i]) == mark)
				if err != nil {
					if r.cfg.Dialect.Classify(err) == Duplicate {
						key := keyOf(&rows[i])
						blocked = &key
					}
					return err
				}
				if settled {
					done = append(done, rows[i])
				}
			}
			if len(done) == 0 {
				return ErrNothing
			}
			if err := t.DeleteUndo(ctx, done); err != nil {
				return err
			}
			return t.record(ctx, o, done)
		})
		return blocked, err
	})
	return done, err
}

// settle does an action on one row, if it is dirty under its locks. A row whose
// before image is refused is not dirty: it can only be kept.
func (t *localTx) settle(ctx context.Context, action Action, row Row, refused bool) (bool, error) {
	table, err := t.table(ctx, &row)
	var d *dirtyError
	if action == KeepCurrent && errors.As(err, &d) {
		return true, nil // the table is no more, or another one now: only the image can go
	}
	if err != nil {
		return false, err
	}
	if found, err := t.lock(ctx, table, &row); err != nil || !found {
		return false, err
	}
	shown := ShownRow{Row: row}
	if found, err := t.show(ctx, table, &shown); err != nil || !found || !shown.Dirty && (!refused || action != KeepCurrent) {
		return false, err
	}
	if action == KeepCurrent {
		return true, nil
	}
	for _, s := range t.r.cfg.Dialect.Force(table, &row) {
		if _, err := t.exec(ctx, s.Text, s.Args...); err != nil {
			return false, fmt.Errorf("write before image over row of %s: %w", row.Table, err)
		}
	}
	before, err := t.isBefore(ctx, table, &row)
	if err == nil && !before {
		err = dirty(&row, "the row is not equal to its before image after writing it")
	}
	return err == nil, err
}

// maxReorders bounds how often an operator's action starts again with another order
// of rows because a unique key was still taken by a row written later.
const maxReorders = 16

// reorder runs once until it names no row that it has not met before. last are the
// rows to write after all others, found by trying.
func (r *Resolver) reorder(once func(last []rowKey) (blocked *rowKey, err error)) error {
	var last []rowKey
	for {
		blocked, err := once(last)
		if err == nil || blocked == nil || len(last) >= maxReorders || slices.Contains(last, *blocked) {
			return err
		}
		last = append(last, *blocked)
	}
}

func moveLast(rows []Row, last []rowKey) []Row {
	if len(last) == 0 {
		return rows
	}
	place := func(r Row) int { return slices.Index(last, keyOf(&r)) }
	slices.SortStableFunc(rows, func(a, b Row) int { return place(a) - place(b) })
	return rows
}

// lock locks the data row and its undo row, and reads the latter again.
func (t *localTx) lock(ctx context.Context, table *Table, row *Row) (found bool, err error) {
	rows, err := t.lockRows(ctx, table, []Row{*row})
	if err != nil || len(rows) == 0 {
		return false, err
	}
	*row = rows[0]
	return true, nil
}

func (t *localTx) isBefore(ctx context.Context, table *Table, row *Row) (bool, error) {
	n, err := t.restored(ctx, table, []Row{*row})
	return n == 1, err
}

// record writes one line for each row, of retry for the XID as a whole.
func (t *localTx) record(ctx context.Context, o Operation, rows []Row) error {
	at := time.Now().UnixMicro()
	for _, row := range rows {
		if _, err := t.exec(ctx, t.r.text("INSERT INTO gtx_operator (at, who, xid, tbl, keyh, action, reason) VALUES (?, ?, ?, ?, ?, ?, ?)"),
			at, o.Who, o.XID.String(), row.Table, row.KeyHash, string(o.Action), o.Reason); err != nil {
			return fmt.Errorf("record the operator's action: %w", err)
		}
	}
	return nil
}
