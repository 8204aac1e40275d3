// Command grpc moves money between two banks that are two services: the northern
// one asks the southern one over gRPC, and both change their own database in one
// global transaction. Then it fails on purpose, after the southern bank has
// answered, and shows that nothing has moved there either.
//
//	go run ./examples/grpc
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

	_ "github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/examples/internal/stage"
	"github.com/globaltx/globaltx/natsbus"
)

func main() { stage.Main("grpc", run) }

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

	addr, stop, err := serveSouth(bus, banks.South)
	if err != nil {
		return err
	}
	defer stop()
	n, err := newNorth(bus, banks.North, addr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.conn.Close()) }()

	// In the transfer that fails ben has his 500, committed in the south, when the
	// north finds that anna has not.
	return stage.Play(ctx, out, n.transfer, banks.Balances)
}
