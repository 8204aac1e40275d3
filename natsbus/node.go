package natsbus

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx/coordinator"
)

// node is what the one goroutine of a Service owns: the machine and how it
// stands to the log.
type node struct {
	*Service
	log *decisionLog
	m   *coordinator.Machine // nil while the log has to be loaded from its start

	behind     bool // the log may hold more than m has
	free       bool // nobody leads, unless the log knows a later epoch than freed
	freed      uint64
	alive      time.Time // last sign of life of a leader
	patience   time.Duration
	reconnects uint64 // of the connection, at alive
	losses     int    // epochs lost since a leader was heard

	tries int    // in vain, since this node was of use
	said  string // the trouble that was logged last
}

// run is the life of a node: standby, candidate, leader, and standby again. It
// returns nil after ctx has ended.
func (n *node) run(ctx context.Context) error {
	beats, err := n.nc.ChanSubscribe(beatSubject, n.beats)
	if err != nil {
		return fmt.Errorf("subscribe %s: %w", beatSubject, err)
	}
	defer func() { _ = beats.Unsubscribe() }()
	asks, err := n.nc.Subscribe(statusSubject, n.answerStatus)
	if err != nil {
		return fmt.Errorf("subscribe %s: %w", statusSubject, err)
	}
	defer func() { _ = asks.Unsubscribe() }()
	n.free, n.freed = n.cfg.eager, math.MaxUint64
	for {
		err := n.follow(ctx)
		if err == nil && ctx.Err() == nil {
			err = n.lead(ctx)
		}
		switch {
		case err == nil && ctx.Err() == nil:
		case ctx.Err() != nil:
			n.tell(func(st *NodeStatus) { st.Role = RoleStandby })
			return nil
		case !n.started() && !transient(err), n.nc.IsClosed():
			return err
		default:
			n.endure(ctx, err)
		}
	}
}

// started reports whether Serve has returned.
func (n *node) started() bool {
	select {
	case <-n.ready:
		return true
	default:
		return false
	}
}

// endure says once what is wrong and waits before it is tried again. A machine
// whose log is damaged is not used any more; the log may be repaired.
func (n *node) endure(ctx context.Context, err error) {
	text := err.Error()
	if text != n.said {
		n.said = text
		n.cfg.Logger.Error("coordinator cannot serve, trying again", "node", n.cfg.Name, "err", err)
	}
	n.tell(func(st *NodeStatus) { st.Role, st.Trouble = RoleStandby, text })
	limit := 2 * time.Second
	if !transient(err) {
		n.m = nil
		limit = 30 * time.Second
	}
	pause(ctx, 50*time.Millisecond, limit, n.tries)
	n.tries++
}

// level says how far the machine has read.
func (n *node) level() {
	seq, _ := n.m.Position()
	n.tell(func(st *NodeStatus) {
		st.Epoch, st.Seq, st.Log = n.m.Epoch(), seq, fmt.Sprintf("%016x", n.m.Log())
		st.LeaderSeq = max(st.LeaderSeq, seq)
	})
}

// healed ends trouble: this node leads, or follows a leader and could take over.
// To have read the log is not enough, it may not be fit to campaign with.
func (n *node) healed() {
	if n.said != "" {
		n.cfg.Logger.Info("coordinator can serve again", "node", n.cfg.Name)
		n.tell(func(st *NodeStatus) { st.Trouble = "" })
	}
	n.tries, n.said = 0, ""
	if !n.started() {
		close(n.ready)
	}
}

// transient reports whether err is of the network or of servers that are
// starting, not of the log.
func transient(err error) bool {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.Code == 503
	}
	for _, e := range []error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrReconnectBufExceeded,
		nats.ErrConnectionReconnecting, jetstream.ErrNoStreamResponse, nats.ErrStaleConnection,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// wait is how long silence of a leader is borne. Nodes that keep losing what
// they campaign for without hearing a leader wait longer, so that two that
// cannot hear each other do not depose each other for ever.
func (n *node) wait() time.Duration {
	d := n.cfg.TakeoverAfter << min(n.losses, 5)
	return d + rand.N(d/4+1)
}
