package natsbus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver/natstest"
	"github.com/globaltx/globaltx/natsbus"
)

const guardResource = gtx.ResourceID("tcc-mail")

func newGuard(r gtx.ResourceID, body string) gtx.Guard {
	return gtx.Guard{
		Resource: r, XID: gtx.XID{Log: 7, Epoch: 1, Seq: 2}, Branch: gtx.NewBranchID(), Body: []byte(body),
	}
}

func createGuard(t testing.TB, b *natsbus.Bus, g gtx.Guard) gtx.Guard {
	t.Helper()
	rev, err := b.CreateGuard(testContext(t), g)
	if err != nil {
		t.Fatal(err)
	}
	g.Revision = rev
	return g
}

// wantGuards compares with both lists, of the transaction and of all.
func wantGuards(t testing.TB, b *natsbus.Bus, r gtx.ResourceID, xid gtx.XID, want ...gtx.Guard) {
	t.Helper()
	for _, x := range []gtx.XID{xid, {}} {
		got, err := b.Guards(testContext(t), r, x)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(bytes.Equal)); diff != "" {
			t.Errorf("guards of %s: %s", x, diff)
		}
	}
}

func wantChanged(t testing.TB, what string, err error) {
	t.Helper()
	if !errors.Is(err, gtx.ErrGuardChanged) {
		t.Errorf("%s: %v", what, err)
	}
}

// TestY1GuardIsChangedByOne: whoever does not name the last revision changes nothing, and
// a guard that is deleted leaves nothing.
func TestY1GuardIsChangedByOne(t *testing.T) {
	b, ctx := embedded(t, t.TempDir()), testContext(t)
	g := createGuard(t, b, newGuard(guardResource, "one"))
	xid := g.XID
	_, err := b.CreateGuard(ctx, g)
	wantChanged(t, "create what exists", err)
	wantGuards(t, b, guardResource, xid, g)

	old := g
	g.Body = []byte{}
	if g.Revision, err = b.UpdateGuard(ctx, g); err != nil {
		t.Fatal(err)
	}
	if g.Revision <= old.Revision {
		t.Errorf("revision %d after %d", g.Revision, old.Revision)
	}
	_, err = b.UpdateGuard(ctx, old)
	wantChanged(t, "update what was updated", err)
	wantChanged(t, "delete what was updated", b.DeleteGuard(ctx, old))
	wantGuards(t, b, guardResource, xid, g)

	other := createGuard(t, b, newGuard(guardResource, "other"))
	mixed := g
	mixed.Revision = other.Revision // of another guard
	if err := b.DeleteGuard(ctx, mixed); err != nil {
		t.Fatal(err) // a revision that is newer than all of its own: it covers them
	}
	wantGuards(t, b, guardResource, xid, other)
	_, err = b.UpdateGuard(ctx, g)
	wantChanged(t, "update what is gone", err)
	wantChanged(t, "delete what is gone", b.DeleteGuard(ctx, g))
	if err := b.DeleteGuard(ctx, other); err != nil {
		t.Fatal(err)
	}
	wantGuards(t, b, guardResource, xid)
}

// TestY1GuardRace: of many that change one revision, one does.
func TestY1GuardRace(t *testing.T) {
	host, ctx := embedded(t, t.TempDir(), natsbus.Listen("127.0.0.1:0")), testContext(t)
	guest := client(t, host.URL())
	for round := range 10 {
		g := newGuard(guardResource, "")
		race := func(what string, do func(*natsbus.Bus, gtx.Guard) error) {
			t.Helper()
			var wins atomic.Int32
			var all sync.WaitGroup
			for i := range 8 {
				b := []*natsbus.Bus{host, guest}[i%2]
				mine := g
				mine.Body = fmt.Append(nil, i)
				all.Go(func() {
					switch err := do(b, mine); {
					case err == nil:
						wins.Add(1)
					case !errors.Is(err, gtx.ErrGuardChanged):
						t.Errorf("%s: %v", what, err)
					}
				})
			}
			all.Wait()
			if wins.Load() != 1 {
				t.Errorf("round %d: %d have done the %s", round, wins.Load(), what)
			}
			left, err := host.Guards(ctx, guardResource, g.XID)
			if err != nil {
				t.Fatal(err)
			}
			if len(left) == 1 {
				g = left[0]
			}
		}
		race("create", func(b *natsbus.Bus, g gtx.Guard) error { _, err := b.CreateGuard(ctx, g); return err })
		race("update", func(b *natsbus.Bus, g gtx.Guard) error { _, err := b.UpdateGuard(ctx, g); return err })
		race("delete", func(b *natsbus.Bus, g gtx.Guard) error { return b.DeleteGuard(ctx, g) })
	}
	wantGuards(t, host, guardResource, newGuard("", "").XID)
}

func TestGuardsOutliveTheServer(t *testing.T) {
	dir := t.TempDir()
	first := embedded(t, dir)
	kept, gone := createGuard(t, first, newGuard(guardResource, "kept")), createGuard(t, first, newGuard(guardResource, "gone"))
	kept.Body = []byte("changed")
	var err error
	if kept.Revision, err = first.UpdateGuard(testContext(t), kept); err != nil {
		t.Fatal(err)
	}
	if err := first.DeleteGuard(testContext(t), gone); err != nil {
		t.Fatal(err)
	}
	first.Close()
	if _, err := first.CreateGuard(testContext(t), newGuard(guardResource, "")); !errors.Is(err, natsbus.ErrClosed) {
		t.Errorf("create after Close: %v", err)
	}
	second := embedded(t, dir)
	wantGuards(t, second, guardResource, kept.XID, kept)
	if err := second.DeleteGuard(testContext(t), kept); err != nil {
		t.Fatal(err)
	}
}

// TestGuardLostAnswers: the line of the node that has done the work is held before it
// answers, and another node is asked.
func TestGuardLostAnswers(t *testing.T) {
	url := natsServer(t)
	for name, call := range map[string]func(t *testing.T, ctx context.Context, b *natsbus.Bus, g gtx.Guard) *gtx.Guard{
		"update": func(t *testing.T, ctx context.Context, b *natsbus.Bus, g gtx.Guard) *gtx.Guard {
			g.Body = []byte("new")
			rev, err := b.UpdateGuard(ctx, g)
			if err != nil || rev != g.Revision+1 {
				t.Errorf("update: revision %d, %v", rev, err)
			}
			g.Revision = rev
			return &g
		},
		"delete": func(t *testing.T, ctx context.Context, b *natsbus.Bus, g gtx.Guard) *gtx.Guard {
			if err := b.DeleteGuard(ctx, g); err != nil {
				t.Errorf("delete: %v", err)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			way := newLine()
			first := service(t, url, func(c *natsbus.ServiceConfig) { c.Options = []nats.Option{way.option()} })
			t.Cleanup(way.release)
			b := client(t, url)
			g := createGuard(t, b, newGuard(guardResource, "old"))
			held := way.holdAt("\r\n\x01\x08")
			done := make(chan *gtx.Guard)
			go func() { done <- call(t, testContext(t), b, g) }()
			<-held
			service(t, url)
			left := <-done
			way.release()
			first.Stop()
			if left == nil {
				wantGuards(t, b, guardResource, g.XID)
				return
			}
			wantGuards(t, b, guardResource, g.XID, *left)
			if err := b.DeleteGuard(testContext(t), *left); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestY1CreateIsSentOnce: a create that a node has taken and not answered is an error, though
// another node would take it. It may be done much later, and once.
func TestY1CreateIsSentOnce(t *testing.T) {
	url, way, ctx := natsServer(t), newLine(), testContext(t)
	first := service(t, url, func(c *natsbus.ServiceConfig) { c.Options = []nats.Option{way.option()} })
	t.Cleanup(way.release)
	service(t, url)
	b, err := natsbus.Connect(ctx, natsbus.Config{URL: url, Timeout: 3 * time.Second, TryTimeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	createGuard(t, b, newGuard("another", "makes the stream"))
	way.holdAt(" gtx.guard.r") // before it is stored
	var g gtx.Guard
	for i := 0; err == nil; i++ {
		if i > 100 {
			t.Fatal("every create was done")
		}
		g = newGuard(gtx.ResourceID(fmt.Sprint("r", i)), "late")
		_, err = b.CreateGuard(ctx, g)
	}
	if !errors.Is(err, gtx.ErrUnavailable) || errors.Is(err, gtx.ErrGuardChanged) {
		t.Errorf("create: %v", err)
	}
	wantGuards(t, b, g.Resource, g.XID)
	way.release()
	for { // before the first ends, which could swallow it
		left, err := b.Guards(ctx, g.Resource, g.XID)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 1 && string(left[0].Body) == "late" {
			break
		}
	}
	first.Stop()
}

func TestGuardLimits(t *testing.T) {
	b, ctx := embedded(t, t.TempDir()), testContext(t)
	for what, g := range map[string]gtx.Guard{
		"size":      {Resource: "r", XID: gtx.XID{Log: 1, Epoch: 1, Seq: 1}, Branch: 1, Body: make([]byte, gtx.MaxGuard+1)},
		"resource":  {XID: gtx.XID{Log: 1, Epoch: 1, Seq: 1}, Branch: 1},
		"xid":       {Resource: "r", Branch: 1},
		"branch":    {Resource: "r", XID: gtx.XID{Log: 1, Epoch: 1, Seq: 1}},
		"minus":     {Resource: "r", XID: gtx.XID{Log: 1, Epoch: 1, Seq: 1}, Branch: -1},
		"long_name": {Resource: gtx.ResourceID(strings.Repeat("r", 10_000)), XID: gtx.XID{Log: 1, Epoch: 1, Seq: 1}, Branch: 1},
	} {
		if _, err := b.CreateGuard(ctx, g); !errors.Is(err, natsbus.ErrRefused) {
			t.Errorf("%s: %v", what, err)
		}
	}
	var all []gtx.Guard
	for i := range 5 { // several pages
		g := newGuard(guardResource, "")
		g.Body = bytes.Repeat([]byte{byte(i)}, gtx.MaxGuard)
		all = append(all, createGuard(t, b, g))
	}
	wantGuards(t, b, guardResource, all[0].XID, all...)
}

// TestGuardNamesDoNotEscape: whatever a resource is called, it reaches its own only.
func TestGuardNamesDoNotEscape(t *testing.T) {
	b := embedded(t, t.TempDir())
	var all []gtx.Guard
	for _, r := range []gtx.ResourceID{"a", "*", ">", "a.*", "a.>", "mark", "a b", "a\r\nPUB x", "ä", "=", "=Kg"} {
		all = append(all, createGuard(t, b, newGuard(r, string(r))))
	}
	for _, g := range all {
		wantGuards(t, b, g.Resource, g.XID, g)
	}
	listed, err := b.Guards(testContext(t), "", gtx.XID{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all, listed); diff != "" {
		t.Errorf("guards of all resources: %s", diff)
	}
	if _, err := b.Guards(testContext(t), "", all[0].XID); !errors.Is(err, natsbus.ErrRefused) {
		t.Errorf("guards of a transaction at all resources: %v", err)
	}
	for i, g := range all {
		if err := b.DeleteGuard(testContext(t), g); err != nil {
			t.Fatal(err)
		}
		wantGuards(t, b, g.Resource, g.XID)
		for _, rest := range all[i+1:] {
			wantGuards(t, b, rest.Resource, rest.XID, rest)
		}
	}
}

func jetStream(t testing.TB, url string, opts ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

// TestGuardsFullStream: what is there can be changed and deleted when nothing new is taken.
func TestGuardsFullStream(t *testing.T) {
	url, ctx := natsServer(t), testContext(t)
	_, js := jetStream(t, url)
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "GTX_GUARD", Subjects: []string{"gtx.guard.>"}, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew,
		DenyDelete: true, MaxBytes: 4 << 20,
	}); err != nil {
		t.Fatal(err)
	}
	service(t, url)
	b := client(t, url)
	g := createGuard(t, b, newGuard(guardResource, "small"))
	for i := 0; ; i++ {
		big := newGuard(guardResource, "")
		big.Body = make([]byte, gtx.MaxGuard)
		_, err := b.CreateGuard(ctx, big)
		if i > 1000 {
			t.Fatal("the stream takes everything")
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, gtx.ErrUnavailable) || !strings.Contains(err.Error(), "three quarters full") {
			t.Fatal(err)
		}
		break
	}
	g.Body = make([]byte, gtx.MaxGuard)
	var err error
	if g.Revision, err = b.UpdateGuard(ctx, g); err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteGuard(ctx, g); err != nil {
		t.Fatal(err)
	}
}

// TestGuardsUnfitStream: a stream that could lose guards holds none.
func TestGuardsUnfitStream(t *testing.T) {
	url, ctx := natsServer(t), testContext(t)
	_, js := jetStream(t, url)
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "GTX_GUARD", Subjects: []string{"gtx.guard.>"}, MaxAge: time.Hour, MaxMsgsPerSubject: 2,
	}); err != nil {
		t.Fatal(err)
	}
	service(t, url)
	_, err := client(t, url).CreateGuard(ctx, newGuard(guardResource, ""))
	for _, want := range []string{"max_age must be 0", "max_msgs_per_subject must be 1", "discard must be new", "deny_delete must be on"} {
		if !errors.Is(err, gtx.ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

// TestGuardsAreTheCoordinators: an application writes no guard past the coordinator, and
// has the coordinator write nowhere.
func TestGuardsAreTheCoordinators(t *testing.T) {
	host, ctx := embedded(t, t.TempDir(), natsbus.Listen("127.0.0.1:0")), testContext(t)
	g := createGuard(t, host, newGuard(guardResource, "mine"))
	before, err := host.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	denied := make(chan error, 10)
	nc, _ := jetStream(t, host.URL(), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	for _, subject := range []string{
		fmt.Sprintf("gtx.guard.%s.%s.%d", g.Resource, g.XID, g.Branch), "$JS.API.STREAM.PURGE.GTX_GUARD", "$JS.API.STREAM.MSG.GET.GTX_GUARD",
	} {
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-denied:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s: %v", subject, err)
			}
		case <-ctx.Done():
			t.Fatalf("publish to %s was allowed", subject)
		}
	}
	if err := nc.PublishRequest("gtx.svc.0.guard", "gtx.log", []byte{1, 7}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	wantGuards(t, host, guardResource, g.XID, g)
	if after, err := host.Stats(ctx); err != nil || after.LogSeq != before.LogSeq {
		t.Errorf("the log has grown from %d to %d, %v", before.LogSeq, after.LogSeq, err)
	}
	if err := host.DeleteGuard(ctx, g); err != nil {
		t.Fatal(err)
	}
}

// TestY1GuardsAreNotMissed: the server that leads the stream is cut off and does not know
// that another one leads. Who asks it for the guards of a transaction does not hear that
// there are none.
func TestY1GuardsAreNotMissed(t *testing.T) {
	c := natstest.Start(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // two elections on a busy machine
	t.Cleanup(cancel)
	replicated := func(cfg *natsbus.ServiceConfig) { cfg.Replicas = 3 }
	service(t, c.URL(), replicated)
	createGuard(t, client(t, c.URL()), newGuard("another", "makes the stream"))
	old := c.Leader("GTX_GUARD")
	var rest *natstest.Node
	for _, n := range c.Nodes() {
		if n != old {
			rest = n
		}
		service(t, n.URL(), replicated)
	}
	behind, err := natsbus.Connect(ctx, natsbus.Config{URL: old.URL(), Timeout: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { behind.Close() })
	ahead := client(t, rest.URL())
	old.Cut()
	defer old.Heal()
	g := newGuard(guardResource, "new")
	for {
		g.Branch = gtx.NewBranchID() // a call is good for one name
		if g.Revision, err = ahead.CreateGuard(ctx, g); err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	left, err := behind.Guards(ctx, guardResource, g.XID)
	if err == nil && len(left) == 0 {
		t.Error("a guard was missed")
	}
	if err != nil && !errors.Is(err, gtx.ErrUnavailable) {
		t.Error(err)
	}
	old.Heal()
	for {
		if left, err = behind.Guards(ctx, guardResource, g.XID); err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	found := false
	for _, l := range left {
		found = found || l.Branch == g.Branch
	}
	if !found {
		t.Errorf("%d guards, without the one", len(left))
	}
}
