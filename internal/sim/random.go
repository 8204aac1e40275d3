package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

const (
	stormTime = 9 * time.Second // programs start and faults happen
	calmTime  = 3 * time.Minute // everything must have come to its end by then
)

// Result is what one schedule came to.
type Result struct {
	Err    error // a *Violation, or nil
	Counts map[string]int
	Steps  int
	Trace  string // when asked for
}

// Run runs the schedule of a seed: a random world in which random programs run
// and random things break. Equal seeds give equal runs.
func Run(seed uint64, trace bool) Result {
	rnd := rand.New(rand.NewPCG(seed, 0x676c6f62616c7478))
	w := newWorld(randomOptions(rnd), rnd)
	w.tracing = trace
	w.tracef("seed %d: %+v", seed, w.opts)
	defer w.close()
	w.populate()
	w.storm()
	w.runUntil(stormTime)
	w.heal()
	for w.err == nil && !w.idle() && w.now < stormTime+calmTime {
		w.runUntil(w.now + 500*time.Millisecond)
	}
	if w.err == nil {
		w.checkEnd()
	}
	return Result{Err: w.err, Counts: w.counts, Steps: w.steps, Trace: w.trace.String()}
}

// populate makes coordinators, databases and their workers.
func (w *World) populate() {
	for i := range 2 + w.rnd.IntN(2) {
		n := w.newNode(fmt.Sprintf("c%d", i+1))
		w.in(w.between(0, 300*time.Millisecond), "", n.start)
	}
	for i := range 2 + w.rnd.IntN(2) {
		d := w.newDatabase(gtx.ResourceID('A'+rune(i)), 2)
		for j := range 1 + w.rnd.IntN(2) {
			d.newWorker(fmt.Sprintf("worker %s%d", d.id, j+1)).start()
		}
	}
}

// storm schedules programs and faults.
func (w *World) storm() {
	for i := range 2 + w.rnd.IntN(4) {
		w.in(w.between(0, stormTime*2/3), "", func() { w.randomProgram(fmt.Sprintf("app%d", i+1)) })
	}
	for i := range w.rnd.IntN(3) {
		a := w.newActor(fmt.Sprintf("plain%d", i+1), 0)
		w.in(w.between(0, stormTime*2/3), "", func() {
			d := w.dbs[w.rnd.IntN(len(w.dbs))]
			a.plain(d, w.rnd.IntN(len(d.rows)))
		})
	}
	for range w.rnd.IntN(6) {
		w.in(w.between(time.Second/2, stormTime), "", w.fault)
	}
}

// randomProgram begins one global transaction.
func (w *World) randomProgram(name string) {
	a := w.newActor(name, pick(w.rnd, time.Second, 5*time.Second, virtualExpiry))
	pl := plan{giveUp: w.chance(0.08), bold: w.chance(0.15), mode: pick(w.rnd, gtx.AT, gtx.AT, gtx.XA, gtx.ThreePhase)}
	if w.chance(0.4) {
		pl.think = w.between(0, 3*time.Second)
	}
	if w.chance(0.1) {
		pl.impatient = w.between(1, 2*time.Second)
	}
	for i := range 1 + w.rnd.IntN(3) {
		d := w.dbs[w.rnd.IntN(len(w.dbs))]
		pt := part{db: d, giveUp: w.chance(0.04)}
		if w.chance(0.2) {
			pt.mode = gtx.XA // beside others of the same transaction
		}
		if pl.mode != gtx.AT && w.chance(0.1) { // only reads
			pl.parts = append(pl.parts, pt)
			continue
		}
		pt.rows = append(pt.rows, w.rnd.IntN(len(d.rows)))
		if w.chance(0.3) {
			pt.rows = append(pt.rows, w.rnd.IntN(len(d.rows)))
		}
		if w.chance(0.15) {
			pt.think = w.between(0, 3*time.Second)
		}
		if w.chance(0.25) {
			pt.remote = w.newActor(fmt.Sprintf("%s.remote%d", name, i+1), 0)
		}
		pl.parts = append(pl.parts, pt)
	}
	a.run(pl)
	if w.chance(0.15) {
		w.in(w.between(0, 2*time.Second), "", func() {
			if !a.p.dead && len(a.p.coros) > 0 {
				w.count("application crashed")
			}
			a.p.crash()
		})
	}
}

// fault breaks something, and mends it later.
func (w *World) fault() {
	n := w.nodes[w.rnd.IntN(len(w.nodes))]
	d := w.dbs[w.rnd.IntN(len(w.dbs))]
	wk := d.workers[w.rnd.IntN(len(d.workers))]
	mend := w.between(0, 3*time.Second)
	switch w.rnd.IntN(11) {
	case 10:
		w.count("network cut")
		w.island = []string{n.name, string(d.id)}
		w.tracef("%v are cut off", w.island)
		w.in(2*mend, "", func() { w.island = nil })
	case 0, 1:
		n.crash()
		w.in(mend, "", n.revive)
	case 2:
		n.handOver()
	case 3: // and does not come to its end
		n.handOver()
		w.in(w.between(0, 50*time.Millisecond), "", n.crash)
		w.in(mend, "", n.revive)
	case 9:
		for _, o := range w.nodes {
			if o.m != nil && o.m.Leading() {
				o.stop(2 * mend)
			}
		}
	case 8:
		for _, o := range w.nodes {
			if o.m != nil && o.m.Leading() {
				o.handOver()
			}
		}
	case 4:
		for _, o := range w.nodes { // the network hides the leader from a standby
			o.vacant()
		}
	case 5:
		d.crash()
		w.in(mend, "", d.restart)
	case 6:
		wk.crash()
		w.in(mend, "", wk.revive)
	case 7:
		for _, o := range w.nodes {
			if o.m != nil && o.m.Leading() {
				o.crash()
				w.in(mend, "", o.revive)
			}
		}
	}
}

func (n *node) revive() {
	if n.m == nil {
		n.start()
	}
}

func (wk *worker) revive() {
	if wk.p == nil {
		wk.start()
	}
}

// heal ends the faults and starts what is down.
func (w *World) heal() {
	w.tracef("the faults end")
	w.opts.calm()
	w.island = nil
	for _, d := range w.dbs {
		d.restart()
		for _, wk := range d.workers {
			wk.revive()
		}
	}
	for _, n := range w.nodes {
		n.asleep = 0
		n.revive()
	}
}
