package xa

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

const (
	// askers is how many XIDs of a pass are asked for and ended at a time.
	askers = 8
	// leaseMin outlives a pass mostly: beyond it two processes scan.
	leaseMin = 10 * time.Second
	// maxForeign bounds what is remembered of XIDs that another coordinator knows.
	maxForeign = 1000
)

// Start begins to look for prepared branches whose transaction has been decided, now and
// at every ScanInterval (rule P6). It may be called again, and after Stop, without effect.
func (r *Resolver) Start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started || r.stopped {
		return
	}
	r.started = true
	r.wait.Go(r.scanLoop)
}

// Stop ends the scan and waits for everything that runs here, and closes the connections
// that are kept: their branches are left to others, as after a crash. It may be called
// twice, and without Start.
func (r *Resolver) Stop() {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.cancel()
	r.wait.Wait()
	r.lists.wait.Wait()
	r.mu.Lock()
	mine := r.mine
	r.mine = map[gtx.XID][]branch{}
	r.mu.Unlock()
	for _, list := range mine {
		for _, b := range list {
			if b.conn != nil {
				r.close(b.conn)
			}
		}
	}
	r.dropSpares(true)
}

func (r *Resolver) scanLoop() {
	said := ""
	for lost := false; ; {
		err := r.pass(r.ctx)
		if r.ctx.Err() != nil {
			return
		}
		away := err != nil && (errors.Is(err, gtx.ErrAway) || r.store.Classify(err) == undo.Lost)
		if lost && err == nil {
			r.greet(r.ctx) // what was pushed meanwhile was refused
		}
		lost = away || lost && err != nil
		text := ""
		if err != nil && !away && !errors.Is(err, gtx.ErrConflict) { // undo.Resolver tells that a database is away
			text = err.Error()
		}
		if text != said && text != "" {
			r.cfg.Logger.Warn("scan for prepared branches", "err", err)
		}
		said = text
		r.dropSpares(false)
		if !pause(r.ctx, r.cfg.ScanInterval) {
			return
		}
	}
}

// greet asks the coordinator to push what is unfinished here.
func (r *Resolver) greet(ctx context.Context) {
	g, ok := r.cfg.Coordinator().(gtx.Greeter)
	if db, err := r.store.Database(ctx); ok && err == nil {
		g.Hello(ResourceOf(db))
	}
}

// pass is one scan of those that an earlier pass has seen, where nobody else scans: a
// branch is seldom prepared for longer than a moment.
func (r *Resolver) pass(ctx context.Context) error {
	c := r.cfg.Coordinator()
	if c == nil {
		return nil
	}
	db, err := r.store.Database(ctx)
	if err != nil {
		return err
	}
	if l, ok := c.(gtx.ScanLeaser); ok {
		ask, cancel := context.WithTimeout(ctx, listTime)
		mine, err := l.Scan(ask, ResourceOf(db), r.worker, max(leaseMin, 4*r.cfg.ScanInterval))
		cancel()
		switch {
		case errors.Is(err, gtx.ErrUnavailable):
			return fmt.Errorf("ask for the lease to scan: %w", err)
		case err == nil && !mine:
			return nil
		}
	}
	names, err := r.lists.fresh(ctx, r.cfg.Solo)
	if err != nil {
		return r.unlisted(ctx, err)
	}
	xids := xidsOf(names)
	r.mu.Lock()
	before, first := r.seen, r.seen == nil
	r.seen = make(map[gtx.XID]bool, len(xids))
	for _, x := range xids {
		r.seen[x] = true
	}
	for n := range r.attached {
		if !r.seen[n.XID] {
			delete(r.attached, n) // somebody else has ended it
		}
	}
	r.mu.Unlock()
	if !first {
		xids = slices.DeleteFunc(xids, func(x gtx.XID) bool { return !before[x] })
	}
	_, err = r.end(ctx, c, db, xids)
	return err
}

// unlisted gives the error of a look, but where preparing is refused anyway: a program
// that uses mode AT need not hear of it.
func (r *Resolver) unlisted(ctx context.Context, err error) error {
	if r.store.Classify(err) == undo.Lost || r.cfg.Store != nil {
		return err
	}
	if _, no := r.Able(ctx); errors.Is(no, gtx.ErrUnsupported) {
		return nil
	}
	return err
}

// Scan asks the coordinator for the fate of every XID with a prepared branch, and ends
// those that are decided. left counts the others.
func (r *Resolver) Scan(ctx context.Context) (left int, err error) {
	c := r.cfg.Coordinator()
	if c == nil {
		return 0, nil
	}
	db, err := r.store.Database(ctx)
	if err != nil {
		return 0, err
	}
	names, err := r.lists.fresh(ctx, r.cfg.Solo)
	if err != nil {
		return 0, err
	}
	return r.end(ctx, c, db, xidsOf(names))
}

func xidsOf(names []Name) []gtx.XID {
	var xids []gtx.XID
	seen := map[gtx.XID]bool{}
	for _, n := range names {
		if !seen[n.XID] {
			seen[n.XID] = true
			xids = append(xids, n.XID)
		}
	}
	return xids
}

// end asks for each of xids and acts on the answer. left counts those that have not
// ended.
func (r *Resolver) end(ctx context.Context, c gtx.Coordinator, db gtx.ResourceID, xids []gtx.XID) (left int, err error) {
	var ended atomic.Int64
	err = r.each(xids, func(xid gtx.XID) error {
		done, err := r.one(ctx, c, db, xid)
		if done {
			ended.Add(1)
		}
		return err
	})
	return len(xids) - int(ended.Load()), err
}

// each calls fn for xids, in their order, several at a time, until the coordinator does
// not answer.
func (r *Resolver) each(xids []gtx.XID, fn func(gtx.XID) error) error {
	// mu protects the following.
	var mu sync.Mutex
	var errs []error
	next, silent := 0, false
	work := func() {
		mu.Lock()
		defer mu.Unlock()
		for next < len(xids) && !silent {
			xid := xids[next]
			next++
			mu.Unlock()
			err := fn(xid)
			mu.Lock()
			if err != nil {
				errs, silent = append(errs, err), silent || errors.Is(err, gtx.ErrUnavailable)
			}
		}
	}
	var all sync.WaitGroup
	if !r.cfg.Solo {
		for range min(askers, len(xids)) - 1 {
			all.Go(work)
		}
	}
	work()
	all.Wait()
	return errors.Join(errs...)
}

func (r *Resolver) one(ctx context.Context, c gtx.Coordinator, db gtx.ResourceID, xid gtx.XID) (done bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	st, err := c.Outcome(ctx, xid)
	switch {
	case errors.Is(err, gtx.ErrUnavailable):
		return false, fmt.Errorf("ask for the outcome of %s: %w", xid, err)
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil: // another log's XID gets an error, never "aborted" (rule I1)
		r.tellForeign(xid, err)
		return false, nil
	case st == gtx.Expired:
		st = gtx.Aborted // rule G4
	case st != gtx.Committed && st != gtx.Aborted:
		return false, nil
	}
	err = gtx.Deliver(ctx, c, ResourceOf(db), r, gtx.Resolution{XID: xid, Status: st})
	return err == nil || errors.Is(err, gtx.ErrNotAcknowledged), err
}

// tellForeign logs once for each XID that it is left alone.
func (r *Resolver) tellForeign(xid gtx.XID, err error) {
	r.mu.Lock()
	tell := !r.foreign[xid] && len(r.foreign) < maxForeign
	if tell {
		r.foreign[xid] = true
	}
	r.mu.Unlock()
	if tell {
		r.cfg.Logger.Warn("leave a prepared branch alone", "xid", xid.String(), "err", err)
	}
}
