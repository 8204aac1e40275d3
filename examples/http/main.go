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
	"errors"
	"io"
	"net/http/httptest"
	"path/filepath"

	_ "github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/examples/internal/stage"
	"github.com/globaltx/globaltx/natsbus"
)

func main() { stage.Main("http", run) }

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

	server := httptest.NewServer(newSouth(bus, banks.South))
	defer server.Close()
	n := newNorth(bus, banks.North, server.URL)
	defer n.client.CloseIdleConnections()

	// In the transfer that fails ben has his 500, committed in the south, when the
	// north finds that anna has not.
	return stage.Play(ctx, out, n.transfer, banks.Balances)
}
