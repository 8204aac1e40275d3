package outbox

import (
	"context"
	"sync/atomic"
	"time"
)

// counters of this process.
type counters struct{ published, duplicates, retries, died atomic.Int64 }

// Stats is how the outbox of a database is.
type Stats struct {
	// Backlog counts the messages that wait, those of undecided global transactions
	// among them.
	Backlog int64
	// Oldest is how long the first of them has waited. Zero: none waits.
	Oldest time.Duration
	// Dead counts the messages that wait for an operator.
	Dead int64

	// What the relay of this process has done since Open.

	// Published counts acknowledged messages, Duplicates among them those that the
	// stream had already, Retries attempts without an acknowledgement.
	Published, Duplicates, Retries int64
	// Died counts messages that no stream would take.
	Died int64
	// Failing counts the subjects whose messages wait for another attempt, up to some
	// thousands, and LastError says why the last one of all failed; "" when none did.
	Failing   int
	LastError string
}

// Stats asks the database, which counts all that wait: not for every second.
func (o *Outbox) Stats(ctx context.Context) (Stats, error) {
	have, err := o.desk().Backlog(ctx)
	// After the look at the table: what was published and is no longer there has been counted.
	s := Stats{
		Published: o.count.published.Load(), Duplicates: o.count.duplicates.Load(),
		Retries: o.count.retries.Load(), Died: o.count.died.Load(),
	}
	if err != nil {
		return s, err
	}
	s.Backlog, s.Oldest, s.Dead = have.Waiting, have.Oldest, have.Dead
	o.mu.Lock()
	r := o.relay
	o.mu.Unlock()
	if r != nil {
		s.Failing, s.LastError = r.failing()
	}
	return s, nil
}
