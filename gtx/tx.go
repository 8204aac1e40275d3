package gtx

import (
	"context"
	"fmt"
	"slices"
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
	mode     Mode
	named    []ResourceID // three-phase: nobody else takes part; nil in a joined process

	// mu protects the following.
	mu       sync.Mutex
	ended    bool
	shared   bool // another process has been told the XID
	branches map[BranchRef]branchState
	ends     map[any]func(context.Context, Status)             // see Ends
	asks     map[BranchRef]func(context.Context) (bool, error) // see Ask
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
//
// The mode is the beginner's, as far as the XID tells: ThreePhase or AT. For XA give ctx
// by [InMode].
func Join(ctx context.Context, c Coordinator, xid XID, fn func(context.Context) error) (confirmed, dead []BranchRef, err error) {
	tx := &Tx{xid: xid, coord: c, joined: true, branches: map[BranchRef]branchState{}}
	if xid.ThreePhase() {
		tx.mode = ThreePhase
	}
	defer func() {
		if err == nil {
			err = tx.ask(ctx)
		}
		confirmed, dead = tx.end()
	}()
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
	if tx.named != nil && !slices.Contains(tx.named, r) {
		return BranchRef{}, &UnsupportedError{
			Code: "not-named", Reason: "the database was not named when the three-phase transaction began, so it was not asked for its vote",
			Hint: "add it to gtx.WithResources",
		}
	}
	ref := BranchRef{Resource: r, Branch: NewBranchID()}
	tx.branches[ref] = branchOpen
	return ref, nil
}

// Ends has end called once, before Run returns: with the decision as soon as it is
// known, with Pending when Run could not learn it. What is prepared is seen by nobody,
// the program's next statement included, until its end. It is no more than a short cut:
// whoever serves the resource does the same when the coordinator tells. The first end of
// each owner counts, who is any value that can be compared. False: it will not be called,
// for the transaction was begun by another process or has ended.
func (tx *Tx) Ends(owner any, end func(ctx context.Context, st Status)) bool {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.joined || tx.ended {
		return false
	}
	if tx.ends == nil {
		tx.ends = map[any]func(context.Context, Status){}
	}
	if tx.ends[owner] == nil {
		tx.ends[owner] = end
	}
	return true
}

// finish runs what Ends asked for, at most for endsTime.
func (tx *Tx) finish(ctx context.Context, st Status) {
	tx.mu.Lock()
	ends := tx.ends
	tx.ends = nil
	tx.mu.Unlock()
	if len(ends) == 0 {
		return
	}
	if st != Committed && st != Aborted {
		st = Pending
	}
	ctx, cancel := context.WithTimeout(ctx, endsTime)
	defer cancel()
	var all sync.WaitGroup
	for _, end := range ends {
		all.Go(func() { end(ctx, st) })
	}
	all.Wait()
}

// Ask has has called once fn has returned nil, unless the branch is settled by then. It
// is for a branch whose local transaction somebody else commits: has tells whether that
// has happened. Nil and false: it has not, and then the global transaction aborts.
func (tx *Tx) Ask(ref BranchRef, has func(ctx context.Context) (committed bool, err error)) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.ended {
		return
	}
	if tx.asks == nil {
		tx.asks = map[BranchRef]func(context.Context) (bool, error){}
	}
	tx.asks[ref] = has
}

// ask settles the branches that Ask was called for.
func (tx *Tx) ask(ctx context.Context) error {
	tx.mu.Lock()
	asks := tx.asks
	tx.asks = nil
	open := map[BranchRef]bool{}
	for ref := range asks {
		open[ref] = tx.branches[ref] == branchOpen
	}
	tx.mu.Unlock()
	if len(asks) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	for ref, has := range asks {
		if !open[ref] {
			continue
		}
		committed, err := has(ctx)
		if err != nil {
			return fmt.Errorf("ask whether a branch has committed: %w", err)
		}
		if !committed {
			return fmt.Errorf("branch at %s: %w", ref.Resource, ErrNotCommitted)
		}
		tx.Confirm(ref)
	}
	return nil
}

// Branches counts those at r that this process knows of and that are not dead.
func (tx *Tx) Branches(r ResourceID) int {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	n := 0
	for ref, s := range tx.branches {
		if ref.Resource == r && s != branchDead {
			n++
		}
	}
	return n
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
