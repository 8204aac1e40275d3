// Command outbox sells books: an order and the message that tells of it commit
// together, or neither does. A warehouse that knows nothing of this module reads the
// messages from a stream, and so does a billing service, which fails at first and writes
// each bill once nevertheless.
//
//	go run ./examples/outbox
//
// It needs nothing but Go: SQLite files in a temporary directory, and a NATS server in this
// process, in place of the one that you have.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/nats-io/nats.go/jetstream"

	_ "github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/examples/internal/stage"
	"github.com/globaltx/globaltx/natsbus"
	"github.com/globaltx/globaltx/natsbus/outbox"
)

func main() { stage.Main("outbox", run) }

func run(ctx context.Context, dir string, out io.Writer) (err error) {
	bus, err := natsbus.Embedded(ctx, filepath.Join(dir, "nats"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bus.Close()) }()
	nc, err := bus.Conn()
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
		return err
	}

	db, err := sql.Open("gtx-sqlite", filepath.Join(dir, "shop.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL, book TEXT NOT NULL, paid INTEGER NOT NULL CHECK (paid > 0))"); err != nil {
		return err
	}
	box, err := outbox.Open(ctx, db, outbox.Config{Conn: nc})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, box.Close()) }()

	s := &shop{db: db, box: box}
	for i, o := range []order{{1, "anna", "Atlas", 30}, {2, "ben", "Novel", 0}, {3, "anna", "Cookbook", 20}} {
		if err := s.place(ctx, o); err != nil {
			fmt.Fprintf(out, "order %d: not placed\n", i+1)
			continue
		}
		fmt.Fprintf(out, "order %d: placed\n", i+1)
	}
	if err := receive(ctx, js, 2, out); err != nil {
		return err
	}
	return bill(ctx, js, dir, 2, out)
}
