package integration

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/globaltx/globaltx/driver"
)

// errInjected is what a hook answers in place of the database.
var errInjected = errors.New("injected failure")

// hook sees everything that a connection is told, COMMIT and ROLLBACK included.
type hook struct {
	mu sync.Mutex
	// before may hold a statement up; with an error it is not sent.
	before func(text string) error
	// after gets what the database answered and gives what the caller is told.
	after func(text string, err error) error
}

func (h *hook) set(before func(string) error, after func(string, error) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.before, h.after = before, after
}

func (h *hook) ask(text string) error {
	h.mu.Lock()
	fn := h.before
	h.mu.Unlock()
	if fn == nil {
		return nil
	}
	return fn(text)
}

func (h *hook) told(text string, err error) error {
	h.mu.Lock()
	fn := h.after
	h.mu.Unlock()
	if fn == nil {
		return err
	}
	return fn(text, err)
}

// openHooked opens a database whose program's and phase two's connections have a
// hook each.
func openHooked(t testing.TB, s server, dsn string, program, phase2 *hook) *sql.DB {
	t.Helper()
	connector, err := driver.New(func(dsn string) (driver.Base, error) {
		b, err := openers[s.driver](dsn)
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
		program.set(nil, nil)
		phase2.set(nil, nil)
		if !t.Failed() {
			clean(t, db)
		}
		if err := db.Close(); err != nil {
			t.Errorf("close database: %v", err)
		}
	})
	return db
}

type hookConnector struct {
	sqldriver.Connector
	h *hook
}

func (k hookConnector) Connect(ctx context.Context) (sqldriver.Conn, error) {
	c, err := k.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &hookConn{c, k.h}, nil
}

type hookConn struct {
	sqldriver.Conn
	h *hook
}

func (k *hookConn) ExecContext(ctx context.Context, q string, args []sqldriver.NamedValue) (sqldriver.Result, error) {
	if err := k.h.ask(q); err != nil {
		return nil, err
	}
	res, err := k.Conn.(sqldriver.ExecerContext).ExecContext(ctx, q, args)
	if err = k.h.told(q, err); err != nil {
		return nil, err
	}
	return res, nil
}

func (k *hookConn) QueryContext(ctx context.Context, q string, args []sqldriver.NamedValue) (sqldriver.Rows, error) {
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

func (k *hookConn) BeginTx(ctx context.Context, opts sqldriver.TxOptions) (sqldriver.Tx, error) {
	tx, err := k.Conn.(sqldriver.ConnBeginTx).BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	return &hookTx{tx, k.h}, nil
}

func (k *hookConn) PrepareContext(ctx context.Context, q string) (sqldriver.Stmt, error) {
	st, err := k.Conn.(sqldriver.ConnPrepareContext).PrepareContext(ctx, q)
	if err != nil {
		return nil, err
	}
	return &hookStmt{st, q, k.h}, nil
}

type hookStmt struct {
	sqldriver.Stmt
	text string
	h    *hook
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

func (k *hookConn) ResetSession(ctx context.Context) error {
	if r, ok := k.Conn.(sqldriver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

func (k *hookConn) IsValid() bool {
	v, ok := k.Conn.(sqldriver.Validator)
	return !ok || v.IsValid()
}

func (k *hookConn) CheckNamedValue(nv *sqldriver.NamedValue) error {
	if ch, ok := k.Conn.(sqldriver.NamedValueChecker); ok {
		return ch.CheckNamedValue(nv)
	}
	return sqldriver.ErrSkip
}

type hookTx struct {
	sqldriver.Tx
	h *hook
}

func (k *hookTx) Commit() error   { return k.end("COMMIT", k.Tx.Commit) }
func (k *hookTx) Rollback() error { return k.end("ROLLBACK", k.Tx.Rollback) }

func (k *hookTx) end(text string, do func() error) error {
	if err := k.h.ask(text); err != nil {
		return err
	}
	return k.h.told(text, do())
}

// outsider opens the database with the base driver: somebody outside. dsn holds no
// parameter of ours.
func outsider(t testing.TB, s server, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(strings.TrimPrefix(s.driver, "gtx-"), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// journal keeps what is logged at Warn and above.
type journal struct {
	mu    sync.Mutex
	lines []string
}

// logged makes a journal of everything that is opened from now on.
func logged(t testing.TB) *journal {
	t.Helper()
	j, old := &journal{}, slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelWarn})))
	t.Cleanup(func() { slog.SetDefault(old) })
	return j
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, string(p))
	return len(p), nil
}

// with gives the lines that hold all the words.
func (j *journal) with(words ...string) (out []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
lines:
	for _, l := range j.lines {
		for _, w := range words {
			if !strings.Contains(l, w) {
				continue lines
			}
		}
		out = append(out, l)
	}
	return out
}

// eventually polls until ok, at most 30 s.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	eventuallyEvery(t, 5*time.Millisecond, what, ok)
}

func eventuallyEvery(t testing.TB, pause time.Duration, what string, ok func() bool) {
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
