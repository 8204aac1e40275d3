package tcc

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
	"github.com/globaltx/globaltx/internal/testserver/natstest"
	"github.com/globaltx/globaltx/natsbus"
)

// asking counts the lists of one transaction that were refused, which phase two asks for.
type asking struct {
	*natsbus.Bus
	refused chan error
}

func (a *asking) Guards(ctx context.Context, r gtx.ResourceID, xid gtx.XID) ([]gtx.Guard, error) {
	all, err := a.Bus.Guards(ctx, r, xid)
	if err != nil && !xid.IsZero() && ctx.Err() == nil {
		select {
		case a.refused <- err:
		default:
		}
	}
	return all, err
}

// TestY3LostGuardIsNotConfirmed: a committed transaction whose guard was lost with its
// stream, before its Confirm, is not acknowledged, whoever looks, and as often as it does.
func TestY3LostGuardIsNotConfirmed(t *testing.T) {
	ctx := bareContext(t)
	url := natstest.Run(t, &server.Options{JetStream: true, StoreDir: t.TempDir(), SyncAlways: true})
	serve := func() *natsbus.Service {
		s, err := natsbus.Serve(ctx, natsbus.ServiceConfig{
			URL: url, Logger: bareQuiet, AssumeSyncAlways: true, MaxBytes: 64 << 20, TakeoverAfter: time.Second,
			Coordinator: coordinator.Config{PushMin: 50 * time.Millisecond, PushMax: 100 * time.Millisecond, DoneDelay: time.Millisecond, StallAfter: time.Minute},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Stop)
		return s
	}
	s := serve()
	bus, err := natsbus.Connect(ctx, natsbus.Config{URL: url, Logger: bareQuiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	c := &asking{bus, make(chan error, 1)}
	f, tried, confirms := newFar(), make(chan struct{}, 1), atomic.Bool{}
	h := bareAction(t, bareResource(t, c), &mail{f, func(_ context.Context, what, _ string) error {
		if what == "try" || confirms.Load() {
			return nil
		}
		select {
		case tried <- struct{}{}:
		default:
		}
		return errBare
	}})
	xid, err := bareRun(t, c, h, same1)
	if err != nil {
		t.Fatal(err)
	}
	<-tried
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err == nil {
		err = js.DeleteStream(ctx, "GTX_GUARD")
	}
	if err != nil {
		t.Fatal(err)
	}
	confirms.Store(true)
	for _, restart := range []bool{false, true} {
		if restart {
			s.Stop()
			s = serve()
		}
		for n := 0; n < 3; {
			select {
			case err := <-c.refused:
				if strings.Contains(err.Error(), "GTX_GUARD_ANCHOR") {
					n++
				}
			case <-ctx.Done():
				t.Fatal("nobody asks for the guards")
			}
		}
		if st, err := bus.Stats(ctx); err != nil || st.Unfinished != 1 {
			t.Errorf("restarted %v: %d commits are unfinished, %v", restart, st.Unfinished, err)
		}
		if _, err := Bare(ctx, "mail", Config{Coordinator: bus, Logger: bareQuiet}); !errors.Is(err, gtx.ErrUnavailable) {
			t.Errorf("restarted %v: open: %v", restart, err)
		}
		if _, err := bareRun(t, c, h, same1); !errors.Is(err, gtx.ErrUnavailable) {
			t.Errorf("restarted %v: try: %v", restart, err)
		}
	}
	if calls, _ := f.of(xid); len(calls) != 1 || calls[0] != "try" {
		t.Errorf("calls %q", calls)
	}
}
