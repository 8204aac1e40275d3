package coordinator

import (
	"container/heap"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// key is what differs between the XIDs of one log.
type key struct{ epoch, seq uint64 }

func (k key) less(o key) bool {
	return k.epoch < o.epoch || k.epoch == o.epoch && k.seq < o.seq
}

// state of a transaction that the machine holds. An aborted one is forgotten
// at once (rules B3, G1).
type state uint8

const (
	stateActive     state = iota
	stateCommitting       // asked for, its record is not known to be in the log
	stateCommitted        // in the log; somebody has not acknowledged
	stateFinished         // acknowledged by all; Done not known to be in the log
)

// tx is one transaction.
type tx struct {
	key
	state    state
	branches []gtx.BranchRef  // registered
	todo     []gtx.ResourceID // participants that have not acknowledged
	waiters  []any            // Calls of Commit
	watchers []watcher        // Calls of Await
	age      key              // of the first try (rule W5)

	at    time.Time     // deadline when active, next push when committed
	pause time.Duration // between pushes
	index int           // in timers, -1 when not there
}

// watcher waits for the end of a transaction.
type watcher struct {
	call  any
	nonce uint64
}

// status is what may be said of t.
func (t *tx) status() gtx.Status {
	if t.state >= stateCommitted {
		return gtx.Committed
	}
	return gtx.Pending
}

// branchesAt gives the registered branches of t at r, in no order.
func (t *tx) branchesAt(r gtx.ResourceID) []gtx.BranchID {
	var ids []gtx.BranchID
	for _, ref := range t.branches {
		if ref.Resource == r {
			ids = append(ids, ref.Branch)
		}
	}
	return ids
}

// timers orders transactions by at; each is in it once or not at all.
type timers []*tx

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for container/heap.
func (h *timers) Push(x any) {
	t := x.(*tx)
	t.index = len(*h)
	*h = append(*h, t)
}

// Pop is for container/heap.
func (h *timers) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.index = -1
	return t
}

func (h timers) first() (time.Time, bool) {
	if len(h) == 0 {
		return time.Time{}, false
	}
	return h[0].at, true
}

// set puts t at its time at, from wherever it was.
func (h *timers) set(t *tx, at time.Time) {
	t.at = at
	if t.index >= 0 {
		heap.Fix(h, t.index)
		return
	}
	heap.Push(h, t)
}

func (h *timers) remove(t *tx) {
	if t.index >= 0 {
		heap.Remove(h, t.index)
	}
}

// tombstones remember finished commits, oldest first. What they drop raises
// the horizon, so it is answered with expired and never with aborted (C3, C5).
type tombstones struct {
	keep    time.Duration
	limit   int
	set     map[key]struct{}
	queue   []tombstone
	head    int
	horizon key
}

type tombstone struct {
	key
	at time.Time
}

func (s *tombstones) add(now time.Time, k key) {
	s.set[k] = struct{}{}
	s.queue = append(s.queue, tombstone{k, now})
	s.expire(now)
}

func (s *tombstones) expire(now time.Time) {
	for s.head < len(s.queue) {
		t := s.queue[s.head]
		if len(s.set) <= s.limit && now.Sub(t.at) < s.keep {
			break
		}
		delete(s.set, t.key)
		if s.horizon.less(t.key) {
			s.horizon = t.key
		}
		s.head++
	}
	if s.head > 1024 && s.head > len(s.queue)/2 {
		s.queue = append(s.queue[:0], s.queue[s.head:]...)
		s.head = 0
	}
}
