package outbox

import (
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 30 * time.Second
	// manySubjects is how many are remembered by name. What fails beside them shares one
	// of crowds entries each with others.
	manySubjects, crowds = 1024, 4096
	// manyLines is how many subjects are logged within maxBackoff. Stats counts them all.
	manyLines = 32
)

// backoff of a subject whose messages get no acknowledgement. Not of a slot: a subject
// without a stream must not delay the others.
type backoff struct {
	until time.Time
	delay time.Duration
	err   error
}

// subjects that fail, by name or by crowd.
type subjects map[string]*backoff

// crowd is the entry of a subject that is one too many. It is no subject.
func crowd(subject string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(subject)) // never fails
	return " " + strconv.FormatUint(uint64(h.Sum32()%crowds), 10)
}

// of gives the entry of a subject, nil where it has none.
func (s subjects) of(subject string) *backoff {
	if f := s[subject]; f != nil || len(s) < manySubjects {
		return f
	}
	return s[crowd(subject)]
}

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
	return hasCode(err, codeMessageTooLarge) || hasCode(err, codeHeaderTooLarge) || errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, nats.ErrBadSubject) || errors.Is(err, errCorrupt)
}

func hasCode(err error, code jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == code
}

// resting tells whether messages to a subject wait for another attempt.
func (r *relay) resting(subject string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.subjects.of(subject)
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
		r.forget(now)
	}
	f := r.subjects.of(subject)
	if f == nil {
		name := subject
		if len(r.subjects) >= manySubjects {
			name = crowd(subject)
		}
		f = &backoff{}
		r.subjects[name] = f
	}
	f.err = err
	if now.Before(f.until) {
		return // one more of the same wave
	}
	first := f.delay == 0 && r.nc.IsConnected()
	f.delay = min(max(2*f.delay, minBackoff), maxBackoff)
	f.until = now.Add(f.delay/2 + rand.N(f.delay))
	if now.Sub(r.spoke) > maxBackoff {
		r.spoke, r.said = now, 0
	}
	if r.said < manyLines && (first || f.delay == maxBackoff) {
		r.said++
		r.o.log.Warn("messages of the outbox wait", "subject", subject, "err", err, "retry_in", f.until.Sub(now))
	}
}

// forget removes what has failed long ago. r.mu is held.
func (r *relay) forget(now time.Time) {
	if now.Sub(r.forgot) < maxBackoff {
		return // looking through all of them for each one that fails takes too long
	}
	r.forgot = now
	for s, f := range r.subjects {
		if now.Sub(f.until) > maxBackoff {
			delete(r.subjects, s)
		}
	}
}

func (r *relay) recovered(subject string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.subjects) == 0 {
		return
	}
	delete(r.subjects, subject)
	delete(r.subjects, crowd(subject)) // what fails in it is tried again, no more
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
