package postgres

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/lib/pq"
)

var _ pq.DialerContext = dialer{}

// patience bounds a wait for the server on connections of phase two. lib/pq goes on
// reading when the context of a statement has ended: of a server that is stopped, or
// gone without a word, phase two would wait for ever. One statement may delete all
// undo rows of a transaction.
const patience = 10 * time.Minute

// dialer opens connections that wait for the server no longer than patience at a time.
type dialer struct {
	net.Dialer
	patience time.Duration
}

func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.Dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &patientConn{Conn: c, patience: d.patience}, nil
}

type patientConn struct {
	net.Conn
	patience time.Duration
	bound    atomic.Bool // has a deadline of the driver's: connect_timeout
}

func (c *patientConn) SetDeadline(t time.Time) error {
	c.bound.Store(!t.IsZero())
	return c.Conn.SetDeadline(t)
}

func (c *patientConn) Read(b []byte) (int, error) {
	if !c.bound.Load() {
		if err := c.SetReadDeadline(time.Now().Add(c.patience)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(b)
}
