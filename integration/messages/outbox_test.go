package messages

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver/natstest"
	"github.com/globaltx/globaltx/natsbus/outbox"
)

// mail is a NATS server with the stream BOX of subjects box.>.
type mail struct {
	node   *natstest.Node
	nc     *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
}

func newMail(t testing.TB, opts ...natstest.Option) *mail {
	t.Helper()
	m := &mail{node: natstest.Start(t, 1, opts...).Nodes()[0]}
	m.nc = m.connect(t)
	var err error
	if m.js, err = jetstream.New(m.nc); err != nil {
		t.Fatal(err)
	}
	m.stream, err = m.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "BOX", Subjects: []string{"box.>"}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mail) connect(t testing.TB) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(m.node.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// messages waits until the stream has n messages, and gives all that it has.
func (m *mail) messages(t testing.TB, n int) []*jetstream.RawStreamMsg {
	t.Helper()
	var info *jetstream.StreamInfo
	awaitBox(t, fmt.Sprintf("%d messages in the stream", n), func() bool {
		var err error
		info, err = m.stream.Info(context.Background())
		return err == nil && info.State.LastSeq >= uint64(n)
	})
	var out []*jetstream.RawStreamMsg
	for seq := uint64(1); seq <= info.State.LastSeq; seq++ {
		msg, err := m.stream.GetMsg(context.Background(), seq)
		if err != nil {
			t.Fatalf("read message %d: %v", seq, err)
		}
		out = append(out, msg)
	}
	return out
}

// bodies waits for n messages and gives their texts.
func (m *mail) bodies(t testing.TB, n int) (out []string) {
	t.Helper()
	for _, msg := range m.messages(t, n) {
		out = append(out, string(msg.Data))
	}
	return out
}

// awaitBox polls, with a deadline.
func awaitBox(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("a minute has passed without %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// openBox opens an outbox and closes it before its database.
func openBox(t testing.TB, db *sql.DB, cfg outbox.Config) *outbox.Outbox {
	t.Helper()
	o, err := outbox.Open(t.Context(), db, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Errorf("close outbox: %v", err)
		}
	})
	return o
}

func stats(t testing.TB, o *outbox.Outbox) outbox.Stats {
	t.Helper()
	s, err := o.Stats(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// drained waits until the table is empty.
func drained(t testing.TB, o *outbox.Outbox) {
	t.Helper()
	awaitBox(t, "an empty outbox", func() bool {
		s, err := o.Stats(context.Background()) // a test may have killed the connection
		return err == nil && s.Backlog == 0
	})
}

// publishTx publishes in a local transaction of its own.
func publishTx(ctx context.Context, t testing.TB, db *sql.DB, o *outbox.Outbox, list ...outbox.Message) (ids []string) {
	t.Helper()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	for _, m := range list {
		id, err := o.Publish(ctx, tx, m)
		if err != nil {
			t.Fatalf("publish to %s: %v", m.Subject, err)
		}
		ids = append(ids, id)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	return ids
}

// onEachBox runs a test on every server, with a NATS server and an outbox.
func onEachBox(t *testing.T, test func(t *testing.T, s server, db *sql.DB, m *mail, o *outbox.Outbox)) {
	for _, s := range servers() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			m := newMail(t)
			db := open(t, s, s.dsn(t))
			test(t, s, db, m, openBox(t, db, outbox.Config{Conn: m.nc}))
		})
	}
}

// TestOutboxBytes publishes every kind of body and header and looks at what a plain
// reader of the stream gets.
func TestOutboxBytes(t *testing.T) {
	t.Parallel()
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	list := []outbox.Message{
		{Subject: "box.nil"},
		{Subject: "box.empty", Body: []byte{}},
		{Subject: "box.zero", Body: []byte{0, 0}},
		{Subject: "box.binary", Key: `k'\"ü ` + "`", Body: all},
		{Subject: "box.quotes", Body: []byte(`'\''--;\\ $1 ? :a @b %s`)},
		{Subject: "box.inline", Body: bytes.Repeat(all, 32)},
		{Subject: "box.literal", Body: bytes.Repeat(all, 64)},
		{Subject: "box.argument", Body: bytes.Repeat(all, 65)},
		{Subject: "box.large", Body: bytes.Repeat(all, 3600)},
		{Subject: "box.grüße.'x'.\\", Header: nats.Header{
			"x-lower": {"grüße, 世界 🎈"}, "X-Many": {"1", "", `2'"\`}, "traceparent": {"mine"},
		}},
	}
	onEachBox(t, func(t *testing.T, _ server, db *sql.DB, m *mail, o *outbox.Outbox) {
		ids := publishTx(t.Context(), t, db, o, list...)
		got := map[string]*jetstream.RawStreamMsg{}
		for _, msg := range m.messages(t, len(list)) {
			got[msg.Header.Get("Nats-Msg-Id")] = msg
		}
		for i, want := range list {
			msg := got[ids[i]]
			if msg == nil {
				t.Fatalf("%s is not there", want.Subject)
			}
			if msg.Subject != want.Subject || !bytes.Equal(msg.Data, want.Body) {
				t.Errorf("got subject %q and %d bytes, want %q and %d", msg.Subject, len(msg.Data), want.Subject, len(want.Body))
			}
			header := nats.Header{"Nats-Msg-Id": {ids[i]}, "Gtx-Source": {msg.Header.Get("Gtx-Source")}}
			if want.Key != "" {
				header["Gtx-Key"] = []string{want.Key}
			}
			for k, v := range want.Header {
				header[k] = v
			}
			if d := cmp.Diff(header, msg.Header); d != "" || len(msg.Header.Get("Gtx-Source")) < 32 {
				t.Errorf("%s: header (-want +got):\n%s", want.Subject, d)
			}
		}
		drained(t, o)
	})
}

// TestOutboxRefuses gives messages that could not arrive as they are.
func TestOutboxRefuses(t *testing.T) {
	t.Parallel()
	db := open(t, servers()[0], sqliteDSN(t))
	o := openBox(t, db, outbox.Config{})
	for _, m := range []outbox.Message{
		{},
		{Subject: "a b"},
		{Subject: "a..b"},
		{Subject: ".a"},
		{Subject: "a."},
		{Subject: "a.*"},
		{Subject: "a.>"},
		{Subject: "a\r\nPUB b"},
		{Subject: "\xff"},
		{Subject: strings.Repeat("a", 1025)},
		{Subject: "a", Key: strings.Repeat("k", 256)},
		{Subject: "a", Key: "k\nk"},
		{Subject: "a", Key: " k"},
		{Subject: "a", Key: "\xff"},
		{Subject: "a", Key: "\x00"},
		{Subject: "a", Header: nats.Header{"Nats-Expected-Stream": {"x"}}},
		{Subject: "a", Header: nats.Header{"gtx-key": {"x"}}},
		{Subject: "a", Header: nats.Header{"": {"x"}}},
		{Subject: "a", Header: nats.Header{"a b": {"x"}}},
		{Subject: "a", Header: nats.Header{"ü": {"x"}}},
		{Subject: "a", Header: nats.Header{"a:": {"x"}}},
		{Subject: "a", Header: nats.Header{"a": {"x\r\nb: c"}}},
		{Subject: "a", Header: nats.Header{"a": {"x "}}},
		{Subject: "a", Header: nats.Header{"a": {"\xff"}}},
		{Subject: "a", Header: nats.Header{"a": {strings.Repeat("x", 64<<10)}}},
	} {
		if id, err := o.Publish(t.Context(), db, m); !errors.Is(err, outbox.ErrMessage) || id != "" {
			t.Errorf("%+.100v: got id %q, error %v, want ErrMessage", m, id, err)
		}
	}
	if n := stats(t, o).Backlog; n != 0 {
		t.Errorf("%d messages were written", n)
	}
}

// TestOutboxRollback publishes only what has committed.
func TestOutboxRollback(t *testing.T) {
	t.Parallel()
	onEachBox(t, func(t *testing.T, _ server, db *sql.DB, m *mail, o *outbox.Outbox) {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.Publish(t.Context(), tx, outbox.Message{Subject: "box.a", Key: "k", Body: []byte("back")}); err != nil {
			t.Fatal(err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		if _, err := o.Publish(t.Context(), db, outbox.Message{Subject: "box.a", Key: "k", Body: []byte("direct")}); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"direct"}, m.bodies(t, 1)); d != "" {
			t.Errorf("stream (-want +got):\n%s", d)
		}
	})
}

// TestOutboxGlobal holds a global transaction open, and sees that the relay has passed
// over its message because it has published others.
func TestOutboxGlobal(t *testing.T) {
	t.Parallel()
	bus := embedded(t)
	modes := map[gtx.Mode]func(s server) bool{
		gtx.AT: func(server) bool { return true },
		gtx.XA: func(s server) bool { return s.driver != "gtx-sqlite" },
	}
	onEachBox(t, func(t *testing.T, s server, db *sql.DB, m *mail, o *outbox.Outbox) {
		var want []string
		seen := func(bodies ...string) {
			t.Helper()
			want = append(want, bodies...)
			if d := cmp.Diff(want, m.bodies(t, len(want))); d != "" {
				t.Fatalf("stream (-want +got):\n%s", d)
			}
		}
		put := func(ctx context.Context, subject, key, body string) {
			t.Helper()
			if _, err := o.Publish(ctx, db, outbox.Message{Subject: subject, Key: key, Body: []byte(body), Header: nats.Header{"A": {"b"}}}); err != nil {
				t.Fatalf("publish %s: %v", body, err)
			}
		}
		for _, mode := range []gtx.Mode{gtx.AT, gtx.XA} {
			if !modes[mode](s) {
				continue
			}
			opts := []gtx.Option{gtx.WithCoordinator(bus), gtx.WithMode(mode)}
			for _, no := range []error{nil, errNo} {
				name := fmt.Sprintf("%s %v: ", mode, no)
				err := gtx.Run(t.Context(), func(ctx context.Context) error {
					put(ctx, "box.one", "k", name+"statement")
					publishTx(ctx, t, db, o, outbox.Message{Subject: "box.two", Body: []byte(name + "transaction")})
					out := gtx.Detach(ctx)
					put(out, "box.one", "other", name+"other")
					put(out, "box.one", "k", name+"behind")
					put(out, "box.one", "other", name+"other 2")
					if mode == gtx.AT { // of k nothing goes, the others do
						seen(name+"other", name+"other 2")
					} else { // what is not committed is not there, and has no place yet
						seenAny(t, m, &want, name+"other", name+"behind", name+"other 2")
					}
					return no
				}, opts...)
				if !errors.Is(err, no) {
					t.Fatal(err)
				}
				switch {
				case no != nil && mode == gtx.AT:
					seen(name + "behind")
				case no == nil && mode == gtx.AT:
					seenAny(t, m, &want, name+"statement", name+"behind", name+"transaction")
					if slices.Index(want, name+"statement") > slices.Index(want, name+"behind") {
						t.Errorf("of one key the later message went first: %q", want)
					}
				case no == nil:
					seenAny(t, m, &want, name+"statement", name+"transaction")
				}
				put(t.Context(), "box.end", "", name+"end")
				seen(name + "end")
				drained(t, o)
			}
		}
	})
}

// TestOutboxGlobalBytes has every byte in messages of global transactions, whose statements
// are captured.
func TestOutboxGlobalBytes(t *testing.T) {
	t.Parallel()
	bus := embedded(t)
	onEachBox(t, func(t *testing.T, s server, db *sql.DB, m *mail, o *outbox.Outbox) {
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		const odd = `k'\"ü世 ?$1:a`
		var want []outbox.Message
		for _, body := range [][]byte{nil, {}, {0}, all, bytes.Repeat(all, 1600)} {
			want = append(want, outbox.Message{Subject: "box." + strings.ReplaceAll(odd, " ", "_"), Key: odd, Header: nats.Header{"A": {odd}}, Body: body})
		}
		for _, opt := range []gtx.Option{gtx.WithMode(gtx.AT), gtx.WithMode(gtx.XA)} {
			if s.driver == "gtx-sqlite" {
				opt = gtx.WithMode(gtx.AT)
			}
			if err := gtx.Run(t.Context(), func(ctx context.Context) error {
				publishTx(ctx, t, db, o, want...)
				return nil
			}, gtx.WithCoordinator(bus), opt); err != nil {
				t.Fatal(err)
			}
			drained(t, o)
		}
		for i, msg := range m.messages(t, 2*len(want)) {
			w := want[i%len(want)]
			if msg.Subject != w.Subject || msg.Header.Get("Gtx-Key") != odd || msg.Header.Get("A") != odd || !bytes.Equal(msg.Data, w.Body) {
				t.Errorf("message %d: got subject %q, header %q, %d bytes", i, msg.Subject, msg.Header, len(msg.Data))
			}
		}
	})
}

// seenAny is for messages without an order: it appends them to want as they came.
func seenAny(t *testing.T, m *mail, want *[]string, more ...string) {
	t.Helper()
	got := m.bodies(t, len(*want)+len(more))
	tail := slices.Clone(got[min(len(*want), len(got)):])
	slices.Sort(tail)
	slices.Sort(more)
	if d := cmp.Diff(more, tail); d != "" {
		t.Fatalf("new in the stream (-want +got):\n%s", d)
	}
	*want = got
}
