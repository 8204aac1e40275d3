// Package demo is what the examples of this module have in common: a coordinator,
// two banks with one account each, and the order of events.
package demo

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

// ErrOverdrawn is returned by Bank.Transfer when anna has less than the amount.
var ErrOverdrawn = errors.New("the account would be overdrawn")

// Bank is two databases, through one ORM.
type Bank interface {
	// Transfer moves amount from anna in the north to ben in the south, or nothing.
	Transfer(ctx context.Context, amount int64) error
	// Balances are what anna and ben have.
	Balances(ctx context.Context) (anna, ben int64, err error)
}

// Main runs an example in a temporary directory.
func Main(open func(north, south *sql.DB) (Bank, error)) {
	dir, err := os.MkdirTemp("", "gtx-orm-")
	if err != nil {
		log.Fatal(err)
	}
	err = Run(context.Background(), dir, os.Stdout, open)
	if rerr := os.RemoveAll(dir); err == nil {
		err = rerr
	}
	if err != nil {
		log.Fatal(err)
	}
}

// Run moves money once, fails once on purpose, and prints the balances to out.
// open gets two databases of the driver gtx-sqlite, with the tables made.
func Run(ctx context.Context, dir string, out io.Writer, open func(north, south *sql.DB) (Bank, error)) (err error) {
	bus, err := natsbus.Embedded(ctx, filepath.Join(dir, "coordinator"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bus.Close()) }()
	gtx.SetDefault(bus)
	defer gtx.SetDefault(nil)

	north, err := database(ctx, filepath.Join(dir, "north.db"), "anna")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, north.Close()) }()
	south, err := database(ctx, filepath.Join(dir, "south.db"), "ben")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, south.Close()) }()
	bank, err := open(north, south)
	if err != nil {
		return err
	}

	show := func(when string) error {
		// The undo of an aborted transaction runs in the background: a reader who asks
		// for it waits.
		anna, ben, err := bank.Balances(gtx.ReadCommitted(ctx))
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: anna %d, ben %d\n", when, anna, ben)
		return nil
	}
	if err := show("at the start"); err != nil {
		return err
	}
	if err := bank.Transfer(ctx, 30); err != nil {
		return err
	}
	if err := show("after a transfer of 30"); err != nil {
		return err
	}
	if err := bank.Transfer(ctx, 500); !errors.Is(err, ErrOverdrawn) {
		return fmt.Errorf("transfer of 500: got %w", err)
	}
	fmt.Fprintln(out, "transfer of 500:", ErrOverdrawn)
	return show("after the undo")
}

// database makes a bank with one account that holds 100.
func database(ctx context.Context, path, owner string) (*sql.DB, error) {
	db, err := sql.Open("gtx-sqlite", path)
	if err != nil {
		return nil, err
	}
	for _, text := range []string{
		"CREATE TABLE accounts (id TEXT PRIMARY KEY NOT NULL, balance INTEGER NOT NULL)",
		"INSERT INTO accounts (id, balance) VALUES ('" + owner + "', 100)",
	} {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return db, nil
}
