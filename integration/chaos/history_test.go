package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/globaltx/globaltx/gtx"
)

// op is one question about a fate. No answer: back is 0.
type op struct {
	proc, name, xid string
	told            string
	call, back      int64
}

// answer is what an application was told of a transfer.
type answer struct{ status, xid string }

// span is one fault.
type span struct {
	kind, what string
	from, to   int64
}

// history is everything that was recorded, in memory and in a file. Safe for
// concurrent use.
type history struct {
	// mu protects the following.
	mu       sync.Mutex
	file     *os.File
	buf      *bufio.Writer
	ops      []op
	waiting  map[string]int      // process and number of a call → ops
	tries    map[string][]string // transfer → XIDs
	begun    int                 // transactions in tries
	told     map[string]answer   // transfer
	commits  []int64             // when a transfer was told committed
	by       map[string]int64    // process → its last commit
	leader   string              // process that led last
	quiet    map[string]bool     // processes that have stopped their load
	faults   []span
	problems []string
	changed  chan struct{} // closed by a commit, a leader, a quiet process
}

func newHistory(path string) (*history, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("create history: %w", err)
	}
	return &history{
		file: f, buf: bufio.NewWriterSize(f, 1<<20), waiting: map[string]int{}, tries: map[string][]string{},
		told: map[string]answer{}, by: map[string]int64{}, quiet: map[string]bool{}, changed: make(chan struct{}),
	}, nil
}

// add takes one event.
func (h *history) add(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if line, err := json.Marshal(e); err == nil {
		_, _ = h.buf.Write(append(line, '\n')) // sync tells
	}
	call := fmt.Sprintf("%s#%d", e.Proc, e.N)
	switch e.Kind {
	case kindCall:
		h.waiting[call] = len(h.ops)
		h.ops = append(h.ops, op{proc: e.Proc, name: e.Op, xid: e.XID, call: e.At})
	case kindBack:
		if i, ok := h.waiting[call]; ok {
			h.ops[i].told, h.ops[i].back = e.Told, e.At
			delete(h.waiting, call)
		}
	case kindTry:
		h.tries[e.ID] = append(h.tries[e.ID], e.XID)
		h.begun++
	case kindTold:
		h.told[e.ID] = answer{e.Told, e.XID}
		if e.Told == gtx.Committed.String() {
			h.commits = append(h.commits, e.At)
			h.by[e.Proc] = e.At
			h.wake()
		}
	case kindLeads:
		h.leader = e.Proc
		h.wake()
	case kindQuiet:
		h.quiet[e.Proc] = true
		h.wake()
	case kindFault:
		h.faults = append(h.faults, span{kind: e.Op, what: e.Text, from: e.At})
	case kindHeal:
		h.faults[len(h.faults)-1].to = e.At
	case kindEnd:
		if e.Text != "" && len(e.Text) > 8 && e.Text[:8] == "unwanted" {
			h.problems = append(h.problems, e.Proc+": "+e.Text)
		}
	}
}

func (h *history) wake() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// await waits until ok, which runs under the lock, or the end of ctx.
func (h *history) await(ctx context.Context, what string, ok func() bool) error {
	for {
		h.mu.Lock()
		done, changed := ok(), h.changed
		h.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		}
	}
}

// committed tells how many transfers were told committed.
func (h *history) committed() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.commits)
}

// tried tells how many transactions have had a branch.
func (h *history) tried() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.begun
}

func (h *history) leads() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.leader
}

// close writes the file out. Nothing is added behind it.
func (h *history) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.Sort(h.commits)
	if err := h.buf.Flush(); err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	return h.file.Close()
}
