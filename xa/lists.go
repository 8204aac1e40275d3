package xa

import (
	"context"
	"sync"
	"time"
)

// listTime bounds a look that several wait for.
const listTime = 30 * time.Second

// lists shares looks at the prepared branches: who comes while one is under way, which
// may not show what he looks for, waits for the next one, with all others who came
// meanwhile.
type lists struct {
	store Store
	wait  sync.WaitGroup // of run

	// mu protects the following.
	mu      sync.Mutex
	running bool
	next    *look // nobody has begun it
}

type look struct {
	done  chan struct{}
	names []Name // not to be changed
	err   error
}

// fresh gives what the server lists at a time after the call. The slice is shared.
func (l *lists) fresh(ctx context.Context, solo bool) ([]Name, error) {
	if solo {
		return l.store.List(ctx)
	}
	l.mu.Lock()
	if l.next == nil {
		l.next = &look{done: make(chan struct{})}
	}
	mine := l.next
	if !l.running {
		l.running = true
		// Not in the caller's time: the others do not give up because one does.
		l.wait.Go(func() { l.run(context.WithoutCancel(ctx)) })
	}
	l.mu.Unlock()
	select {
	case <-mine.done:
		return mine.names, mine.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run looks for as long as somebody waits for a look.
func (l *lists) run(ctx context.Context) {
	for {
		l.mu.Lock()
		now := l.next
		l.next = nil
		l.running = now != nil
		l.mu.Unlock()
		if now == nil {
			return
		}
		once, cancel := context.WithTimeout(ctx, listTime)
		now.names, now.err = l.store.List(once)
		cancel()
		close(now.done)
	}
}
