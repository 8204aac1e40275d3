package tcc

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

var _ guards = (*table)(nil)

const (
	// barTime bounds a wait for a Try that is still open, barWait that for its lock.
	barTime, barWait = time.Second, "500ms"
	// settleTime bounds the look for what became of a local transaction.
	settleTime = 5 * time.Second
	// youngFor is how long the scan leaves a new guard to the push.
	youngFor = time.Second
	// skew is what clocks of processes may differ by before a time in the future is
	// taken for a wrong one.
	skew = time.Minute
)

// table is the guards of a database, in gtx_tcc. It works on the program's own *sql.DB, so
// that actions run in sessions with the program's settings.
type table struct {
	db  *sql.DB
	d   undo.Dialect
	id  gtx.ResourceID // of the database, not ResourceOf
	now func() time.Time
}

// errGone: there is no guard (any more).
var errGone = errors.New("the guard is gone")

func (t *table) away(err error) bool { return t.d.Classify(err) == undo.Lost }

// try commits the guard row with the effects of do. The row is there before the branch is
// registered (rule T3): so a rollback that knows the branch finds the row, or its lock.
func (t *table) try(ctx context.Context, g guard, register func(context.Context) error, do func(context.Context, Tx) error) (settled, error) {
	wrote := false
	committing, err := t.local(ctx, func(tx *sql.Tx) error {
		wrote = true
		if err := t.insert(ctx, tx, &g); err != nil {
			return err
		}
		if err := register(ctx); err != nil {
			return err
		}
		if err := do(ctx, t.watch(tx, &g)); err != nil {
			return err
		}
		return t.still(ctx, tx, &g)
	})
	switch {
	case err == nil:
		return confirmed, nil
	case !wrote:
		return dead, t.conflict(err)
	}
	// Also where COMMIT was not sent by us: the action may have run a statement that
	// commits. Rule T5 otherwise.
	has, lookErr := t.settle(ctx, g.xid, g.branch)
	switch {
	case lookErr != nil || has && !committing:
		//nolint:errorlint // nobody must take the causes for "nothing was done"
		return open, fmt.Errorf("it is not known whether the local transaction has committed, the global one must abort (%v; %v)", err, lookErr)
	case has:
		return confirmed, nil
	}
	return dead, t.conflict(err)
}

// settle is bar with some patience for a server that is still ending the local transaction
// of a connection that broke.
func (t *table) settle(ctx context.Context, xid gtx.XID, branch gtx.BranchID) (has bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	for wait := time.Millisecond; ; wait *= 2 {
		if has, err = t.bar(ctx, xid, branch); !errors.Is(err, errBusy) || !sleep(ctx, wait) {
			return has, err
		}
	}
}

// local runs fn in a local transaction at READ COMMITTED (rule T6) on a connection of its
// own. committing says that COMMIT was sent. Without it nothing lasts, unless fn has run a
// statement that commits.
func (t *table) local(ctx context.Context, fn func(tx *sql.Tx) error) (committing bool, err error) {
	c, err := t.db.Conn(ctx)
	if err != nil {
		return false, fmt.Errorf("connect: %w", err)
	}
	defer c.Close()
	var opts sql.TxOptions
	if t.d.Name() != "sqlite" { // which has one level
		opts.Isolation = sql.LevelReadCommitted
	}
	tx, err := c.BeginTx(ctx, &opts)
	if err != nil {
		return false, fmt.Errorf("begin local transaction: %w", err)
	}
	defer tx.Rollback()
	if err := fn(tx); err != nil {
		return false, err
	}
	if err := tx.Commit(); err != nil {
		// SQLite keeps the transaction open when it is busy, and the next one on this
		// connection must not find it.
		_ = c.Raw(func(any) error { return driver.ErrBadConn })
		return true, fmt.Errorf("commit local transaction: %w", err)
	}
	return true, nil
}

// conflict adds gtx.ErrConflict where the whole global transaction is to be tried again.
func (t *table) conflict(err error) error {
	if err != nil && t.d.Classify(err) == undo.Conflict && !errors.Is(err, gtx.ErrConflict) {
		return fmt.Errorf("%w (%w)", err, gtx.ErrConflict)
	}
	return err
}

// insert writes the guard row, if tx is on the database that the resource is.
func (t *table) insert(ctx context.Context, tx Tx, g *guard) error {
	res, err := tx.ExecContext(ctx, t.text(`INSERT INTO {tcc} (xid, branch, action, version, args, created, tries, retry_at, reason)
SELECT {s}, {i}, {s}, {i}, {s}, {i}, 0, 0, '' FROM {resource} WHERE one = 1 AND id = {s}`),
		g.xid.String(), int64(g.branch), g.action, g.version, string(g.args), g.created.UnixMicro(), string(t.id))
	if err != nil {
		return fmt.Errorf("write guard row: %w", err)
	}
	n, err := res.RowsAffected()
	switch {
	case err != nil:
		return fmt.Errorf("write guard row: %w", err)
	case n != 1:
		return fmt.Errorf("write guard row: this is not the database %s that tcc.Open was called for", t.id)
	}
	return nil
}

// still holds that the local transaction has the guard row, with its mark where there is one
// (rule X8): MySQL ends the whole of it after a deadlock, SQLite after an interrupt, and both
// go on without one when the action has taken the error for nothing.
func (t *table) still(ctx context.Context, tx Tx, g *guard) error {
	if t.d.Name() == "postgres" {
		return nil // there everything fails until ROLLBACK
	}
	text := "SELECT count(*) FROM {tcc} WHERE xid = {s} AND branch = {i}"
	if g.kept == locked {
		text += " AND version < 0"
	}
	var n int
	if err := tx.QueryRowContext(ctx, t.text(text), g.xid.String(), int64(g.branch)).Scan(&n); err != nil {
		return fmt.Errorf("look for guard row: %w", err)
	}
	if n == 0 {
		return errRolledBack
	}
	return nil
}

var errRolledBack = fmt.Errorf("the server has rolled back the local transaction of the action, which did not return its error: %w", gtx.ErrConflict)

// has tells whether the guard row is committed, or gone again.
func (t *table) has(ctx context.Context, xid gtx.XID, branch gtx.BranchID) (bool, error) {
	n := 0
	err := t.look(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, t.text("SELECT count(*) FROM {tcc} WHERE xid = {s} AND branch = {i}"), xid.String(), int64(branch)).Scan(&n)
	})
	if err != nil {
		return false, fmt.Errorf("look for guard row: %w", err)
	}
	return n > 0, nil
}

// look reads what is committed now, whatever isolation level and autocommit the program has
// given its sessions (rule P5).
func (t *table) look(ctx context.Context, fn func(tx *sql.Tx) error) error {
	_, err := t.local(ctx, func(tx *sql.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return errRollback
	})
	if errors.Is(err, errRollback) {
		return nil
	}
	return err
}

// bar finds the row of a Try, or that it has been rolled back. A Try that is still open has
// the row locked: it has been inserted before the branch was registered.
func (t *table) bar(ctx context.Context, xid gtx.XID, branch gtx.BranchID) (has bool, err error) {
	bound, cancel := context.WithTimeout(ctx, barTime) // SQLite waits for as long as the DSN says
	defer cancel()
	_, err = t.local(bound, func(tx *sql.Tx) error {
		ctx, g := bound, guard{xid: xid, branch: branch}
		err := t.lock(ctx, tx, &g, t.d.Name() == "postgres")
		switch {
		case err == nil:
			has = true
		case !errors.Is(err, errGone):
			return err
		}
		return errRollback
	})
	switch {
	case errors.Is(err, errRollback):
		return has, nil
	case bound.Err() != nil && ctx.Err() == nil:
		return false, fmt.Errorf("%w: %w", errBusy, err)
	}
	return false, t.busy(err)
}

// errRollback is no error: the local transaction was for its locks only.
var errRollback = errors.New("roll back")

// busy makes errBusy of a lock that somebody else has.
func (t *table) busy(err error) error {
	if t.d.Classify(err) == undo.Conflict {
		return fmt.Errorf("%w: %w", errBusy, err)
	}
	return err
}

// end locks the row, and deletes it with the effects of run.
func (t *table) end(ctx context.Context, g guard, st gtx.Status, run func(context.Context, Tx, guard, phase) error) (bool, error) {
	p := confirming
	if st == gtx.Aborted {
		p = cancelling
	}
	locking := true
	_, err := t.local(ctx, func(tx *sql.Tx) error {
		if err := t.lock(ctx, tx, &g, false); err != nil {
			return err
		}
		if err := t.mark(ctx, tx, &g); err != nil {
			return err
		}
		locking = false
		if err := run(ctx, t.watch(tx, &g), g, p); err != nil {
			return err
		}
		return t.remove(ctx, tx, &g)
	})
	switch {
	case errors.Is(err, errGone):
		return false, nil
	case err != nil && locking:
		return false, t.busy(err)
	case err != nil:
		return false, err
	}
	return true, nil
}

// mark makes remove fail after the server has ended the local transaction behind the action
// (see still): then the row is as it was before.
func (t *table) mark(ctx context.Context, tx Tx, g *guard) error {
	if t.d.Name() == "postgres" {
		return nil
	}
	if _, err := tx.ExecContext(ctx, t.text("UPDATE {tcc} SET version = -ABS(version) WHERE xid = {s} AND branch = {i}"), g.xid.String(), int64(g.branch)); err != nil {
		return fmt.Errorf("mark guard row: %w", err)
	}
	return nil
}

// remove deletes the row by its full key (rule T6).
func (t *table) remove(ctx context.Context, tx Tx, g *guard) error {
	text := "DELETE FROM {tcc} WHERE xid = {s} AND branch = {i}"
	if t.d.Name() != "postgres" && g.kept == locked {
		text += " AND version < 0"
	}
	res, err := tx.ExecContext(ctx, t.text(text), g.xid.String(), int64(g.branch))
	if err != nil {
		return fmt.Errorf("delete guard row: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("delete guard row: %w", errors.Join(errRolledBack, err))
	}
	return nil
}

// locked is guard.kept of what lock has read.
const locked = "locked"

// failed stores what became of a try, unless somebody else is at it by now.
func (t *table) failed(ctx context.Context, g guard) error {
	_, err := t.local(ctx, func(tx *sql.Tx) error {
		now := g
		if err := t.lock(ctx, tx, &now, false); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, t.text("UPDATE {tcc} SET tries = {i}, retry_at = {i}, reason = {s} WHERE xid = {s} AND branch = {i}"),
			g.tries, g.retryAt.UnixMicro(), storedReason(g.reason), g.xid.String(), int64(g.branch))
		return err
	})
	if errors.Is(err, errGone) || err != nil && t.d.Classify(err) == undo.Conflict {
		return nil
	}
	if err != nil {
		return fmt.Errorf("note failure: %w", err)
	}
	return nil
}
