package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

// callPace is that of natsbus but for shorter tries.
var callPace = coordinator.Pace{Try: time.Second, PauseMin: 10 * time.Millisecond, PauseMax: 250 * time.Millisecond}

// askKind is what a request asks for.
type askKind uint8

const (
	askBegin askKind = iota
	askRegister
	askCommit
	askRollback
	askOutcome
	askAwait
	askAck
	askHello
	askScan
	askReady
	askClaim
)

// question is a request on its way, with all of its tries.
type question struct {
	w     *World
	owner *process
	kind  askKind
	text  string
	xid   gtx.XID
	event coordinator.Event
	call  coordinator.Call
	due   uint64 // counts timers; only the last one counts
	ended bool
	done  func(coordinator.Reply, error)
}

// ask sends a request of p until there is an answer or no time left. done runs
// once, unless p crashes before.
func (p *process) ask(kind askKind, text string, xid gtx.XID, event func(q *question) coordinator.Event, done func(coordinator.Reply, error)) *question {
	q := &question{w: p.w, owner: p, kind: kind, text: text, xid: xid, done: done}
	q.event = event(q)
	q.call = coordinator.Call{Deadline: p.w.clock().Add(p.w.opts.callTime), Pace: callPace, Decide: kind == askCommit}
	q.next(q.call.Start(p.w.clock()))
	return q
}

func (q *question) next(n coordinator.Next) {
	if q.ended {
		return
	}
	if n.Done {
		q.ended = true
		q.done(q.call.Result())
		return
	}
	if n.Send {
		q.send()
	}
	q.due++
	due := q.due
	q.w.in(n.At.Sub(q.w.clock()), "", func() {
		if q.due == due && !q.ended && !q.owner.dead {
			q.next(q.call.Expire(q.w.clock(), q.w.rnd.Float64()))
		}
	})
}

var errNobody = errors.New("nobody is there to take the request")

// send carries the request to one of those who say that they lead.
func (q *question) send() {
	w := q.w
	n := w.route()
	if n == nil {
		w.in(w.delay(), "", func() {
			if !q.ended && !q.owner.dead {
				q.next(q.call.Fail(w.clock(), errNobody, w.rnd.Float64()))
			}
		})
		return
	}
	life := n.life
	w.carry(q.owner.place, n.name, q.text, func() {
		n.awake(life, func() {
			if w.tracing {
				w.tracef("%s gets %s", n.name, q.text)
			}
			n.step(q.event)
		})
	})
}

// answered takes an answer to any of the tries.
func (q *question) answered(a coordinator.Reply) {
	if !q.ended && !q.owner.dead {
		q.next(q.call.Reply(q.w.clock(), a, q.w.rnd.Float64()))
	}
}

// cancel forgets the question: its caller has given up.
func (q *question) cancel() { q.ended = true }

// route picks a coordinator: one that thinks it leads, seldom another one.
func (w *World) route() *node {
	if w.asked != nil {
		return w.asked
	}
	var all, lead []*node
	for _, n := range w.nodes {
		if n.m == nil {
			continue
		}
		all = append(all, n)
		if n.m.Leading() {
			lead = append(lead, n)
		}
	}
	switch {
	case len(all) > 0 && w.chance(w.opts.misroute):
		return all[w.rnd.IntN(len(all))]
	case len(lead) == 0:
		return nil
	case len(lead) == 1:
		return lead[0]
	}
	w.count("two coordinators thought they lead")
	return lead[w.rnd.IntN(len(lead))]
}

var (
	_ gtx.Coordinator = (*client)(nil)

	errCrashed = fmt.Errorf("sim: the process has crashed: %w", gtx.ErrUnavailable)
)

// client is the coordinator's port in one process. Every method blocks the
// coroutine that calls it.
type client struct {
	p       *process
	timeout time.Duration // of transactions, in virtual time
	keys    map[gtx.XID]uint64
}

// wait asks and blocks until the answer is there.
func (c *client) wait(kind askKind, text string, xid gtx.XID, event func(q *question) coordinator.Event) (coordinator.Reply, error) {
	reply, err := coordinator.Reply{}, errCrashed
	c.p.w.park(func(wake func()) {
		c.p.ask(kind, text, xid, event, func(r coordinator.Reply, e error) {
			reply, err = r, e
			wake()
		})
	})
	if c.p.dead {
		return coordinator.Reply{}, errCrashed
	}
	return reply, err
}

func (c *client) Begin(_ context.Context, req gtx.BeginRequest) (gtx.XID, error) {
	key := c.p.w.rnd.Uint64() | 1
	r, err := c.wait(askBegin, c.p.name+" begin", gtx.XID{}, func(q *question) coordinator.Event {
		return coordinator.Begin{Call: q, Timeout: c.timeout, First: req.First, Key: key, Mode: req.Mode, Resources: req.Resources}
	})
	if err == nil {
		if c.keys == nil {
			c.keys = map[gtx.XID]uint64{}
		}
		c.keys[r.XID] = key
	}
	return r.XID, err
}

func (c *client) Register(_ context.Context, x gtx.XID, ref gtx.BranchRef) error {
	_, err := c.wait(askRegister, c.registerText(x, ref), x, registerEvent(x, ref))
	return err
}

func (c *client) registerText(x gtx.XID, ref gtx.BranchRef) string {
	return fmt.Sprintf("%s register %s %s/%d", c.p.name, short(x), ref.Resource, ref.Branch)
}

func registerEvent(x gtx.XID, ref gtx.BranchRef) func(q *question) coordinator.Event {
	return func(q *question) coordinator.Event { return coordinator.Register{Call: q, XID: x, Ref: ref} }
}

// registration is a Register that runs beside its caller.
type registration struct {
	q    *question
	done bool
	err  error
	wake func()
}

func (c *client) startRegister(x gtx.XID, ref gtx.BranchRef) *registration {
	r := &registration{}
	r.q = c.p.ask(askRegister, c.registerText(x, ref), x, registerEvent(x, ref), func(_ coordinator.Reply, err error) {
		r.done, r.err = true, err
		if r.wake != nil {
			r.wake()
		}
	})
	return r
}

// result blocks until the answer is there.
func (r *registration) result(w *World) error {
	if !r.done {
		w.park(func(wake func()) { r.wake = wake })
	}
	if !r.done {
		return errCrashed
	}
	return r.err
}

func (c *client) Commit(_ context.Context, x gtx.XID, confirmed, dead []gtx.BranchRef) (gtx.Status, error) {
	byBranch := func(a, b gtx.BranchRef) int { return int(a.Branch - b.Branch) } // Tx holds them in a map
	slices.SortFunc(confirmed, byBranch)
	slices.SortFunc(dead, byBranch)
	if !c.p.dead {
		c.p.w.truth.commits(x, confirmed, dead)
	}
	r, err := c.wait(askCommit, c.p.name+" commit "+short(x), x, func(q *question) coordinator.Event {
		return coordinator.Commit{Call: q, XID: x, Key: c.keys[x], Confirmed: confirmed, Dead: dead}
	})
	return r.Status, err
}

func (c *client) Rollback(_ context.Context, x gtx.XID) (gtx.Status, error) {
	r, err := c.wait(askRollback, c.p.name+" rollback "+short(x), x, func(q *question) coordinator.Event {
		return coordinator.Rollback{Call: q, XID: x, Key: c.keys[x]}
	})
	return r.Status, err
}

func (c *client) Outcome(_ context.Context, x gtx.XID) (gtx.Status, error) {
	r, err := c.wait(askOutcome, c.p.name+" outcome "+short(x), x, func(q *question) coordinator.Event {
		return coordinator.Outcome{Call: q, XID: x}
	})
	return r.Status, err
}

func (c *client) Await(_ context.Context, waiter, holder gtx.XID) (gtx.Status, error) {
	nonce := c.p.w.rnd.Uint64()
	r, err := c.wait(askAwait, fmt.Sprintf("%s await %s", c.p.name, short(holder)), holder, func(q *question) coordinator.Event {
		return coordinator.Await{Call: q, Waiter: waiter, Holder: holder, Nonce: nonce}
	})
	return r.Status, err
}

func (c *client) Acknowledge(_ context.Context, x gtx.XID, r gtx.ResourceID) error {
	_, err := c.wait(askAck, fmt.Sprintf("%s ack %s", c.p.name, short(x)), x, func(q *question) coordinator.Event {
		return coordinator.Ack{Call: q, Resource: r, XIDs: []gtx.XID{x}}
	})
	return err
}

// Scan implements gtx.ScanLeaser.
func (c *client) Scan(_ context.Context, r gtx.ResourceID, worker uint64, d time.Duration) (bool, error) {
	_, err := c.wait(askScan, fmt.Sprintf("%s scan %s", c.p.name, r), gtx.XID{}, func(q *question) coordinator.Event {
		return coordinator.Scan{Call: q, Resource: r, Worker: worker, For: d}
	})
	if errors.Is(err, coordinator.ErrBusy) {
		return false, nil
	}
	return err == nil, err
}

// Serve implements gtx.Coordinator. Workers of the world take their deliveries
// from the database they serve.
func (c *client) Serve(gtx.ResourceID, gtx.Resolver) (stop func(), err error) {
	return func() {}, nil
}

// hello tells the coordinator that a worker has come. A hint: nobody waits.
func (c *client) hello(r gtx.ResourceID) {
	c.p.ask(askHello, fmt.Sprintf("%s hello %s", c.p.name, r), gtx.XID{}, func(q *question) coordinator.Event {
		return coordinator.Hello{Call: q, Resource: r}
	}, func(coordinator.Reply, error) {})
}
