// Package demo is what the examples of this module have in common: a coordinator
// and two banks, each with a table accounts (id, balance) and one account in it.
package demo

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"path/filepath"

	_ "github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/examples/internal/stage"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

// ErrOverdrawn is returned by Bank.Transfer when anna has less than the amount.
var ErrOverdrawn = stage.ErrOverdrawn

// Bank is two databases, through one ORM.
type Bank interface {
	// Transfer moves amount from anna in the north to ben in the south, or nothing.
	Transfer(ctx context.Context, amount int64) error
	// Balances are what anna and ben have.
	Balances(ctx context.Context) (anna, ben int64, err error)
}

// Main runs an example in a temporary directory.
func Main(open func(north, south *sql.DB) (Bank, error)) {
	stage.Main("orm", func(ctx context.Context, dir string, out io.Writer) error { return Run(ctx, dir, out, open) })
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

	banks, err := stage.Open(ctx, "gtx-sqlite", dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, banks.Close()) }()
	bank, err := open(banks.North, banks.South)
	if err != nil {
		return err
	}
	return stage.Play(ctx, out, bank.Transfer, bank.Balances)
}
