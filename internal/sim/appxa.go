package sim

import (
	"context"
	"errors"
	"fmt"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
	"github.com/globaltx/globaltx/xa"
)

// prepareOnce is the driver's order of steps in mode XA: one local transaction, which is
// prepared in place of its COMMIT (rules X1, W6). It has neither header nor undo rows.
func (a *actor) prepareOnce(tx *gtx.Tx, pt part) error {
	w, d := a.w, pt.db
	t, err := d.begin(a.p, lockWait)
	if err != nil {
		return err
	}
	w.branches++
	n := xa.Name{XID: tx.XID(), Database: d.id, Branch: w.branches}
	ref := n.Ref()
	w.truth.fate(n.XID).used = true
	enlist(tx, ref)
	t.xid, t.branch = n.XID, n.Branch
	reg := a.c.startRegister(n.XID, ref)
	abandon := func(cause error) error {
		reg.q.cancel()
		t.rollback()
		if !a.p.dead {
			tx.Dead(ref)
		}
		return cause
	}
	for _, row := range pt.rows {
		if err := t.write(row); err != nil {
			return abandon(err)
		}
	}
	if pt.think > 0 {
		w.sleep(pt.think)
	}
	if pt.giveUp {
		return abandon(errGiveUp)
	}
	if len(t.data) == 0 {
		w.count("prepared mode only read")
		return abandon(nil) // nothing waits for the decision
	}
	if err := reg.result(w); err != nil { // rule X1
		return abandon(err)
	}
	if err := tx.Active(); err != nil {
		return abandon(err)
	}
	if err := t.lookForHolders(); err != nil {
		return abandon(err)
	}
	switch err := t.prepare(n); {
	case err == nil:
		tx.Confirm(ref)
		return nil
	case errors.Is(err, errRefused):
		tx.Dead(ref)
		return err
	}
	return a.settlePrepared(tx, d, n)
}

// write changes a row in mode XA: the database's own lock keeps it until the end.
func (t *localTx) write(n int) error {
	if err := t.travel("write"); err != nil {
		return err
	}
	if err := t.lock(lockKey{kind: 'r', n: n}); err != nil {
		return err
	}
	t.d.w.values++
	t.data = append(t.data, dataWrite{n: n, value: t.d.w.values})
	return nil
}

// lookForHolders looks for undo rows of others at the rows that are written and locked
// (rule W6).
func (t *localTx) lookForHolders() error {
	if err := t.travel("look"); err != nil {
		return err
	}
	for _, wr := range t.data {
		if u, held := t.undoOf(wr.n); held && u.owner != t.xid {
			t.d.w.count("prepared mode met an undo row")
			return &gtx.ConflictError{Holder: u.owner, Table: "t"}
		}
	}
	return nil
}

// settlePrepared finds out what became of a PREPARE without an answer: listed means
// prepared. Not listed it may still be on its way, so the branch stays open and the
// transaction aborts.
func (a *actor) settlePrepared(tx *gtx.Tx, d *database, n xa.Name) error {
	for range 1 + a.w.rnd.IntN(settleTries) {
		if a.p.dead {
			return errCrashed
		}
		listed, err := d.newXA(a.p, a.c).Settle(context.Background(), n)
		switch {
		case a.p.dead:
			return errCrashed
		case err == nil && listed:
			a.w.count("PREPARE settled as done")
			tx.Confirm(n.Ref())
			return nil
		}
		a.w.sleep(settlePause)
	}
	a.w.count("PREPARE not settled")
	return fmt.Errorf("prepare branch %d: not known: %w", n.Branch, errLost)
}

// voted is what a participant of a three-phase transaction said when it was asked.
type voted struct {
	id  gtx.ResourceID
	err error
}

func (v voted) CanCommit(context.Context, gtx.Coordinator) (gtx.ResourceID, error) {
	return v.id, v.err
}

// vote asks every database of a plan (rule H1). It is done here, one after the other,
// and gtx.Run is told: it would ask all at once, and exactly one coroutine runs here.
func (a *actor) vote(pl plan) []gtx.Participant {
	var votes []gtx.Participant
	asked := map[*database]bool{}
	for _, pt := range pl.parts {
		if asked[pt.db] {
			continue
		}
		asked[pt.db] = true
		id := xa.ResourceOf(pt.db.id)
		err := a.c.CanCommit(context.Background(), id)
		if err != nil {
			a.w.count("voted no")
		}
		votes = append(votes, voted{id, err})
	}
	return votes
}

var _ gtx.PreCommitter = (*client)(nil)

func (c *client) Ready(_ context.Context, x gtx.XID, r gtx.ResourceID) error {
	_, err := c.wait(askReady, fmt.Sprintf("%s ready %s", c.p.name, short(x)), x, func(q *question) coordinator.Event {
		return coordinator.Ready{Call: q, Resource: r, XIDs: []gtx.XID{x}}
	})
	return err
}

func (c *client) Claim(_ context.Context, x gtx.XID, participants []gtx.ResourceID) (gtx.Status, error) {
	r, err := c.wait(askClaim, fmt.Sprintf("%s claim %s", c.p.name, short(x)), x, func(q *question) coordinator.Event {
		return coordinator.Claim{Call: q, XID: x, Participants: participants}
	})
	return r.Status, err
}

// CanCommit implements gtx.PreCommitter: whoever serves r is asked.
func (c *client) CanCommit(_ context.Context, r gtx.ResourceID) error {
	w, err := c.p.w, errors.New("nobody has answered")
	answered := false
	id, _ := xa.Database(r)
	d := w.database(id)
	w.park(func(wake func()) {
		answer := func(e error) {
			w.carry(string(id), c.p.place, fmt.Sprintf("vote of %s for %s", r, c.p.name), func() {
				if !answered && !c.p.dead {
					answered, err = true, e
					wake()
				}
			})
		}
		w.carry(c.p.place, string(id), fmt.Sprintf("%s asks %s for its vote", c.p.name, r), func() { d.ask(answer) })
		w.in(remoteTime, "", func() {
			if !answered {
				answered = true
				wake()
			}
		})
	})
	if c.p.dead {
		return errCrashed
	}
	if w.tracing {
		w.tracef("%s hears the vote of %s: %s", c.p.name, r, word(err))
	}
	return err
}

// ask has a worker of the database vote, whatever else it does.
func (d *database) ask(answer func(error)) {
	for _, wk := range d.workers {
		if p := wk.p; p != nil {
			d.w.spawn(p, func() {
				err := wk.x.CanCommit(context.Background())
				if !p.dead {
					answer(err)
				}
			})
			return
		}
	}
}

// endHere is what gtx.Tx.Ends does in a program, one database after the other: the
// prepared branches are ended by the one who was told the decision.
func (a *actor) endHere(pl plan, x gtx.XID, err error) {
	st := gtx.Aborted
	switch {
	case x.IsZero() || errors.Is(err, gtx.ErrUnknown):
		return
	case err == nil:
		st = gtx.Committed
	}
	for _, pt := range pl.parts {
		if pt.remote == nil && pt.in(pl) != gtx.AT && !a.p.dead {
			_ = gtx.Deliver(context.Background(), a.c, xa.ResourceOf(pt.db.id), pt.db.newXA(a.p, a.c), gtx.Resolution{XID: x, Status: st})
		}
	}
}
