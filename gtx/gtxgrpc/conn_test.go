package gtxgrpc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/internal/memory"
)

var _ stats.Handler = (*spy)(nil)

// spy is between a server and its network. It counts attempts on the client.
type spy struct {
	net.Listener
	accept      func(net.Conn) net.Conn
	transparent atomic.Int32
}

func (s *spy) Accept() (net.Conn, error) {
	conn, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return s.accept(conn), nil
}

func (s *spy) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (s *spy) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (s *spy) HandleConn(context.Context, stats.ConnStats)                       {}

func (s *spy) HandleRPC(_ context.Context, rs stats.RPCStats) {
	if begin, ok := rs.(*stats.Begin); ok && begin.IsTransparentRetryAttempt {
		s.transparent.Add(1)
	}
}

// refuseFirst says what a server says that stops and has not begun with a call:
// GOAWAY with no stream processed (RFC 9113, 6.8). The client ends the connection.
func refuseFirst(t *testing.T, conn net.Conn) {
	const headers, settings, goAway = 1, 4, 7
	frame := func(kind byte, payload ...byte) {
		b := []byte{0, 0, byte(len(payload)), kind, 0, 0, 0, 0, 0} // of stream 0, the connection
		if _, err := conn.Write(append(b, payload...)); err != nil {
			t.Error(err)
		}
	}
	if _, err := io.CopyN(io.Discard, conn, int64(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))); err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	frame(settings)
	for head := make([]byte, 9); ; {
		if _, err := io.ReadFull(conn, head); err != nil {
			return // the client has gone
		}
		length := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
		if _, err := io.CopyN(io.Discard, conn, length); err != nil {
			return
		}
		if head[3] == headers {
			frame(goAway, make([]byte, 8)...) // last stream 0, NO_ERROR
		}
	}
}

// gRPC sends a call again that no handler has seen. Only one attempt has branches,
// and its report counts.
func TestTransparentRetryReports(t *testing.T) {
	c := memory.New()
	var conns, tries atomic.Int32
	s := &spy{}
	s.accept = func(conn net.Conn) net.Conn {
		if conns.Add(1) > 1 {
			return conn
		}
		// The server gets one end of a pipe that says nothing.
		refuseFirst(t, conn)
		quiet, other := net.Pipe()
		_ = other.Close()
		return quiet
	}
	client := service(t, c, func(ctx context.Context) error {
		tries.Add(1)
		return memory.Branch(ctx, stock, confirm)
	}, options{spy: s})
	// A call that waits for a connection is not failed between the first and the second.
	var callErr error
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		callErr = call(ctx, client, grpc.WaitForReady(true))
		return nil
	}, gtx.WithCoordinator(c))
	if errors.Join(callErr, err) != nil || tries.Load() != 1 || s.transparent.Load() != 1 {
		t.Fatalf("call: %v, run: %v, %d handled, %d transparent retries, want one of each", callErr, err, tries.Load(), s.transparent.Load())
	}
	if refs := committed(t, c); len(refs) != 1 {
		t.Errorf("participants %v, want one", refs)
	}
}

func TestBrokenConnectionAborts(t *testing.T) {
	c := memory.New()
	accepted := make(chan net.Conn, 1)
	client := service(t, c, func(ctx context.Context) error {
		err := memory.Branch(ctx, stock, confirm)
		return errors.Join(err, (<-accepted).Close())
	}, options{spy: &spy{accept: func(conn net.Conn) net.Conn {
		accepted <- conn
		return conn
	}}})
	callErr, err := run(c, client)
	if status.Code(callErr) != codes.Unavailable || !errors.Is(err, gtx.ErrAborted) {
		t.Errorf("call: %v, run: %v, want Unavailable and ErrAborted", callErr, err)
	}
}
