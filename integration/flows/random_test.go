package flows

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/internal/testserver/testdb"
	"github.com/globaltx/globaltx/natsbus/flow"
	"github.com/globaltx/globaltx/natsbus/inbox"
)

// TestFlowRace: a service is told to undo while its Do is under way. The Do commits, and is
// undone.
func TestFlowRace(t *testing.T) {
	onEach(t, func(t *testing.T, s testdb.Server) {
		p, b, a, c := trio(t, s, flow.Config{})
		began, goOn := make(chan struct{}), make(chan struct{})
		var once sync.Once
		release := sync.OnceFunc(func() { close(goOn) })
		b.handle(func(what string, _ *flow.Message) error {
			if what == "do" {
				once.Do(func() { close(began) })
				<-goOn
			}
			return nil
		})
		c.handle(func(string, *flow.Message) error {
			<-began
			return inbox.Permanent(errNo)
		})
		for _, sv := range []*service{a, b, c} {
			sv.run()
		}
		t.Cleanup(release)
		id := a.start(flow.Start{To: []string{b.name, c.name}})
		a.becomes(id, "undoing, billing failed: "+errNo.Error()+", shop waiting")
		stream, err := p.js.Stream(t.Context(), flow.Stream)
		if err != nil {
			t.Fatal(err)
		}
		testdb.Eventually(t, "the undo has been handed out", func() bool {
			c, err := stream.Consumer(t.Context(), "flow-"+b.name)
			if err != nil {
				return false
			}
			info, err := c.Info(t.Context())
			return err == nil && info.NumAckPending == 2
		})
		release()
		a.becomes(id, "undone, billing failed: "+errNo.Error()+", shop undone: billing: "+errNo.Error())
		if y := b.effects(id); y != "do,undo" {
			t.Errorf("%s has %q", b.name, y)
		}
	})
}

// TestFlowCommitLost: every third COMMIT of the sender and of its services gets no answer,
// although it was done. Each flow ends, and has each of its effects once.
func TestFlowCommitLost(t *testing.T) {
	onEach(t, func(t *testing.T, s testdb.Server) {
		p := newPost(t)
		hooked := func(name string) *service {
			h := &testdb.Hook{}
			sv := newServiceOn(t, p, s, testdb.OpenHooked(t, s, s.DSN(t), h, &testdb.Hook{}), name, flow.Config{Resend: 300 * time.Millisecond, MaxTries: 6})
			var n atomic.Int32
			h.Set(nil, func(text string, err error) error {
				if text == "COMMIT" && err == nil && n.Add(1)%3 == 0 {
					return testdb.ErrInjected
				}
				return err
			})
			return sv
		}
		a, b, c := hooked("shop"), hooked("stock"), hooked("billing")
		a.onEnd()
		b.handle(nil)
		c.handle(func(what string, m *flow.Message) error {
			if what == "do" && string(m.Body) == "fail" {
				return inbox.Permanent(errNo)
			}
			return nil
		})
		want := map[string]string{}
		for i := range 12 {
			body := "fail"
			if i%3 > 0 {
				body = "do"
			}
			tx, err := a.db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			id, err := a.Start(t.Context(), tx, flow.Start{Kind: kind, To: both, Body: []byte(body)})
			if err != nil {
				t.Fatal(err)
			}
			if err := tx.Commit(); err != nil && !errors.Is(err, testdb.ErrInjected) {
				t.Fatal(err)
			}
			want[id] = body
		}
		for _, sv := range []*service{a, b, c} {
			sv.run()
		}
		for id, body := range want {
			testdb.EventuallyEvery(t, 20*time.Millisecond, "the flow has ended", func() bool {
				f, err := a.Flow(t.Context(), id)
				return err == nil && !f.Ended.IsZero()
			})
			x, y, z := a.effects(id), b.effects(id), c.effects(id)
			switch {
			case body == "do" && x == "done" && y == "do" && z == "do":
			case body == "fail" && x == "undone" && (y == "" || y == "do,undo") && z == "":
			default:
				t.Errorf("a flow that should %s: shop has %q, stock %q, billing %q", body, x, y, z)
			}
		}
	})
}

// TestFlowRandom starts many flows whose services fail now and then, for good or not, or are
// late, while messages come twice, late or not at all. Each flow ends, and either all of its
// services are done, or what those have done that were is undone, once.
func TestFlowRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := &chance{r: rand.New(rand.NewPCG(seed, 0))}
	p := newPost(t)
	if _, err := p.js.CreateStream(t.Context(), flow.StreamConfig()); err != nil {
		t.Fatal(err)
	}
	all := testdb.Servers()
	a := newService(t, p, all[r.n(len(all))], "shop", flow.Config{Resend: 300 * time.Millisecond, MaxTries: 4})
	a.onEnd()
	var services []*service
	names := []string{"s0", "s1", "s2"}
	for i, name := range names {
		sv := newService(t, p, all[(i+int(seed%5))%len(all)], name, a.cfg)
		sv.handle(func(what string, _ *flow.Message) error {
			switch n := r.n(100); {
			case n < 25:
				return errors.New("now and then")
			case n < 32 && what == "do":
				return inbox.Permanent(errNo)
			case n < 35:
				panic("now and then")
			}
			return nil
		})
		services = append(services, sv)
		sv.run()
	}
	a.run()

	// The stream loses messages and repeats them.
	ctx, cancel := context.WithCancel(t.Context())
	var unreliable sync.WaitGroup
	unreliable.Go(func() { spoil(ctx, t, p, r) })
	var ids []string
	for i := range 60 {
		timeout := 2 * time.Minute
		if i%3 == 0 {
			timeout = time.Duration(200+r.n(3000)) * time.Millisecond
		}
		ids = append(ids, a.start(flow.Start{To: names, Timeout: timeout}))
	}
	counts := map[string]int{}
	for _, id := range ids {
		var f *flow.Flow
		for deadline := time.Now().Add(2 * time.Minute); ; {
			var err error
			if f, err = a.Flow(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			if !f.Ended.IsZero() {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("flow %s does not end: %s", id, a.state(id))
			}
			<-time.After(5 * time.Millisecond)
		}
		counts[f.State.String()]++
	}
	cancel()
	unreliable.Wait()
	for _, id := range ids {
		f, err := a.Flow(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, sv := range services {
			text += fmt.Sprintf("%s %q ", sv.name, sv.effects(id))
		}
		switch {
		case a.effects(id) != f.State.String():
			t.Errorf("flow %s is %s, and the sender was told %q", id, f.State, a.effects(id))
		case f.State == flow.Done && text != `s0 "do" s1 "do" s2 "do" `:
			t.Errorf("flow %s is done: %s", id, text)
		case f.State == flow.Undone:
			for _, sv := range services {
				if e := sv.effects(id); e != "" && e != "do,undo" {
					t.Errorf("flow %s is undone: %s", id, text)
				}
			}
		}
	}
	t.Logf("%v", counts)
	if counts["done"] == 0 || counts["undone"] == 0 {
		t.Errorf("got %v: want some of both", counts)
	}
}

// spoil deletes and repeats messages of the stream.
func spoil(ctx context.Context, t *testing.T, p *post, r *chance) {
	stream, err := p.js.Stream(ctx, flow.Stream)
	if err != nil {
		t.Error(err)
		return
	}
	for next := uint64(1); ctx.Err() == nil; {
		info, err := stream.Info(ctx)
		if err != nil {
			return // the end of the test
		}
		for ; next <= info.State.LastSeq; next++ {
			msg, err := stream.GetMsg(ctx, next)
			if err != nil {
				continue
			}
			switch n := r.n(100); {
			case n < 15:
				_ = stream.DeleteMsg(ctx, next)
			case n < 30 && msg.Header.Get(jetstream.MsgIDHeader) != "":
				msg.Header.Del(jetstream.MsgIDHeader)
				_, _ = p.js.PublishMsg(ctx, &nats.Msg{Subject: msg.Subject, Header: msg.Header, Data: msg.Data})
			}
		}
		<-time.After(time.Millisecond)
	}
}

// chance is a rand.Rand for several goroutines.
type chance struct {
	mu sync.Mutex
	r  *rand.Rand
}

func (c *chance) n(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.r.IntN(n)
}
