// Command transfer moves money between two databases in one global transaction,
// then fails half-way on purpose and shows that nothing has moved.
//
//	go run ./examples/transfer
//
// It needs nothing but Go: two SQLite files and an embedded coordinator, all in
// a temporary directory.
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

func main() { stage.Main("transfer", run) }

func run(ctx context.Context, dir string, out io.Writer) (err error) {
	bus, err := natsbus.Embedded(ctx, filepath.Join(dir, "coordinator"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bus.Close()) }()
	gtx.SetDefault(bus)
	defer gtx.SetDefault(nil)

	north, err := sql.Open("gtx-sqlite", filepath.Join(dir, "north.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, north.Close()) }()
	south, err := sql.Open("gtx-sqlite", filepath.Join(dir, "south.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, south.Close()) }()
	// Each has a table accounts (id, balance), and in it one account of 100.
	if err := errors.Join(stage.Accounts(ctx, north, "anna"), stage.Accounts(ctx, south, "ben")); err != nil {
		return err
	}

	b := &bank{north: north, south: south}
	if err := b.report(ctx, out, "at the start"); err != nil {
		return err
	}

	if err := b.transfer(ctx, 30); err != nil {
		return err
	}
	if err := b.report(ctx, out, "after a transfer of 30"); err != nil {
		return err
	}

	// Anna has 70 left. The withdrawal has committed locally in north when the
	// check fails, so it is undone from its undo row.
	err = b.transfer(ctx, 500)
	if !errors.Is(err, errOverdrawn) {
		return fmt.Errorf("transfer of 500: got %w", err)
	}
	fmt.Fprintln(out, "transfer of 500:", errOverdrawn)
	return b.report(ctx, out, "after the undo")
}
