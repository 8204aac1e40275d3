// Command nats moves money between two banks that are two services: the northern
// one asks the southern one over NATS, and both change their own database in one
// global transaction. Then it fails on purpose, after the southern bank has
// answered, and shows that nothing has moved there either.
//
//	go run ./examples/nats
//
// It needs nothing but Go: two SQLite files and an embedded coordinator in a
// temporary directory, and a server on the loopback interface. The services share
// a process only so that one command starts them: each uses its own database and
// its own part of this program. Apart from each other both would reach the
// coordinator by natsbus.Connect.
package main

import (
	"context"
	"errors"
	"io"
	"path/filepath"

	"github.com/nats-io/nats.go"

	_ "github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/examples/internal/stage"
	"github.com/globaltx/globaltx/natsbus"
)

func main() { stage.Main("nats", run) }

func run(ctx context.Context, dir string, out io.Writer) (err error) {
	bus, err := natsbus.Embedded(ctx, filepath.Join(dir, "coordinator"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bus.Close()) }()

	banks, err := stage.Open(ctx, "gtx-sqlite", dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, banks.Close()) }()

	url, stop, err := serveNATS()
	if err != nil {
		return err
	}
	defer stop()
	southConn, err := nats.Connect(url, nats.UserInfo("south", southPassword))
	if err != nil {
		return err
	}
	defer southConn.Close()
	if err := subscribeSouth(ctx, southConn, bus, banks.South); err != nil {
		return err
	}
	northConn, err := nats.Connect(url, nats.UserInfo("north", northPassword))
	if err != nil {
		return err
	}
	defer northConn.Close()
	n := &north{coord: bus, db: banks.North, conn: northConn}

	// In the transfer that fails ben has his 500, committed in the south, when the
	// north finds that anna has not.
	return stage.Play(ctx, out, n.transfer, banks.Balances)
}
