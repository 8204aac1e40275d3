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
	"log"
	"os"
	"path/filepath"

	_ "github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

func main() {
	dir, err := os.MkdirTemp("", "gtx-readcommitted-")
	if err != nil {
		log.Fatal(err)
	}
	err = run(context.Background(), dir, os.Stdout)
	if rerr := os.RemoveAll(dir); err == nil {
		err = rerr
	}
	if err != nil {
		log.Fatal(err)
	}
}

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
	for _, text := range []string{
		"CREATE TABLE account (owner TEXT PRIMARY KEY, balance INTEGER NOT NULL)",
		"INSERT INTO account VALUES ('anna', 100), ('ben', 100)",
	} {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return err
		}
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

func move(ctx context.Context, db *sql.DB, owner string, by int) error {
	_, err := db.ExecContext(ctx, "UPDATE account SET balance = balance + ? WHERE owner = ?", by, owner)
	return err
}

func total(ctx context.Context, db *sql.DB) (sum int, err error) {
	err = db.QueryRowContext(ctx, "SELECT SUM(balance) FROM account").Scan(&sum)
	return sum, err
}
