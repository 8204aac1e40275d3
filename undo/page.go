package undo

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/globaltx/globaltx/gtx"
)

// askers is how many XIDs of a page are asked for, and ended, at a time: enough for
// questions that ride together, and for groups.
const askers = 64

// page is one look at some XIDs.
type page struct {
	r     *Resolver
	c     gtx.Coordinator
	id    gtx.ResourceID
	paced bool

	// mu protects the following.
	mu    sync.Mutex
	next  int // of the XIDs
	left  int // of which something may be there
	errs  []error
	asked bool
	over  bool // the others would get the same answer, or none
}

func (p *page) fail(err error) { p.errs, p.over = append(p.errs, err), true }

// run goes through xids. The first question that is answered is asked alone: when the
// coordinator is away, it is the only one.
func (p *page) run(ctx context.Context, xids []string) {
	for !p.asked && p.step(ctx, xids) { // nobody is beside us yet
	}
	n := min(askers, len(xids)-p.next)
	if p.r.cfg.Solo {
		n = 1
	}
	var wg sync.WaitGroup
	for range n - 1 {
		wg.Go(func() {
			for p.step(ctx, xids) {
			}
		})
	}
	for p.step(ctx, xids) {
	}
	wg.Wait()
}

// step does the next one. False: there is none.
func (p *page) step(ctx context.Context, xids []string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || p.next == len(xids) {
		return false
	}
	text := xids[p.next]
	p.next++
	p.mu.Unlock()
	done, err := p.one(ctx, text)
	p.mu.Lock()
	if done {
		p.left--
	}
	if err != nil && !p.over {
		p.errs = append(p.errs, err)
		p.over = ctx.Err() != nil || errors.Is(err, gtx.ErrUnavailable) || errors.Is(err, gtx.ErrAway)
	}
	return true
}

// one asks for one XID and acts on the answer. What it knows from the scan is
// only that something is there: Resolve reads in its own transaction (rule P5).
func (p *page) one(ctx context.Context, text string) (done bool, err error) {
	r := p.r
	xid, err := gtx.ParseXID(text)
	if err != nil {
		r.tellForeign(text, err)
		return false, nil
	}
	if p.paced && r.rests(xid) {
		return false, nil
	}
	status, err := p.c.Outcome(ctx, xid)
	p.mu.Lock()
	p.asked = true
	p.mu.Unlock()
	switch {
	case errors.Is(err, gtx.ErrUnavailable):
		return false, fmt.Errorf("ask for the outcome of %s: %w", xid, err)
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil:
		// Another log's XID gets an error, never "aborted" (rule I1).
		r.tellForeign(text, err)
		return false, nil
	case status == gtx.Expired:
		// Everything that committed was acknowledged before it was forgotten, so
		// what is still here belongs to an aborted one (rule G4).
		status = gtx.Aborted
	case status != gtx.Committed && status != gtx.Aborted:
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	err = gtx.Deliver(ctx, p.c, p.id, r, gtx.Resolution{XID: xid, Status: status})
	return err == nil || errors.Is(err, gtx.ErrNotAcknowledged), err
}

// tellForeign logs once for each XID that it is left alone.
func (r *Resolver) tellForeign(xid string, err error) {
	r.mu.Lock()
	tell := !r.foreign[xid] && len(r.foreign) < scanLimit // more would only fill the log
	if tell {
		r.foreign[xid] = true
	}
	r.mu.Unlock()
	if tell {
		r.cfg.Logger.Warn("leave undo rows of a transaction alone", "xid", xid, "err", err)
	}
}
