package inside

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/conformance/hook"
	"github.com/globaltx/globaltx/internal/conformance/shim"
	"github.com/globaltx/globaltx/natsbus"
)

// Mode says how segments end.
type Mode string

// The modes.
const (
	Commit Mode = "commit"
	Abort  Mode = "abort"
)

// init takes over the hooks where the runner asks for a mode of this package.
func init() {
	mode := Mode(shim.Mode())
	if mode != Commit && mode != Abort {
		return
	}
	s, err := fromEnvironment(mode)
	if err != nil {
		fmt.Fprintln(os.Stderr, "inside:", err)
		os.Exit(1)
	}
	hook.TestFunc = s.test
	hook.ParallelFunc = func(interface{ Parallel() }) {}
	shim.Through = func(base, dsn string, bare, ours driver.Connector) driver.Connector {
		return &connector{
			Connector: ours,
			s:         s,
			src:       &source{base: base, open: func() (*sql.DB, error) { return openBare(base, dsn, bare) }},
		}
	}
}

func openBare(base, dsn string, bare driver.Connector) (*sql.DB, error) {
	if bare != nil {
		return sql.OpenDB(bare), nil
	}
	return sql.Open(base, dsn)
}

// fromEnvironment starts a session with its coordinator, which ends with the process.
func fromEnvironment(mode Mode) (*session, error) {
	dir := os.Getenv("GTX_CONFORMANCE_DIR")
	if dir == "" {
		return nil, fmt.Errorf("GTX_CONFORMANCE_DIR is not set")
	}
	dir, err := os.MkdirTemp(dir, "coordinator")
	if err != nil {
		return nil, fmt.Errorf("make directory for the coordinator: %w", err)
	}
	quiet := slog.New(slog.DiscardHandler)
	bus, err := natsbus.Embedded(context.Background(), dir, natsbus.WithLogger(quiet))
	if err != nil {
		return nil, err
	}
	gtx.SetDefault(bus)
	name := os.Getenv("GTX_CONFORMANCE_RECORD")
	if name == "" {
		return newSession(mode, bus, io.Discard), nil
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open record: %w", err)
	}
	return newSession(mode, bus, f), nil
}
