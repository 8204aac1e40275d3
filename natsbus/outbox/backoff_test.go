package outbox

import (
	"database/sql"
	"errors"
	"fmt"
	"math/bits"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/internal/testserver/natstest"
)

// idleRelay gives a relay that nobody runs, of an empty SQLite database.
func idleRelay(t *testing.T, nc *nats.Conn) *relay {
	t.Helper()
	db, err := sql.Open("gtx-sqlite", "file:"+filepath.Join(t.TempDir(), "db.sqlite")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	o, err := Open(t.Context(), db, Config{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := o.newRelay(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestManySubjectsFail: what is remembered of subjects that fail has a bound, all of them wait,
// and one that is mended goes on.
func TestManySubjectsFail(t *testing.T) {
	nc, err := nats.Connect(natstest.Run(t, &server.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	r := idleRelay(t, nc)
	const n = 50_000
	name := func(i int) string { return fmt.Sprintf("order.%d.placed", i) }
	for i := range n {
		r.failed(name(i), errors.New("no stream"))
	}
	if got := len(r.subjects); got > manySubjects+crowds {
		t.Errorf("%d entries, want at most %d", got, manySubjects+crowds)
	}
	if got, last := r.failing(); got < manySubjects || last == "" {
		t.Errorf("got %d that fail, %q", got, last)
	}
	for _, f := range r.subjects { // as if it were just now, however slow this was
		f.until = time.Now().Add(time.Hour)
	}
	for i := range n {
		if !r.resting(name(i)) {
			t.Fatalf("%s is tried at once", name(i))
		}
	}
	for _, i := range []int{0, n - 1} {
		if r.recovered(name(i)); r.resting(name(i)) {
			t.Errorf("%s waits although it has gone", name(i))
		}
	}
	for _, f := range r.subjects {
		f.until = time.Now().Add(-2 * maxBackoff)
	}
	r.forgot = time.Time{}
	if r.failed("one.more", errors.New("no stream")); len(r.subjects) != 1 {
		t.Errorf("%d entries after all have ended long ago, want 1", len(r.subjects))
	}
}

// TestSendsNothingLate: a message that cannot go now is not kept by the client, which would
// send it after others have gone on.
func TestSendsNothingLate(t *testing.T) {
	node := natstest.Start(t, 1).Nodes()[0]
	nc, err := nats.Connect(node.URL(), nats.MaxReconnects(-1), nats.ReconnectBufSize(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	b := &batch{r: idleRelay(t, nc)}
	changed := nc.StatusChanged(nats.RECONNECTING)
	node.Stop()
	for nc.IsConnected() {
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatal("the client does not see that the server has gone")
		}
	}
	before, err := nc.Buffered()
	if err != nil {
		t.Fatal(err)
	}
	f := b.send(&chain{rows: []row{{id: strings.Repeat("0", 32), subject: "a", body: []byte("x")}}})
	if !errors.Is(f.err, nats.ErrDisconnected) || permanent(f.err) {
		t.Errorf("got error %v, want one that is tried again", f.err)
	}
	if after, err := nc.Buffered(); err != nil || after != before {
		t.Errorf("the client keeps %d bytes, %d before, %v", after, before, err)
	}
}

// TestHeaderSize: the limit is that of the wire, whatever a header takes in the table.
func TestHeaderSize(t *testing.T) {
	o := &Outbox{source: "0123456789abcdef0123456789abcdef"}
	_, own := o.ownHeader(strings.Repeat("0", 32), "key")
	room := maxHeader - own - len("A: \r\n")
	for _, fill := range []string{"x", "<"} { // the latter takes six bytes in JSON
		for more, want := range map[int]error{0: nil, 1: ErrMessage} {
			_, err := encodeHeader(nats.Header{"A": {strings.Repeat(fill, room+more)}}, nil, own)
			if !errors.Is(err, want) {
				t.Errorf("%d times %q: got %v, want %v", room+more, fill, err, want)
			}
		}
	}
}

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"": "", `a "b" c:\d`: `a "b" c:\d`, "two\nlines": "two lines", "ü\x00\xff": `\u00fc\x00\xff`, " x ": "x", "a\tb": "a b",
	} {
		if got := plain(text, 100); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if got := plain(strings.Repeat("x", 10), 4); got != "xxxx" {
		t.Errorf("got %q, want four", got)
	}
}

// TestRests: a slot that is read in vain rests longer when that took long, and not at all once
// something has gone.
func TestRests(t *testing.T) {
	nc, err := nats.Connect(natstest.Run(t, &server.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	r := idleRelay(t, nc)
	for _, tc := range []struct {
		set  uint64
		read time.Duration
		want time.Duration
	}{
		{1, 0, time.Second}, // Config.PollInterval
		{1, time.Millisecond, time.Second},
		{1, 10 * time.Millisecond, 3200 * time.Millisecond},
		{1<<8 - 1, 100 * time.Millisecond, 4 * time.Second},
		{1, time.Hour, maxBackoff},
	} {
		for range 30 {
			r.rested(tc.set, 0, tc.read)
		}
		if got := r.rests[0].pause; got != tc.want {
			t.Errorf("%d slots read in %s: pause %s, want %s", bits.OnesCount64(tc.set), tc.read, got, tc.want)
		}
		if r.rested(tc.set, 1, tc.read); r.rests[0] != (rest{}) {
			t.Errorf("after progress: %+v", r.rests[0])
		}
	}
}
