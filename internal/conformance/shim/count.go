package shim

import (
	"context"
	"database/sql/driver"
	"io"
	"os"
	"sync"
)

// counted tells in the run's record of each connection that our driver has made: a
// suite that opened none has shown nothing.
type counted struct{ driver.Connector }

var _ io.Closer = counted{}

// Connect connects as the connector below.
func (c counted) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err == nil {
		record()
	}
	return conn, err
}

// Close closes the connector below.
func (c counted) Close() error {
	if cl, ok := c.Connector.(io.Closer); ok {
		return cl.Close()
	}
	return nil
}

// connected is an inside.Record; package inside imports this one.
const connected = `{"event":"connected"}` + "\n"

var openRecord = sync.OnceValue(func() *os.File {
	f, err := os.OpenFile(os.Getenv("GTX_CONFORMANCE_RECORD"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil
	}
	return f
})

// record adds a line. What cannot be written is missed by the runner, which says so.
func record() {
	if f := openRecord(); f != nil {
		_, _ = f.WriteString(connected)
	}
}
