package sim

import (
	"slices"
	"strings"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/xa"
)

// textbook is three-phase commit as the textbooks have it (Skeen, Nonblocking Commit
// Protocols, 1981), time-outs included: who hears nothing takes the silent for dead,
// asks those that answer, and goes by what they know. It is here to be looked at, by
// scripts alone: in a network that is cut it splits a transaction. What is shipped has a
// log in its place (rules H1 to H5).
type textbook struct {
	w     *World
	name  string // of the coordinator
	xid   gtx.XID
	state phase // of the coordinator
	dead  bool
	sites []*site
}

// phase is how far a site is. Only waiting and pre-committed are left by a time-out.
type phase uint8

const (
	initial phase = iota
	waiting       // has voted yes
	preCommitted
	committed
	aborted
)

func (p phase) String() string {
	return [...]string{"initial", "waiting", "pre-committed", "committed", "aborted"}[p]
}

func (p phase) decided() bool { return p >= committed }

const (
	textbookTime = 2 * time.Second        // without a word, and the sender is dead
	pollTime     = 100 * time.Millisecond // that others have to answer in
)

// site is a participant. What it knows survives a crash of its database.
type site struct {
	tb    *textbook
	d     *database
	p     *process
	row   int
	name  xa.Name
	state phase
	heard int  // counts what was heard of the coordinator; a time-out is for the last
	back  bool // has crashed: the time-out rule is not for it
	polls int

	voted, acked bool // as the coordinator knows
}

// newTextbook begins a transaction of the coordinator called name.
func (w *World) newTextbook(name string, parts []part) {
	w.branches++
	tb := &textbook{w: w, name: name, xid: gtx.XID{Log: 1, Epoch: 1, Seq: uint64(w.branches)}, state: waiting}
	w.textbooks = append(w.textbooks, tb)
	w.truth.fate(tb.xid).textbook = true
	for _, pt := range parts {
		w.branches++
		s := &site{tb: tb, d: pt.db, p: w.newProcess("site-" + string(pt.db.id)), row: pt.rows[0]}
		s.name = xa.Name{XID: tb.xid, Database: pt.db.id, Branch: w.branches}
		s.p.place = string(pt.db.id)
		pt.db.site = s
		tb.sites = append(tb.sites, s)
	}
	for _, s := range tb.sites {
		tb.tell(s, "prepare", s.vote)
	}
	tb.timeout()
}

// tell sends a word of the coordinator to a site.
func (tb *textbook) tell(s *site, what string, fn func()) {
	tb.w.carry(tb.name, s.p.place, tb.name+" tells "+s.p.place+": "+what, func() {
		if s.d.down {
			return
		}
		s.heard++
		fn()
		s.timeout()
	})
}

// hear is a word of a site to the coordinator.
func (tb *textbook) hear(s *site, what string, fn func()) {
	tb.w.carry(s.p.place, tb.name, s.p.place+" tells "+tb.name+": "+what, func() {
		if !tb.dead {
			fn()
			tb.next()
		}
	})
}

// next is the coordinator's step from phase to phase.
func (tb *textbook) next() {
	switch {
	case tb.state == waiting && !slices.ContainsFunc(tb.sites, func(s *site) bool { return !s.voted }):
		tb.become(preCommitted)
		for _, s := range tb.sites {
			tb.tell(s, "pre-commit", s.preCommit)
		}
		tb.timeout()
	case tb.state == preCommitted && !slices.ContainsFunc(tb.sites, func(s *site) bool { return !s.acked }):
		tb.decide(committed)
	}
}

// timeout of the coordinator: in waiting it aborts, in pre-committed it commits.
func (tb *textbook) timeout() {
	was := tb.state
	tb.w.in(textbookTime, "", func() {
		switch {
		case tb.dead || tb.state != was:
		case was == waiting:
			tb.decide(aborted)
		case was == preCommitted:
			tb.decide(committed)
		}
	})
}

func (tb *textbook) decide(end phase) {
	tb.become(end)
	word := "abort"
	if end == committed {
		word = "commit"
	}
	for _, s := range tb.sites {
		tb.tell(s, word, func() { s.end(end) })
	}
}

func (tb *textbook) become(p phase) {
	tb.state = p
	tb.w.tracef("%s is %s", tb.name, p)
}

func (tb *textbook) crash() {
	tb.w.tracef("%s crashes", tb.name)
	tb.dead = true
}

// vote does the work and votes yes.
func (s *site) vote() {
	s.tb.w.spawn(s.p, func() {
		t, err := s.d.begin(s.p, lockWait)
		if err != nil {
			return
		}
		t.xid, t.branch = s.name.XID, s.name.Branch
		if err = t.write(s.row); err == nil {
			err = t.prepare(s.name)
		}
		if err == nil && s.state.decided() { // has given up meanwhile
			s.finish()
			return
		}
		if err == nil {
			s.become(waiting)
			s.heard++
			s.timeout()
			s.tb.hear(s, "yes", func() { s.voted = true })
		}
	})
}

func (s *site) preCommit() {
	if s.state == waiting {
		s.become(preCommitted)
	}
	if s.state == preCommitted {
		s.tb.hear(s, "ack", func() { s.acked = true })
	}
}

// end ends the branch for good.
func (s *site) end(with phase) {
	if s.state.decided() {
		return
	}
	s.become(with)
	s.finish()
}

// finish does to the prepared branch what was decided.
func (s *site) finish() {
	for _, b := range slices.Clone(s.d.prepared) {
		if b.name == s.name {
			b.finish(s.state == committed)
		}
	}
}

func (s *site) become(p phase) {
	s.state = p
	s.tb.w.tracef("%s is %s", s.p.place, p)
}

// timeout lets the site look for the others when the coordinator is silent.
func (s *site) timeout() {
	heard := s.heard
	s.tb.w.in(textbookTime, "", func() {
		if s.heard == heard && !s.d.down && !s.back && (s.state == waiting || s.state == preCommitted) {
			s.tb.w.tracef("%s hears nothing", s.p.place)
			s.poll()
		}
	})
}

// recover is a site that comes back: others may have decided without it, so it asks
// until one of them has, or all of them answer.
func (s *site) recover() {
	s.back = true
	if s.state == initial {
		s.become(aborted)
	}
	s.poll()
}

// poll asks the other sites, and decides by the textbook's rule when their time is over:
// what anybody has decided; or else commit if anybody is pre-committed, and abort if
// nobody is. Who does not answer is taken for dead.
func (s *site) poll() {
	if s.state.decided() || s.d.down {
		return
	}
	s.polls++
	poll, known := s.polls, []phase{s.state}
	for _, o := range s.tb.sites {
		if o == s {
			continue
		}
		s.tb.w.carry(s.p.place, o.p.place, s.p.place+" asks "+o.p.place, func() {
			if o.d.down {
				return
			}
			state := o.state
			s.tb.w.carry(o.p.place, s.p.place, o.p.place+" answers "+s.p.place+": "+state.String(), func() { known = append(known, state) })
		})
	}
	s.tb.w.in(pollTime, "", func() {
		if s.polls != poll || s.d.down || s.state.decided() {
			return
		}
		words := make([]string, len(known))
		for i, k := range known {
			words[i] = k.String()
		}
		s.tb.w.tracef("%s knows: %s", s.p.place, strings.Join(words, ", "))
		most := slices.Max(known)
		switch {
		case most.decided():
			s.end(most)
		case s.back && len(known) < len(s.tb.sites):
			s.tb.w.in(time.Second, "", s.poll) // one of them may have decided
		case most == preCommitted:
			s.end(committed)
		default:
			s.end(aborted)
		}
	})
}
