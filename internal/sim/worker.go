package sim

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
	"github.com/globaltx/globaltx/xa"
)

const (
	lockWait     = 3 * time.Second
	scanInterval = 2 * time.Second
	backlog      = 8 // decisions that wait for a worker; more are dropped
)

// worker is a process that ends branches at one database: it takes what is
// pushed, and scans. It does one thing at a time, several workers of a database
// are several processes.
type worker struct {
	d    *database
	name string
	life int
	p    *process // nil while it is down
	c    *client
	r    *undo.Resolver
	x    *xa.Resolver
	busy bool
	work []delivery
}

// delivery is a decision for one of the two resources of a database: the branches with
// undo rows, or the prepared ones.
type delivery struct {
	to  gtx.ResourceID
	res gtx.Resolution
}

func (d *database) newWorker(name string) *worker {
	wk := &worker{d: d, name: name}
	d.workers = append(d.workers, wk)
	return wk
}

// newResolver makes the shipped resolver of d in process p.
func (d *database) newResolver(p *process, c *client) *undo.Resolver {
	r, err := undo.NewResolver(undo.Config{
		Store: store{d, p}, Coordinator: func() gtx.Coordinator { return c },
		ScanInterval: scanInterval, LockWait: lockWait, Solo: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		d.w.fail("config", "%v", err)
	}
	return r
}

// newXA makes the shipped resolver of the prepared branches of d in process p.
func (d *database) newXA(p *process, c *client) *xa.Resolver {
	r, err := xa.NewResolver(xa.Config{
		Store: xaStore{d, p}, Coordinator: func() gtx.Coordinator { return c },
		ScanInterval: scanInterval, Solo: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		d.w.fail("config", "%v", err)
	}
	return r
}

func (wk *worker) start() {
	w := wk.d.w
	wk.life++
	wk.p = w.newProcess(wk.name)
	wk.c = &client{p: wk.p}
	wk.p.place = string(wk.d.id)
	wk.r, wk.x = wk.d.newResolver(wk.p, wk.c), wk.d.newXA(wk.p, wk.c)
	wk.busy, wk.work = false, nil
	wk.c.hello(wk.d.id)
	if !w.opts.scripted { // it is a hint, and would be two lines more in every script
		wk.c.hello(xa.ResourceOf(wk.d.id))
	}
	if !w.opts.scripted {
		wk.scanIn(w.between(0, scanInterval))
	}
}

func (wk *worker) crash() {
	if wk.p == nil {
		return
	}
	wk.d.w.count("worker crashed")
	wk.p.crash()
	wk.p = nil
	wk.life++
}

// scanIn looks for leftovers now and then (rule P6).
func (wk *worker) scanIn(d time.Duration) {
	life := wk.life
	wk.d.w.in(d, "scan "+wk.name, func() {
		if wk.life != life {
			return
		}
		wk.scan()
		wk.scanIn(wk.d.w.between(scanInterval/2, scanInterval))
	})
}

func (wk *worker) scan() bool {
	return wk.do(func() {
		if wk.d.leftover() {
			wk.d.w.count("scan found something")
		}
		_, _ = wk.r.Scan(context.Background())
		if n := len(wk.d.prepared); n > 0 && !wk.p.dead {
			ended := wk.x.Stats()
			_, _ = wk.x.Scan(context.Background())
			if now := wk.x.Stats(); now.Committed > ended.Committed {
				wk.d.w.count("scan committed a prepared branch")
			} else if now.Aborted > ended.Aborted {
				wk.d.w.count("scan rolled a prepared branch back")
			}
		}
		if !wk.p.dead && !wk.d.w.opts.scripted {
			_ = wk.x.Claim(context.Background(), 0)
		}
	})
}

// claim asks for the end of what was pre-committed here (rule H4).
func (wk *worker) claim() bool {
	return wk.do(func() { _ = wk.x.Claim(context.Background(), 0) })
}

func (d *database) leftover() bool { return len(d.headers)+len(d.undo) > 0 }

// do runs fn as the one thing that the worker does; not if it is busy.
func (wk *worker) do(fn func()) bool {
	if wk.busy {
		return false
	}
	wk.busy = true
	life := wk.life
	wk.d.w.spawn(wk.p, func() {
		fn()
		if wk.life != life {
			return
		}
		wk.busy = false
		if len(wk.work) > 0 {
			wk.d.w.in(0, "", func() {
				if wk.life == life && !wk.busy && len(wk.work) > 0 {
					next := wk.work[0]
					wk.work = wk.work[1:]
					wk.take(next)
				}
			})
		}
	})
	return true
}

// deliver hands a decision to one of the workers.
func (d *database) deliver(to gtx.ResourceID, res gtx.Resolution) {
	var up []*worker
	for _, wk := range d.workers {
		if wk.p != nil {
			up = append(up, wk)
		}
	}
	if len(up) == 0 {
		d.w.count("push for nobody")
		return
	}
	up[d.w.rnd.IntN(len(up))].take(delivery{to, res})
}

// take ends what is pushed, by the shipped order: first the branches, then the
// acknowledgement.
func (wk *worker) take(todo delivery) {
	w, res := wk.d.w, todo.res
	began := wk.do(func() {
		var r gtx.Resolver = watch{wk}
		if todo.to != wk.d.id {
			r = watchXA{wk}
		}
		err := gtx.Deliver(context.Background(), wk.c, todo.to, r, res)
		if w.tracing && !wk.p.dead {
			w.tracef("%s: %s as %s: %s", wk.name, short(res.XID), res.Status, word(err))
		}
	})
	if !began && len(wk.work) < backlog {
		wk.work = append(wk.work, todo)
	}
}

// watch lets the checks see what a resolver has ended.
type watch struct{ wk *worker }

func (o watch) Resolve(ctx context.Context, res gtx.Resolution) error {
	p := o.wk.p
	err := o.wk.r.Resolve(ctx, res)
	if err == nil && !p.dead {
		o.wk.d.w.truth.resolved(o.wk.d, res)
	}
	return err
}

// watchXA is watch for prepared branches.
type watchXA struct{ wk *worker }

func (o watchXA) Resolve(ctx context.Context, res gtx.Resolution) error {
	p, d := o.wk.p, o.wk.d
	before := d.preparedOf(res.XID)
	err := o.wk.x.Resolve(ctx, res)
	if err == nil && !p.dead {
		d.w.truth.resolvedPrepared(d, before, res)
	}
	return err
}

func word(err error) string {
	if err == nil {
		return "ok"
	}
	return fmt.Sprint(err)
}
