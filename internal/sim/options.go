package sim

import (
	"math/rand/v2"
	"time"

	"github.com/globaltx/globaltx/gtx/coordinator"
)

// options are how often what goes wrong, as probabilities, and the limits of the
// coordinators. The zero value is a world without faults.
type options struct {
	loss         float64 // of a message
	twice        float64 // a message arrives twice
	slow         float64 // a message takes up to seconds
	lateAppend   float64 // an append takes up to seconds
	answerLost   float64 // of an append that has landed
	staleRead    float64 // of the log
	fenceBroken  float64 // the log takes a stale append
	commitLost   float64 // COMMIT of a database, late, or its answer, or a new connection
	sessionStays float64 // the session of a prepared branch keeps it for a while
	slowWork     float64 // a statement takes up to seconds
	endsHere     float64 // a program ends its prepared branches itself when it hears the decision
	misroute     float64 // a request goes to whoever is up
	rivals       float64 // a standby campaigns although somebody leads
	interleave   float64 // others get in between two steps of a local transaction

	callTime time.Duration // that a client gives a request
	machine  coordinator.Config

	// scripted worlds do nothing by themselves: every message takes a millisecond
	// and every step has a name; nobody campaigns or scans unless told to.
	scripted bool
}

// calm ends the faults.
func (o *options) calm() {
	o.loss, o.twice, o.slow, o.lateAppend, o.staleRead, o.fenceBroken = 0, 0, 0, 0, 0, 0
	o.answerLost, o.slowWork, o.sessionStays = 0, 0, 0
	o.commitLost, o.misroute, o.rivals = 0, 0, 0
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// randomOptions draws a world's weather: some are calm but for one thing.
func randomOptions(r *rand.Rand) options {
	return options{
		loss:         pick(r, 0, 0, 0.02, 0.1),
		twice:        pick(r, 0, 0.02, 0.1),
		slow:         pick(r, 0, 0.02, 0.1),
		lateAppend:   pick(r, 0, 0.1, 0.3),
		answerLost:   pick(r, 0, 0.05, 0.4),
		staleRead:    pick(r, 0, 0.1, 0.3),
		fenceBroken:  pick(r, 0, 0, 0, 0, 0, 0, 0.5),
		commitLost:   pick(r, 0, 0.02, 0.1),
		slowWork:     pick(r, 0, 0, 0.02, 0.1),
		sessionStays: pick(r, 0, 0, 0.3),
		endsHere:     pick(r, 0, 0.5, 1),
		misroute:     pick(r, 0, 0.05, 0.2),
		rivals:       pick(r, 0, 0, 0.05, 0.2),
		interleave:   pick(r, 0.2, 0.5, 1),
		callTime:     pick(r, time.Second, 3*time.Second, 10*time.Second),
		machine:      randomMachine(r),
	}
}

// randomMachine has short times and small sizes, so that what takes days or
// gigabytes happens here.
func randomMachine(r *rand.Rand) coordinator.Config {
	return coordinator.Config{
		DefaultTimeout: 20 * time.Second,
		PushMin:        500 * time.Millisecond,
		PushMax:        4 * time.Second,
		PushWindow:     pick(r, 1, 2, 256),
		DoneDelay:      pick(r, 50*time.Millisecond, 200*time.Millisecond),
		Tombstone:      pick(r, time.Second, 5*time.Second, time.Hour),
		MaxTombstones:  pick(r, 1, 3, 1000),
		MaxBatch:       pick(r, 60, 200, 4096),
		TrimBytes:      pick(r, 512, 512, 512, 1<<20),
		PreCommitWait:  pick(r, 20*time.Millisecond, 300*time.Millisecond, time.Second, 4*time.Second),
		ClaimWindow:    pick(r, 50*time.Millisecond, 2*time.Second, 5*time.Second),
		StallAfter:     pick(r, 500*time.Millisecond, 2*time.Second),
	}
}
