package chaos

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// direction of the bytes on a link.
type direction int

const (
	toServer direction = iota
	toClient
)

// link relays every connection to one server and can fail in the ways of a
// network. Safe for concurrent use.
type link struct {
	name     string
	listener net.Listener
	to       string
	wg       sync.WaitGroup

	// mu protects the following.
	mu      sync.Mutex
	refuses bool
	holds   [2]bool
	delay   time.Duration
	changed chan struct{} // closed with every change
	open    map[*pair]struct{}
	closed  bool
}

// pair is one connection and what it is relayed to.
type pair struct {
	client, server net.Conn
	gone           chan struct{}
	once           sync.Once
}

func (p *pair) end() {
	p.once.Do(func() {
		close(p.gone)
		_ = p.client.Close()
		_ = p.server.Close()
	})
}

// newLink listens on loopback and relays to the address to.
func newLink(name, to string) (*link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &link{name: name, listener: l, to: to, changed: make(chan struct{}), open: map[*pair]struct{}{}}
	k.wg.Go(k.accept)
	return k, nil
}

func (k *link) addr() string { return k.listener.Addr().String() }

// change sets the state of the link and wakes who waits for it.
func (k *link) change(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
	close(k.changed)
	k.changed = make(chan struct{})
}

// cut ends all connections and refuses new ones.
func (k *link) cut() {
	k.change(func() {
		k.refuses = true
		for p := range k.open {
			p.end()
		}
	})
}

// hold keeps back what goes in the given directions. Nobody is told: neither
// side sees more than silence.
func (k *link) hold(ds ...direction) {
	k.change(func() {
		for _, d := range ds {
			k.holds[d] = true
		}
	})
}

// slow delays every chunk by d.
func (k *link) slow(d time.Duration) { k.change(func() { k.delay = d }) }

// heal makes the link whole. What was kept back is delivered, late, as TCP does;
// with drop it never is, and the connections end.
func (k *link) heal(drop bool) {
	k.change(func() {
		if drop && (k.holds[toServer] || k.holds[toClient]) {
			for p := range k.open {
				p.end()
			}
		}
		k.refuses, k.holds, k.delay = false, [2]bool{}, 0
	})
}

func (k *link) close() {
	k.change(func() {
		k.closed = true
		for p := range k.open {
			p.end()
		}
	})
	_ = k.listener.Close()
	k.wg.Wait()
}

func (k *link) accept() {
	for {
		client, err := k.listener.Accept()
		if err != nil {
			return
		}
		k.wg.Go(func() {
			server, err := net.Dial("tcp", k.to)
			if err != nil {
				_ = client.Close()
				return
			}
			p := &pair{client: client, server: server, gone: make(chan struct{})}
			k.mu.Lock()
			if k.refuses || k.closed {
				k.mu.Unlock()
				p.end()
				return
			}
			k.open[p] = struct{}{}
			k.mu.Unlock()
			var both sync.WaitGroup
			both.Go(func() { k.pump(p, server, client, toServer) })
			both.Go(func() { k.pump(p, client, server, toClient) })
			both.Wait()
			k.mu.Lock()
			delete(k.open, p)
			k.mu.Unlock()
		})
	}
}

func (k *link) pump(p *pair, dst io.Writer, src io.Reader, d direction) {
	defer p.end()
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if !k.pass(p, d) {
				return
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

// pass waits until bytes may go on; false when the connection has ended.
func (k *link) pass(p *pair, d direction) bool {
	k.mu.Lock()
	delay := k.delay
	k.mu.Unlock()
	if delay > 0 {
		t := time.NewTimer(delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-p.gone:
			return false
		}
	}
	for {
		k.mu.Lock()
		held, changed := k.holds[d], k.changed
		k.mu.Unlock()
		if !held {
			return true
		}
		select {
		case <-changed:
		case <-p.gone:
			return false
		}
	}
}

// The nemesis is worth only what its links do.
func TestLink(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() { // an echo
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	k, err := newLink("echo", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", k.addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	send := func(c net.Conn, text string) {
		t.Helper()
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	read := func(c net.Conn, n int, wait time.Duration) (string, error) {
		buf := make([]byte, n)
		if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadFull(c, buf)
		return string(buf[:got]), err
	}
	const long, short = 30 * time.Second, 50 * time.Millisecond

	c := dial()
	send(c, "one")
	if got, err := read(c, 3, long); got != "one" {
		t.Fatal(got, err)
	}
	for _, d := range []direction{toServer, toClient} {
		k.hold(d)
		send(c, "two")
		if got, err := read(c, 3, short); err == nil {
			t.Errorf("held in direction %d: got %q", d, got)
		}
		k.heal(false)
		if got, err := read(c, 3, long); got != "two" {
			t.Errorf("healed: got %q, %v, want what was held back", got, err)
		}
	}
	k.slow(short)
	began := time.Now()
	send(c, "six")
	if got, err := read(c, 3, long); got != "six" || time.Since(began) < 2*short {
		t.Errorf("slow: got %q, %v after %v", got, err, time.Since(began))
	}
	k.heal(false)
	k.hold(toClient)
	send(c, "lost")
	k.heal(true)
	if got, err := read(c, 4, long); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("dropped: got %q, %v, want the end of the connection", got, err)
	}
	c = dial()
	send(c, "one")
	if got, err := read(c, 3, long); got != "one" {
		t.Fatal(got, err)
	}
	k.cut()
	if _, err := read(c, 1, long); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("cut: %v, want the end of the connection", err)
	}
	if _, err := read(dial(), 1, long); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("cut: a new connection got %v, want its end", err)
	}
}
