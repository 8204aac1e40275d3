package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

const (
	branchTries   = 3                // after a conflict, each with a new branch id (rule I3)
	remoteTime    = 2 * time.Second  // that a caller waits for another service
	settleTries   = 6                // of rule T5, at most
	settlePause   = time.Second      // between them
	outcomeTries  = 12               // of a program that was told "unknown"
	virtualExpiry = 20 * time.Second // of a transaction, by default
)

var errGiveUp = errors.New("sim: the program has changed its mind")

// actor is a program's process, with the driver's share of every database.
type actor struct {
	w    *World
	p    *process
	c    *client
	res  map[*database]*undo.Resolver
	name string
}

func (w *World) newActor(name string, timeout time.Duration) *actor {
	p := w.newProcess(name)
	return &actor{w: w, p: p, c: &client{p: p, timeout: timeout}, res: map[*database]*undo.Resolver{}, name: name}
}

func (a *actor) resolver(d *database) *undo.Resolver {
	if a.res[d] == nil {
		a.res[d] = d.newResolver(a.p, a.c)
	}
	return a.res[d]
}

// part is one local transaction of a plan.
type part struct {
	db     *database
	rows   []int
	mode   gtx.Mode // XA: prepared; in a three-phase plan all are
	remote *actor   // runs it, nil for the own process
	giveUp bool     // it rolls back before its COMMIT
	think  time.Duration
}

// plan is what a program does in one global transaction.
type plan struct {
	mode   gtx.Mode
	parts  []part
	giveUp bool // the function returns an error at the end
	bold   bool // it commits although a part has failed
	think  time.Duration
	// impatient, if not zero, is when the program asks for a rollback whatever goes on,
	// its own commit included (rules B3, C4).
	impatient time.Duration
	// done hears the end: what gtx.Run returned.
	done func(x gtx.XID, err error)
}

// in is the mode of a part of pl.
func (pt part) in(pl plan) gtx.Mode {
	if pl.mode != gtx.AT {
		return pl.mode
	}
	return pt.mode
}

// run runs a plan in gtx.Run.
func (a *actor) run(pl plan) {
	a.w.spawn(a.p, func() {
		var xid gtx.XID
		opts := []gtx.Option{gtx.WithCoordinator(a.c), gtx.WithRetries(0), gtx.WithMode(pl.mode)}
		if pl.mode == gtx.ThreePhase {
			opts = append(opts, gtx.WithResources(a.vote(pl)...))
		}
		err := gtx.Run(context.Background(), func(ctx context.Context) error {
			tx, _ := gtx.FromContext(ctx)
			xid = tx.XID()
			if pl.impatient > 0 {
				a.w.in(pl.impatient, "", func() { a.rollback(xid) })
			}
			return a.body(ctx, tx, pl)
		}, opts...)
		if a.p.dead {
			return
		}
		a.w.tracef("%s: %s ends: %s", a.name, short(xid), runWord(err))
		if a.w.chance(a.w.opts.endsHere) {
			a.endHere(pl, xid, err)
		}
		a.ended(xid, err)
		if pl.done != nil {
			pl.done(xid, err)
		}
	})
}

// rollback asks beside whatever else the program does.
func (a *actor) rollback(x gtx.XID) {
	if a.p.dead {
		return
	}
	a.w.count("rollback asked beside")
	a.w.spawn(a.p, func() { _, _ = a.c.Rollback(context.Background(), x) })
}

func runWord(err error) string {
	switch {
	case err == nil:
		return "committed"
	case errors.Is(err, gtx.ErrUnknown):
		return "unknown"
	}
	return "aborted (" + err.Error() + ")"
}

func (a *actor) body(ctx context.Context, tx *gtx.Tx, pl plan) error {
	for _, pt := range pl.parts {
		var err error
		pt.mode = pt.in(pl)
		if pt.remote != nil {
			err = a.callRemote(tx, pt)
		} else {
			err = a.branch(tx, pt)
		}
		if err != nil && (!pl.bold || a.p.dead) {
			return err
		}
	}
	if pl.think > 0 {
		a.w.sleep(pl.think)
	}
	if pl.giveUp {
		return errGiveUp
	}
	return nil
}

// ended checks what gtx.Run has told, and asks later where it did not know.
func (a *actor) ended(x gtx.XID, err error) {
	w := a.w
	switch {
	case x.IsZero():
	case err == nil && !w.truth.fate(x).used:
		w.count("empty transaction") // rule C6
	case err == nil:
		w.count("committed told")
		w.truth.outcome(a.name, x, gtx.Committed)
	case errors.Is(err, gtx.ErrUnknown):
		w.count("unknown told")
		a.askLater(x)
	default:
		w.count("aborted told")
		w.truth.outcome(a.name, x, gtx.Aborted)
	}
}

func (a *actor) askLater(x gtx.XID) {
	for range outcomeTries {
		a.w.sleep(a.w.between(0, 3*time.Second))
		ask := a.c.Outcome
		if a.w.chance(0.5) {
			ask = a.c.Rollback // harmless, and as good (rule C4)
		}
		st, err := ask(context.Background(), x)
		if a.p.dead {
			return
		}
		if err == nil && st != gtx.Pending {
			a.w.count("unknown outcome resolved")
			a.w.tracef("%s: %s turns out %s", a.name, short(x), st)
			return
		}
	}
}

// branch runs one local transaction, again after a conflict.
func (a *actor) branch(tx *gtx.Tx, pt part) error {
	for try := 0; ; try++ {
		once := a.branchOnce
		if pt.mode != gtx.AT {
			once = a.prepareOnce
		}
		err := once(tx, pt)
		var held *gtx.ConflictError
		if err == nil || a.p.dead || try == branchTries || !errors.As(err, &held) {
			return err
		}
		if !a.holderEnds(tx.Waiter(), held.Holder, pt.db) {
			return err
		}
	}
}

// holderEnds waits for the holder of a row (rules W2, W5) and may end it there
// itself (rule W4).
func (a *actor) holderEnds(waiter, holder gtx.XID, d *database) bool {
	a.w.count("waited for a holder")
	st, err := a.c.Await(context.Background(), waiter, holder)
	if err != nil || st == gtx.Pending || a.p.dead {
		a.w.count("gave up waiting for a holder")
		return false
	}
	a.w.count("holder ended")
	if st == gtx.Expired {
		st = gtx.Aborted // rule G4
	}
	if a.w.chance(0.5) {
		_ = a.resolver(d).Resolve(context.Background(), gtx.Resolution{XID: holder, Status: st})
	}
	return true
}

// branchOnce is the driver's order of steps (rules T1 to T5).
func (a *actor) branchOnce(tx *gtx.Tx, pt part) (err error) {
	w, d := a.w, pt.db
	t, err := d.begin(a.p, lockWait)
	if err != nil {
		return err
	}
	ref := w.newBranch(d)
	w.truth.fate(tx.XID()).used = true
	enlist(tx, ref)
	t.xid, t.branch = tx.XID(), ref.Branch
	var reg *registration
	abandon := func(cause error) error {
		if reg != nil {
			reg.q.cancel()
		}
		t.rollback()
		if !a.p.dead {
			tx.Dead(ref)
		}
		return cause
	}
	if _, err := t.insertHeader(header{t.xid, t.branch}); err != nil { // rule T1
		return abandon(err)
	}
	if err := tx.Active(); err != nil {
		return abandon(err)
	}
	reg = a.c.startRegister(t.xid, ref) // rule T3
	for i, n := range pt.rows {
		if err := t.change(n, int64(i+1)); err != nil {
			return abandon(err)
		}
	}
	if pt.think > 0 {
		w.sleep(pt.think)
	}
	if pt.giveUp {
		return abandon(errGiveUp)
	}
	if err := reg.result(w); err != nil { // rule T2
		return abandon(err)
	}
	if err := tx.Active(); err != nil {
		return abandon(err)
	}
	if err := t.commit(); err == nil {
		tx.Confirm(ref)
		return nil
	}
	return a.settle(tx, d, ref)
}

// enlist opens a branch with an id of this world's: gtx.Tx.Enlist makes one of
// the clock.
func enlist(tx *gtx.Tx, ref gtx.BranchRef) {
	tx.Report([]gtx.BranchRef{ref}, nil)
	tx.Report(nil, []gtx.BranchRef{ref})
}

// newBranch mints a branch id (rule I3).
func (w *World) newBranch(d *database) gtx.BranchRef {
	w.branches++
	return gtx.BranchRef{Resource: d.id, Branch: w.branches}
}

// change writes a row: lock, look, undo row, write (rules T1, T4, W1).
func (t *localTx) change(n int, seq int64) error {
	if err := t.travel("change"); err != nil {
		return err
	}
	if err := t.lock(lockKey{kind: 'r', n: n}); err != nil {
		return err
	}
	before := t.value(n)
	if err := t.lock(lockKey{kind: 'u', n: n}); err != nil {
		return err
	}
	t.d.w.values++
	after := t.d.w.values
	u, held := t.undoOf(n)
	switch {
	case held && u.owner != t.xid:
		return &gtx.ConflictError{Holder: u.owner, Table: "t"}
	case held && u.after != before && t.d.w.truth.fate(t.xid).overAT:
		t.d.w.count("late branch met a row of both modes")
		return gtx.ErrDirty // rule T4
	case held && u.after != before:
		t.d.w.fail("S2", "%s: row %d is dirty under %s", t.d.id, n, short(t.xid))
		return gtx.ErrDirty
	case held:
		t.d.w.count("row met twice")
		u.after = after
	default:
		u = undoRow{owner: t.xid, branch: t.branch, seq: seq, before: before, after: after}
	}
	t.undo = append(t.undo, undoWrite{n: n, row: u})
	t.data = append(t.data, dataWrite{n: n, value: after})
	return nil
}

// settle finds out what became of a COMMIT without an answer (rule T5).
func (a *actor) settle(tx *gtx.Tx, d *database, ref gtx.BranchRef) error {
	for range 1 + a.w.rnd.IntN(settleTries) {
		if a.p.dead {
			return errCrashed
		}
		confirmed, err := a.resolver(d).Settle(context.Background(), tx.XID(), ref.Branch)
		switch {
		case a.p.dead:
			return errCrashed
		case err != nil:
			a.w.sleep(settlePause)
			continue
		case confirmed:
			a.w.count("COMMIT settled as done")
			tx.Confirm(ref)
			return nil
		}
		a.w.count("COMMIT settled as dead")
		tx.Dead(ref)
		return errLost
	}
	return fmt.Errorf("commit of branch %d: not known: %w", ref.Branch, errLost)
}

// callRemote lets another process do a part, as a call to another service does.
func (a *actor) callRemote(tx *gtx.Tx, pt part) error {
	w := a.w
	tx.Share()
	w.truth.fate(tx.XID()).used = true
	type report struct {
		confirmed, dead []gtx.BranchRef
		err             error
	}
	var got *report
	w.park(func(wake func()) {
		x := tx.XID()
		w.send(a.name+" calls "+pt.remote.name, func() {
			pt.remote.serve(x, pt, func(confirmed, dead []gtx.BranchRef, err error) {
				w.send(pt.remote.name+" returns to "+a.name, func() {
					if got == nil && !a.p.dead {
						got = &report{confirmed, dead, err}
						wake()
					}
				})
			})
		})
		w.in(remoteTime, "", func() {
			if got == nil {
				wake()
			}
		})
	})
	if got == nil {
		w.count("call to another service timed out")
		got = &report{err: context.DeadlineExceeded}
		return got.err
	}
	tx.Report(got.confirmed, got.dead)
	return got.err
}

// serve joins a transaction of another process.
func (a *actor) serve(x gtx.XID, pt part, returns func(confirmed, dead []gtx.BranchRef, err error)) {
	if a.p.dead {
		return
	}
	pt.remote = nil
	a.w.spawn(a.p, func() {
		confirmed, dead, err := gtx.Join(context.Background(), a.c, x, func(ctx context.Context) error {
			tx, _ := gtx.FromContext(ctx)
			return a.branch(tx, pt)
		})
		if !a.p.dead {
			returns(confirmed, dead, err)
		}
	})
}

// plain writes a row outside of any global transaction (rule W6): it locks the
// row, and looks for an undo row then.
func (a *actor) plain(d *database, n int) {
	a.w.spawn(a.p, func() {
		for range branchTries {
			holder, err := a.plainOnce(d, n)
			if errors.Is(err, errLockTime) {
				a.w.tracef("%s: row %d of %s is locked, gives up", a.name, n, d.id)
			}
			if err != nil || holder.IsZero() || a.p.dead {
				return
			}
			if !a.holderEnds(gtx.XID{}, holder, d) {
				return
			}
		}
	})
}

func (a *actor) plainOnce(d *database, n int) (holder gtx.XID, err error) {
	t, err := d.begin(a.p, lockWait)
	if err != nil {
		return holder, err
	}
	if err := t.lock(lockKey{kind: 'r', n: n}); err != nil {
		t.rollback()
		return holder, err
	}
	if err := t.travel("look"); err != nil {
		t.rollback()
		return holder, err
	}
	if u, held := t.undoOf(n); held {
		t.rollback() // rule W2
		return u.owner, nil
	}
	a.w.values++
	t.data = append(t.data, dataWrite{n: n, value: a.w.values})
	a.w.count("plain write")
	return holder, t.commit()
}
