package flows

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver/testdb"
	"github.com/globaltx/globaltx/natsbus/flow"
	"github.com/globaltx/globaltx/natsbus/inbox"
)

var both = []string{"stock", "billing"}

// TestFlowDone: each service does its share once, and the sender hears of it once.
func TestFlowDone(t *testing.T) {
	onEach(t, func(t *testing.T, s testdb.Server) {
		_, a, b, c := trio(t, s, flow.Config{})
		body := bytes.Repeat([]byte{0, 0xff, '\'', '\\'}, 30_000)
		header := nats.Header{"X-Order": {"a b", "c: d"}, "traceparent": {"00-1-2-03"}}
		look := func(_ string, m *flow.Message) error {
			if !bytes.Equal(m.Body, body) || m.Header["X-Order"][1] != "c: d" || m.Header["traceparent"] == nil || len(m.Header) != 2 || m.Sender != "shop" || m.Kind != kind {
				t.Errorf("got %d bytes of kind %s from %s, header %v", len(m.Body), m.Kind, m.Sender, m.Header)
			}
			return nil
		}
		b.handle(look)
		c.handle(look)
		a.onEnd()
		for _, sv := range []*service{a, b, c} {
			sv.run()
		}
		id := a.start(flow.Start{To: both, Body: body, Header: header})
		empty := a.start(flow.Start{To: []string{"shop"}, Timeout: time.Minute}) // its own service, without a Do
		a.becomes(id, "done, billing done, stock done")
		if x, y, z := a.effects(id), b.effects(id), c.effects(id); x != "done" || y != "do" || z != "do" {
			t.Errorf("shop has %q, stock %q, billing %q", x, y, z)
		}
		st, err := a.Stats(t.Context())
		if err != nil || st.Running != 1 || st.Undoing+st.Stuck != 0 || st.Oldest <= 0 {
			t.Errorf("got %+v, %v", st, err)
		}
		if all, err := flow.List(t.Context(), a.db, dialect(t, a.db), 10); err != nil || len(all) != 1 || all[0].ID != empty || len(all[0].To) != 1 {
			t.Errorf("got %+v, %v", all, err)
		}
	})
}

// TestFlowFails: billing has failed for good. Stock, which is done, is undone once; and
// where it was not done yet, it never is.
func TestFlowFails(t *testing.T) {
	onEach(t, func(t *testing.T, s testdb.Server) {
		p, a, b, c := trio(t, s, flow.Config{MaxTries: 3})
		var tries atomic.Int32
		b.handle(nil)
		failing := map[string]error{"permanent": inbox.Permanent(errNo), "often": errNo}
		c.handle(func(_ string, m *flow.Message) error {
			tries.Add(1)
			return failing[string(m.Body)]
		})
		a.onEnd()
		a.run()

		done := a.start(flow.Start{To: both, Body: []byte("permanent")})
		stop := b.run()
		a.becomes(done, "running, billing waiting, stock done")
		stop()
		c.run()
		a.becomes(done, "undoing, billing failed: "+errNo.Error()+", stock done")
		early := a.start(flow.Start{To: both, Body: []byte("often")})
		a.becomes(early, "undoing, billing failed: "+errNo.Error()+", stock waiting")
		late := take(t, p, "stock", early)
		if n := tries.Load(); n != 4 {
			t.Errorf("billing has tried %d times, want 1 and 3", n)
		}
		b.again()
		b.handle(nil)
		b.run()
		why := "billing: " + errNo.Error()
		a.becomes(done, "undone, billing failed: "+errNo.Error()+", stock undone: "+why)
		a.becomes(early, "undone, billing failed: "+errNo.Error()+", stock barred: "+why)
		late()
		testdb.Eventually(t, "what comes late is answered", func() bool { return received(b) == 4 })
		// A report that was on its way for long changes nothing.
		before := received(a)
		report := &nats.Msg{Subject: "gtx.flow.shop", Header: nats.Header{
			flow.HeaderID: {done}, flow.HeaderKind: {kind}, flow.HeaderOp: {"report"}, flow.HeaderSender: {"shop"},
			flow.HeaderFrom: {"stock"}, flow.HeaderTo: {"stock,billing"}, flow.HeaderBegan: {"1"}, flow.HeaderState: {"done"}, flow.HeaderError: {"late"},
		}}
		if _, err := p.js.PublishMsg(t.Context(), report); err != nil {
			t.Fatal(err)
		}
		testdb.Eventually(t, "the late report is heard", func() bool { return received(a) > before })
		a.becomes(done, "undone, billing failed: "+errNo.Error()+", stock undone: "+why)
		for id, want := range map[string]string{done: "do,undo", early: ""} {
			if x, y, z := a.effects(id), b.effects(id), c.effects(id); x != "undone" || y != want || z != "" {
				t.Errorf("shop has %q, stock %q, billing %q", x, y, z)
			}
			if f, err := a.Flow(t.Context(), id); err != nil || f.Error != why || f.Ended.IsZero() {
				t.Errorf("got %+v, %v", f, err)
			}
		}
		if b.step(early) != "barred" || c.step(early) != "failed" || b.step(done) != "undone" {
			t.Errorf("steps are %s, %s, %s", b.step(early), c.step(early), b.step(done))
		}
		for _, sv := range []*service{a, b, c} { // nothing waits for an operator
			var n int
			if err := sv.db.QueryRow("SELECT count(*) FROM gtx_inbox_dead").Scan(&n); err != nil || n != 0 {
				t.Errorf("%s has %d dead letters, %v", sv.name, n, err)
			}
		}
	})
}

// TestFlowTimeout: a service that does not answer in time is barred, and those that are done
// are undone.
func TestFlowTimeout(t *testing.T) {
	onEach(t, func(t *testing.T, s testdb.Server) {
		p, a, b, c := trio(t, s, flow.Config{})
		b.handle(nil)
		a.onEnd()
		a.run()
		b.run()
		id := a.start(flow.Start{To: both, Timeout: time.Second})
		a.becomes(id, "undoing, billing waiting, stock undone: not all done after 1s")
		late := take(t, p, "billing", id)
		c.handle(nil)
		c.run()
		a.becomes(id, "undone, billing barred: not all done after 1s, stock undone: not all done after 1s")
		late()
		testdb.Eventually(t, "what comes late is answered", func() bool { return received(c) == 2 })
		if x, y, z := a.effects(id), b.effects(id), c.effects(id); x != "undone" || y != "do,undo" || z != "" {
			t.Errorf("shop has %q, stock %q, billing %q", x, y, z)
		}
	})
}

// take takes the question of a flow to a service out of the stream. late puts it back.
func take(t *testing.T, p *post, name, id string) (late func()) {
	t.Helper()
	stream, err := p.js.Stream(t.Context(), flow.Stream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		msg, err := stream.GetMsg(t.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if msg.Subject != "gtx.flow."+name || msg.Header.Get(flow.HeaderID) != id || msg.Header.Get(flow.HeaderOp) != "do" {
			continue
		}
		if err := stream.DeleteMsg(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
		return func() {
			t.Helper()
			msg.Header.Del(jetstream.MsgIDHeader)
			if _, err := p.js.PublishMsg(t.Context(), &nats.Msg{Subject: msg.Subject, Header: msg.Header, Data: msg.Data}); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Fatalf("no question of flow %s to %s is in the stream", id, name)
	return nil
}

// received counts the messages that a service has done with.
func received(sv *service) (n int) {
	if err := sv.db.QueryRow("SELECT count(*) FROM gtx_inbox WHERE state <> 0").Scan(&n); err != nil {
		sv.t.Fatal(err)
	}
	return n
}

// purge loses all messages of the stream for a service.
func purge(t *testing.T, p *post, name string) {
	t.Helper()
	stream, err := p.js.Stream(t.Context(), flow.Stream)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject("gtx.flow."+name)); err != nil {
		t.Fatal(err)
	}
}

// TestFlowResend: what is lost on the way, in either direction, is sent again, and done once.
func TestFlowResend(t *testing.T) {
	onEach(t, func(t *testing.T, s testdb.Server) {
		p, a, b, c := trio(t, s, flow.Config{Resend: 500 * time.Millisecond})
		if _, err := p.js.CreateStream(t.Context(), flow.StreamConfig()); err != nil {
			t.Fatal(err)
		}
		b.handle(nil)
		c.handle(nil)
		stop := b.run()
		id := a.start(flow.Start{To: both})
		testdb.Eventually(t, "stock is done", func() bool { return b.step(id) == "done" })
		drained(t, a)
		drained(t, b)
		stop()
		purge(t, p, "shop")    // the report of stock
		purge(t, p, "billing") // the question to billing
		b.again()
		b.handle(nil)
		b.run()
		c.run()
		a.run()
		a.becomes(id, "done, billing done, stock done")
		if y, z := b.effects(id), c.effects(id); y != "do" || z != "do" {
			t.Errorf("stock has %q, billing %q", y, z)
		}
	})
}

func drained(t *testing.T, sv *service) {
	t.Helper()
	testdb.Eventually(t, "the outbox of "+sv.name+" is empty", func() bool {
		st, err := sv.box.Stats(context.Background())
		return err == nil && st.Backlog == 0
	})
}

// TestFlowUndoResend: an undo is asked for until it has been heard of, also when the stream
// is lost as a whole.
func TestFlowUndoResend(t *testing.T) {
	onEach(t, func(t *testing.T, s testdb.Server) {
		p, a, b, c := trio(t, s, flow.Config{Resend: 500 * time.Millisecond})
		b.handle(nil)
		c.handle(func(string, *flow.Message) error { return inbox.Permanent(errNo) })
		stopA := a.run()
		stop := b.run()
		id := a.start(flow.Start{To: both})
		testdb.Eventually(t, "stock is done", func() bool { return b.step(id) == "done" })
		stop()
		stopC := c.run()
		a.becomes(id, "undoing, billing failed: "+errNo.Error()+", stock done")
		drained(t, c)
		stopA()
		stopC()
		if err := p.js.DeleteStream(t.Context(), flow.Stream); err != nil {
			t.Fatal(err)
		}
		a.again()
		a.run()
		b.again()
		b.handle(nil)
		b.run()
		a.becomes(id, "undone, billing failed: "+errNo.Error()+", stock undone: billing: "+errNo.Error())
		if y := b.effects(id); y != "do,undo" {
			t.Errorf("stock has %q", y)
		}
	})
}

// TestFlowStuck: an Undo that fails is tried again and again, and seen; and so is an End.
func TestFlowStuck(t *testing.T) {
	onEach(t, func(t *testing.T, s testdb.Server) {
		_, a, b, c := trio(t, s, flow.Config{Resend: 500 * time.Millisecond, MaxTries: 2})
		var mended, ends atomic.Bool
		b.handle(func(what string, _ *flow.Message) error {
			if what == "undo" && !mended.Load() {
				return errors.New("the parcel has gone")
			}
			return nil
		})
		c.handle(func(string, *flow.Message) error { return inbox.Permanent(errNo) })
		err := a.OnEnd(kind, func(ctx context.Context, tx *sql.Tx, f *flow.Flow) error {
			if !ends.Load() {
				return errors.New("no paper")
			}
			return a.effect(ctx, tx, f.ID, f.State.String())
		})
		if err != nil {
			t.Fatal(err)
		}
		a.run()
		stop := b.run()
		id := a.start(flow.Start{To: both})
		a.becomes(id, "running, billing waiting, stock done")
		c.run()
		a.becomes(id, "undoing, billing failed: "+errNo.Error()+", stock done: undo: the parcel has gone")
		stuck := func() bool {
			f, err := a.Flow(t.Context(), id)
			st, err2 := a.Stats(t.Context())
			return err == nil && err2 == nil && f.Stuck() && st.Stuck == 1 && st.Undoing == 1
		}
		if !stuck() {
			t.Error("it does not look stuck")
		}
		mended.Store(true)
		testdb.Eventually(t, "its end fails", func() bool {
			f, err := a.Flow(t.Context(), id)
			return err == nil && f.EndError == "no paper"
		})
		if !stuck() {
			t.Error("it does not look stuck when its end fails")
		}
		ends.Store(true)
		a.becomes(id, "undone, billing failed: "+errNo.Error()+", stock undone: billing: "+errNo.Error())
		if x, y := a.effects(id), b.effects(id); x != "undone" || y != "do,undo" {
			t.Errorf("shop has %q, stock %q", x, y)
		}
		stop()
		if f, err := a.Flow(t.Context(), id); err != nil || f.EndError != "" || f.Stuck() {
			t.Errorf("got %+v, %v", f, err)
		}
	})
}

// TestFlowGlobal: a flow begins with the commit of a global transaction, and never when it
// has aborted, however long that takes.
func TestFlowGlobal(t *testing.T) {
	bus := testdb.Embedded(t)
	for _, mode := range []gtx.Mode{gtx.AT, gtx.XA} {
		for _, s := range testdb.Servers() {
			if mode == gtx.XA && s.Driver == "gtx-sqlite" {
				continue
			}
			t.Run(mode.String()+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				p := newPost(t)
				a := newService(t, p, s, "shop", flow.Config{Resend: 50 * time.Millisecond})
				b := newService(t, p, testdb.Servers()[0], "stock", flow.Config{})
				a.onEnd()
				b.handle(nil)
				a.run()
				b.run()
				run := func(result error) (id string) {
					t.Helper()
					marker := a.start(flow.Start{To: []string{"nobody"}})
					err := gtx.Run(t.Context(), func(ctx context.Context) error {
						tx, err := a.db.BeginTx(ctx, nil)
						if err != nil {
							return err
						}
						defer tx.Rollback()
						if id, err = a.Start(ctx, tx, flow.Start{Kind: kind, To: []string{"stock"}}); err != nil {
							return err
						}
						if err := tx.Commit(); err != nil {
							return err
						}
						// Its time to be asked again has come, as that of another that was
						// started before; and it has not begun.
						due := asked(a, marker) + 2
						testdb.Eventually(t, "two looks", func() bool { return asked(a, marker) >= due })
						if b.step(id) != "" {
							t.Error("done before the decision")
						}
						return result
					}, gtx.WithCoordinator(bus), gtx.WithMode(mode))
					if !errors.Is(err, result) {
						t.Fatalf("got %v, want %v", err, result)
					}
					return id
				}
				lost := run(errNo)
				id := run(nil)
				a.becomes(id, "done, stock done")
				testdb.Clean(t, a.db)
				if _, err := a.Flow(t.Context(), lost); !errors.Is(err, flow.ErrNotFound) {
					t.Errorf("got %v for the flow of an aborted transaction", err)
				}
				if b.step(lost) != "" || b.effects(lost) != "" || b.effects(id) != "do" {
					t.Errorf("stock has %q and %q", b.effects(lost), b.effects(id))
				}
			})
		}
	}
}

// asked is how often services of a flow were asked again.
func asked(sv *service, id string) (n int) {
	if err := sv.db.QueryRow("SELECT tries FROM gtx_flow WHERE id = '" + id + "'").Scan(&n); err != nil {
		sv.t.Fatal(err)
	}
	return n
}

// TestFlowUnreadable: a flow whose row cannot be read holds up no other.
func TestFlowUnreadable(t *testing.T) {
	onEach(t, func(t *testing.T, s testdb.Server) {
		a := newService(t, newPost(t), s, "shop", flow.Config{Resend: 200 * time.Millisecond})
		bad := a.start(flow.Start{To: both})
		good := a.start(flow.Start{To: both})
		testdb.MustExec(t, a.db, "UPDATE gtx_flow SET header = body WHERE id = '"+bad+"'")
		a.run()
		testdb.Eventually(t, "the other is asked about", func() bool { return asked(a, good) >= 2 })
		if n := asked(a, bad); n != 0 {
			t.Errorf("the bad one counts %d questions", n)
		}
	})
}

// TestFlowRefuses gives what could not be a flow, and messages that are of none.
func TestFlowRefuses(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	a := newService(t, p, testdb.Servers()[0], "shop", flow.Config{MaxTries: 2})
	for i, st := range []flow.Start{
		{},
		{Kind: kind},
		{Kind: "a b", To: both},
		{Kind: kind, To: []string{"a.b"}},
		{Kind: kind, To: []string{"a", "a"}},
		{Kind: kind, To: []string{strings.Repeat("a", 60)}},
		{Kind: kind, To: make([]string, 65)},
		{Kind: kind, To: both, Timeout: -1},
		{Kind: kind, To: both, Timeout: 1000 * time.Hour},
		{Kind: kind, To: both, Header: nats.Header{"gtx-flow-id": {"x"}}},
		{Kind: kind, To: both, Header: nats.Header{"nats-expected": {"x"}}},
		{Kind: kind, To: both, Body: make([]byte, 1<<20-8<<10+1)},
	} {
		if id, err := a.Start(t.Context(), a.db, st); !errors.Is(err, flow.ErrStart) || id != "" {
			t.Errorf("%d: got %q, %v", i, id, err)
		}
	}
	if st, err := a.Stats(t.Context()); err != nil || st.Running != 0 {
		t.Errorf("got %+v, %v", st, err)
	}
	a.run()
	if _, err := p.js.CreateStream(t.Context(), flow.StreamConfig()); err != nil {
		t.Fatal(err)
	}
	good := nats.Header{
		flow.HeaderID: {strings.Repeat("0", 32)}, flow.HeaderKind: {kind}, flow.HeaderOp: {"report"}, flow.HeaderSender: {"shop"},
		flow.HeaderFrom: {"stock"}, flow.HeaderTo: {"stock"}, flow.HeaderBegan: {"1"}, flow.HeaderState: {"done"},
	}
	bad := []nats.Header{{}}
	for name := range good {
		h := nats.Header{}
		for n, v := range good {
			h[n] = v
		}
		h[name] = []string{"?, '"}
		bad = append(bad, h)
	}
	for _, h := range append(bad, good) { // the last is of a flow that is not known
		if _, err := p.js.PublishMsg(t.Context(), &nats.Msg{Subject: "gtx.flow.shop", Header: h}); err != nil {
			t.Fatal(err)
		}
	}
	testdb.Eventually(t, "the bad ones are put aside", func() bool {
		var n int
		return a.db.QueryRow("SELECT count(*) FROM gtx_inbox_dead").Scan(&n) == nil && n == len(bad)
	})
}
