package sim

import (
	"time"

	"github.com/globaltx/globaltx/gtx/coordinator"
)

// decisionLog is the log of decisions (rule A1): one total order, an append
// goes in only behind the sequence that it names, a prefix may be deleted.
type decisionLog struct {
	w     *World
	first uint64 // sequence of entries[0]
	last  uint64
	items []entry
}

type entry struct {
	body []byte
	at   time.Time
}

// add appends body behind prev, or tells that something else is there.
func (l *decisionLog) add(prev uint64, body []byte) bool {
	if prev != l.last {
		// A server that does not check what it should (rule L3).
		if prev > l.last || !l.w.chance(l.w.opts.fenceBroken) {
			return false
		}
		l.w.count("stale append let in by the server")
		if prev == 0 {
			l.w.count("first epoch of another log let in by the server")
		}
	}
	if l.first == 0 {
		l.first = 1
	}
	l.last++
	l.items = append(l.items, entry{body, l.w.clock()})
	l.w.truth.landed(l.last, body)
	return true
}

// get reads the message at seq. gone tells that it was deleted; neither a body
// nor gone: it is not there yet, as far as this reader can see.
func (l *decisionLog) get(seq uint64) (e entry, gone bool) {
	if seq > l.last {
		return entry{}, false
	}
	if seq < l.first {
		return entry{}, true
	}
	return l.items[seq-l.first], false
}

func (l *decisionLog) purge(upTo uint64) {
	upTo = min(upTo, l.last)
	if l.first == 0 || upTo < l.first {
		return
	}
	l.w.count("log trimmed")
	l.w.tracef("log forgets 1 to %d", upTo)
	l.items = l.items[upTo-l.first+1:]
	l.first = upTo + 1
}

// append carries an append to the log and what came of it back to done, which
// hears at most one answer. It may arrive long after its sender has given up.
func (w *World) append(name string, a coordinator.Append, done func(coordinator.Event)) {
	text := name + " append"
	d := w.delay()
	if w.chance(w.opts.lateAppend) {
		d = w.between(0, 6*time.Second)
	}
	if w.chance(w.opts.loss) {
		w.count("append lost")
		return
	}
	if w.apart(name, theLog) {
		w.tracef("cut off: %s", text)
		return
	}
	sent := w.now
	w.in(d, text, func() {
		ok := w.log.add(a.Prev, a.Body)
		if ok && w.now-sent > appendTimeout {
			w.count("ambiguous append landed late")
		}
		if ok && w.tracing {
			w.tracef("log %d: %s", w.log.last, describe(a.Body))
		}
		answer := w.answer(a, ok)
		if w.tracing && !ok {
			w.tracef("%s behind %d refused: %s", text, a.Prev, describeAnswer(answer))
		}
		if w.chance(w.opts.loss) || w.chance(w.opts.answerLost) {
			w.count("answer to an append lost")
			return
		}
		w.in(w.delay(), "answer of the log to "+name, func() { done(answer) })
	})
}

// answer is what the writer makes of the log's answer: after a refusal it reads
// what is in the place, from a replica that may be behind.
func (w *World) answer(a coordinator.Append, ok bool) coordinator.Event {
	if ok {
		return coordinator.Landed{Seq: w.log.last}
	}
	if w.chance(w.opts.staleRead) {
		w.count("stale read")
		return coordinator.Unclear{}
	}
	e, gone := w.log.get(a.Prev + 1)
	switch {
	case gone:
		w.count("hole found in place of an append")
		return coordinator.Found{}
	case e.body == nil:
		return coordinator.Unclear{}
	}
	return coordinator.Found{Body: e.body, At: e.at}
}
