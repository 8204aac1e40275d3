package coordinator

import (
	"cmp"

	"github.com/globaltx/globaltx/gtx"
)

// key is what differs between the XIDs of one log.
type key struct{ epoch, seq uint64 }

func (k key) less(o key) bool {
	return k.epoch < o.epoch || k.epoch == o.epoch && k.seq < o.seq
}

// threePhase is what gtx.XID.ThreePhase says of the XID.
func (k key) threePhase() bool { return gtx.XID{Seq: k.seq}.ThreePhase() }

func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(k.epoch, o.epoch), cmp.Compare(k.seq, o.seq))
}

// state of a transaction that the machine holds. An aborted one is forgotten
// at once (rules B3, G1).
type state uint8

const (
	stateActive        state = iota
	statePreCommitting       // three-phase: asked for; the participants are being told (rule H2)
	stateCommitting          // asked for, its record is not known to be in the log
	stateCommitted           // in the log; somebody has not acknowledged
	stateFinished            // acknowledged by all; Done not known to be in the log
)

// tx is one transaction. A coordinator holds many: it has 128 bytes.
type tx struct {
	key
	deadline alarm // while active, and the next round while pre-committing
	left     uint16
	state    state
	claimed  bool   // by a participant, of a leader before (rule H4)
	secret   uint64 // of the beginner, 0 for none
	// record is the sequence of the Commit or, later, Keep record that holds the
	// decision; 0 before there is one.
	record   uint64
	order    links[tx] // in Machine.decided, which is sorted by record
	branches []branch  // registered, while active
	todo     []owed    // from Commit on: one per participant; left of them are open
	more     *more
}

// branch is a gtx.BranchRef whose resource is known.
type branch struct {
	res *resource
	id  gtx.BranchID
}

// more is what a transaction seldom has for long.
type more struct {
	first    key            // the first try, when it is another (rule W5)
	commits  []any          // Calls of Commit
	watchers []any          // Calls of Await
	watching map[uint64]int // place in watchers of a nonce

	named []gtx.ResourceID // three-phase: who may register, sorted
	until instant          // pre-committing: when it is decided at the latest
}

func (t *tx) alarm() *alarm     { return &t.deadline }
func (t *tx) links() *links[tx] { return &t.order }

// age orders transactions by their first try (rule W5).
func (t *tx) age() key {
	if t.more != nil && t.more.first != (key{}) {
		return t.more.first
	}
	return t.key
}

// status is what may be said of t.
func (t *tx) status() gtx.Status {
	if t.state >= stateCommitted {
		return gtx.Committed
	}
	return gtx.Pending
}

// extra gives the more of t, to add to.
func (t *tx) extra() *more {
	if t.more == nil {
		t.more = &more{}
	}
	return t.more
}

func oldestFirst(a, b *tx) int { return a.compare(b.key) }
