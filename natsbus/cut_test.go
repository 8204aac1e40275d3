package natsbus_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

// TestNothingIsSentAfterReconnect: what a caller has asked while the connection
// was away, and has given up, does not reach the coordinator when it is back.
func TestNothingIsSentAfterReconnect(t *testing.T) {
	url, way, ctx := natsServer(t), newLine(), testContext(t)
	defer way.release()
	service(t, url)
	b, err := natsbus.Connect(ctx, natsbus.Config{URL: url, Timeout: 30 * time.Second, Options: []nats.Option{way.option()}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	way.holdNow()
	way.cut()
	const calls = 20
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
			defer cancel()
			if _, err := b.Begin(short, gtx.BeginRequest{Timeout: time.Minute}); !errors.Is(err, gtx.ErrUnavailable) {
				t.Errorf("begin without a connection: %v", err)
			}
		})
	}
	wg.Wait()
	way.release()
	begin(t, b)
	if st, err := b.Stats(ctx); err != nil || st.Live != 1 {
		t.Errorf("%d transactions, want the one that was not given up, %v", st.Live, err)
	}
}

// TestFullPipe: a network that takes no more bytes keeps a client for seconds,
// not until the system gives the connection up.
func TestFullPipe(t *testing.T) {
	url, ctx := natsServer(t), testContext(t)
	service(t, url)
	way := &pipe{shut: make(chan struct{}), end: make(chan struct{})}
	defer close(way.end)
	b, err := natsbus.Connect(ctx, natsbus.Config{URL: url, Timeout: 30 * time.Second, Options: []nats.Option{nats.SetCustomDialer(way)}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	way.shutNow()
	began := time.Now()
	for range 2 { // the first write may still be taken
		if _, err := b.Begin(ctx, gtx.BeginRequest{}); err != nil {
			t.Fatalf("begin: %v, after %v", err, time.Since(began))
		}
	}
}

// pipe is a way to a server without room on it: a write waits until it is read
// at the other end, and for ever once the pipe is shut. Connections of later are
// not shut.
type pipe struct {
	shut chan struct{}
	end  chan struct{} // closed with the test

	// mu protects the following.
	mu   sync.Mutex
	done bool
}

func (p *pipe) shutNow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = true
	close(p.shut)
}

// Dial implements nats.CustomDialer.
func (p *pipe) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	shut := p.shut
	if p.done {
		shut = nil
	}
	p.mu.Unlock()
	near, far := net.Pipe()
	go func() {
		_, _ = io.Copy(far, c)
		_ = far.Close()
	}()
	go func() {
		defer c.Close()
		buf := make([]byte, 32<<10)
		for {
			n, err := far.Read(buf)
			if err != nil {
				return
			}
			select {
			case <-shut:
				<-p.end
				return
			default:
			}
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	return near, nil
}
