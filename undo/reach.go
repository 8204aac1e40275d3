package undo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

const (
	// Pauses between two looks whether a database can be reached again.
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
	// probeTime is how long a database may take for a look at its leftovers.
	probeTime = 5 * time.Second
)

// reach knows whether the database can be reached. While it cannot, nobody waits
// for it but one probe at a time.
type reach struct {
	store  Store
	logger *slog.Logger
	back   chan struct{} // gets one when the database is back, if there is room
	probes sync.WaitGroup

	// mu protects the following.
	mu      sync.Mutex
	away    bool
	lost    bool          // not only suspected
	pause   time.Duration // the last one, 0 before the first
	until   time.Time     // no probe before
	probing bool
	ended   bool // no more probes
}

// enter returns nil when the database may be used, and gtx.ErrAway at once, or after
// a probe, when it may not.
func (d *reach) enter(ctx context.Context) error {
	d.mu.Lock()
	if !d.away {
		d.mu.Unlock()
		return nil
	}
	if d.ended || d.probing || time.Now().Before(d.until) {
		d.mu.Unlock()
		return gtx.ErrAway
	}
	d.probing = true
	end := make(chan error, 1)
	// In a goroutine of its own: a driver may not come back from a server that has
	// been stopped.
	d.probes.Go(func() { end <- d.probe() })
	d.mu.Unlock()
	t := time.NewTimer(probeTime)
	defer t.Stop()
	select {
	case err := <-end:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", gtx.ErrAway, ctx.Err())
	case <-t.C:
		return gtx.ErrAway
	}
}

// stop waits for a probe under way.
func (d *reach) stop() {
	d.mu.Lock()
	d.ended = true
	d.mu.Unlock()
	d.probes.Wait()
}

func (d *reach) probe() error {
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	_, err := d.store.Leftovers(ctx, "", 1)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.probing = false
	if d.gone(err) {
		d.rest(err)
		return fmt.Errorf("%w: %w", gtx.ErrAway, err)
	}
	if d.lost {
		d.logger.Info("database of phase two is back")
		select {
		case d.back <- struct{}{}:
		default:
		}
	}
	d.away, d.lost, d.pause = false, false, 0
	return nil
}

func (d *reach) gone(err error) bool {
	return err != nil && (errors.Is(err, context.DeadlineExceeded) || d.store.Classify(err) == Lost)
}

// rest doubles the pause. Callers hold mu.
func (d *reach) rest(err error) {
	if !d.lost {
		d.logger.Warn("database of phase two cannot be reached, its transactions wait", "err", err)
	}
	d.away, d.lost = true, true
	d.pause = min(max(firstPause, 2*d.pause), lastPause)
	d.until = time.Now().Add(d.pause/2 + rand.N(d.pause/2+1))
}

// heard learns from the end of a try, which had ctx. That its time was over says
// little: the next one who comes looks.
func (d *reach) heard(ctx context.Context, err error) {
	late := errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
	if err == nil || errors.Is(ctx.Err(), context.Canceled) || !late && !d.gone(err) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.away: // of the same loss
	case late:
		d.away, d.until = true, time.Time{}
	default:
		d.rest(err)
	}
}

// wait is how long a scan that found the database away should wait for it; 0 when it
// is not away.
func (d *reach) wait() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.away {
		return 0
	}
	return max(time.Until(d.until), firstPause)
}
