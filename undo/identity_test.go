package undo_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"testing"

	"github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// TestIdentityOfSomethingElse: a server that answers every query alike, as a fake one in
// a program's tests does, is an error and not a panic of the goroutine that asks.
func TestIdentityOfSomethingElse(t *testing.T) {
	db := sql.OpenDB(parrot{})
	defer db.Close()
	r, err := undo.NewResolver(undo.Config{DB: db, Dialect: sqlite.Dialect{}, Coordinator: func() gtx.Coordinator { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if id, err := r.Identity(t.Context()); err == nil {
		t.Errorf("got %q, want an error", id)
	}
}

// parrot answers every query with one row of one column.
type parrot struct{}

func (parrot) Connect(context.Context) (driver.Conn, error) { return parrot{}, nil }
func (parrot) Driver() driver.Driver                        { return nil }
func (parrot) Prepare(string) (driver.Stmt, error)          { return nil, driver.ErrSkip }
func (parrot) Close() error                                 { return nil }
func (parrot) Begin() (driver.Tx, error)                    { return nil, driver.ErrSkip }

func (parrot) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return &oneRow{}, nil
}

type oneRow struct{ done bool }

func (*oneRow) Columns() []string { return []string{"x"} }
func (*oneRow) Close() error      { return nil }

func (r *oneRow) Next(dest []driver.Value) error {
	if r.done {
		return io.EOF
	}
	r.done = true
	dest[0] = "off"
	return nil
}
