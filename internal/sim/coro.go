package sim

import (
	"iter"
	"time"
)

// coro is a piece of shipped code that is written to block. It runs on the one
// thread of the world until it calls a port of it, and goes on when it is woken:
// exactly one coroutine runs at any time, so a run depends on nothing but its
// seed. Ports must be called on the goroutine that the code was started on.
type coro struct {
	owner  *process
	next   func() (struct{}, bool)
	yield  func(struct{}) bool
	parked bool
	done   bool
	ticket uint64 // of the park that a wake-up is for
}

// spawn runs fn as a coroutine of p, until it blocks for the first time.
func (w *World) spawn(p *process, fn func()) {
	c := &coro{owner: p}
	c.next, _ = iter.Pull(func(yield func(struct{}) bool) {
		c.yield = yield
		fn()
	})
	p.coros = append(p.coros, c)
	w.resume(c)
}

func (w *World) resume(c *coro) {
	before := w.running
	w.running = c
	c.parked = false
	_, more := c.next()
	w.running = before
	if !more {
		c.done = true
		c.owner.drop(c)
	}
}

// park gives the thread back until wake is called with the ticket that start
// gets. It returns at once, without effect, in a process that has crashed.
func (w *World) park(start func(wake func())) {
	c := w.running
	if c.owner.dead {
		return
	}
	c.ticket++
	ticket := c.ticket
	start(func() {
		if c.parked && c.ticket == ticket && !c.done {
			w.resume(c)
		}
	})
	c.parked = true
	c.yield(struct{}{})
}

// sleep lets d pass for the running coroutine.
func (w *World) sleep(d time.Duration) {
	w.park(func(wake func()) { w.in(d, "", wake) })
}

// process is a program: it lives until it crashes, and everything in it ends
// then. Its coroutines run to their end without any effect.
type process struct {
	w     *World
	name  string
	place string // a name of the network: a worker's is its database
	dead  bool
	coros []*coro
	open  []*localTx // connections to databases with a local transaction
}

func (w *World) newProcess(name string) *process {
	p := &process{w: w, name: name, place: name}
	w.procs = append(w.procs, p)
	return p
}

func (p *process) drop(c *coro) {
	for i, o := range p.coros {
		if o == c {
			p.coros = append(p.coros[:i], p.coros[i+1:]...)
			return
		}
	}
}

// crash ends p at once. The databases notice its broken connections later.
func (p *process) crash() {
	if p.dead {
		return
	}
	p.w.tracef("%s crashes", p.name)
	p.dead = true
	for _, t := range p.open {
		p.w.in(p.w.delay(), "", func() { t.lose() })
	}
	p.open = nil
	p.unwind()
}

// unwind lets parked coroutines see that their process is dead.
func (p *process) unwind() {
	for len(p.coros) > 0 {
		c := p.coros[len(p.coros)-1]
		if c == p.w.running || !c.parked {
			p.coros = p.coros[:len(p.coros)-1] // ends by itself
			continue
		}
		p.w.resume(c)
	}
}

// close ends every coroutine.
func (w *World) close() {
	for _, p := range w.procs {
		p.dead = true
		p.unwind()
	}
}
