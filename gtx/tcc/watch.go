package tcc

import (
	"context"
	"database/sql"
	"sync"
)

// watched is the Tx of an action where the server may end the local transaction behind it
// and go on without one: after a statement that has failed the next one is not run unless
// the guard row is still there (rule X8). Statements that were prepared before, and errors
// that come between rows, are not seen.
type watched struct {
	tx    Tx
	still func(ctx context.Context) error

	// mu protects the following.
	mu      sync.Mutex
	suspect bool
	gone    error
}

// watch makes a watched of the local transaction of g.
func (t *table) watch(tx Tx, g *guard) Tx {
	if t.d.Name() == "postgres" {
		return tx
	}
	return &watched{tx: tx, still: func(ctx context.Context) error { return t.still(ctx, tx, g) }}
}

// ready tells whether another statement may run.
func (w *watched) ready(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.suspect && w.gone == nil {
		w.gone = w.still(ctx)
		w.suspect = false
	}
	return w.gone
}

func (w *watched) saw(err error) {
	if err == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.suspect = true
}

func (w *watched) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := w.ready(ctx); err != nil {
		return nil, err
	}
	res, err := w.tx.ExecContext(ctx, query, args...)
	w.saw(err)
	return res, err
}

func (w *watched) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	if err := w.ready(ctx); err != nil {
		return nil, err
	}
	st, err := w.tx.PrepareContext(ctx, query)
	w.saw(err)
	return st, err
}

func (w *watched) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := w.ready(ctx); err != nil {
		return nil, err
	}
	rows, err := w.tx.QueryContext(ctx, query, args...)
	w.saw(err)
	return rows, err
}

func (w *watched) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if err := w.ready(ctx); err != nil {
		// The only way to a *sql.Row with an error.
		ended, cancel := context.WithCancel(ctx)
		cancel()
		return w.tx.QueryRowContext(ended, query, args...)
	}
	row := w.tx.QueryRowContext(ctx, query, args...)
	w.saw(row.Err())
	return row
}
