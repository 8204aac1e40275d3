package undo

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

var (
	_ Store   = sqlStore{}
	_ StoreTx = (*localTx)(nil)
)

// sqlStore is the Store on Config.DB.
type sqlStore struct{ r *Resolver }

func (s sqlStore) Classify(err error) ErrorClass { return s.r.cfg.Dialect.Classify(err) }

func (s sqlStore) Resource(ctx context.Context) (gtx.ResourceID, error) { return s.r.resource(ctx) }

func (s sqlStore) Begin(ctx context.Context, o TxOptions) (StoreTx, error) {
	conn, err := s.r.cfg.DB.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("open connection for phase two: %w", err)
	}
	t := &localTx{r: s.r, conn: conn, tables: map[string]*Table{}}
	if err := t.begin(ctx, o); err != nil {
		t.Rollback(ctx)
		return nil, err
	}
	return t, nil
}

// inTx is transact for what only SQL can do.
func (r *Resolver) inTx(ctx context.Context, restores, commit bool, fn func(t *localTx) error) error {
	return r.transact(ctx, TxOptions{LockWait: r.cfg.LockWait, Restores: restores}, commit, func(tx StoreTx) error {
		return fn(tx.(*localTx))
	})
}

// localTx is a local transaction of the resolver on a connection of its own.
type localTx struct {
	r      *Resolver
	conn   *sql.Conn
	tx     *sql.Tx           // nil where the transaction was begun by text
	tables map[string]*Table // read in this transaction
}

func (t *localTx) begin(ctx context.Context, o TxOptions) error {
	wait := o.LockWait
	var before []string
	if o.Restores {
		before = t.r.cfg.Dialect.Session()
	}
	switch t.r.cfg.Dialect.Name() {
	case "mysql":
		seconds := max(1, int64((wait+time.Second-1)/time.Second))
		// By text, as the end is: BEGIN and COMMIT of a sql.Tx know no time, and a
		// connection may be lost without a word.
		before = append(before[:len(before):len(before)], fmt.Sprintf("SET SESSION innodb_lock_wait_timeout = %d", seconds),
			"SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION")
	case "sqlite":
		// BEGIN IMMEDIATE: a transaction that reads first could not become a writer
		// when another has written since. The database is locked as a whole, so nobody
		// goes by who waits: a shorter wait would only miss the turn.
		wait = t.r.cfg.LockWait
		before = append(before[:len(before):len(before)], fmt.Sprintf("PRAGMA busy_timeout = %d", wait.Milliseconds()), "BEGIN IMMEDIATE")
	}
	for _, text := range before {
		if _, err := t.conn.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("prepare connection for phase two (%s): %w", text, err)
		}
	}
	if t.r.cfg.Dialect.Name() != "postgres" {
		return nil
	}
	// Not by text: PostgreSQL answers the COMMIT of a transaction that has failed as if
	// all were well. Not cancelled: database/sql would roll back and close beside us,
	// and a sql.Conn that is closed beside its use panics. The statements end with ctx.
	tx, err := t.conn.BeginTx(context.WithoutCancel(ctx), &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	t.tx = tx
	text := fmt.Sprintf("SET LOCAL lock_timeout = %d; SET LOCAL gtx.xid = '*'", max(1, wait.Milliseconds()))
	if o.Restores {
		text += restoreLocal
	}
	if _, err := tx.ExecContext(ctx, text); err != nil {
		return fmt.Errorf("prepare transaction of phase two: %w", err)
	}
	return nil
}

// restoreLocal is for PostgreSQL: constraints that may wait do so until all rows are
// back, and rows are found by their keys, whatever statistics a planner has of a
// table like gtx_undo.
const restoreLocal = "; SET CONSTRAINTS ALL DEFERRED; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;" +
	" SET LOCAL enable_seqscan = off; SET LOCAL jit = off"

// Commit implements StoreTx.
func (t *localTx) Commit(ctx context.Context) (err error) {
	if t.tx != nil {
		err = t.tx.Commit()
	} else {
		_, err = t.conn.ExecContext(ctx, "COMMIT")
	}
	if err == nil {
		t.giveBack()
	}
	return err
}

// Rollback implements StoreTx. A connection that cannot be rolled back is closed,
// which ends its transaction.
func (t *localTx) Rollback(ctx context.Context) {
	defer t.giveBack()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.r.cfg.LockWait)
	defer cancel()
	var err error
	switch {
	case t.tx != nil:
		err = t.tx.Rollback()
	case t.r.cfg.Dialect.Name() != "postgres":
		_, err = t.conn.ExecContext(ctx, "ROLLBACK")
	}
	if err == nil {
		return
	}
	// Also after a failed COMMIT and a cancelled context, where the driver has ended
	// the transaction already: a new connection costs less than the doubt.
	_ = t.conn.Raw(func(any) error { return driver.ErrBadConn })
}

func (t *localTx) giveBack() {
	if err := t.conn.Close(); err != nil && !errors.Is(err, sql.ErrConnDone) {
		t.r.cfg.Logger.Debug("return connection of phase two", "err", err)
	}
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
