package compare

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// promises are what docs/performance.md says of receivers: how often a message takes
// effect, and on which of the small servers it is shown.
var promises = []struct {
	receiver        string
	restarted, fail int // effects of one message, see below
}{
	{"plain", 2, 1},
	{"by hand", 1, 1},
	{"inbox", 1, 1},
	{"Watermill", 2, 0},
}

// TestPromises delivers messages twice. restarted: to a process that has handled them, and
// to one that has started since. fail: to a handler that fails the first time.
func TestPromises(t *testing.T) {
	nc, js := broker(t)
	for _, p := range []place{places[0], places[len(places)-1]} {
		for _, want := range promises {
			t.Run(p.name+"/"+want.receiver, func(t *testing.T) {
				r := p.rig(t, nc, js)
				if got := restarted(t, r, want.receiver); got != want.restarted*few {
					t.Errorf("%d messages, delivered to two processes: %d effects, want %d", few, got, want.restarted*few)
				}
				if got := failed(t, r, want.receiver); got != want.fail*few {
					t.Errorf("%d messages, a handler that failed once: %d effects, want %d", few, got, want.fail*few)
				}
			})
		}
	}
}

const few = 20

// receiver is one of a process that has just started, which gets all messages.
func receiver(t *testing.T, r *Rig, name string) *Receiver {
	t.Helper()
	c, err := NewReceiver(t.Context(), r, name, 1)
	if err != nil {
		t.Fatal(err)
	}
	// That of the inbox has its name; others begin with a new one.
	err = r.JS.DeleteConsumer(t.Context(), tasks, inboxName)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Fatal(err)
	}
	return c
}

func effects(t *testing.T, r *Rig) (n int) {
	t.Helper()
	if err := r.Base.QueryRowContext(t.Context(), "SELECT count(*) FROM effect").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func restarted(t *testing.T, r *Rig, name string) int {
	t.Helper()
	c := receiver(t, r, name)
	if err := c.Prepare(t.Context(), few); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := receiver(t, r, name).consume(t.Context(), few, c.insert); err != nil {
			t.Fatal(err)
		}
	}
	return effects(t, r)
}

func failed(t *testing.T, r *Rig, name string) int {
	t.Helper()
	c := receiver(t, r, name)
	if err := c.Prepare(t.Context(), few); err != nil {
		t.Fatal(err)
	}
	var seen sync.Map
	err := c.consume(t.Context(), 2*few, func(ctx context.Context, tx *sql.Tx, id string) error {
		if _, again := seen.LoadOrStore(id, true); !again {
			return errors.New("the first time it fails")
		}
		return c.insert(ctx, tx, id)
	})
	if err != nil {
		t.Fatal(err)
	}
	return effects(t, r)
}
