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
	// Key is a random secret of the beginner: only who names it may end the
	// transaction. Zero, and everybody may. Resources are all that may register
	// branches, for gtx.ThreePhase, and none for another Mode; the slice is not kept.
	Begin struct {
		Call      any
		Timeout   time.Duration
		First     gtx.XID
		Key       uint64
		Mode      gtx.Mode
		Resources []gtx.ResourceID
	}
	// Register adds a branch (rule B2). Reply.Err nil is the ok.
	Register struct {
		Call any
		XID  gtx.XID
		Ref  gtx.BranchRef
	}
	// Commit asks for the decision (rule C1). The slices are not kept. On an
	// undecided XID that was begun with another Key it is answered with
	// ErrNotOwner and changes nothing.
	Commit struct {
		Call            any
		XID             gtx.XID
		Key             uint64
		Confirmed, Dead []gtx.BranchRef
	}
	// Rollback aborts what is active and tells what is known (rules B3, C3). Key
	// is that of Commit.
	Rollback struct {
		Call any
		XID  gtx.XID
		Key  uint64
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
	// Ack says that phase two of XIDs has ended at Resource (rule G2). XIDs that
	// this machine need not know of are passed over; Reply.Err is that of the
	// first it must not hear of. The slice is not kept.
	Ack struct {
		Call     any
		Resource gtx.ResourceID
		XIDs     []gtx.XID
	}
	// Ready says that Resource knows that XIDs are pre-committed (rule H2). It never
	// counts as an Ack, nor an Ack as a Ready. Reply.Err is that of Ack. The slice is
	// not kept.
	Ready struct {
		Call     any
		Resource gtx.ResourceID
		XIDs     []gtx.XID
	}
	// Claim says that a former leader has told a participant that XID is pre-committed,
	// and with whom (rule H4). It is answered as Commit is; Pending says to ask again.
	// The slice is not kept.
	Claim struct {
		Call         any
		XID          gtx.XID
		Participants []gtx.ResourceID
	}
	// Hello says that a worker of Resource has come, or that its database is
	// back: unfinished commits are pushed to it now, not when their pause ends.
	Hello struct {
		Call     any
		Resource gtx.ResourceID
	}
	// Scan asks for the lease to look for leftovers at Resource, for For from
	// now; the Worker that has it may prolong it. Reply.Err is ErrBusy while
	// another has it. It is load control and no lock (rule P6): it lives in
	// memory, and the next leader knows nothing of it.
	Scan struct {
		Call     any
		Resource gtx.ResourceID
		Worker   uint64
		For      time.Duration
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
	// Flush appends the waiting Done records now, and decides what is pre-committed.
	Flush struct{}
	// Barrier appends an empty message: it finds out whether the machine still
	// leads.
	Barrier struct{}
	// Handover freezes a leader, settles what is queued and outstanding, appends
	// the active transactions and then steps down with ErrHandedOver (rule O2).
	// A machine that does not lead steps down at once.
	Handover struct{}
)

func (Begin) event()    {}
func (Register) event() {}
func (Commit) event()   {}
func (Rollback) event() {}
func (Outcome) event()  {}
func (Await) event()    {}
func (Ack) event()      {}
func (Ready) event()    {}
func (Claim) event()    {}
func (Hello) event()    {}
func (Tick) event()     {}
func (Landed) event()   {}
func (Unclear) event()  {}
func (Found) event()    {}
func (Flush) event()    {}
func (Barrier) event()  {}
func (Scan) event()     {}
func (Handover) event() {}

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
	// Push tells the workers of Resource a decision, or that there will be one:
	// gtx.PreCommitted, to be answered with Ready. It may get lost.
	Push struct {
		Resource gtx.ResourceID
		gtx.Resolution
	}
	// Purge allows the log to forget the messages 1 to UpTo (rule G3). It needs
	// no fence, may be repeated, and may fail.
	Purge struct{ UpTo uint64 }
	// Yield says that the epoch this candidate asked for went to another. The
	// machine is loading again: feed it by Load, and Campaign later (rule I2).
	Yield struct{}
	// StepDown is the last action of a machine.
	StepDown struct{ Err error }
)

func (Append) action()   {}
func (Reply) action()    {}
func (Push) action()     {}
func (Purge) action()    {}
func (Yield) action()    {}
func (StepDown) action() {}
