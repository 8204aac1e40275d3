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
	"log"
	"os"
	"path/filepath"

	_ "github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

func main() {
	dir, err := os.MkdirTemp("", "gtx-transfer-")
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

	north, err := open(ctx, filepath.Join(dir, "north.db"), "anna")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, north.Close()) }()
	south, err := open(ctx, filepath.Join(dir, "south.db"), "ben")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, south.Close()) }()

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
	if err := b.settled(ctx); err != nil {
		return err
	}
	return b.report(ctx, out, "after the undo")
}

// open makes a bank with one account that holds 100.
func open(ctx context.Context, path, owner string) (*sql.DB, error) {
	db, err := sql.Open("gtx-sqlite", path)
	if err != nil {
		return nil, err
	}
	for _, text := range []string{
		"CREATE TABLE account (owner TEXT PRIMARY KEY NOT NULL, balance INTEGER NOT NULL)",
		"INSERT INTO account (owner, balance) VALUES ('" + owner + "', 100)",
	} {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return db, nil
}
