package inbox

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	_ "github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/internal/testserver/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMessageID(t *testing.T) {
	at := time.Unix(1_700_000_000, 5)
	meta := func(domain, stream string, seq uint64, at time.Time) *jetstream.MsgMetadata {
		return &jetstream.MsgMetadata{Domain: domain, Stream: stream, Sequence: jetstream.SequencePair{Stream: seq}, Timestamp: at}
	}
	h := func(pairs ...string) nats.Header {
		h := nats.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	// No two of these are one message.
	seen := map[string]int{}
	for i, id := range []string{
		messageID(nil, meta("", "A", 1, at)),
		messageID(nil, meta("", "A", 2, at)),
		messageID(nil, meta("", "A", 1, at.Add(1))), // the stream was made again
		messageID(nil, meta("", "B", 1, at)),
		messageID(nil, meta("D", "A", 1, at)),
		messageID(h("Nats-Msg-Id", "1"), meta("", "A", 1, at)),
		messageID(h("Nats-Msg-Id", "1 "), meta("", "A", 1, at)),
		messageID(h("Nats-Msg-Id", "/1"), meta("", "A", 1, at)),
		messageID(h("Nats-Msg-Id", "1"), meta("", "B", 1, at)),
		messageID(h("Nats-Msg-Id", "1"), meta("D", "A", 1, at)),
		messageID(h("Nats-Msg-Id", "it's"), meta("", "A", 1, at)),
		messageID(h("Nats-Msg-Id", "\xff"), meta("", "A", 1, at)),
		messageID(h("Nats-Msg-Id", "\xfe"), meta("", "A", 1, at)),
		messageID(h("Nats-Msg-Id", strings.Repeat("x", 300)), meta("", "A", 1, at)),
		messageID(h("Nats-Msg-Id", strings.Repeat("x", 301)), meta("", "A", 1, at)),
		messageID(h("Nats-Msg-Id", "#made", HeaderSource, "x"), meta("", "A", 1, at)),
		messageID(h("Nats-Msg-Id", "00ff", HeaderSource, "x"), meta("", "A", 1, at)),
		madeID,
	} {
		if j, twice := seen[id]; twice {
			t.Errorf("%d and %d are both %q", j, i, id)
		}
		seen[id] = i
		if !idOK(id) {
			t.Errorf("%d: %q is not fit for a statement", i, id)
		}
	}
	// A message of an outbox is one, whatever stream brings it.
	a := messageID(h("Nats-Msg-Id", "00ff", HeaderSource, "x"), meta("", "A", 1, at))
	if b := messageID(h("Nats-Msg-Id", "00ff", HeaderSource, "y"), meta("D", "B", 7, at.Add(time.Hour))); a != b {
		t.Errorf("%q and %q", a, b)
	}
}

func FuzzMessageID(f *testing.F) {
	f.Add("a", "S")
	f.Add("' OR 1 = 1 --", "\x00")
	f.Fuzz(func(t *testing.T, id, stream string) {
		got := messageID(nats.Header{"Nats-Msg-Id": {id}}, &jetstream.MsgMetadata{Stream: stream})
		if !idOK(got) || strings.ContainsAny(got, "'\\\"` ?$") {
			t.Errorf("%q of %q, %q", got, id, stream)
		}
	})
}

func TestHeaderRoundTrip(t *testing.T) {
	for _, h := range []nats.Header{{}, {"A": {"b"}}, {"A": {"b: c", "", " "}, "a": {"\xff"}, "traceparent": {"00-1-2-01"}}} {
		got, err := decodeHeader(encodeHeader(h))
		if err != nil || !cmp.Equal(got, h) {
			t.Errorf("got %v, %v, want %v", got, err, h)
		}
	}
	if _, err := decodeHeader([]byte("nonsense")); err == nil {
		t.Error("a line without a colon is read")
	}
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a.*", "a.b", true},
		{"a.*", "*.b", true},
		{"a.*.c", "a.b.d", false},
		{"a.>", "a", false},
		{"a.>", "a.b.c", true},
		{">", "x.y", true},
		{"a.*", "a.b.c", false},
		{"a.0.>", "a.1.>", false},
	} {
		if overlap(c.a, c.b) != c.want || overlap(c.b, c.a) != c.want {
			t.Errorf("%s and %s: want %t", c.a, c.b, c.want)
		}
	}
}

func TestPause(t *testing.T) {
	for n := range uint64(200) {
		for range 20 {
			if d := pause(n); d < 50*time.Millisecond || d > 30*time.Second || n < 2 && d > 100*time.Millisecond || n > 20 && d < 15*time.Second {
				t.Fatalf("pause(%d) = %s", n, d)
			}
		}
	}
}

// setup gives an inbox on SQLite and a stream with one message.
func setup(t *testing.T, cfg Config) *Inbox {
	t.Helper()
	url := natstest.Run(t, &server.Options{JetStream: true, StoreDir: t.TempDir()})
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if cfg.JetStream, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.JetStream.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.JetStream.Publish(t.Context(), "s", nil); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("gtx-sqlite", "file:"+filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	in, err := Open(t.Context(), db, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// TestForgotten: a durable consumer that was deleted is not made again where that could
// have messages handled twice whose rows are gone.
func TestForgotten(t *testing.T) {
	in := setup(t, Config{Name: "n"})
	make := func(src Source) error {
		src.Stream = "S"
		if err := src.fill(&in.cfg); err != nil {
			t.Fatal(err)
		}
		_, err := in.durables(t.Context(), &src)
		return err
	}
	remove := func() {
		if err := in.cfg.JetStream.DeleteConsumer(t.Context(), "S", "n"); err != nil {
			t.Fatal(err)
		}
	}
	in.cfg.Keep = 1 // so that the message is older
	if err := make(Source{}); err != nil {
		t.Fatalf("a new inbox: %v", err)
	}
	if err := make(Source{}); err != nil {
		t.Fatalf("the durable consumer exists: %v", err)
	}
	remove()
	if err := make(Source{}); !errors.Is(err, ErrForgotten) {
		t.Fatalf("got %v, want ErrForgotten", err)
	}
	if err := make(Source{Start: time.Now().Add(-time.Minute)}); !errors.Is(err, ErrForgotten) {
		t.Fatalf("with a start before Keep: %v, want ErrForgotten", err)
	}
	if err := make(Source{Start: time.Now().Add(time.Hour)}); err != nil {
		t.Fatalf("with a start: %v", err)
	}
	remove()
	in.cfg.Keep = time.Hour // all of the stream is remembered
	if err := make(Source{}); err != nil {
		t.Error(err)
	}
}

// TestCleanWaits: an old row stays while a message that was handed out before is not
// acknowledged.
func TestCleanWaits(t *testing.T) {
	in := setup(t, Config{Name: "n"})
	src := Source{Stream: "S"}
	if err := src.fill(&in.cfg); err != nil {
		t.Fatal(err)
	}
	lanes, err := in.durables(t.Context(), &src)
	if err != nil {
		t.Fatal(err)
	}
	in.cfg.Keep = 1
	msg, err := lanes[0].cons.Next()
	if err != nil {
		t.Fatal(err)
	}
	m, err := messageOf(msg)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.s.take(t.Context(), in.db, m.ID, stateDone, ""); err != nil {
		t.Fatal(err) // handled, and the acknowledgement lost
	}
	var seen progress
	look := func() bool {
		if err := in.clean(t.Context(), lanes, &seen); err != nil {
			t.Fatal(err)
		}
		_, found, err := in.s.state(t.Context(), m.ID)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	for range 3 {
		if !look() {
			t.Fatal("removed, and the message may come again")
		}
	}
	if err := msg.DoubleAck(t.Context()); err != nil {
		t.Fatal(err)
	}
	if look() {
		t.Error("still there")
	}
}

func TestConfig(t *testing.T) {
	in := setup(t, Config{Name: "n"})
	for _, cfg := range []Config{
		{},
		{Name: "a b"},
		{Name: "it's"},
		{Name: strings.Repeat("x", 65)},
		{Name: "n", MaxTries: -1},
		{Name: "n", Keep: time.Second},
		{Name: "n", DeadSubject: "x"},
	} {
		if _, err := Open(t.Context(), in.db, cfg); err == nil {
			t.Errorf("accepted: %+v", cfg)
		}
	}
	for _, src := range []Source{
		{},
		{Stream: "S", Durable: "a.b"},
		{Stream: "S", Lanes: []string{"a"}},
		{Stream: "S", Ordered: true, Lanes: []string{"a.>", "a.*"}},
		{Stream: "S", Workers: -1},
		{Stream: "S", AckWait: time.Millisecond},
		{Stream: "T"},
	} {
		if err := in.Consume(t.Context(), src, func(context.Context, *sql.Tx, *Message) error { return nil }); err == nil {
			t.Errorf("accepted: %+v", src)
		}
	}
	plain, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := Open(t.Context(), plain, Config{Name: "n"}); err == nil {
		t.Error("a database of another driver is accepted")
	}
}
