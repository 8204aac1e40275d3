package undo

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"
)

// localTx is a local transaction of the resolver on a connection of its own.
type localTx struct {
	r    *Resolver
	conn *sql.Conn
	tx   *sql.Tx // nil where the transaction was begun by text
}

// inTx runs fn in a local transaction at READ COMMITTED (rule T6) whose waits are
// bounded by LockWait (rule P7), and commits when fn returns nil. Otherwise, and
// where commit is false, it rolls back. A connection that cannot be rolled back
// is closed, which ends its transaction.
func (r *Resolver) inTx(ctx context.Context, session, commit bool, fn func(t *localTx) error) (err error) {
	conn, err := r.cfg.DB.Conn(ctx)
	if err != nil {
		return fmt.Errorf("open connection for phase two: %w", err)
	}
	t := &localTx{r: r, conn: conn}
	ended := false
	defer func() {
		if !ended {
			t.rollback(ctx)
		}
		if cerr := conn.Close(); err == nil && cerr != nil && !errors.Is(cerr, sql.ErrConnDone) {
			r.cfg.Logger.Debug("return connection of phase two", "err", cerr)
		}
	}()
	if err := t.begin(ctx, session); err != nil {
		return err
	}
	if err := fn(t); err != nil {
		return err
	}
	if !commit {
		return nil
	}
	if err := t.commit(ctx); err != nil {
		return fmt.Errorf("commit phase two: %w", err)
	}
	ended = true
	return nil
}

func (t *localTx) begin(ctx context.Context, session bool) error {
	wait := t.r.cfg.LockWait
	var before []string
	if session {
		before = t.r.cfg.Dialect.Session()
	}
	switch t.r.cfg.Dialect.Name() {
	case "mysql":
		seconds := max(1, int64((wait+time.Second-1)/time.Second))
		before = append(before[:len(before):len(before)], fmt.Sprintf("SET SESSION innodb_lock_wait_timeout = %d", seconds))
	case "sqlite":
		// BEGIN IMMEDIATE: a transaction that reads first could not become a writer
		// when another has written since.
		before = append(before[:len(before):len(before)], fmt.Sprintf("PRAGMA busy_timeout = %d", wait.Milliseconds()), "BEGIN IMMEDIATE")
	}
	for _, text := range before {
		if _, err := t.conn.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("prepare connection for phase two (%s): %w", text, err)
		}
	}
	if t.r.cfg.Dialect.Name() == "sqlite" {
		return nil
	}
	// Not cancelled: database/sql would roll back and close beside us, and a sql.Conn
	// that is closed beside its use panics. The statements end with ctx.
	tx, err := t.conn.BeginTx(context.WithoutCancel(ctx), &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return fmt.Errorf("begin phase two: %w", err)
	}
	t.tx = tx
	if t.r.cfg.Dialect.Name() == "postgres" {
		text := fmt.Sprintf("SET LOCAL lock_timeout = %d; SET LOCAL gtx.xid = '*'", max(1, wait.Milliseconds()))
		if session {
			text += restoreLocal
		}
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("prepare transaction of phase two: %w", err)
		}
	}
	return nil
}

// restoreLocal is for PostgreSQL: constraints that may wait do so until all rows are
// back, and rows are found by their keys, whatever statistics a planner has of a
// table like gtx_undo.
const restoreLocal = "; SET CONSTRAINTS ALL DEFERRED; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;" +
	" SET LOCAL enable_seqscan = off; SET LOCAL jit = off"

func (t *localTx) commit(ctx context.Context) error {
	if t.tx != nil {
		return t.tx.Commit()
	}
	_, err := t.conn.ExecContext(ctx, "COMMIT")
	return err
}

func (t *localTx) rollback(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.r.cfg.LockWait)
	defer cancel()
	var err error
	switch {
	case t.tx != nil:
		err = t.tx.Rollback()
	case t.r.cfg.Dialect.Name() == "sqlite":
		_, err = t.conn.ExecContext(ctx, "ROLLBACK")
	}
	if err == nil {
		return
	}
	// Also after a failed COMMIT and a cancelled context, where the driver has ended
	// the transaction already: a new connection costs less than the doubt.
	_ = t.conn.Raw(func(any) error { return driver.ErrBadConn })
}

func (t *localTx) exec(ctx context.Context, text string, args ...any) (int64, error) {
	var res sql.Result
	var err error
	if t.tx != nil {
		res, err = t.tx.ExecContext(ctx, text, args...)
	} else {
		res, err = t.conn.ExecContext(ctx, text, args...)
	}
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// query reads as texts.
func (t *localTx) query(ctx context.Context, text string, args ...any) ([][]string, error) {
	if t.tx != nil {
		return QueryDB(t.tx)(ctx, text, args...)
	}
	return QueryDB(t.conn)(ctx, text, args...)
}

// lines is for results that may be long. The caller closes them before anything
// else is done on t.
func (t *localTx) lines(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	if t.tx != nil {
		return t.tx.QueryContext(ctx, text, args...)
	}
	return t.conn.QueryContext(ctx, text, args...)
}
