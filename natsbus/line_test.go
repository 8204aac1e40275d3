package natsbus_test

import (
	"bytes"
	"net"
	"sync"

	"github.com/nats-io/nats.go"
)

// line is the way of one client to its server. A held line takes what is
// written and lets nothing through, in either direction, as a network that has
// gone away or a process that is stopped: nobody is told. What it has held
// arrives after release, unless the connection was given up.
type line struct {
	// mu protects the following.
	mu     sync.Mutex
	change *sync.Cond
	hold   bool
	match  []byte        // a write with this in it holds the line
	held   chan struct{} // closed when match has been met
	conns  map[*lineConn]struct{}
}

func newLine() *line {
	l := &line{conns: map[*lineConn]struct{}{}}
	l.change = sync.NewCond(&l.mu)
	return l
}

func (l *line) option() nats.Option { return nats.SetCustomDialer(l) }

// Dial implements nats.CustomDialer. A new connection over a held line waits
// for its first byte.
func (l *line) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	lc := &lineConn{Conn: c, line: l}
	l.conns[lc] = struct{}{}
	return lc, nil
}

func (l *line) holdNow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hold = true
}

// holdAt holds the line when text is written, and closes the channel then.
func (l *line) holdAt(text string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.match, l.held = []byte(text), make(chan struct{})
	return l.held
}

func (l *line) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hold = false
	for c := range l.conns {
		_, _ = c.Conn.Write(c.late) // a broken connection shows itself
		c.late = nil
	}
	l.change.Broadcast()
}

// cut breaks every connection.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Conn.Close()
	}
}

type lineConn struct {
	net.Conn
	line   *line
	late   []byte // under line.mu
	closed bool   // under line.mu
}

func (c *lineConn) Write(p []byte) (int, error) {
	l := c.line
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.match != nil && bytes.Contains(p, l.match) {
		l.hold, l.match = true, nil
		close(l.held)
	}
	if l.hold {
		c.late = append(c.late, p...)
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *lineConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	for c.line.hold && !c.closed {
		c.line.change.Wait()
	}
	return n, err
}

func (c *lineConn) Close() error {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	c.closed = true
	delete(c.line.conns, c)
	c.line.change.Broadcast()
	return c.Conn.Close()
}
