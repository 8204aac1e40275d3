// Command readcommitted reads a sum while a global transaction moves money: once
// plainly, and once with gtx.ReadCommitted, which waits until the rows are decided.
//
//	go run ./examples/readcommitted
//
// It needs nothing but Go: a SQLite file and an embedded coordinator in a
// temporary directory.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	_ "github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/examples/internal/stage"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

func main() { stage.Main("readcommitted", run) }

func run(ctx context.Context, dir string, out io.Writer) (err error) {
	bus, err := natsbus.Embedded(ctx, filepath.Join(dir, "coordinator"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bus.Close()) }()
	gtx.SetDefault(bus)
	defer gtx.SetDefault(nil)

	db, err := sql.Open("gtx-sqlite", filepath.Join(dir, "bank.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	// A table accounts (id, balance), and in it two accounts of 100 each.
	if err := stage.Accounts(ctx, db, "anna", "ben"); err != nil {
		return err
	}

	type answer struct {
		sum int
		err error
	}
	var waiting chan answer // nil until somebody waits
	err = gtx.Run(ctx, func(inside context.Context) error {
		if err := move(inside, db, "anna", -30); err != nil {
			return err
		}
		// The 30 are on their way: anna's row counts already, ben's does not yet.
		sum, err := total(ctx, db)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "a plain reader sees", sum)
		waiting = make(chan answer, 1)
		go func() {
			sum, err := total(gtx.ReadCommitted(ctx), db)
			waiting <- answer{sum, err}
		}()
		return move(inside, db, "ben", 30)
	}, gtx.WithRetries(0))
	var a answer
	if waiting != nil {
		a = <-waiting
	}
	if err := errors.Join(err, a.err); err != nil {
		return err
	}
	fmt.Fprintln(out, "a reader who waits sees", a.sum)
	return nil
}

func move(ctx context.Context, db *sql.DB, id string, by int) error {
	_, err := db.ExecContext(ctx, "UPDATE accounts SET balance = balance + ? WHERE id = ?", by, id)
	return err
}

func total(ctx context.Context, db *sql.DB) (sum int, err error) {
	err = db.QueryRowContext(ctx, "SELECT SUM(balance) FROM accounts").Scan(&sum)
	return sum, err
}
