package gtx

import (
	"context"
	"sync"
	"time"
)

// Tx is a global transaction as one process sees it. Applications meet it
// through Run; drivers and propagation (gtxhttp) use its methods. Safe for
// concurrent use.
type Tx struct {
	xid      XID
	coord    Coordinator
	deadline time.Time
	joined   bool

	// mu protects the following.
	mu       sync.Mutex
	ended    bool
	shared   bool // another process has been told the XID
	branches map[BranchRef]branchState
}

type branchState uint8

const (
	branchOpen branchState = iota
	branchConfirmed
	branchDead
)

type txKey struct{}

// FromContext gives the global transaction that ctx carries.
func FromContext(ctx context.Context) (*Tx, bool) {
	tx, ok := ctx.Value(txKey{}).(*Tx)
	return tx, ok && tx != nil
}

// Detach gives a context without the global transaction; cancellation and
// other values stay. Statements with it are ordinary local ones.
func Detach(ctx context.Context) context.Context {
	return context.WithValue(ctx, txKey{}, (*Tx)(nil))
}

func newContext(ctx context.Context, tx *Tx) context.Context {
	return context.WithValue(ctx, txKey{}, tx)
}

// Join makes this process a participant of a transaction that another process
// began, and calls fn with a context that carries it. Afterwards it returns the
// branches that this process confirmed and those that are dead: whoever called
// us must hand them to the beginner, who reports them with [Tx.Report]; a branch
// that is not reported aborts the transaction. Join never decides.
func Join(ctx context.Context, c Coordinator, xid XID, fn func(context.Context) error) (confirmed, dead []BranchRef, err error) {
	tx := &Tx{xid: xid, coord: c, joined: true, branches: map[BranchRef]branchState{}}
	defer func() { confirmed, dead = tx.end() }()
	return nil, nil, fn(newContext(ctx, tx))
}

// Waiter is who waits when a row of another transaction is wanted: the XID, or
// the zero XID as long as no branch holds anything, so that nobody can be
// waiting for this transaction (rule W5). What a joined process cannot know it
// takes for held.
func (tx *Tx) Waiter() XID {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.joined || tx.shared {
		return tx.xid
	}
	for _, s := range tx.branches {
		if s != branchDead {
			return tx.xid
		}
	}
	return XID{}
}

// XID names the transaction.
func (tx *Tx) XID() XID { return tx.xid }

// Coordinator that decides the transaction.
func (tx *Tx) Coordinator() Coordinator { return tx.coord }

// Enlist opens a branch at r with a new BranchID. ErrEnded after the end.
func (tx *Tx) Enlist(r ResourceID) (BranchRef, error) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.ended {
		return BranchRef{}, ErrEnded
	}
	ref := BranchRef{Resource: r, Branch: NewBranchID()}
	tx.branches[ref] = branchOpen
	return ref, nil
}

// Active returns ErrEnded after the end.
func (tx *Tx) Active() error {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.ended {
		return ErrEnded
	}
	return nil
}

// Confirm says that the local COMMIT of the branch was acknowledged (or found
// to have happened, rule T5).
func (tx *Tx) Confirm(ref BranchRef) { tx.settle(ref, branchConfirmed) }

// Dead says that the branch has not committed locally and never will.
func (tx *Tx) Dead(ref BranchRef) { tx.settle(ref, branchDead) }

func (tx *Tx) settle(ref BranchRef, s branchState) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if !tx.ended {
		tx.branches[ref] = s
	}
}

// Share says that another process is about to learn the XID and may register
// branches. Propagation calls it before it sends: from then on the coordinator
// is asked for a decision even if no branch was reported, because an answer
// that was lost looks like no branch at all.
func (tx *Tx) Share() {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.shared = true
}

// isShared reports whether Share was called.
func (tx *Tx) isShared() bool {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	return tx.shared
}

// Report takes over what a joined process returned from Join. A report that
// contradicts what is known of a branch makes it open again, so that the
// transaction aborts: no peer can declare another's branch dead.
func (tx *Tx) Report(confirmed, dead []BranchRef) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.ended {
		return
	}
	for _, list := range []struct {
		refs  []BranchRef
		state branchState
	}{{confirmed, branchConfirmed}, {dead, branchDead}} {
		for _, ref := range list.refs {
			if s, known := tx.branches[ref]; known && s != list.state {
				tx.branches[ref] = branchOpen
				continue
			}
			tx.branches[ref] = list.state
		}
	}
}

// end closes the transaction for new branches and tells the settled ones. Open
// branches are in neither list: the coordinator then aborts (rule C1).
func (tx *Tx) end() (confirmed, dead []BranchRef) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.ended = true
	for ref, s := range tx.branches {
		switch s {
		case branchConfirmed:
			confirmed = append(confirmed, ref)
		case branchDead:
			dead = append(dead, ref)
		}
	}
	return confirmed, dead
}

// open tells how many branches are neither confirmed nor dead.
func (tx *Tx) open() int {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	n := 0
	for _, s := range tx.branches {
		if s == branchOpen {
			n++
		}
	}
	return n
}
