package gtxnats_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/gtxnats"
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
	nc := connect(t)
	for name, tt := range modes {
		t.Run(name, func(t *testing.T) {
			c, got := modeCoordinator(t), gtx.Mode(99)
			inner, middle := nats.NewInbox(), nats.NewInbox()
			subscribe(t, nc, c, inner, func(ctx context.Context, _ *nats.Msg) (*nats.Msg, error) {
				got = seen(ctx)
				return nil, memory.Branch(ctx, stock, confirm)
			}, gtxnats.Config{Trust: trustAll})
			subscribe(t, nc, c, middle, func(ctx context.Context, _ *nats.Msg) (*nats.Msg, error) {
				return ask(ctx, nc, inner)
			}, gtxnats.Config{Trust: trustAll})
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				if tt.in != nil {
					ctx = tt.in(ctx)
				}
				ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
				defer cancel()
				// What stands there already does not count, in whatever case.
				_, err := gtxnats.Request(ctx, nc, &nats.Msg{Subject: middle, Header: nats.Header{"gtx-mode": {"tcc"}}})
				return err
			}, append([]gtx.Option{gtx.WithCoordinator(c)}, tt.opts...)...)
			if err != nil || got != tt.want {
				t.Errorf("the inner service saw %s, want %s; %v", got, tt.want, err)
			}
		})
	}
}

func TestUnknownModeIsRefused(t *testing.T) {
	nc, c := connect(t), memory.New()
	subscribe(t, nc, c, "stock", func(context.Context, *nats.Msg) (*nats.Msg, error) {
		t.Error("served in a mode that the caller did not want")
		return nil, nil
	}, gtxnats.Config{Trust: trustAll})
	for _, header := range []nats.Header{
		{gtxnats.HeaderMode: {"tcc"}},
		{"gtx-mode": {"3pc"}},
		{gtxnats.HeaderMode: {"xa"}, "gtx-mode": {"xa"}},
	} {
		header.Set(gtxnats.HeaderXID, gtx.XID{Log: 7, Epoch: 1, Seq: 1}.String())
		reply, err := nc.RequestMsg(&nats.Msg{Subject: "stock", Header: header}, 20*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if reply.Header.Get("Nats-Service-Error-Code") != "400" || !strings.Contains(reply.Header.Get("Nats-Service-Error"), "mode of the global transaction") {
			t.Errorf("%v: %v", header, reply.Header)
		}
	}
}
