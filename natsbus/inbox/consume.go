package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx"
)

const (
	// replayEvery is how often consumers look whether a replay is asked for.
	replayEvery = 3 * time.Second
	// replayBatch is how many they look for at a time.
	replayBatch = 100
	// lookEvery is how often they look whether their durable consumer is there.
	lookEvery = 10 * time.Second
	// purgeEvery is how often they remove old rows.
	purgeEvery = time.Minute
	// hopeless bounds the pause before a consumer that got an error goes on.
	hopeless = 5 * time.Second
	// pullBeat is how often the server says that it knows of a pull request. A client that
	// hears nothing for twice as long asks again. It must: with one worker nats.go v1.55 may
	// take a request for under way that it has just had the answer to, and wait.
	pullBeat = time.Second
	// drainTime bounds the wait for what was fetched ahead, without a connection say.
	drainTime = time.Second
)

// Consume handles the messages of a stream until ctx ends, and then returns nil when the
// handlers have returned, whose contexts end with ctx. Several processes may consume with
// one name, and share the messages. It keeps the rows of the inbox few (Config.Keep), and
// runs what Replay asks for.
//
// Errors of handlers are logged; the messages come again. An error is returned when the
// stream or the durable consumer does not exist or is of no use, and when the connection is
// closed for good. An Inbox consumes one Source at a time.
func (in *Inbox) Consume(ctx context.Context, src Source, fn Handler) error {
	if _, ok := gtx.FromContext(ctx); ok {
		return ErrInside
	}
	if in.cfg.JetStream == nil {
		return errors.New("consume: Config.JetStream is not set")
	}
	if err := src.fill(&in.cfg); err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	lanes, err := in.durables(ctx, &src)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("consume: %w", err)
	}
	in.mu.Lock()
	if in.lanes != nil {
		in.mu.Unlock()
		return errors.New("consume: this inbox consumes already")
	}
	in.lanes = lanes
	in.mu.Unlock()
	defer func() {
		in.mu.Lock()
		in.lanes = nil
		in.mu.Unlock()
	}()

	work, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	for _, l := range lanes {
		wg.Go(func() {
			if err := in.follow(work, l, fn); err != nil {
				stop(err)
			}
		})
	}
	wg.Go(func() { every(work, replayEvery, in.wanted, func() { in.replays(work, fn) }) })
	wg.Go(func() {
		every(work, lookEvery, nil, func() {
			for _, l := range lanes {
				// A durable consumer that was deleted while no request stood at it is silent.
				if _, err := l.cons.Info(work); errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
					stop(err)
				}
			}
		})
	})
	var seen progress
	wg.Go(func() {
		every(work, purgeEvery, nil, func() {
			if err := in.clean(work, lanes, &seen); err != nil && work.Err() == nil {
				in.cfg.Logger.WarnContext(work, "inbox: old rows not removed", "inbox", in.cfg.Name, "err", err)
			}
		})
	})
	wg.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("consume: %w", context.Cause(work))
}

// every calls f at once, after each d, more or less, and when it is woken.
func every(ctx context.Context, d time.Duration, wake <-chan struct{}, f func()) {
	for ctx.Err() == nil {
		f()
		wait(ctx, d/2+rand.N(d), wake)
	}
}

func wait(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
	}
}

// follow handles the messages of a lane. It returns an error when there will be no more.
func (in *Inbox) follow(ctx context.Context, l *lane, fn Handler) error {
	for n := uint64(1); ctx.Err() == nil; n++ {
		err := in.pull(ctx, l, fn)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrConnectionClosed) {
			return err
		}
		in.cfg.Logger.WarnContext(ctx, "inbox: pull of messages has ended, beginning again", "inbox", in.cfg.Name, "err", err)
		wait(ctx, min(pause(n), hopeless), nil)
	}
	return nil
}

// pull handles messages until there is an error, or ctx ends.
func (in *Inbox) pull(ctx context.Context, l *lane, fn Handler) error {
	// What is fetched ahead waits without heartbeats, so it is little: a message that
	// waits too long is delivered twice, which costs time.
	ahead := l.workers
	iter, err := l.cons.Messages(jetstream.PullMaxMessages(ahead), jetstream.PullHeartbeat(pullBeat), jetstream.WithMessagesErrOnMissingHeartbeat(false))
	if err != nil {
		return fmt.Errorf("pull messages: %w", err)
	}
	var wg sync.WaitGroup
	errs := make(chan error, l.workers)
	for range l.workers {
		wg.Go(func() {
			for {
				msg, err := iter.Next(jetstream.NextContext(ctx))
				if err != nil {
					errs <- err
					return
				}
				if err := in.serve(ctx, msg, l.beat, fn); err != nil && ctx.Err() == nil {
					in.log(ctx, msg, err)
				}
			}
		})
	}
	wg.Wait()
	// What was fetched ahead goes to other processes at once.
	iter.Drain()
	defer iter.Stop()
	for {
		msg, err := iter.Next(jetstream.NextMaxWait(drainTime))
		if err != nil {
			break
		}
		_ = msg.Nak() // else it goes there after AckWait
	}
	return <-errs
}

func (in *Inbox) log(ctx context.Context, msg jetstream.Msg, err error) {
	var id string
	var n uint64
	if m, merr := messageOf(msg); merr == nil {
		id, n = m.ID, m.Deliveries
	}
	at := []any{"inbox", in.cfg.Name, "id", id, "subject", msg.Subject(), "deliveries", n, "err", err}
	var p *PanicError
	if errors.As(err, &p) {
		at = append(at, "stack", string(p.Stack))
	}
	switch {
	case errors.Is(err, ErrDead):
		in.cfg.Logger.ErrorContext(ctx, "inbox: message put aside", at...)
	case errors.Is(err, errOpen):
		in.cfg.Logger.DebugContext(ctx, "inbox: message is being handled already", at...)
	default:
		in.cfg.Logger.WarnContext(ctx, "inbox: message not handled, to be delivered again", at...)
	}
}

// replays runs what Replay asks for.
func (in *Inbox) replays(ctx context.Context, fn Handler) {
	for {
		ids, err := in.s.asked(ctx)
		if err != nil && ctx.Err() == nil {
			in.cfg.Logger.WarnContext(ctx, "inbox: look for replays", "inbox", in.cfg.Name, "err", err)
		}
		stuck := false
		for _, id := range ids {
			granted, err := in.grant(ctx, id, fn)
			stuck = stuck || !granted && err != nil
			if err != nil && !errors.Is(err, ErrNotDead) && ctx.Err() == nil {
				in.cfg.Logger.WarnContext(ctx, "inbox: replay has failed", "inbox", in.cfg.Name, "id", id, "err", err)
			}
		}
		if len(ids) < replayBatch || stuck || ctx.Err() != nil {
			return
		}
	}
}

// grant runs one replay that was asked for. The wish is gone before the handler runs: else a
// message that ends its process would end all that consume, one after the other. It is back
// when the process was told to stop.
func (in *Inbox) grant(ctx context.Context, id string, fn Handler) (granted bool, err error) {
	_, cause, _, err := in.s.dead(ctx, id)
	if err != nil {
		return errors.Is(err, ErrNotDead), err
	}
	begun := plain("the last replay has ended without an answer, before it: "+strings.TrimPrefix(cause, "the last replay has ended without an answer, before it: "), maxError)
	n, err := in.s.wish(ctx, id, 0, begun, " AND replay > 0")
	if err != nil || n == 0 {
		return n == 0, err // else another process has taken it
	}
	err = in.ReplayWith(ctx, id, fn)
	if err != nil && ctx.Err() != nil {
		cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), in.cfg.Wait)
		defer cancel()
		_, lost := in.s.wish(cctx, id, now(), cause, "")
		err = errors.Join(err, lost)
	}
	return true, err
}

// wish notes since when a message that is put aside is to be replayed, 0 for not, and its
// error.
func (s *store) wish(ctx context.Context, id string, since int64, cause, and string) (int64, error) {
	res, err := s.db.ExecContext(ctx, "UPDATE "+s.n.dead+" SET replay = "+strconv.FormatInt(since, 10)+", error = "+s.lit(cause)+" WHERE "+s.key(id)+and)
	if err != nil {
		return 0, fmt.Errorf("note wish of a replay: %w", err)
	}
	return res.RowsAffected()
}

// asked gives the ids that a replay was asked for, oldest wish first.
func (s *store) asked(ctx context.Context) (ids []string, err error) {
	rows, err := s.db.QueryContext(ctx, "SELECT id FROM "+s.n.dead+" WHERE consumer = '"+s.consumer+"' AND replay > 0 ORDER BY replay LIMIT "+strconv.Itoa(replayBatch))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return scanIDs(rows)
}

func scanIDs(rows *sql.Rows) (ids []string, err error) {
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
