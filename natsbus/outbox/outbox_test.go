package outbox

import (
	"encoding/hex"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSlotsStay holds what senders and relays of several versions must agree on.
func TestSlotsStay(t *testing.T) {
	for key, want := range map[string]int{"a": 44, "b": 37, "order-1": 45, "grüße": 24} {
		if got := slotOf(key); got != want {
			t.Errorf("slot of %q: got %d, want %d", key, got, want)
		}
	}
	seen := map[int]bool{}
	for range 10_000 {
		seen[slotOf("")] = true
	}
	if len(seen) != slots {
		t.Errorf("messages without a key are in %d slots, want %d", len(seen), slots)
	}
}

// TestIDs makes ids side by side, while the clock is set back.
func TestIDs(t *testing.T) {
	var g ids
	var mu sync.Mutex
	var all sync.WaitGroup
	seen := map[string]bool{}
	start := time.UnixMilli(1_700_000_000_000)
	for w := range 4 {
		all.Go(func() {
			last := ""
			for i := range 20_000 {
				id := g.next(start.Add(time.Duration(w*100-i) * time.Millisecond))
				if b, err := hex.DecodeString(id); err != nil || len(b) != 16 {
					t.Errorf("id %q is not 16 bytes in hexadecimal", id)
				}
				if id <= last {
					t.Errorf("%s was made after %s", id, last)
				}
				last = id
				mu.Lock()
				seen[id[:16]] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(seen) != 80_000 {
		t.Errorf("got %d ids, want 80000", len(seen))
	}
}

func TestPick(t *testing.T) {
	const set = 1<<63 | 1<<5 | 1<<6 | 1
	seen := uint64(0)
	for range 1000 {
		got := pick(set, 2)
		if got&^set != 0 || bits.OnesCount64(got) != 2 {
			t.Fatalf("got %b of %b, want two members", got, uint64(set))
		}
		seen |= got
	}
	if seen != set {
		t.Errorf("got %b after all, want %b", seen, uint64(set))
	}
}

// TestPermanent tells what no retry brings through from what may be mended.
func TestPermanent(t *testing.T) {
	for err, want := range map[error]bool{
		nats.ErrMaxPayload: true, nats.ErrBadSubject: true, fmt.Errorf("%w: x", errCorrupt): true, &jetstream.APIError{Code: 400, ErrorCode: 10054}: true, &jetstream.APIError{Code: 400, ErrorCode: 10097}: true,
		nats.ErrDisconnected: false, jetstream.ErrNoStreamResponse: false, jetstream.ErrAsyncPublishTimeout: false,
		&jetstream.APIError{Code: 503, ErrorCode: 10077}: false, // the stream is full
		&jetstream.APIError{Code: 503, ErrorCode: 10023}: false, // no resources
	} {
		if got := permanent(err); got != want {
			t.Errorf("%v: got %v, want %v", err, got, want)
		}
	}
}

// FuzzHeader encodes what check takes, and reads it back.
func FuzzHeader(f *testing.F) {
	f.Add("A", "b", "")
	f.Add("x-y", "grüße", "\u2028<&>")
	f.Add("Nats-Msg-Id", "x\r\n", "\xff")
	f.Fuzz(func(t *testing.T, name, one, two string) {
		m := Message{Subject: "s", Header: nats.Header{name: {one, two}}}
		if m.check() != nil {
			return
		}
		if !utf8.ValidString(name + one + two) {
			t.Fatal("text that is not UTF-8 was taken")
		}
		text, err := encodeHeader(m.Header, map[string]string{"traceparent": "t", "bad": "a\nb"}, 0)
		if err != nil {
			return // too long
		}
		got, err := decodeHeader([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		want := maps.Clone(m.Header)
		if _, ok := want["traceparent"]; !ok {
			want["traceparent"] = []string{"t"}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("header (-want +got):\n%s", d)
		}
	})
}

func TestSettings(t *testing.T) {
	cfg, err := Config{}.settings("sqlite")
	if err != nil || cfg.Workers != 1 || cfg.PollInterval != time.Second || cfg.Batch != 512 || cfg.PublishTimeout != 5*time.Second || cfg.KeepDead != 720*time.Hour {
		t.Errorf("got %+v, %v", cfg, err)
	}
	for _, bad := range []Config{{PollInterval: -1}, {PublishTimeout: time.Hour}, {Workers: -1}, {Batch: -1}, {PublishTimeout: -1}, {KeepDead: time.Second}, {DeadSubject: "a.*"}} {
		if _, err := bad.settings("mysql"); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

// TestInOrder sorts by slot, place and id.
func TestInOrder(t *testing.T) {
	order := []row{{slot: 2}, {slot: 1, pos: 2}, {slot: 1, pos: 1, id: "b"}, {slot: 1, pos: 1, id: "a"}}
	slices.SortFunc(order, inOrder)
	if order[0].id != "a" || order[1].id != "b" || order[2].pos != 2 || order[3].slot != 2 {
		t.Errorf("got %+v", order)
	}
}
