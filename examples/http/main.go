// Command http moves money between two banks that are two services: the northern
// one asks the southern one over HTTP, and both change their own database in one
// global transaction. Then it fails on purpose, after the southern bank has
// answered, and shows that nothing has moved there either.
//
//	go run ./examples/http
//
// It needs nothing but Go: two SQLite files and an embedded coordinator in a
// temporary directory, and a server on the loopback interface. The services share
// a process only so that one command starts them: each uses its own database and
// its own part of this program. Apart from each other both would reach the
// coordinator by natsbus.Connect.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"

	_ "github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

func main() {
	dir, err := os.MkdirTemp("", "gtx-http-")
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

	southDB, err := open(ctx, filepath.Join(dir, "south.db"), "ben")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, southDB.Close()) }()
	northDB, err := open(ctx, filepath.Join(dir, "north.db"), "anna")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, northDB.Close()) }()

	server := httptest.NewServer(newSouth(bus, southDB))
	defer server.Close()
	n := newNorth(bus, northDB, server.URL)
	defer n.client.CloseIdleConnections()

	show := func(when string) error {
		anna, err := balance(ctx, northDB, "anna")
		if err != nil {
			return err
		}
		ben, err := balance(ctx, southDB, "ben")
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: anna %d, ben %d\n", when, anna, ben)
		return nil
	}
	if err := show("at the start"); err != nil {
		return err
	}
	if err := n.transfer(ctx, 30); err != nil {
		return err
	}
	if err := show("after a transfer of 30"); err != nil {
		return err
	}
	// Ben has his 500, committed in the south, when the north finds that Anna has
	// not.
	if err := n.transfer(ctx, 500); !errors.Is(err, errOverdrawn) {
		return fmt.Errorf("transfer of 500: got %w", err)
	}
	fmt.Fprintln(out, "transfer of 500:", errOverdrawn)
	return show("after the undo")
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

// balance waits for what is still being undone: the undo of an aborted transaction
// runs in the background.
func balance(ctx context.Context, db *sql.DB, owner string) (n int, err error) {
	err = db.QueryRowContext(gtx.ReadCommitted(ctx), "SELECT balance FROM account WHERE owner = ?", owner).Scan(&n)
	return n, err
}
