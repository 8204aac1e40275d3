package gtxgrpc_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/gtxgrpc"
	"github.com/globaltx/globaltx/gtx/internal/memory"
)

// yes is a resolver of a database that could prepare.
type yes struct{}

func (yes) Resolve(context.Context, gtx.Resolution) error { return nil }
func (yes) CanCommit(context.Context) error               { return nil }

// modes of a caller, and what a service sees that is called by way of another.
var modes = map[string]struct {
	opts []gtx.Option
	in   func(context.Context) context.Context
	want gtx.Mode
}{
	"AT":            {nil, nil, gtx.AT},
	"XA":            {[]gtx.Option{gtx.WithMode(gtx.XA)}, nil, gtx.XA},
	"3PC":           {[]gtx.Option{gtx.WithMode(gtx.ThreePhase), gtx.WithResources(gtx.Remote(stock))}, nil, gtx.ThreePhase},
	"AT inside XA":  {[]gtx.Option{gtx.WithMode(gtx.XA)}, inMode(gtx.AT), gtx.AT},
	"XA inside AT":  {nil, inMode(gtx.XA), gtx.XA},
	"AT inside 3PC": {[]gtx.Option{gtx.WithMode(gtx.ThreePhase), gtx.WithResources(gtx.Remote(stock))}, inMode(gtx.AT), gtx.ThreePhase},
}

func inMode(m gtx.Mode) func(context.Context) context.Context {
	return func(ctx context.Context) context.Context { return gtx.InMode(ctx, m) }
}

// modeCoordinator is one that could begin all of modes.
func modeCoordinator(t *testing.T) *memory.Coordinator {
	t.Helper()
	c := memory.New()
	if _, err := c.Serve(stock, yes{}); err != nil {
		t.Fatal(err)
	}
	return c
}

// seen tells the mode of the branches of ctx.
func seen(ctx context.Context) gtx.Mode {
	tx, _ := gtx.FromContext(ctx)
	return tx.ModeFor(ctx)
}

func TestModeTravels(t *testing.T) {
	for name, tt := range modes {
		t.Run(name, func(t *testing.T) {
			c, got := modeCoordinator(t), gtx.Mode(99)
			inner := service(t, c, func(ctx context.Context) error {
				got = seen(ctx)
				return memory.Branch(ctx, stock, confirm)
			}, options{})
			middle := service(t, c, func(ctx context.Context) error { return call(ctx, inner) }, options{})
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				if tt.in != nil {
					ctx = tt.in(ctx)
				}
				// What stands there already does not count.
				return call(metadata.AppendToOutgoingContext(ctx, gtxgrpc.KeyMode, "tcc"), middle)
			}, append([]gtx.Option{gtx.WithCoordinator(c)}, tt.opts...)...)
			if err != nil || got != tt.want {
				t.Errorf("the inner service saw %s, want %s; %v", got, tt.want, err)
			}
		})
	}
}

func TestUnknownModeIsRefused(t *testing.T) {
	c := memory.New()
	client := service(t, c, func(context.Context) error {
		t.Error("served in a mode that the caller did not want")
		return nil
	}, options{dial: []grpc.DialOption{}})
	for _, values := range [][]string{{"tcc"}, {""}, {"xa", "xa"}} {
		md := metadata.Pairs(gtxgrpc.KeyXID, gtx.XID{Log: 7, Epoch: 1, Seq: 1}.String())
		md.Set(gtxgrpc.KeyMode, values...)
		err := call(metadata.NewOutgoingContext(t.Context(), md), client)
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "mode of the global transaction") {
			t.Errorf("%q: %v", values, err)
		}
	}
}
