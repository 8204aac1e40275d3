package bank

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// Counts is what became of the transfers so far.
type Counts struct {
	Committed int
	Aborted   int // in the end, after all tries
	Refused   int // of Aborted: failed on purpose
	Conflicts int // of Aborted: the row stayed locked through all tries
	Funds     int // of Aborted: the account did not hold the amount
	Unknown   int // the answer to the commit is missing
	Undone    int // local commits of the first bank that were taken back
	Retried   int // tries after a conflict
}

// Ended counts all transfers that are over.
func (c Counts) Ended() int { return c.Committed + c.Aborted + c.Unknown }

// Unexpected counts the aborted ones that have no reason in the workload.
func (c Counts) Unexpected() int { return c.Aborted - c.Refused - c.Conflicts - c.Funds }

// Tally collects results. The zero value is ready; safe for concurrent use.
type Tally struct {
	// mu protects the following.
	mu       sync.Mutex
	counts   Counts
	outcomes map[string]gtx.Status
	unknown  map[string]gtx.XID
	local    map[string]int // local commits of the unknown ones
	took     []time.Duration
	log      uint64
	problem  error
}

func (t *Tally) add(id string, xid gtx.XID, err error, took time.Duration, tries, local int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.outcomes == nil {
		t.outcomes, t.unknown, t.local = map[string]gtx.Status{}, map[string]gtx.XID{}, map[string]int{}
	}
	if !xid.IsZero() {
		t.log = xid.Log
	}
	t.counts.Retried += max(tries-1, 0)
	switch {
	case err == nil:
		t.took = append(t.took, took)
		t.counts.Undone += local - 1
		t.settle(id, gtx.Committed)
		return
	case errors.Is(err, gtx.ErrUnknown):
		t.counts.Unknown++
		t.outcomes[id], t.unknown[id], t.local[id] = gtx.Pending, xid, local
		return
	case errors.Is(err, ErrRefused):
		t.counts.Refused++
	case errors.Is(err, ErrFunds):
		t.counts.Funds++
	case errors.Is(err, gtx.ErrConflict):
		t.counts.Conflicts++
	default:
		t.problem = err
	}
	t.counts.Undone += local
	t.settle(id, gtx.Aborted)
}

// settle records a final outcome.
func (t *Tally) settle(id string, s gtx.Status) {
	t.outcomes[id] = s
	if s == gtx.Committed {
		t.counts.Committed++
	} else {
		t.counts.Aborted++
	}
}

// Counts gives the numbers of now.
func (t *Tally) Counts() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts
}

// Problem is the last error that has no reason in the workload, or nil.
func (t *Tally) Problem() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.problem
}

// Log is the identity of the decision log, 0 before the first transaction.
func (t *Tally) Log() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.log
}

// Outcomes gives a copy of what was told of each transfer; Pending: unknown.
func (t *Tally) Outcomes() map[string]gtx.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.outcomes)
}

// Percentile gives the time, from begin to the answer, that share (0 to 1) of
// the committed transfers did not exceed. 0 when none has committed.
func (t *Tally) Percentile(share float64) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.took) == 0 {
		return 0
	}
	slices.Sort(t.took)
	i := int(share * float64(len(t.took)))
	return t.took[min(i, len(t.took)-1)]
}

// AskUnknown asks c what became of the transfers whose answer is missing until
// each is settled or ctx ends.
func (t *Tally) AskUnknown(ctx context.Context, c gtx.Coordinator) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		t.mu.Lock()
		open := maps.Clone(t.unknown)
		t.mu.Unlock()
		if len(open) == 0 {
			return nil
		}
		for id, xid := range open {
			// Pending and errors say nothing: ask again (rule C4). Expired is
			// never taken for aborted (rule C5).
			if s, err := c.Outcome(ctx, xid); err == nil && (s == gtx.Committed || s == gtx.Aborted) {
				t.known(id, s)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("ask for the outcome of %d transfers: %w", len(open), ctx.Err())
		case <-tick.C:
		}
	}
}

func (t *Tally) known(id string, s gtx.Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Unknown--
	t.counts.Undone += t.local[id]
	if s == gtx.Committed {
		t.counts.Undone--
	}
	delete(t.unknown, id)
	delete(t.local, id)
	t.settle(id, s)
}
