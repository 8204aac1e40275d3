package outbox

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 30 * time.Second
	// manySubjects is when those that failed long ago are forgotten.
	manySubjects = 1024
)

// backoff of a subject whose messages get no acknowledgement. Not of a slot: a subject
// without a stream must not delay the others.
type backoff struct {
	until time.Time
	delay time.Duration
	err   error
}

type subjects map[string]*backoff

// The server's codes for messages that no retry will bring through. Everything else may
// be mended: a stream that is full, or missing, or without a leader.
const (
	codeMessageTooLarge jetstream.ErrorCode = 10054
	codeHeaderTooLarge  jetstream.ErrorCode = 10097
)

// errCorrupt is a row that Publish has not written so.
var errCorrupt = errors.New("the header cannot be read")

// permanent tells whether a message is dead.
func permanent(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode == codeMessageTooLarge || api.ErrorCode == codeHeaderTooLarge
	}
	return errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadSubject) || errors.Is(err, errCorrupt)
}

// resting tells whether messages to a subject wait for another attempt.
func (r *relay) resting(subject string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.subjects[subject]
	return f != nil && time.Now().Before(f.until)
}

// failed puts a subject off, and logs the first time, and then every maxBackoff.
func (r *relay) failed(subject string, err error) {
	if !r.nc.IsConnected() {
		r.complain(err) // says it for all subjects
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.subjects) >= manySubjects {
		for s, f := range r.subjects {
			if now.Sub(f.until) > maxBackoff {
				delete(r.subjects, s)
			}
		}
	}
	f := r.subjects[subject]
	if f == nil {
		f = &backoff{}
		r.subjects[subject] = f
	}
	f.err = err
	if now.Before(f.until) {
		return // one more of the same wave
	}
	first := f.delay == 0 && r.nc.IsConnected()
	f.delay = min(max(2*f.delay, minBackoff), maxBackoff)
	f.until = now.Add(f.delay/2 + rand.N(f.delay))
	if first || f.delay == maxBackoff {
		r.o.log.Warn("messages of the outbox wait", "subject", subject, "err", err, "retry_in", f.until.Sub(now))
	}
}

func (r *relay) recovered(subject string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.subjects, subject)
}

// failing counts the subjects that wait, and tells why one does.
func (r *relay) failing() (n int, last string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var until time.Time
	for _, f := range r.subjects {
		if n++; f.until.After(until) {
			until, last = f.until, f.err.Error()
		}
	}
	return n, last
}
