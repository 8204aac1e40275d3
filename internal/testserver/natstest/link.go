package natstest

import (
	"net"
	"sync"
	"testing"
)

// link carries the route connections from one server to another, and can hold
// them.
type link struct {
	ln net.Listener
	wg sync.WaitGroup

	// mu protects the following.
	mu     sync.Mutex
	change *sync.Cond // of what follows
	target string     // empty until the other server has started
	hold   bool
	ended  bool
	conns  map[net.Conn]struct{}
}

func newLink(t testing.TB) *link {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{ln: ln, conns: map[net.Conn]struct{}{}}
	l.change = sync.NewCond(&l.mu)
	l.wg.Go(l.accept)
	return l
}

func (l *link) addr() string { return l.ln.Addr().String() }

func (l *link) set(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do()
	l.change.Broadcast()
}

func (l *link) aim(target string) { l.set(func() { l.target = target }) }
func (l *link) cut()              { l.set(func() { l.hold = true }) }
func (l *link) heal()             { l.set(func() { l.hold = false }) }

func (l *link) close() {
	_ = l.ln.Close()
	l.set(func() {
		l.ended = true
		for c := range l.conns {
			_ = c.Close()
		}
	})
	l.wg.Wait()
}

func (l *link) accept() {
	for {
		from, err := l.ln.Accept()
		if err != nil {
			return
		}
		l.wg.Go(func() { l.carry(from) })
	}
}

// carry joins from with a connection to the target until either ends.
func (l *link) carry(from net.Conn) {
	defer from.Close()
	target, ok := l.open("")
	if !ok || target == "" {
		return // the server tries again
	}
	to, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer to.Close()
	l.set(func() {
		if ok = !l.ended; ok {
			l.conns[from], l.conns[to] = struct{}{}, struct{}{}
		}
	})
	if !ok {
		return
	}
	defer l.set(func() { delete(l.conns, from); delete(l.conns, to) })
	var wg sync.WaitGroup
	pipe := func(dst, src net.Conn) {
		defer dst.Close()
		defer src.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := src.Read(buf)
			if _, ok := l.open(target); !ok {
				return
			}
			if n > 0 {
				if _, err := dst.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	wg.Go(func() { pipe(to, from) })
	pipe(from, to)
	wg.Wait()
}

// open waits while the link is held. It gives the target, and false when the
// link has ended or no longer leads to want.
func (l *link) open(want string) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.hold && !l.ended {
		l.change.Wait()
	}
	return l.target, !l.ended && (want == "" || want == l.target)
}
