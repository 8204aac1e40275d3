package undo

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// Stats of a Resolver, since it was made. The counts are of this process: other
// resolvers of the same database have their own.
type Stats struct {
	// Stuck counts the transactions that this Resolver has found stuck and not gone
	// since. Anything but 0 is for an operator: see Resolver.Stuck.
	Stuck int

	// Committed and Aborted count transactions whose share of this database this
	// Resolver has ended. A push and the scan may meet at one: who comes second finds
	// nothing left, and does not count.
	Committed, Aborted int64
	// Restored counts rows that were put back to what they were before.
	Restored int64

	// Conflicts counts tries that ended since the database was busy, and Failures
	// those that ended by another error than that or a stuck transaction. All are
	// tried again.
	Conflicts, Failures int64
	// Scans counts passes over the leftovers.
	Scans int64
	// LastError is the last one of Failures or of a scan, and LastErrorAt its time;
	// nil when there was none. A server's message may hold values of rows.
	LastError   error
	LastErrorAt time.Time
}

// counters of Stats.
type counters struct {
	committed, aborted, rows, conflicts, failures, scans atomic.Int64
}

type failure struct {
	err error
	at  time.Time
}

// Stats tells what the Resolver knows without asking the database.
func (r *Resolver) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Stats{
		Stuck:     len(r.stuck),
		Committed: r.count.committed.Load(), Aborted: r.count.aborted.Load(), Restored: r.count.rows.Load(),
		Conflicts: r.count.conflicts.Load(), Failures: r.count.failures.Load(), Scans: r.count.scans.Load(),
		LastError: r.last.err, LastErrorAt: r.last.at,
	}
}

// tally counts a try of phase two.
func (r *Resolver) tally(s gtx.Status, found bool, err error) {
	switch {
	case err == nil && !found:
	case err == nil && s == gtx.Committed:
		r.count.committed.Add(1)
	case err == nil:
		r.count.aborted.Add(1)
	case errors.Is(err, gtx.ErrDirty):
	case errors.Is(err, gtx.ErrConflict):
		r.count.conflicts.Add(1)
	default:
		r.count.failures.Add(1)
		r.remember(err)
	}
}

func (r *Resolver) remember(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = failure{err, time.Now()}
}
