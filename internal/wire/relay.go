// Package wire counts the round trips between a program and its database, with a
// relay on loopback that stands between them.
package wire

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"

	"github.com/go-sql-driver/mysql"
)

// Relay hands every connection on to one server. Safe for concurrent use.
type Relay struct {
	listener net.Listener
	network  string
	to       string
	wg       sync.WaitGroup

	// mu protects the following.
	mu     sync.Mutex
	trips  int
	mute   []byte // see Silence
	closed bool
	open   map[net.Conn]struct{}
}

// Listen starts a relay to the server at an address of package net. Close it.
func Listen(network, to string) (*Relay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for relay: %w", err)
	}
	r := &Relay{listener: l, network: network, to: to, open: map[net.Conn]struct{}{}}
	r.wg.Go(r.accept)
	return r, nil
}

// Through gives a DSN of the base driver "mysql", "postgres" or "pgx" with its address
// replaced by that of a new relay to it.
func Through(driver, dsn string) (string, *Relay, error) {
	switch driver {
	case "mysql":
		cfg, err := mysql.ParseDSN(dsn)
		if err != nil {
			return "", nil, errors.New("relay: the DSN is not understood")
		}
		r, err := Listen(cfg.Net, cfg.Addr)
		if err != nil {
			return "", nil, err
		}
		cfg.Net, cfg.Addr = "tcp", r.Addr()
		return cfg.FormatDSN(), r, nil
	case "postgres", "pgx":
		u, err := url.Parse(dsn)
		if err != nil || u.Host == "" {
			return "", nil, errors.New("relay: the DSN is no URL with a host")
		}
		host := u.Host
		if u.Port() == "" {
			host = net.JoinHostPort(u.Hostname(), "5432")
		}
		r, err := Listen("tcp", host)
		if err != nil {
			return "", nil, err
		}
		u.Host = r.Addr()
		return u.String(), r, nil
	}
	return "", nil, fmt.Errorf("relay: %s has no connections", driver)
}

// Addr is where the relay listens, host:port.
func (r *Relay) Addr() string { return r.listener.Addr().String() }

// RoundTrips tells how often a client has spoken after its server had.
func (r *Relay) RoundTrips() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.trips
}

// Silence makes one connection swallow everything from the next message on in which a
// client says text: nobody hears anything, and the connection stays.
func (r *Relay) Silence(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mute = []byte(text)
}

// Close ends all connections.
func (r *Relay) Close() {
	r.mu.Lock()
	r.closed = true
	for c := range r.open {
		c.Close()
	}
	r.mu.Unlock()
	r.listener.Close()
	r.wg.Wait()
}

func (r *Relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial(r.network, r.to)
		if err != nil || !r.keep(client, server) {
			client.Close()
			if err == nil {
				server.Close()
			}
			continue
		}
		t := &talk{relay: r, serverSpoke: true}
		r.wg.Go(func() { t.pipe(server, client, true) })
		r.wg.Go(func() { t.pipe(client, server, false) })
	}
}

func (r *Relay) keep(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		if !r.closed {
			r.open[c] = struct{}{}
		}
	}
	return !r.closed
}

// talk is one connection.
type talk struct {
	relay *Relay
	// relay.mu protects the following.
	serverSpoke bool
	silent      bool
}

func (t *talk) pipe(dst, src net.Conn, fromClient bool) {
	defer func() {
		dst.Close()
		src.Close()
		t.relay.mu.Lock()
		delete(t.relay.open, src)
		t.relay.mu.Unlock()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if t.said(fromClient, buf[:n]) {
				continue
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// said tells whether to swallow what was said.
func (t *talk) said(fromClient bool, what []byte) (silent bool) {
	t.relay.mu.Lock()
	defer t.relay.mu.Unlock()
	if fromClient && t.relay.mute != nil && bytes.Contains(what, t.relay.mute) {
		t.silent, t.relay.mute = true, nil
	}
	if fromClient && t.serverSpoke {
		t.relay.trips++
	}
	t.serverSpoke = !fromClient
	return t.silent
}
