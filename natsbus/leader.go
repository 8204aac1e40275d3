package natsbus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx/coordinator"
)

// pass is how many requests are answered before their answers are sent and the
// log is looked after.
const pass = 256

// keepEvery is how often the anchor is written at most: what a log may lose
// unseen when its end is cut off.
const keepEvery = time.Second

// idleHandover bounds the hand-over of a leader without transactions: without it
// the next one listens for a while before it leads, and nothing else.
const idleHandover = time.Second

// term is one candidacy and, when it is won, the leadership that follows.
type term struct {
	*node
	clock  clock
	box    *inbox
	writes chan coordinator.Append // to the appender, at most one outstanding
	wrote  chan coordinator.Event  // from the appender
	chores chan chore              // to the keeper, the latest
	todo   chore
	open   bool
	doubt  time.Time           // when a rival was last looked for
	kept   time.Time           // when the keeper last got something to do
	used   []coordinator.Event // of the inbox, to be filled again
	armed  time.Time           // what the timer waits for, zero: nothing
	timer  *time.Timer         // for the machine
	tick   *time.Ticker        // for beats
	stop   <-chan struct{}     // nil once heard
	late   <-chan time.Time    // the end of HandoverTime
}

// errYield ends a candidacy: another has got the epoch.
var errYield = errors.New("natsbus: another coordinator was first")

// lead asks for the next epoch and leads, until it is lost, another error, or
// the end of ctx and the hand-over that follows. A nil error calls for follow.
func (n *node) lead(ctx context.Context) error {
	actions, err := n.m.Campaign()
	if err != nil {
		n.m = nil
		return err
	}
	n.free = false
	n.tell(func(st *NodeStatus) { st.Role, st.Leader = RoleCandidate, "" })
	t := &term{
		node: n, clock: newClock(n.cfg.Now), box: newInbox(),
		writes: make(chan coordinator.Append, 1), wrote: make(chan coordinator.Event, 1),
		chores: make(chan chore, 1), timer: time.NewTimer(0), tick: time.NewTicker(beatEvery),
		stop: ctx.Done(),
	}
	life, end := context.WithCancel(context.Background())
	appender, keeper := make(chan struct{}), make(chan struct{})
	go func() { defer close(appender); t.appender(life) }()
	go func() { defer close(keeper); t.keeper(life) }()
	err = t.run(actions)
	end()
	<-appender
	<-keeper
	t.timer.Stop()
	t.tick.Stop()
	t.dismiss()
	return t.over(err)
}

// dismiss closes the door. Who has asked and was not heard any more is told to
// ask elsewhere, which is sooner than silence.
func (t *term) dismiss() {
	t.box.close()
	for _, e := range t.box.take(t.used) {
		_ = t.do(t.m.Step(t.clock.now(), e)) // only its reply matters
	}
	t.in.flush()
	t.in.close()
}

// over says how the term has ended. What it returns is to be endured.
func (t *term) over(err error) error {
	seq, hash := t.m.Position()
	epoch := t.m.Epoch()
	t.tell(func(st *NodeStatus) { st.Role, st.Stats = RoleStandby, coordinator.Stats{} })
	log := t.cfg.Logger.With("node", t.cfg.Name, "epoch", epoch)
	switch {
	case err == nil: // abandoned
		if n := t.m.Stats().Live; n > 0 {
			log.Info("coordinator ends, undecided transactions will be aborted", "live", n)
		}
	case errors.Is(err, errYield):
		t.losses++ // the machine follows again
		return nil
	case errors.Is(err, coordinator.ErrFenced):
		log.Info("coordinator is deposed", "reason", err)
		t.losses++
		err = nil
	case t.open && errors.Is(err, coordinator.ErrHandedOver):
		log.Info("coordinator has handed over", "log_seq", seq)
		t.sendBeat(epoch, seq, true)
		err = nil
		if err := t.keep(context.Background(), chore{log: t.m.Log(), seq: seq, hash: hash}); err != nil {
			log.Warn("end of the decision log is not anchored", "err", err)
		}
	case t.open && t.stop == nil:
		log.Warn("coordinator ends without handing over, what is undecided will be aborted", "err", err)
	}
	t.m = nil
	return err
}

// run owns the machine for the term.
func (t *term) run(first []coordinator.Action) error {
	err := t.do(first)
	for err == nil {
		t.in.flush()
		if !t.open && t.m.Leading() {
			if err = t.enter(); err != nil {
				break
			}
		}
		if t.stop == nil && t.cfg.abandon && t.m.Quiet() {
			return nil
		}
		t.arm()
		select {
		case e := <-t.wrote:
			err = t.step(e)
		case <-t.box.ready:
			err = t.requests()
		case <-t.timer.C:
			t.armed = time.Time{}
			err = t.step(coordinator.Tick{})
		case <-t.tick.C:
			t.beat()
		case m := <-t.beats:
			err = t.heedRival(m)
		case <-t.stop:
			err = t.leave()
		case <-t.late:
			return fmt.Errorf("hand over: %w", context.DeadlineExceeded)
		}
	}
	return err
}

// enter begins to answer: the own epoch is in the log.
func (t *term) enter() error {
	t.open = true
	t.cfg.Logger.Info("coordinator leads", "node", t.cfg.Name, "log", fmt.Sprintf("%016x", t.m.Log()), "epoch", t.m.Epoch())
	t.beat() // deposes who led before
	if err := t.in.open(t.box.put); err != nil {
		return err
	}
	t.tell(func(st *NodeStatus) { st.Role, st.Leader = RoleLeader, st.Name })
	t.healed()
	return nil
}

// leave answers Stop. Requests that come during the hand-over hear that this is
// not the leader, which is sooner than their silence.
func (t *term) leave() error {
	t.stop = nil
	wait := t.cfg.HandoverTime
	if st := t.m.Stats(); st.Live+st.Committing == 0 {
		wait = min(wait, idleHandover)
	}
	t.late = time.After(wait)
	if t.cfg.abandon {
		t.in.close()
		if !t.m.Leading() {
			return errYield
		}
		return t.step(coordinator.Flush{})
	}
	return t.step(coordinator.Handover{})
}

// requests takes all that have gathered. An append that has ended meanwhile is
// heard in between, for callers wait for it.
//
// Who comes behind the end of the leadership is heard to the last, too: the
// machine then tells to ask elsewhere, which is sooner than silence.
func (t *term) requests() (err error) {
	t.used = t.box.take(t.used)
	now := t.clock.now()
	for i, e := range t.used {
		if i%pass == pass-1 {
			t.in.flush()
			select {
			case w := <-t.wrote:
				err = cmp.Or(err, t.step(w))
			default:
			}
			now = t.clock.now()
		}
		if st, ok := e.(statsEvent); ok {
			t.in.stats(st.Call, t.m.Stats())
			continue
		}
		err = cmp.Or(err, t.do(t.m.Step(now, e)))
	}
	return err
}

func (t *term) step(e coordinator.Event) error { return t.do(t.m.Step(t.clock.now(), e)) }

// do performs actions; an error ends the term.
func (t *term) do(actions []coordinator.Action) error {
	for _, a := range actions {
		switch a := a.(type) {
		case coordinator.Reply:
			t.in.reply(a)
		case coordinator.Push:
			t.in.push(a)
		case coordinator.Append:
			t.writes <- a // never blocks: one is outstanding
		case coordinator.Purge:
			t.todo.purge = max(t.todo.purge, a.UpTo)
		case coordinator.Yield:
			return errYield
		case coordinator.StepDown:
			return a.Err
		}
	}
	return nil
}

// arm sets the timer to the machine's next time.
func (t *term) arm() {
	at, ok := t.m.Next()
	switch {
	case !ok:
		t.timer.Stop()
		t.armed = time.Time{}
	case !at.Equal(t.armed):
		t.timer.Reset(at.Sub(t.clock.now()))
		t.armed = at
	}
}

// beat says that this node leads, and gives the keeper its work.
func (t *term) beat() {
	if !t.open {
		return
	}
	seq, hash := t.m.Position() // also while handing over, which is no silence
	t.sendBeat(t.m.Epoch(), seq, false)
	t.tell(func(st *NodeStatus) {
		st.Stats, st.Epoch, st.Seq, st.LeaderSeq = t.m.Stats(), t.m.Epoch(), seq, seq
		st.Log = fmt.Sprintf("%016x", t.m.Log())
	})
	if now := time.Now(); now.Sub(t.kept) >= keepEvery && (seq > t.todo.seq || t.todo.purge > 0) {
		t.kept = now
		t.todo.log, t.todo.seq, t.todo.hash = t.m.Log(), seq, hash
		t.hand()
	}
}

// heedRival looks into the log when another node says that it leads a later
// epoch: an append finds out, the beat itself is not believed.
func (t *term) heedRival(m *nats.Msg) error {
	b, ok := t.readBeat(m)
	if !ok || b.Epoch <= t.m.Epoch() || time.Since(t.doubt) < beatEvery || !t.m.Leading() {
		return nil
	}
	t.doubt = time.Now()
	return t.step(coordinator.Barrier{})
}

// appender performs appends, one at a time, and repeats what stays unclear
// (rule L4), slower and slower, and without a line in the log for each try.
func (t *term) appender(ctx context.Context) {
	log := t.cfg.Logger.With("node", t.cfg.Name)
	tries, last := 0, uint64(0)
	for {
		var w coordinator.Append
		select {
		case w = <-t.writes:
		case <-ctx.Done():
			return
		}
		if w.Prev != last {
			if tries > 1 {
				log.Info("append to decision log settled", "prev", last, "tries", tries)
			}
			tries, last = 0, w.Prev
		}
		if tries > 0 && !pause(ctx, 5*time.Millisecond, 500*time.Millisecond, tries) {
			return
		}
		e, err := t.log.append(ctx, w)
		if ctx.Err() != nil {
			return
		}
		if err != nil && tries%100 == 0 {
			log.Warn("append to decision log unclear, repeating it", "prev", w.Prev, "tries", tries, "err", err)
		}
		tries++
		t.wrote <- e // never blocks: one is outstanding
	}
}

// chore is what the log needs beside the appends. Both may be late, and both
// may fail: the next one does it again.
type chore struct {
	purge uint64 // the log may forget up to here (rule G3); 0: nothing new
	log   uint64
	seq   uint64 // for the anchor
	hash  coordinator.Hash
}

// hand gives the keeper its work; what it has not begun yet is replaced.
func (t *term) hand() {
	select {
	case old := <-t.chores:
		t.todo.purge = max(t.todo.purge, old.purge)
	default:
	}
	t.chores <- t.todo // never blocks: only this goroutine fills it
	t.todo.purge = 0
}

// keeper does the chores of a term.
func (t *term) keeper(ctx context.Context) {
	said := ""
	for {
		select {
		case c := <-t.chores:
			err := t.keep(ctx, c)
			if err != nil && ctx.Err() == nil && err.Error() != said {
				said = err.Error()
				t.cfg.Logger.Warn("decision log is not kept up, trying again", "node", t.cfg.Name, "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (t *term) keep(ctx context.Context, c chore) error {
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	err := t.log.saveAnchor(ctx, c.log, c.seq, c.hash)
	if c.purge > 0 {
		err = errors.Join(err, t.log.purge(ctx, c.purge))
	}
	return err
}
