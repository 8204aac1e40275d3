package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// epochStart is the time at which every world begins.
var epochStart = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// World is one run: coordinators, databases and applications over a log and a
// network that do to messages whatever rule A3 allows. Not safe for concurrent
// use, and after Close of no use.
type World struct {
	opts options
	rnd  *rand.Rand
	now  time.Duration // since epochStart
	ord  uint64
	due  agenda
	held []*item // taken off the agenda by a script

	log       decisionLog
	nodes     []*node
	dbs       []*database
	textbooks []*textbook // of scripts
	procs     []*process
	running   *coro

	truth    truth
	branches gtx.BranchID // last minted
	values   int64        // last written: every write is of another value
	counts   map[string]int
	steps    int

	tracing bool
	trace   strings.Builder
	holds   []string // texts of items that are held back
	asked   *node    // gets every request, if a script says so
	island  []string // places that are cut off from all others
	err     error    // the first violation; ends the run
}

func newWorld(o options, rnd *rand.Rand) *World {
	w := &World{opts: o, rnd: rnd, counts: map[string]int{}}
	w.log.w, w.truth.w = w, w
	w.truth.init()
	return w
}

// item is something that is going to happen.
type item struct {
	at   time.Duration
	ord  uint64
	text string // what scripts call it; empty for what they cannot touch
	fn   func()
}

// in schedules fn.
func (w *World) in(d time.Duration, text string, fn func()) {
	w.ord++
	it := &item{at: w.now + d, ord: w.ord, text: text, fn: fn}
	if text != "" {
		for _, h := range w.holds {
			if strings.Contains(text, h) {
				w.tracef("held: %s", text)
				w.held = append(w.held, it)
				return
			}
		}
	}
	w.due.push(it)
}

// step does the next thing; false when there is none, or none until limit.
func (w *World) step(limit time.Duration) bool {
	if w.err != nil || len(w.due) == 0 || w.due[0].at > limit {
		return false
	}
	it := w.due.pop()
	w.now = max(w.now, it.at)
	w.steps++
	it.fn()
	return true
}

// runUntil does everything until limit, and lets the time pass.
func (w *World) runUntil(limit time.Duration) {
	for w.step(limit) {
	}
	if w.err == nil {
		w.now = max(w.now, limit)
	}
}

// clock is the virtual time as shipped code wants it.
func (w *World) clock() time.Time { return epochStart.Add(w.now) }

// fail reports a violation. The first one counts.
func (w *World) fail(property, format string, args ...any) {
	if w.err == nil {
		w.err = &Violation{Property: property, What: fmt.Sprintf(format, args...), At: w.now}
		w.tracef("VIOLATION %v", w.err)
	}
}

// count notes that something worth having happened did.
func (w *World) count(what string) { w.counts[what]++ }

func (w *World) tracef(format string, args ...any) {
	if w.tracing {
		fmt.Fprintf(&w.trace, "%9.3fs %s\n", w.now.Seconds(), fmt.Sprintf(format, args...))
	}
}

// chance is true with probability p.
func (w *World) chance(p float64) bool { return p > 0 && w.rnd.Float64() < p }

// between is a random time.
func (w *World) between(from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	return from + time.Duration(w.rnd.Int64N(int64(to-from)))
}

// delay is how long a message takes: mostly little, seldom so long that its
// sender has given up.
func (w *World) delay() time.Duration {
	if w.opts.scripted {
		return time.Millisecond
	}
	if w.chance(w.opts.slow) {
		return w.between(0, 4*time.Second)
	}
	return w.between(100*time.Microsecond, 3*time.Millisecond)
}

// send carries a message, or loses, repeats or delays it.
func (w *World) send(text string, fn func()) {
	if w.chance(w.opts.loss) {
		w.count("message lost")
		if w.tracing {
			w.tracef("lost: %s", text)
		}
		return
	}
	w.in(w.delay(), text, fn)
	if w.chance(w.opts.twice) {
		w.count("message delivered twice")
		w.in(w.delay(), text, fn)
	}
}

// theLog is the place of the log in the network.
const theLog = "log"

// carry sends a message between two places, if the network is whole.
func (w *World) carry(from, to, text string, fn func()) {
	if w.apart(from, to) {
		w.tracef("cut off: %s", text)
		return
	}
	w.send(text, fn)
}

// apart tells that the network is cut between two places.
func (w *World) apart(from, to string) bool {
	return slices.Contains(w.island, from) != slices.Contains(w.island, to)
}

// Violation is a property of the protocol that does not hold.
type Violation struct {
	Property string // "S1", "L1", … as docs/protocol.md and the stories name them
	What     string
	At       time.Duration
}

func (v *Violation) Error() string { return fmt.Sprintf("%s: %s (at %s)", v.Property, v.What, v.At) }

// agenda is a heap of items by time, and of equal times in the order they came.
type agenda []*item

func (h agenda) less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].ord < h[j].ord
}

func (h *agenda) push(it *item) {
	*h = append(*h, it)
	s := *h
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if !s.less(i, up) {
			return
		}
		s[i], s[up] = s[up], s[i]
		i = up
	}
}

func (h *agenda) pop() *item {
	s := *h
	top := s[0]
	n := len(s) - 1
	s[0], s[n] = s[n], nil
	s = s[:n]
	*h = s
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < n; c++ {
			if s.less(c, least) {
				least = c
			}
		}
		if least == i {
			return top
		}
		s[i], s[least] = s[least], s[i]
		i = least
	}
}
