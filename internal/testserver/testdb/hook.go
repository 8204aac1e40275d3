package testdb

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/driver/mysql"
	"github.com/globaltx/globaltx/driver/pgx"
	"github.com/globaltx/globaltx/driver/postgres"
	"github.com/globaltx/globaltx/driver/sqlite"
)

// ErrInjected is what a hook answers in place of the database.
var ErrInjected = errors.New("injected failure")

// Hook sees everything that a connection is told, COMMIT and ROLLBACK included.
type Hook struct {
	mu sync.Mutex
	// before may hold a statement up; with an error it is not sent.
	before func(text string) error
	// after gets what the database answered and gives what the caller is told.
	after func(text string, err error) error
}

// Set changes what the hook does; nil does nothing.
func (h *Hook) Set(before func(string) error, after func(string, error) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.before, h.after = before, after
}

func (h *Hook) ask(text string) error {
	h.mu.Lock()
	fn := h.before
	h.mu.Unlock()
	if fn == nil {
		return nil
	}
	return fn(text)
}

func (h *Hook) told(text string, err error) error {
	h.mu.Lock()
	fn := h.after
	h.mu.Unlock()
	if fn == nil {
		return err
	}
	return fn(text, err)
}

// OpenHooked opens a database whose program's and phase two's connections have a
// hook each.
func OpenHooked(t testing.TB, s Server, dsn string, program, phase2 *Hook) *sql.DB {
	t.Helper()
	connector, err := driver.New(func(dsn string) (driver.Base, error) {
		b, err := Openers[s.Driver](dsn)
		if err != nil {
			return b, err
		}
		if b.Resolver == nil {
			b.Resolver = b.Connector
		}
		b.Resolver = hookConnector{b.Resolver, phase2}
		b.Connector = hookConnector{b.Connector, program}
		return b, nil
	}).(sqldriver.DriverContext).OpenConnector(dsn)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() {
		program.Set(nil, nil)
		phase2.Set(nil, nil)
		if !t.Failed() {
			Clean(t, db)
		}
		if err := db.Close(); err != nil {
			t.Errorf("close database: %v", err)
		}
	})
	return db
}

type hookConnector struct {
	sqldriver.Connector
	h *Hook
}

func (k hookConnector) Connect(ctx context.Context) (sqldriver.Conn, error) {
	c, err := k.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return HookConn(c, k.h), nil
}

// HookConn puts a hook before a connection.
func HookConn(c sqldriver.Conn, h *Hook) *HookedConn { return &HookedConn{c, h} }

// HookedConn is made by HookConn.
type HookedConn struct {
	sqldriver.Conn
	h *Hook
}

func (k *HookedConn) ExecContext(ctx context.Context, q string, args []sqldriver.NamedValue) (sqldriver.Result, error) {
	if err := k.h.ask(q); err != nil {
		return nil, err
	}
	res, err := k.Conn.(sqldriver.ExecerContext).ExecContext(ctx, q, args)
	if err = k.h.told(q, err); err != nil {
		return nil, err
	}
	return res, nil
}

func (k *HookedConn) QueryContext(ctx context.Context, q string, args []sqldriver.NamedValue) (sqldriver.Rows, error) {
	if err := k.h.ask(q); err != nil {
		return nil, err
	}
	rows, err := k.Conn.(sqldriver.QueryerContext).QueryContext(ctx, q, args)
	if told := k.h.told(q, err); told != nil {
		if err == nil {
			_ = rows.Close()
		}
		return nil, told
	}
	return rows, nil
}

func (k *HookedConn) BeginTx(ctx context.Context, opts sqldriver.TxOptions) (sqldriver.Tx, error) {
	tx, err := k.Conn.(sqldriver.ConnBeginTx).BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	return &hookTx{tx, k.h}, nil
}

func (k *HookedConn) PrepareContext(ctx context.Context, q string) (sqldriver.Stmt, error) {
	st, err := k.Conn.(sqldriver.ConnPrepareContext).PrepareContext(ctx, q)
	if err != nil {
		return nil, err
	}
	return &hookStmt{st, q, k.h}, nil
}

type hookStmt struct {
	sqldriver.Stmt
	text string
	h    *Hook
}

func (k *hookStmt) ExecContext(ctx context.Context, args []sqldriver.NamedValue) (sqldriver.Result, error) {
	if err := k.h.ask(k.text); err != nil {
		return nil, err
	}
	res, err := k.Stmt.(sqldriver.StmtExecContext).ExecContext(ctx, args)
	if err = k.h.told(k.text, err); err != nil {
		return nil, err
	}
	return res, nil
}

func (k *hookStmt) QueryContext(ctx context.Context, args []sqldriver.NamedValue) (sqldriver.Rows, error) {
	if err := k.h.ask(k.text); err != nil {
		return nil, err
	}
	rows, err := k.Stmt.(sqldriver.StmtQueryContext).QueryContext(ctx, args)
	if told := k.h.told(k.text, err); told != nil {
		if err == nil {
			_ = rows.Close()
		}
		return nil, told
	}
	return rows, nil
}

func (k *hookStmt) CheckNamedValue(nv *sqldriver.NamedValue) error {
	if ch, ok := k.Stmt.(sqldriver.NamedValueChecker); ok {
		return ch.CheckNamedValue(nv)
	}
	return sqldriver.ErrSkip
}

func (k *HookedConn) ResetSession(ctx context.Context) error {
	if r, ok := k.Conn.(sqldriver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

func (k *HookedConn) IsValid() bool {
	v, ok := k.Conn.(sqldriver.Validator)
	return !ok || v.IsValid()
}

func (k *HookedConn) CheckNamedValue(nv *sqldriver.NamedValue) error {
	if ch, ok := k.Conn.(sqldriver.NamedValueChecker); ok {
		return ch.CheckNamedValue(nv)
	}
	return sqldriver.ErrSkip
}

type hookTx struct {
	sqldriver.Tx
	h *Hook
}

func (k *hookTx) Commit() error   { return k.end("COMMIT", k.Tx.Commit) }
func (k *hookTx) Rollback() error { return k.end("ROLLBACK", k.Tx.Rollback) }

func (k *hookTx) end(text string, do func() error) error {
	if err := k.h.ask(text); err != nil {
		return err
	}
	return k.h.told(text, do())
}

// Eventually polls until ok, at most 30 s.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	EventuallyEvery(t, 5*time.Millisecond, what, ok)
}

// EventuallyEvery is Eventually with a pause of the caller's between two looks.
func EventuallyEvery(t testing.TB, pause time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

// Openers make the base of a driver by name.
var Openers = map[string]driver.Opener{
	"gtx-sqlite":   sqlite.Open,
	"gtx-mysql":    mysql.Open,
	"gtx-postgres": postgres.Open,
	"gtx-pgx":      pgx.Open,
}
