package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

const (
	// firstLook is when the relay looks after Publish has written: the local transaction
	// has to commit yet. Each further look waits twice as long, up to Config.PollInterval.
	firstLook = 2 * time.Millisecond
	// chunk is how many slots a worker takes at most, so that some are left for others.
	chunk = 8
	// lostTries is how often a relay that begins looks at a database whose connection
	// breaks.
	lostTries = 8
	// trimInterval is how often dead messages are looked through, at least.
	trimInterval = time.Hour
)

// relay publishes the messages of one Outbox.
type relay struct {
	o    *Outbox
	nc   *nats.Conn
	js   jetstream.JetStream
	held string // expression for the holder of a message

	// mu protects the following.
	mu       sync.Mutex
	inHand   uint64 // slots that a worker has
	rests    [slots]rest
	subjects subjects
	forgot   time.Time // when subjects were last looked through
	spoke    time.Time // when the first of the last said lines about them was logged
	said     int
	trouble  time.Time // when an error of the database was last logged
}

// rest keeps the relay from looking again and again at a slot whose messages cannot be
// published yet, or that another relay has.
type rest struct {
	until time.Time
	pause time.Duration
}

func (o *Outbox) newRelay(ctx context.Context, nc *nats.Conn) (*relay, error) {
	if nc == nil {
		return nil, fmt.Errorf("relay messages: no connection to NATS")
	}
	held, err := o.about.Held(gtx.Detach(ctx), o.text.box, "o")
	for try := 1; err != nil && o.text.Classify(err) == undo.Lost && try < lostTries; try++ {
		select { // a relay that runs goes on after this, too
		case <-ctx.Done():
			return nil, fmt.Errorf("relay messages: %w", err)
		case <-time.After(jitter(firstLook << try)):
		}
		held, err = o.about.Held(gtx.Detach(ctx), o.text.box, "o")
	}
	if err != nil {
		return nil, fmt.Errorf("relay messages: %w", err)
	}
	// A JetStream of its own: its asynchronous publishes end after the time that this
	// relay gives them, and never fill up the caller's.
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(o.cfg.PublishTimeout),
		jetstream.WithPublishAsyncMaxPending(o.cfg.Workers*max(o.cfg.Batch, slots)+1))
	if err != nil {
		return nil, fmt.Errorf("relay messages: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.relay != nil {
		return nil, ErrRunning
	}
	o.relay = &relay{o: o, nc: nc, js: js, held: held, subjects: subjects{}}
	return o.relay, nil
}

// run relays until ctx ends.
func (r *relay) run(ctx context.Context) error {
	var workers sync.WaitGroup
	defer func() {
		workers.Wait()
		r.js.CleanupPublisher()
		r.o.mu.Lock()
		r.o.relay = nil
		r.o.mu.Unlock()
	}()
	connected := r.nc.StatusChanged(nats.CONNECTED)
	defer r.nc.RemoveStatusListener(connected)
	done := make(chan bool, r.o.cfg.Workers)
	free, more := r.o.cfg.Workers, false
	pause, next, trim := firstLook, time.Now(), time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	trimming := make(chan struct{}, 1) // holds one value while it is done
	for {
		select {
		case <-ctx.Done():
			return nil
		case worked := <-done:
			free++
			if !worked && !more {
				continue // the timer runs
			}
		case _, ok := <-connected:
			if !ok {
				connected = nil
			}
		case <-r.o.note:
			// Not at once: the local transaction has to commit yet.
			pause = firstLook
			if time.Until(next) > pause {
				next = time.Now().Add(pause)
				timer.Reset(pause)
			}
			continue
		case <-timer.C:
			pause = min(2*pause, r.o.cfg.PollInterval)
		}
		if r.nc.IsClosed() {
			return nats.ErrConnectionClosed
		}
		if now := time.Now(); !now.Before(trim) {
			every := trimInterval
			if keep := r.o.cfg.KeepDead; keep > 0 {
				every = min(every, keep)
			}
			trim = now.Add(every + rand.N(every/4))
			select {
			case trimming <- struct{}{}: // aside: messages must not wait for it
				workers.Go(func() {
					r.trim(ctx)
					<-trimming
				})
			default:
			}
		}
		again := r.o.cfg.PollInterval
		if r.nc.IsConnected() {
			free, more, again = r.give(ctx, free, func(set uint64) {
				workers.Go(func() { done <- r.work(ctx, set) })
			})
		}
		wait := jitter(min(pause, again))
		next = time.Now().Add(wait)
		timer.Reset(wait)
	}
}

// jitter keeps relays from looking all at once.
func jitter(d time.Duration) time.Duration { return d*3/4 + rand.N(d/2+1) }

// give hands slots with messages out to free workers. It gives how many workers are left
// free, whether slots are left for the next one, and when to look again for the sake of
// those that rest.
func (r *relay) give(ctx context.Context, free int, work func(set uint64)) (left int, more bool, again time.Duration) {
	again = r.o.cfg.PollInterval
	if free == 0 {
		return 0, true, again
	}
	ctx, cancel := bound(ctx, sqlTime)
	defer cancel()
	busy, err := (&claim{o: r.o}).ask(ctx, r.o.text.busy())
	if err != nil {
		r.complain(fmt.Errorf("look for messages in the outbox: %w", err))
		return free, false, again
	}
	noted := r.o.noted.Swap(0)
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	busy &^= r.inHand
	for i := range slots {
		switch s := &r.rests[i]; {
		case noted&(1<<i) != 0:
			*s = rest{}
		case busy&(1<<i) != 0 && now.Before(s.until):
			busy &^= 1 << i
			again = min(again, s.until.Sub(now))
		}
	}
	for ; free > 0 && busy != 0; free-- {
		n := min(chunk, (bits.OnesCount64(busy)+free-1)/free)
		set := pick(busy, n)
		busy &^= set
		r.inHand |= set
		work(set)
	}
	return free, busy != 0, max(again, firstLook)
}

// pick takes n members of a set by chance, so that none waits for ever behind others.
func pick(set uint64, n int) (some uint64) {
	for range n {
		k := rand.IntN(bits.OnesCount64(set))
		left := set
		for range k {
			left &= left - 1
		}
		one := left & -left
		some |= one
		set &^= one
	}
	return some
}

// idleShare is how much longer slots rest, all taken together, than it took to find nothing
// in them that can go.
const idleShare = 5

// manyRows is from how many messages on that counts.
const manyRows = 4096

// rested puts slots back: those without progress rest, longer each time. read is how long it
// took to read them: thousands of messages that cannot go must not keep the database busy.
func (r *relay) rested(set, progress uint64, read time.Duration) {
	longest := max(r.o.cfg.PollInterval, min(idleShare*read*slots/time.Duration(max(1, bits.OnesCount64(set))), maxBackoff))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inHand &^= set
	for i := range slots {
		if set&(1<<i) == 0 {
			continue
		}
		s := &r.rests[i]
		if progress&(1<<i) != 0 {
			*s = rest{}
			continue
		}
		s.pause = min(max(2*s.pause, firstLook), longest)
		s.until = time.Now().Add(jitter(s.pause))
	}
}

// complain logs an error of the database, not too often.
func (r *relay) complain(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.trouble) < maxBackoff {
		return
	}
	r.trouble = time.Now()
	r.o.log.Warn("relay messages of the outbox", "resource", string(r.o.source), "err", err)
}

// trim deletes dead messages that are too old.
func (r *relay) trim(stop context.Context) {
	keep := r.o.cfg.KeepDead
	if keep < 0 {
		return
	}
	ctx, cancel := bound(stop, sqlTime)
	defer cancel()
	const limit = 500
	for stop.Err() == nil {
		now := r.o.text.now(uint64(time.Now().UnixMicro()))
		list, err := idsOf(ctx, r.o.db, fmt.Sprintf("SELECT id FROM %s WHERE died < %s - %d ORDER BY died LIMIT %d", r.o.text.dead, now, keep.Microseconds(), limit))
		if err == nil && len(list) > 0 {
			_, err = r.o.db.ExecContext(ctx, r.o.text.removeDead(list))
		}
		if err != nil {
			r.complain(fmt.Errorf("remove old dead messages: %w", err))
		}
		if err != nil || len(list) < limit {
			return
		}
	}
}

func idsOf(ctx context.Context, db *sql.DB, query string) (list []string, err error) {
	lines, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer lines.Close()
	for lines.Next() {
		var id string
		if err := lines.Scan(&id); err != nil {
			return nil, err
		}
		list = append(list, id)
	}
	return list, lines.Err()
}
