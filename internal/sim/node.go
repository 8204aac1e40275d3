package sim

import (
	"errors"
	"fmt"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
	"github.com/globaltx/globaltx/xa"
)

// What a node does with its time, as the shipped one does.
const (
	appendTimeout = time.Second      // of one try of an append
	pollInterval  = time.Second      // of a standby that reads the log
	beatInterval  = time.Second      // between signs of life of a leader
	takeoverAfter = 3 * time.Second  // without a sign of life
	restartAfter  = time.Second / 10 // of a node that has handed over
)

// node is a coordinator process: it follows the log, campaigns, leads, is
// deposed without knowing it, hands over, crashes and starts again.
type node struct {
	w    *World
	name string
	m    *coordinator.Machine // nil while it is down
	life int                  // counts starts; what is of an earlier life is ignored

	next    uint64 // log message to read
	flight  int    // counts appends; only the last one is answered
	asking  bool   // campaigns
	led     bool   // has led in this life
	heard   time.Duration
	ticks   uint64        // counts timers; only the last one counts
	leaving bool          // has been told to hand over
	asleep  time.Duration // until then it is stopped, and knows nothing of it
}

func (w *World) newNode(name string) *node {
	n := &node{w: w, name: name}
	w.nodes = append(w.nodes, n)
	return n
}

// start begins a new life.
func (n *node) start() {
	n.life++
	m, err := coordinator.New(n.w.opts.machine, n.w.rnd.Uint64()|1, n.w.rnd.Uint64()|1)
	if err != nil {
		n.w.fail("config", "%v", err)
		return
	}
	n.m, n.next, n.asking, n.led, n.leaving = m, 0, false, false, false
	n.flight++
	n.ticks++
	n.heard = n.w.now
	n.w.tracef("%s starts", n.name)
	n.poll(0)
}

// again schedules fn in this life of the node.
func (n *node) again(d time.Duration, text string, fn func()) {
	life := n.life
	n.w.in(d, text, func() { n.awake(life, fn) })
}

// awake runs fn in that life of the node, now or when it is no longer stopped.
func (n *node) awake(life int, fn func()) {
	switch {
	case n.life != life || n.m == nil:
	case n.w.now < n.asleep:
		n.w.in(n.asleep-n.w.now, "", func() { n.awake(life, fn) })
	default:
		fn()
	}
}

// stop keeps the node from doing anything for d.
func (n *node) stop(d time.Duration) {
	n.w.tracef("%s is stopped for %s", n.name, d)
	n.w.count("coordinator stopped for a while")
	n.asleep = n.w.now + d
}

func (n *node) crash() {
	if n.m == nil {
		return
	}
	n.w.tracef("%s crashes", n.name)
	n.w.count("coordinator crashed")
	n.m = nil
	n.life++
}

// poll reads the log further, and campaigns when nobody leads.
func (n *node) poll(d time.Duration) {
	n.again(d, n.name+" read", func() {
		if n.asking || n.led || n.leaving {
			return
		}
		more, ok := n.read()
		switch {
		case !ok:
			n.start()
		case more:
			n.poll(n.w.delay())
		case !n.w.opts.scripted && (n.w.now-n.heard >= takeoverAfter || n.w.log.last == 0 || n.w.chance(n.w.opts.rivals)):
			n.campaign()
		default:
			n.poll(n.w.between(pollInterval/2, pollInterval))
		}
	})
}

// read takes a few messages; false when the log was cut before it got there.
func (n *node) read() (more, ok bool) {
	if n.next == 0 {
		n.next = max(1, n.w.log.first)
	}
	limit := n.w.log.last
	if n.w.chance(n.w.opts.staleRead) && limit > 0 {
		limit -= min(limit, uint64(n.w.rnd.IntN(3)))
	}
	for range 8 {
		if n.next > limit {
			return false, true
		}
		e, gone := n.w.log.get(n.next)
		if gone {
			n.w.count("log trimmed while it was read")
			n.w.tracef("%s: message %d is gone, reads again", n.name, n.next)
			return false, false
		}
		if err := n.m.Load(n.next, e.at, e.body); err != nil {
			n.w.fail("L2", "%s cannot read message %d (%s): %v", n.name, n.next, describe(e.body), err)
			return false, true
		}
		n.next++
	}
	return true, true
}

func (n *node) campaign() {
	actions, err := n.m.Campaign()
	if errors.Is(err, coordinator.ErrGap) {
		n.w.count("log trimmed while it was read")
		n.w.tracef("%s: cannot campaign: %v", n.name, err)
		n.again(n.w.between(0, time.Second), n.name+" restart", n.start)
		return
	}
	if err != nil {
		n.w.fail("L2", "%s cannot campaign: %v", n.name, err)
		return
	}
	n.asking = true
	n.w.tracef("%s campaigns behind %d", n.name, n.next-1)
	n.perform(actions)
	n.setTimer()
}

// step feeds the machine.
func (n *node) step(e coordinator.Event) {
	if n.m == nil {
		return
	}
	life := n.life
	n.perform(n.m.Step(n.w.clock(), e))
	if n.life != life || n.m == nil {
		return
	}
	if n.m.Leading() && !n.led {
		n.led, n.asking = true, false
		n.w.count("took the lead")
		n.w.tracef("%s leads epoch %d", n.name, n.m.Epoch())
		n.w.truth.leads(n)
		n.beat()
	}
	n.setTimer()
}

func (n *node) setTimer() {
	n.ticks++
	at, ok := n.m.Next()
	if !ok {
		return
	}
	tick := n.ticks
	n.again(max(0, at.Sub(n.w.clock())), "", func() {
		if n.ticks == tick {
			n.step(coordinator.Tick{})
		}
	})
}

func (n *node) perform(actions []coordinator.Action) {
	w := n.w
	life := n.life
	for _, a := range actions {
		switch a := a.(type) {
		case coordinator.Append:
			n.append(a, 0)
		case coordinator.Reply:
			n.reply(a)
		case coordinator.Push:
			n.push(a)
		case coordinator.Purge:
			w.send(n.name+" purge", func() { w.log.purge(a.UpTo) })
		case coordinator.Yield:
			w.count("candidate yielded")
			w.tracef("%s yields", n.name)
			n.asking, n.heard = false, w.now
			if seq, _ := n.m.Position(); seq > 0 {
				n.next = seq + 1
			}
			n.flight++
			n.poll(w.between(0, pollInterval))
		case coordinator.StepDown:
			n.down(a.Err)
		}
		if n.life != life {
			return
		}
	}
}

// down ends this life; a new one follows, as a standby.
func (n *node) down(err error) {
	w := n.w
	w.tracef("%s steps down: %v", n.name, err)
	switch {
	case errors.Is(err, coordinator.ErrHandedOver):
		w.count("handed over")
		for _, o := range w.nodes {
			if o != n && o.m != nil {
				w.send(o.name+" hears of the handover", func() { o.vacant() })
			}
		}
	case errors.Is(err, coordinator.ErrFenced):
		w.count("leader deposed")
	case errors.Is(err, coordinator.ErrGap):
		w.count("leader found a hole")
	default:
		w.fail("L4", "%s steps down: %v", n.name, err)
	}
	n.m = nil
	n.life++
	n.startLater()
}

// startLater begins a new life soon.
func (n *node) startLater() {
	if n.w.opts.scripted {
		return
	}
	life := n.life
	n.w.in(n.w.between(restartAfter, time.Second), n.name+" restart", func() {
		if n.life == life {
			n.start()
		}
	})
}

// vacant makes a standby campaign without waiting for silence.
func (n *node) vacant() {
	if n.m != nil && !n.asking && !n.m.Leading() && !n.w.opts.scripted {
		n.heard = n.w.now - takeoverAfter
		n.poll(0)
	}
}

// append tries one append, and answers the machine once.
func (n *node) append(a coordinator.Append, pause time.Duration) {
	n.flight++
	flight := n.flight
	answered := false
	done := func(e coordinator.Event) {
		if n.flight != flight || answered {
			return
		}
		answered = true
		n.step(e)
	}
	life := n.life
	n.w.append(n.name, a, func(e coordinator.Event) { n.awake(life, func() { done(e) }) })
	n.again(pause+appendTimeout, n.name+" waits for the log no longer", func() {
		if n.flight == flight && !answered {
			n.w.count("ambiguous append")
			done(coordinator.Unclear{})
		}
	})
}

// beat tells the standbys that this node leads, as long as it believes so.
func (n *node) beat() {
	if !n.m.Leading() {
		return
	}
	epoch := n.m.Epoch()
	for _, o := range n.w.nodes {
		if o == n || o.m == nil {
			continue
		}
		life := o.life
		n.w.send(o.name+" hears "+n.name, func() { o.awake(life, func() { o.hear(epoch) }) })
	}
	n.again(beatInterval, "", n.beat)
}

func (n *node) hear(epoch uint64) {
	switch {
	case n.m.Leading():
		if epoch > n.m.Epoch() {
			n.step(coordinator.Barrier{}) // the log tells whether it is true
		}
	case epoch >= n.m.Epoch(): // one that the log has passed is no sign of life
		n.heard = n.w.now
	}
}

// handOver is a polite stop.
func (n *node) handOver() {
	if n.m == nil || n.leaving {
		return
	}
	n.w.tracef("%s is told to stop", n.name)
	n.leaving = true
	if !n.m.Leading() {
		n.m = nil
		n.life++
		n.startLater()
		return
	}
	n.step(coordinator.Handover{})
}

// reply carries an answer to whoever asked.
func (n *node) reply(a coordinator.Reply) {
	q, ok := a.Call.(*question)
	if !ok {
		return
	}
	w := n.w
	w.truth.answered(n, q, a)
	if w.tracing && q.text != "" {
		w.tracef("%s answers %s: %s", n.name, q.text, describeReply(q, a))
	}
	w.carry(n.name, q.owner.place, q.text+" answer", func() { q.answered(a) })
}

func describeReply(q *question, a coordinator.Reply) string {
	switch {
	case a.Err != nil:
		return a.Err.Error()
	case q.kind == askBegin:
		return short(a.XID)
	case q.kind == askRegister || q.kind == askAck || q.kind == askHello || q.kind == askScan || q.kind == askReady:
		return "ok"
	}
	return a.Status.String()
}

// short names an XID inside one log, as its text does.
func short(x gtx.XID) string { return fmt.Sprintf("%x-%x", x.Epoch, x.Seq) }

// push carries a decision to one of the workers of a resource.
func (n *node) push(p coordinator.Push) {
	w := n.w
	w.truth.pushed(n, p)
	id := p.Resource
	if db, ok := xa.Database(id); ok {
		id = db
	}
	d := w.database(id)
	if d == nil {
		w.fail("I1", "push to unknown resource %q", p.Resource)
		return
	}
	res := p.Resolution
	w.carry(n.name, string(d.id), fmt.Sprintf("push %s %s %s", short(p.XID), p.Status, p.Resource), func() { d.deliver(p.Resource, res) })
}
