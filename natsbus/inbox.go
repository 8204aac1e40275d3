package natsbus

import (
	"sync"

	"github.com/globaltx/globaltx/gtx/coordinator"
)

// inboxLimit bounds the requests that wait for the loop. At a microsecond each
// they are a fraction of the time that their callers wait.
const inboxLimit = 1 << 16

// inbox hands requests from many goroutines to the loop, which takes all that
// have gathered at once: one lock a pass, and no allocation once both buffers
// have grown.
type inbox struct {
	ready chan struct{} // holds one token while there may be something to take

	// mu protects the following.
	mu     sync.Mutex
	events []coordinator.Event
	closed bool
}

func newInbox() *inbox { return &inbox{ready: make(chan struct{}, 1)} }

// put adds all of events, or none of them and returns false. It does not keep
// the slice.
func (b *inbox) put(events []coordinator.Event) bool {
	b.mu.Lock()
	ok := !b.closed && len(b.events)+len(events) <= inboxLimit
	if ok {
		b.events = append(b.events, events...)
	}
	b.mu.Unlock()
	if ok {
		select {
		case b.ready <- struct{}{}:
		default:
		}
	}
	return ok
}

// take gives what has gathered and keeps used, an earlier result, for what
// comes next.
func (b *inbox) take(used []coordinator.Event) []coordinator.Event {
	clear(used) // their messages must not live on here
	b.mu.Lock()
	defer b.mu.Unlock()
	events := b.events
	b.events = used[:0]
	return events
}

// close refuses what comes later.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
}
