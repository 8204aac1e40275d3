package gtxnats_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/gtxnats"
	"github.com/globaltx/globaltx/gtx/internal/memory"
)

func TestServiceJoinsTheCallersTransaction(t *testing.T) {
	nc, c := connect(t), memory.New()
	var seen gtx.XID
	subscribe(t, nc, c, "stock", func(ctx context.Context, msg *nats.Msg) (*nats.Msg, error) {
		tx, _ := gtx.FromContext(ctx)
		seen = tx.XID()
		if string(msg.Data) != "10" || msg.Header.Get("Kept") != "yes" {
			t.Errorf("request %q %v", msg.Data, msg.Header)
		}
		err := errors.Join(memory.Branch(ctx, stock, confirm), memory.Branch(ctx, stock, (*gtx.Tx).Dead))
		return &nats.Msg{Data: []byte("reserved"), Header: nats.Header{"Own": {"a", "b"}}}, err
	}, gtxnats.Config{Trust: trustAll})

	var want gtx.XID
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		tx, _ := gtx.FromContext(ctx)
		want = tx.XID()
		msg := &nats.Msg{Subject: "stock", Data: []byte("10"), Header: nats.Header{"Kept": {"yes"}, "gtx-xid": {"forged"}, "Gtx-Xid": {"forged", "twice"}}}
		reply, err := gtxnats.Request(ctx, nc, msg)
		if err != nil {
			return err
		}
		if string(reply.Data) != "reserved" || len(reply.Header.Values("Own")) != 2 {
			t.Errorf("reply %q %v", reply.Data, reply.Header)
		}
		if len(msg.Header) != 3 || msg.Header.Get("Gtx-Xid") != "forged" || msg.Reply != "" {
			t.Errorf("the caller's message was changed: %v", msg)
		}
		return nil
	}, gtx.WithCoordinator(c))
	if err != nil {
		t.Fatal(err)
	}
	if seen != want {
		t.Errorf("service saw %s, want %s", seen, want)
	}
	if refs := committed(t, c); len(refs) != 1 || refs[0].Resource != stock {
		t.Errorf("participants %v, want one at %s", refs, stock)
	}
}

// The service in the middle hands on the reply as it is, with a report that is not
// its own.
func TestBranchesTravelThroughAServiceInTheMiddle(t *testing.T) {
	nc, c := connect(t), memory.New()
	subscribe(t, nc, c, "inner", func(ctx context.Context, _ *nats.Msg) (*nats.Msg, error) {
		return nil, memory.Branch(ctx, "inner", confirm)
	}, gtxnats.Config{Trust: trustAll})
	subscribe(t, nc, c, "middle", func(ctx context.Context, _ *nats.Msg) (*nats.Msg, error) {
		if err := memory.Branch(ctx, "middle", confirm); err != nil {
			return nil, err
		}
		return ask(ctx, nc, "inner")
	}, gtxnats.Config{Trust: trustAll})
	if askErr, err := run(c, nc, "middle"); errors.Join(askErr, err) != nil {
		t.Fatal(askErr, err)
	}
	if refs := committed(t, c); len(refs) != 2 {
		t.Errorf("participants %v, want inner and middle", refs)
	}
}

func TestConcurrentRequestsAllReport(t *testing.T) {
	nc, c := connect(t), memory.New()
	h := gtxnats.Handler(t.Context(), c, func(ctx context.Context, _ *nats.Msg) (*nats.Msg, error) {
		return nil, memory.Branch(ctx, stock, confirm)
	}, gtxnats.Config{Trust: trustAll})
	bare(t, nc, "stock", func(msg *nats.Msg) { go h(msg) })
	const requests = 20
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		errs := make([]error, requests)
		var wg sync.WaitGroup
		for i := range requests {
			wg.Go(func() { _, errs[i] = ask(ctx, nc, "stock") })
		}
		wg.Wait()
		return errors.Join(errs...)
	}, gtx.WithCoordinator(c))
	if err != nil {
		t.Fatal(err)
	}
	if refs := committed(t, c); len(refs) != requests {
		t.Errorf("%d participants, want %d", len(refs), requests)
	}
}

func TestWithoutTransaction(t *testing.T) {
	nc, c := connect(t), memory.New()
	got := make(chan string, 1)
	subscribe(t, nc, c, "stock", func(ctx context.Context, msg *nats.Msg) (*nats.Msg, error) {
		if _, ok := gtx.FromContext(ctx); ok || len(msg.Header) > 0 {
			t.Error("the message carries a transaction")
		}
		if msg.Reply == "" {
			got <- string(msg.Data)
		}
		if string(msg.Data) == "0" {
			return nil, &gtxnats.Error{Code: "422", Description: "nothing to reserve"}
		}
		return &nats.Msg{Data: msg.Data}, nil
	}, gtxnats.Config{}) // no Trust needed
	if reply, err := ask(t.Context(), nc, "stock"); err != nil || string(reply.Data) != "10" || len(reply.Header) != 0 {
		t.Errorf("request: %v, %v", reply, err)
	}
	_, err := gtxnats.Request(t.Context(), nc, &nats.Msg{Subject: "stock", Data: []byte("0")})
	var own *gtxnats.Error
	if !errors.As(err, &own) || own.Code != "422" || own.Description != "nothing to reserve" || own.Reply == nil {
		t.Errorf("error of the service: %v", err)
	}
	if err := gtxnats.Publish(t.Context(), nc, &nats.Msg{Subject: "stock", Data: []byte("published")}); err != nil || <-got != "published" {
		t.Errorf("publish: %v", err)
	}
	err = gtx.Run(t.Context(), func(ctx context.Context) error {
		_, err := ask(gtx.Detach(ctx), nc, "stock")
		return err
	}, gtx.WithCoordinator(c))
	if err != nil {
		t.Error(err)
	}
}

func TestErrorOfAJoinedServiceComesWithItsReport(t *testing.T) {
	nc, c := connect(t), memory.New()
	subscribe(t, nc, c, "stock", func(ctx context.Context, _ *nats.Msg) (*nats.Msg, error) {
		if err := memory.Branch(ctx, stock, confirm); err != nil {
			return nil, err
		}
		return nil, errors.New("no such\r\narticle")
	}, gtxnats.Config{Trust: trustAll})
	askErr, err := run(c, nc, "stock")
	var own *gtxnats.Error
	if !errors.As(askErr, &own) || own.Code != "500" || !strings.HasPrefix(own.Description, "no such") || err != nil {
		t.Errorf("request: %v, run: %v", askErr, err)
	}
	if refs := committed(t, c); len(refs) != 1 {
		t.Errorf("participants %v, want one", refs)
	}
}

func TestNobodyHasTheRequest(t *testing.T) {
	nc, c := connect(t), memory.New()
	if askErr, err := run(c, nc, "nobody"); !errors.Is(askErr, nats.ErrNoResponders) || err != nil {
		t.Errorf("request: %v, run: %v, want ErrNoResponders and nil", askErr, err)
	}
}

func TestPublishInsideIsRefused(t *testing.T) {
	nc, c := connect(t), memory.New()
	bare(t, nc, "news", func(*nats.Msg) { t.Error("the message was sent") })
	var late context.Context
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		late = context.WithoutCancel(ctx)
		return gtxnats.Publish(ctx, nc, &nats.Msg{Subject: "news"})
	}, gtx.WithCoordinator(c))
	var refused *gtx.UnsupportedError
	if !errors.As(err, &refused) || refused.Code != gtxnats.CodePublish || !strings.Contains(refused.Hint, "outbox") {
		t.Errorf("got %v, want an UnsupportedError with a hint", err)
	}
	if err := gtxnats.Publish(late, nc, &nats.Msg{Subject: "news"}); !errors.Is(err, gtx.ErrEnded) {
		t.Errorf("publish after the end: %v, want ErrEnded", err)
	}
	if _, err := gtxnats.Request(late, nc, &nats.Msg{Subject: "news"}); !errors.Is(err, gtx.ErrEnded) {
		t.Errorf("request after the end: %v, want ErrEnded", err)
	}
	if err := nc.Flush(); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	const good = "0000000000000007-0-1-1"
	cases := map[string]struct {
		header nats.Header
		cfg    gtxnats.Config
		noTC   bool
		code   string
	}{
		"nil trust":      {header: nats.Header{"Gtx-Xid": {good}}, code: "403"},
		"not trusted":    {header: nats.Header{"Gtx-Xid": {good}}, cfg: gtxnats.Config{Trust: func(*nats.Msg) bool { return false }}, code: "403"},
		"malformed":      {header: nats.Header{"Gtx-Xid": {"7-0-1-1"}}, cfg: gtxnats.Config{Trust: trustAll}, code: "400"},
		"empty":          {header: nats.Header{"Gtx-Xid": {""}}, cfg: gtxnats.Config{Trust: trustAll}, code: "400"},
		"two":            {header: nats.Header{"Gtx-Xid": {good, good}}, cfg: gtxnats.Config{Trust: trustAll}, code: "400"},
		"two spellings":  {header: nats.Header{"Gtx-Xid": {good}, "GTX-XID": {good}}, cfg: gtxnats.Config{Trust: trustAll}, code: "400"},
		"lower case":     {header: nats.Header{"gtx-xid": {good}}, code: "403"},
		"no coordinator": {header: nats.Header{"Gtx-Xid": {good}}, cfg: gtxnats.Config{Trust: trustAll}, noTC: true, code: "503"},
	}
	nc := connect(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var c gtx.Coordinator = memory.New()
			if tc.noTC {
				c = nil
			}
			subject := "refuse." + strings.ReplaceAll(name, " ", "-")
			subscribe(t, nc, c, subject, func(context.Context, *nats.Msg) (*nats.Msg, error) {
				t.Error("the handler ran")
				return nil, nil
			}, tc.cfg)
			_, err := gtxnats.Request(t.Context(), nc, &nats.Msg{Subject: subject, Header: tc.header})
			var own *gtxnats.Error
			if !errors.As(err, &own) || own.Code != tc.code || own.Reply.Header.Get(gtxnats.HeaderBranches) != "" {
				t.Errorf("got %v, want %s", err, tc.code)
			}
		})
	}
}

// logged collects what a handler logs.
type logged struct {
	slog.Handler
	lines chan string
}

func (l *logged) Handle(_ context.Context, r slog.Record) error {
	l.lines <- r.Message
	return nil
}

func (l *logged) Enabled(context.Context, slog.Level) bool { return true }

// Messages that name a transaction and leave no way to report are not served.
func TestMessageWithoutAWayToReportIsDropped(t *testing.T) {
	nc, c := connect(t, func(o *server.Options) { o.JetStream, o.StoreDir = true, t.TempDir() }), memory.New()
	log := &logged{Handler: slog.DiscardHandler, lines: make(chan string, 1)}
	h := gtxnats.Handler(t.Context(), c, func(context.Context, *nats.Msg) (*nats.Msg, error) {
		t.Error("the handler ran")
		return nil, nil
	}, gtxnats.Config{Trust: trustAll, Logger: slog.New(log)})
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "KEPT", Subjects: []string{"kept"}, Storage: nats.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Subscribe("kept", h, nats.ManualAck()); err != nil {
		t.Fatal(err)
	}
	bare(t, nc, "stock", h)
	for name, subject := range map[string]string{"published": "stock", "from a stream": "kept"} {
		t.Run(name, func(t *testing.T) {
			msg := &nats.Msg{Subject: subject, Header: nats.Header{"Gtx-Xid": {"0000000000000007-0-1-1"}}}
			if err := nc.PublishMsg(msg); err != nil {
				t.Fatal(err)
			}
			select {
			case line := <-log.lines:
				if !strings.Contains(line, "dropped") {
					t.Errorf("logged %q", line)
				}
			case <-time.After(20 * time.Second):
				t.Error("nothing was logged")
			}
		})
	}
}

// A stream answers whatever it keeps: that is not the service's answer.
func TestStreamThatTakesTheRequest(t *testing.T) {
	nc, c := connect(t, func(o *server.Options) { o.JetStream, o.StoreDir = true, t.TempDir() }), memory.New()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"stock"}, Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	if askErr, _ := run(c, nc, "stock"); !errors.Is(askErr, gtxnats.ErrNotJoined) {
		t.Errorf("request: %v, want ErrNotJoined", askErr)
	}
}

// What is sent to the reply subject of a message from a stream acknowledges it. That
// is for the handler to say, above all when it has failed.
func TestMessageFromAStreamIsNotAnswered(t *testing.T) {
	nc, c := connect(t, func(o *server.Options) { o.JetStream, o.StoreDir = true, t.TempDir() }), memory.New()
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddStream(&nats.StreamConfig{Name: "KEPT", Subjects: []string{"kept"}, Storage: nats.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	acks, err := nc.SubscribeSync("$JS.ACK.>")
	if err != nil {
		t.Fatal(err)
	}
	handled := make(chan struct{})
	h := gtxnats.Handler(t.Context(), c, func(context.Context, *nats.Msg) (*nats.Msg, error) {
		return nil, errors.New("not now")
	}, gtxnats.Config{Logger: slog.New(slog.DiscardHandler)})
	if _, err := js.Subscribe("kept", func(msg *nats.Msg) { h(msg); close(handled) }, nats.ManualAck()); err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish("kept", nil); err != nil {
		t.Fatal(err)
	}
	<-handled
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := acks.Pending(); n != 0 || err != nil {
		t.Errorf("%d acknowledgements, %v, want none", n, err)
	}
}

func TestNilMessageIsAnError(t *testing.T) {
	nc, c := connect(t), memory.New()
	check := func(ctx context.Context) error {
		if _, err := gtxnats.Request(ctx, nc, nil); !errors.Is(err, nats.ErrInvalidMsg) {
			t.Errorf("request: %v, want ErrInvalidMsg", err)
		}
		if err := gtxnats.Publish(ctx, nc, nil); !errors.Is(err, nats.ErrInvalidMsg) {
			t.Errorf("publish: %v, want ErrInvalidMsg", err)
		}
		return nil
	}
	if err := errors.Join(check(t.Context()), gtx.Run(t.Context(), check, gtx.WithCoordinator(c))); err != nil {
		t.Error(err)
	}
}
