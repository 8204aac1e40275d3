package soak

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/globaltx/globaltx/internal/testserver"
)

// roleEnv makes the test binary a process of the system under test. Its value is a key of
// roles.
const roleEnv = "GTX_SOAK_ROLE"

// roles run until they are killed, or their standard input ends.
var roles = map[string]func(ctx context.Context, in *json.Decoder, out *reporter) error{
	"nats":        runNATS,
	"coordinator": runCoordinator,
	"sender":      runSender,
	"relay":       runRelay,
	"consumer":    runConsumer,
}

func TestMain(m *testing.M) {
	role := os.Getenv(roleEnv)
	if role == "" {
		testserver.Main(m)
		return
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err := roles[role](context.Background(), json.NewDecoder(os.Stdin), &reporter{w: os.Stdout}); err != nil {
		fmt.Fprintln(os.Stderr, role, "ends:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// event is one line that a process tells.
type event struct {
	Kind string   `json:"k"`
	IDs  []uint64 `json:"i,omitempty"` // kindSent, kindBack
	Way  int      `json:"w,omitempty"` // kindSent
	Sum  counts   `json:"s,omitzero"`  // kindSum
	Text string   `json:"t,omitempty"` // kindEnd
}

// Kinds of events.
const (
	kindReady = "ready" // the process does its work from now on
	kindSent  = "sent"  // the local or global transaction of these messages has committed
	kindBack  = "back"  // it was rolled back, as it was to be
	kindSum   = "sum"   // what the process has done since its start
	kindQuiet = "quiet" // the sender sends no more
	kindEnd   = "end"   // the process has ended
)

// counts is what one process has done, or all of them.
type counts struct {
	Published  int64 `json:"p,omitempty"` // acknowledged by the stream
	InStream   int64 `json:"d,omitempty"` // of them, those that the stream had already
	Handled    int64 `json:"h,omitempty"` // messages that took effect
	InInbox    int64 `json:"i,omitempty"` // deliveries of messages that had taken effect
	Repeated   int64 `json:"r,omitempty"` // handler runs of a message that was delivered before
	FailedRuns int64 `json:"f,omitempty"` // tries that failed
}

func (c *counts) add(o counts) {
	c.Published += o.Published
	c.InStream += o.InStream
	c.Handled += o.Handled
	c.InInbox += o.InInbox
	c.Repeated += o.Repeated
	c.FailedRuns += o.FailedRuns
}

// reporter writes events. Each is in the pipe when tell returns: what a process has told
// before it was killed is known. Safe for concurrent use.
type reporter struct {
	mu sync.Mutex
	w  io.Writer
}

func (r *reporter) tell(e event) {
	line, err := json.Marshal(e)
	if err == nil {
		r.mu.Lock()
		_, err = r.w.Write(append(line, '\n'))
		r.mu.Unlock()
	}
	if err != nil {
		os.Exit(1) // nobody listens any more
	}
}

// readEvents hands the lines of a process to sink until it ends. The last line of a killed
// process may be cut short.
func readEvents(r io.Reader, sink func(event)) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			sink(e)
		}
	}
}

// await lets time pass, and tells whether ctx goes on. A role uses it between two tries.
func await(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// persist tries until it works: what the process needs may have been killed just now.
func persist(ctx context.Context, what string, try func(context.Context) error) {
	for {
		short, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := try(short)
		cancel()
		if err == nil {
			return
		}
		slog.Warn(what, "err", err)
		if !await(ctx, 100*time.Millisecond) {
			return
		}
	}
}

// obey hands the orders of the parent to do, and ends the process when the parent has gone,
// whatever else it does.
func obey(in *json.Decoder, do func(order string)) {
	go func() {
		for {
			var order string
			if in.Decode(&order) != nil {
				os.Exit(0)
			}
			do(order)
		}
	}()
}

// noOrders is for obey where there are none.
func noOrders(string) {}
