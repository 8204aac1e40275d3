package natsbus

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx/coordinator"
)

// follow keeps the machine level with the log, so that taking over costs no
// loading. It returns nil when it is time to campaign, or when ctx has ended.
func (n *node) follow(ctx context.Context) error {
	n.tell(func(st *NodeStatus) { st.Role = RoleStandby })
	n.behind = true
	n.calm()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		if n.m == nil || n.behind {
			if err := n.catchUp(ctx); err != nil {
				return err
			}
		}
		n.hear()
		if n.free = n.free && n.m.Epoch() <= n.freed || n.m.Offered(); n.free {
			return nil
		}
		left := n.patience - time.Since(n.alive)
		if left <= 0 {
			silent, err := n.silent(ctx)
			if silent || err != nil {
				return err
			}
			continue
		}
		timer.Reset(left)
		select {
		case m := <-n.beats:
			n.heed(m)
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return nil
}

// calm begins the silence anew.
func (n *node) calm() {
	n.alive, n.patience = time.Now(), n.wait()
	n.reconnects = n.nc.Stats().Reconnects
}

// hear takes the beats that have come, without waiting.
func (n *node) hear() {
	for {
		select {
		case m := <-n.beats:
			n.heed(m)
		default:
			return
		}
	}
}

// heed takes one beat.
func (n *node) heed(m *nats.Msg) {
	b, ok := n.readBeat(m)
	if !ok || b.Epoch < n.m.Epoch() { // a leader that is deposed and does not know it
		return
	}
	seq, _ := n.m.Position()
	n.behind = n.behind || b.Seq > seq
	if b.Free {
		n.cfg.Logger.Info("leader has handed over", "node", n.cfg.Name, "leader", b.Name, "epoch", b.Epoch)
		n.free, n.freed = true, b.Epoch
		return
	}
	n.losses = 0
	n.calm()
	news := false
	n.tell(func(st *NodeStatus) {
		news = st.Leader != b.Name
		st.Leader, st.LeaderSeq = b.Name, max(st.LeaderSeq, b.Seq)
	})
	if news {
		n.cfg.Logger.Info("coordinator follows", "node", n.cfg.Name, "leader", b.Name, "epoch", b.Epoch)
	}
	n.healed()
}

// silent makes sure that no leader lives, as far as this node can hear and see.
// It errs towards waiting: a false alarm aborts what is undecided.
func (n *node) silent(ctx context.Context) (bool, error) {
	before := n.alive
	if n.nc.Stats().Reconnects != n.reconnects || !n.nc.IsConnected() {
		n.calm() // not the leader was away
		return false, nil
	}
	// If this process stood still, beats wait in the connection: what the server
	// had sent before it answers is here after that.
	round, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	if err := n.nc.FlushWithContext(round); err != nil {
		n.calm()
		return false, nil
	}
	n.hear()
	if n.free || n.alive != before {
		return false, nil
	}
	// A log that grows has a leader, although it is not heard.
	from, _ := n.m.Position()
	if err := n.catchUp(ctx); err != nil {
		return false, err
	}
	if seq, _ := n.m.Position(); seq > from {
		n.calm()
		return false, nil
	}
	return true, nil
}

// catchUp reads what the log holds behind the machine. Where the log has been
// trimmed meanwhile, and at first, it is loaded from its start by a new machine:
// each is one life of a coordinator (rule L1).
func (n *node) catchUp(ctx context.Context) error {
	if n.m != nil {
		err := n.log.readOn(ctx, n.m)
		var damage *DamageError
		switch {
		case err == nil:
			n.behind = false
			n.level()
			return nil
		case errors.As(err, &damage) || !errors.Is(err, coordinator.ErrGap):
			return err
		}
		n.m = nil
	}
	if err := n.openLog(ctx); err != nil {
		return err
	}
	m, err := n.log.open(ctx, func() (*coordinator.Machine, error) {
		return coordinator.New(n.cfg.Coordinator, random(), random())
	})
	if err != nil {
		return err
	}
	n.m, n.behind = m, false
	if seq, _ := m.Position(); seq == 0 {
		n.free, n.freed = true, 0 // a new log
	}
	n.level()
	return nil
}

// openLog finds the log, and finds it fit, before every load. It stays the same
// one, which remembers how far the log went.
func (n *node) openLog(ctx context.Context) (err error) {
	if n.log != nil {
		return n.log.check(ctx)
	}
	n.log, err = openLog(ctx, n.nc, &n.cfg)
	return err
}
