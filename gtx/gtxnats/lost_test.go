package gtxnats_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/gtxnats"
	"github.com/globaltx/globaltx/gtx/internal/memory"
)

// liar joins by hand, has a branch that is confirmed, and replies what it likes.
func liar(t *testing.T, c gtx.Coordinator, header nats.Header) nats.MsgHandler {
	return func(msg *nats.Msg) {
		text := msg.Header.Get(gtxnats.HeaderXID)
		xid, err := gtx.ParseXID(text)
		if err == nil {
			_, _, err = gtx.Join(t.Context(), c, xid, func(ctx context.Context) error { return memory.Branch(ctx, stock, confirm) })
		}
		reply := nats.NewMsg("")
		for key, values := range header {
			for _, v := range values {
				reply.Header.Add(key, strings.ReplaceAll(v, "XID", text))
			}
		}
		if err := errors.Join(err, msg.RespondMsg(reply)); err != nil {
			t.Error(err)
		}
	}
}

// The rows end in a branch that has committed locally and is not reported: rule
// C1 must abort although the caller ignores the error.
func TestUnreportedBranchAborts(t *testing.T) {
	cases := map[string]struct {
		header nats.Header
		want   error // nil: the request succeeds
	}{
		"peer without this package":     {want: gtxnats.ErrNotJoined},
		"report of another transaction": {header: nats.Header{"Gtx-Branches": {"0000000000000007-0-1-99"}}, want: gtxnats.ErrBadReport},
		"empty report":                  {header: nats.Header{"Gtx-Branches": {""}}, want: gtxnats.ErrBadReport},
		"several reports":               {header: nats.Header{"Gtx-Branches": {"XID", "XID"}}, want: gtxnats.ErrBadReport},
		"two spellings":                 {header: nats.Header{"Gtx-Branches": {"XID"}, "gtx-branches": {"XID"}}, want: gtxnats.ErrBadReport},
		"oversized report":              {header: nats.Header{"Gtx-Branches": {"XID +x/1" + strings.Repeat(",1", 40_000)}}, want: gtxnats.ErrBadReport},
		"too many branches":             {header: nats.Header{"Gtx-Branches": {"XID +x/1" + strings.Repeat(",1", 1024)}}, want: gtxnats.ErrBadReport},
		"report without the branch":     {header: nats.Header{"Gtx-Branches": {"XID"}}},
		"error with a bad report":       {header: nats.Header{"Gtx-Branches": {"forged"}, "Nats-Service-Error-Code": {"404"}}, want: gtxnats.ErrBadReport},
	}
	nc := connect(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := memory.New()
			subject := "liar." + strings.ReplaceAll(name, " ", "-")
			bare(t, nc, subject, liar(t, c, tc.header))
			askErr, err := run(c, nc, subject)
			if !errors.Is(askErr, tc.want) {
				t.Errorf("request: %v, want %v", askErr, tc.want)
			}
			var own *gtxnats.Error
			if tc.header.Get("Nats-Service-Error-Code") != "" && !errors.As(askErr, &own) {
				t.Errorf("request: %v hides the service's error", askErr)
			}
			if !errors.Is(err, gtx.ErrAborted) {
				t.Errorf("run: %v, want ErrAborted", err)
			}
		})
	}
}

func TestReplyThatDoesNotFitAborts(t *testing.T) {
	nc := connect(t, func(o *server.Options) { o.MaxPayload = 4096 })
	cases := map[string]gtxnats.HandlerFunc{
		"reply": func(ctx context.Context, _ *nats.Msg) (*nats.Msg, error) {
			return &nats.Msg{Data: make([]byte, 4097)}, memory.Branch(ctx, stock, confirm)
		},
		"report": func(ctx context.Context, _ *nats.Msg) (*nats.Msg, error) {
			for i := range 100 { // one for each of as many databases: nothing to shorten
				if err := memory.Branch(ctx, gtx.ResourceID(fmt.Sprintf("%s-%d", stock, i)), confirm); err != nil {
					return nil, err
				}
			}
			return nil, nil
		},
	}
	for name, h := range cases {
		t.Run(name, func(t *testing.T) {
			c := memory.New()
			subscribe(t, nc, c, name, h, gtxnats.Config{Trust: trustAll})
			askErr, err := run(c, nc, name)
			var own *gtxnats.Error
			if !errors.As(askErr, &own) || !strings.Contains(own.Description, nats.ErrMaxPayload.Error()) || !errors.Is(err, gtx.ErrAborted) {
				t.Errorf("request: %v, run: %v, want the limit and ErrAborted", askErr, err)
			}
		})
	}
}

func TestReportThatCannotBeWrittenAborts(t *testing.T) {
	nc, c := connect(t), memory.New()
	subscribe(t, nc, c, "stock", func(ctx context.Context, _ *nats.Msg) (*nats.Msg, error) {
		return nil, memory.Branch(ctx, "not a resource", confirm)
	}, gtxnats.Config{Trust: trustAll})
	askErr, err := run(c, nc, "stock")
	var own *gtxnats.Error
	if !errors.As(askErr, &own) || !errors.Is(err, gtx.ErrAborted) {
		t.Errorf("request: %v, run: %v, want an Error and ErrAborted", askErr, err)
	}
}

// Two services have subscribed to one subject, outside a queue group: both work,
// and the second reply finds nobody who waits.
func TestSeveralRespondersAbort(t *testing.T) {
	nc, c := connect(t), memory.New()
	var both sync.WaitGroup
	both.Add(2)
	for range 2 {
		subscribe(t, nc, c, "stock", func(ctx context.Context, _ *nats.Msg) (*nats.Msg, error) {
			err := memory.Branch(ctx, stock, confirm)
			both.Done()
			both.Wait() // so that both have a branch when the first reply arrives
			return nil, err
		}, gtxnats.Config{Trust: trustAll})
	}
	askErr, err := run(c, nc, "stock")
	if askErr != nil || !errors.Is(err, gtx.ErrAborted) {
		t.Errorf("request: %v, run: %v, want nil and ErrAborted", askErr, err)
	}
}

func TestOneOfAQueueGroupAnswers(t *testing.T) {
	nc, c := connect(t), memory.New()
	h := gtxnats.Handler(t.Context(), c, func(ctx context.Context, _ *nats.Msg) (*nats.Msg, error) {
		return nil, memory.Branch(ctx, stock, confirm)
	}, gtxnats.Config{Trust: trustAll})
	for range 2 {
		if _, err := nc.QueueSubscribe("stock", "stock", h); err != nil {
			t.Fatal(err)
		}
	}
	if askErr, err := run(c, nc, "stock"); errors.Join(askErr, err) != nil {
		t.Fatal(askErr, err)
	}
	if refs := committed(t, c); len(refs) != 1 {
		t.Errorf("participants %v, want one", refs)
	}
}

func TestCancelledRequestAborts(t *testing.T) {
	nc, c := connect(t), memory.New()
	registered, cancelled := make(chan struct{}), make(chan struct{})
	subscribe(t, nc, c, "stock", func(ctx context.Context, _ *nats.Msg) (*nats.Msg, error) {
		err := memory.Branch(ctx, stock, confirm)
		close(registered)
		<-cancelled
		return nil, err
	}, gtxnats.Config{Trust: trustAll})
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		askCtx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			<-registered
			cancel()
		}()
		_, err := gtxnats.Request(askCtx, nc, &nats.Msg{Subject: "stock"})
		close(cancelled)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("request: %v, want canceled", err)
		}
		return nil
	}, gtx.WithCoordinator(c))
	if !errors.Is(err, gtx.ErrAborted) {
		t.Errorf("run: %v, want ErrAborted", err)
	}
}

func TestHandlersTimeEnds(t *testing.T) {
	nc, c := connect(t), memory.New()
	subscribe(t, nc, c, "stock", func(ctx context.Context, _ *nats.Msg) (*nats.Msg, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}, gtxnats.Config{Trust: trustAll, Timeout: time.Millisecond})
	askErr, err := run(c, nc, "stock")
	var own *gtxnats.Error
	if !errors.As(askErr, &own) || own.Description != context.DeadlineExceeded.Error() || err != nil {
		t.Errorf("request: %v, run: %v", askErr, err)
	}
}

func TestBranchLeftOpenByTheHandlerAborts(t *testing.T) {
	nc, c := connect(t), memory.New()
	subscribe(t, nc, c, "stock", func(ctx context.Context, _ *nats.Msg) (*nats.Msg, error) {
		return nil, memory.Branch(ctx, stock, func(*gtx.Tx, gtx.BranchRef) {})
	}, gtxnats.Config{Trust: trustAll})
	askErr, err := run(c, nc, "stock")
	if askErr != nil || !errors.Is(err, gtx.ErrAborted) {
		t.Errorf("request: %v, run: %v, want nil and ErrAborted", askErr, err)
	}
}

func TestPeerCannotKillAnothersBranch(t *testing.T) {
	nc, c := connect(t), memory.New()
	var own atomic.Value
	bare(t, nc, "stock", func(msg *nats.Msg) {
		reply := nats.NewMsg("")
		reply.Header.Set(gtxnats.HeaderBranches, msg.Header.Get(gtxnats.HeaderXID)+" -"+own.Load().(string))
		if err := msg.RespondMsg(reply); err != nil {
			t.Error(err)
		}
	})
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		if err := memory.Branch(ctx, "own", func(tx *gtx.Tx, ref gtx.BranchRef) {
			tx.Confirm(ref)
			own.Store(fmt.Sprintf("%s/%d", ref.Resource, ref.Branch))
		}); err != nil {
			return err
		}
		_, err := ask(ctx, nc, "stock")
		return err
	}, gtx.WithCoordinator(c))
	if err == nil || len(c.Committed()) != 0 {
		t.Errorf("run: %v, want an abort", err)
	}
}
