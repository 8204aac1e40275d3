package coordinator

import (
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// Event is something that happened outside. The Call of a request comes back
// in its one Reply.
type Event interface{ event() }

// Requests. Each gets one Reply, but for Await.
type (
	// Begin mints an XID (rule B1). A Timeout of zero or less is the default.
	// First is the first try of the same work, which gives it its age (rule W5).
	Begin struct {
		Call    any
		Timeout time.Duration
		First   gtx.XID
	}
	// Register adds a branch (rule B2). Reply.Err nil is the ok.
	Register struct {
		Call any
		XID  gtx.XID
		Ref  gtx.BranchRef
	}
	// Commit asks for the decision (rule C1). The slices are not kept.
	Commit struct {
		Call            any
		XID             gtx.XID
		Confirmed, Dead []gtx.BranchRef
	}
	// Rollback aborts what is active and tells what is known (rules B3, C3).
	Rollback struct {
		Call any
		XID  gtx.XID
	}
	// Outcome tells what is known.
	Outcome struct {
		Call any
		XID  gtx.XID
	}
	// Await asks for the end of Holder (rules W2, W5). It is answered then, or at
	// once with Pending when Waiter must not wait for Holder. A zero Waiter holds
	// nothing. A later Await with the same Nonce takes the place of the former,
	// which gets no Reply.
	Await struct {
		Call           any
		Waiter, Holder gtx.XID
		Nonce          uint64
	}
	// Ack says that phase two of XID has ended at Resource (rule G2).
	Ack struct {
		Call     any
		XID      gtx.XID
		Resource gtx.ResourceID
	}
	// Hello says that a worker of Resource has come: unfinished commits are
	// pushed to it now, not when their pause ends.
	Hello struct {
		Call     any
		Resource gtx.ResourceID
	}
)

// What happens without a request.
type (
	// Tick lets time pass. Due at Machine.Next.
	Tick struct{}
	// Landed says that the outstanding append was acknowledged at Seq.
	Landed struct{ Seq uint64 }
	// Unclear says that the outstanding append got no answer, or an answer that
	// does not settle it. The same Append is emitted again (rule L4).
	Unclear struct{}
	// Found says what the log holds right behind the outstanding append's Prev,
	// after the log refused the append. At is when it was stored. A nil Body
	// says that it was deleted.
	Found struct {
		Body []byte
		At   time.Time
	}
	// Flush appends the waiting Done records now.
	Flush struct{}
	// Barrier appends an empty message: it finds out whether the machine still
	// leads.
	Barrier struct{}
)

func (Begin) event()    {}
func (Register) event() {}
func (Commit) event()   {}
func (Rollback) event() {}
func (Outcome) event()  {}
func (Await) event()    {}
func (Ack) event()      {}
func (Hello) event()    {}
func (Tick) event()     {}
func (Landed) event()   {}
func (Unclear) event()  {}
func (Found) event()    {}
func (Flush) event()    {}
func (Barrier) event()  {}

// Action is something that the owner must do.
type Action interface{ action() }

type (
	// Append must be written behind sequence Prev of the log, only there, and be
	// answered with Landed, Unclear or Found. The next Append follows that
	// answer. Body must not be changed.
	Append struct {
		Prev uint64
		Body []byte
	}
	// Reply answers the request with this Call.
	Reply struct {
		Call   any
		XID    gtx.XID
		Status gtx.Status
		Err    error
	}
	// Push tells the workers of Resource a decision. It may get lost.
	Push struct {
		Resource gtx.ResourceID
		gtx.Resolution
	}
	// StepDown is the last action of a machine.
	StepDown struct{ Err error }
)

func (Append) action()   {}
func (Reply) action()    {}
func (Push) action()     {}
func (StepDown) action() {}
