package natsbus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// maxGuardCalls bounds the calls about guards that a node works on at a time.
const maxGuardCalls = 256

// guardDesk answers for guards at every node, whether it leads or not: what decides
// between two who write one guard is the stream. Applications have no right to the stream
// themselves, because who may publish with a reply subject may have the server write its
// answer anywhere in the account, into the decision log for one.
type guardDesk struct {
	nc       *nats.Conn
	complain *complaints
	sub      *nats.Subscription
	wg       sync.WaitGroup // of calls
	busy     chan struct{}  // one for each call
	life     context.Context
	end      context.CancelFunc
	starting sync.Mutex // held while a call starts

	// mu protects the following. It is held while the stream is looked at.
	mu   sync.Mutex
	log  guardLog
	said string // the loss that was logged last
}

// openGuards begins to answer on nc. The stream is made by the first call.
func openGuards(nc *nats.Conn, cfg *ServiceConfig) (*guardDesk, error) {
	c := *cfg
	c.Coordinator.Partition = 0
	log, err := newDecisionLog(nc, &c)
	if err != nil {
		return nil, err
	}
	log.name = guardStream
	d := &guardDesk{nc: nc, complain: newComplaints(cfg.Logger), busy: make(chan struct{}, maxGuardCalls), log: guardLog{log: log}}
	d.life, d.end = context.WithCancel(context.Background())
	if d.sub, err = nc.QueueSubscribe(guardSubject, guardQueue, d.take); err != nil {
		return nil, fmt.Errorf("subscribe %s: %w", guardSubject, err)
	}
	if err := d.sub.SetPendingLimits(-1, droppedBytes); err != nil {
		return nil, fmt.Errorf("subscribe %s: %w", guardSubject, err)
	}
	d.wg.Go(d.begin)
	return d, nil
}

// begin looks at guards that an earlier node has kept, so that their loss is told before
// somebody misses them.
func (d *guardDesk) begin() {
	ctx, cancel := context.WithTimeout(d.life, guardTry)
	defer cancel()
	for _, name := range []string{guardAnchorStream, guardStream} {
		_, err := d.log.log.find(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err == nil {
			_, err = d.ready(ctx, &guardRequest{Op: guardList})
		}
		d.trouble(err)
		return
	}
}

// trouble complains about what keeps guards from being served. ready has told of a loss.
func (d *guardDesk) trouble(err error) {
	if err != nil && !isDamage(err) && d.life.Err() == nil {
		d.complain.warn("guards of actions are not kept now", "err", err)
	}
}

// close takes no more calls and waits for those under way.
func (d *guardDesk) close() {
	_ = d.sub.Unsubscribe()
	d.end()
	d.starting.Lock()
	defer d.starting.Unlock()
	d.wg.Wait()
}

// take starts a call.
func (d *guardDesk) take(m *nats.Msg) {
	if !strings.HasPrefix(m.Reply, "_INBOX.") && !strings.HasPrefix(m.Reply, "_R_.") {
		// As in door.take: a caller may name any subject.
		d.complain.warn("drop a request about guards with a foreign reply subject")
		return
	}
	select {
	case d.busy <- struct{}{}:
	default:
		d.reply(m, failed(guardAgain, "the coordinator is busy"))
		return
	}
	d.starting.Lock()
	defer d.starting.Unlock()
	if d.life.Err() != nil {
		return
	}
	d.wg.Go(func() {
		defer func() { <-d.busy }()
		d.reply(m, d.do(m))
	})
}

func (d *guardDesk) reply(m *nats.Msg, a guardAnswer) { _ = d.nc.Publish(m.Reply, a.encode()) }

// do works on a call for as long as its caller waits.
func (d *guardDesk) do(m *nats.Msg) guardAnswer {
	q, err := decodeGuardRequest(m.Data)
	if err != nil {
		d.complain.warn("refuse a malformed request about guards", "err", err)
		return failed(guardRefused, "%v", err)
	}
	ctx, cancel := context.WithTimeout(d.life, min(max(q.Time, time.Millisecond), guardTry))
	defer cancel()
	w := guardWork{log: d.log.log, q: &q}
	if w.stream, err = d.ready(ctx, &q); err != nil {
		d.trouble(err)
		if transient(err) || overtaken(err) || isDamage(err) && d.log.log.cfg.Replicas > 1 { // a stale server may show a loss
			return failed(guardAgain, "%v", err)
		}
		return failed(guardRefused, "%v", err)
	}
	if q.Op == guardList {
		return w.list(ctx)
	}
	if w.key, err = guardName(&q.Guard); err != nil {
		return failed(guardRefused, "%v", err)
	}
	if q.Op == guardDelete {
		return w.remove(ctx)
	}
	return w.put(ctx)
}

// ready gives the stream when it is fit for what q wants.
func (d *guardDesk) ready(ctx context.Context, q *guardRequest) (jetstream.Stream, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.log.look(ctx)
	if isDamage(err) && err.Error() != d.said {
		d.said = err.Error()
		d.log.log.cfg.Logger.Error("guards of actions are lost, no action without a database is tried or ended", "err", err)
	}
	if err != nil {
		d.log.looked = time.Time{}
		return nil, err
	}
	if d.said != "" {
		d.said = ""
		d.log.log.cfg.Logger.Info("guards of actions are kept again")
	}
	if q.Op == guardCreate {
		if err := d.log.room(len(q.Guard.Body) + maxHeaders); err != nil {
			return nil, err
		}
	}
	return d.log.stream, nil
}
