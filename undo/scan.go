package undo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

const (
	// scanLimit is how many XIDs one page has. The next one goes on behind.
	scanLimit = 1000
	// lookTime bounds a look for a page, and endTime the end of one XID: a connection
	// may be lost without a word. The second is beyond the largest restore.
	lookTime = 30 * time.Second
	endTime  = time.Hour
)

// Start begins to scan for leftovers, now and at every ScanInterval (rule P6). It
// may be called again, and after Stop, without effect.
func (r *Resolver) Start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started || r.stopped {
		return
	}
	r.started = true
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go r.scanLoop(ctx)
}

// Stop ends the scan and waits for it, and for a probe of a database that is away. It
// may be called twice, and without Start.
func (r *Resolver) Stop() {
	r.mu.Lock()
	r.stopped = true
	started, cancel := r.started, r.cancel
	r.mu.Unlock()
	if started {
		cancel()
		<-r.done
	}
	r.db.stop()
}

// scanLoop makes passes, with a pause between two of them that grows while the
// coordinator does not answer.
func (r *Resolver) scanLoop(ctx context.Context) {
	defer close(r.done)
	told, silent := "", 0
	for {
		errs := r.pass(ctx)
		if ctx.Err() != nil {
			return
		}
		told = r.tellScan(errs, told)
		if silent++; !errors.Is(errors.Join(errs...), gtx.ErrUnavailable) {
			silent = 0
		}
		pause := r.cfg.ScanInterval << min(silent, 3)
		pause += rand.N(pause/4+1) - pause/8 // not all processes at once
		if away := r.db.wait(); away > 0 {
			pause = away
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		case <-r.db.back: // what was pushed meanwhile was refused
			t.Stop()
			r.greet(ctx)
		}
	}
}

// ordinary errors of a pass are not told: a busy database, and what is logged where it
// is found.
func (r *Resolver) ordinary(err error) bool {
	return errors.Is(err, gtx.ErrDirty) || errors.Is(err, gtx.ErrAway) || errors.Is(err, gtx.ErrConflict) || r.db.gone(err)
}

// tellScan logs what was not told at the last pass.
func (r *Resolver) tellScan(errs []error, told string) string {
	err := errors.Join(errs...)
	if err == nil {
		return ""
	}
	r.remember(err)
	if text := err.Error(); text != told {
		r.cfg.Logger.Warn("scan for leftovers", "err", err)
		return text
	}
	return told
}

// greet asks the coordinator to push what is unfinished here.
func (r *Resolver) greet(ctx context.Context) {
	g, ok := r.cfg.Coordinator().(gtx.Greeter)
	if !ok {
		return
	}
	if id, err := r.store.Resource(ctx); err == nil {
		g.Hello(id)
	}
}

// pass looks at page after page, until the end or for as long as the pause that follows:
// no number of old leftovers keeps it from the new ones for long.
func (r *Resolver) pass(ctx context.Context) []error {
	var told []error
	for began, first := time.Now(), true; ; first = false {
		if mine, err := r.lease(ctx); err != nil || !mine {
			return append(told, asList(err)...)
		}
		p := r.scan(ctx, true, first)
		told = append(told, slices.DeleteFunc(p.errs, r.ordinary)...)
		r.mu.Lock()
		more := r.cursor != ""
		r.mu.Unlock()
		if p.over || !more || time.Since(began) >= r.cfg.ScanInterval {
			return told
		}
	}
}

// lease is for one page. True where the coordinator gives none.
func (r *Resolver) lease(ctx context.Context) (bool, error) {
	l, ok := r.cfg.Coordinator().(gtx.ScanLeaser)
	if !ok {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if err := r.reached(ctx); err != nil {
		return false, err // somebody else may have more luck
	}
	id, err := r.store.Resource(ctx)
	if err != nil {
		r.db.heard(ctx, err)
		return false, err
	}
	mine, err := l.Scan(ctx, id, r.worker, max(leaseMin, 4*r.cfg.ScanInterval))
	switch {
	case errors.Is(err, gtx.ErrUnavailable):
		return false, fmt.Errorf("ask for the lease to scan: %w", err)
	case err != nil:
		return true, nil // a coordinator that gives none: a lease is about load only
	}
	return mine, nil
}

// leaseMin outlives a page of many slow restores mostly: beyond it two processes scan.
const leaseMin = 10 * time.Second

// Scan is one page: it asks the coordinator for the fate of the XIDs that have a
// visible header or undo row, and resolves the decided ones. left counts those
// that it looked at and that are still there: undecided, not known to this
// coordinator, or not resolved, with the reasons in err.
func (r *Resolver) Scan(ctx context.Context) (left int, err error) {
	p := r.scan(ctx, false, true)
	return p.left, errors.Join(p.errs...)
}

// paced lets stuck transactions rest between their tries. Behind the last page comes the
// first one, if around is set.
func (r *Resolver) scan(ctx context.Context, paced, around bool) *page {
	r.count.scans.Add(1)
	p := &page{r: r, c: r.cfg.Coordinator(), paced: paced}
	if err := r.reached(ctx); err != nil {
		p.fail(err)
		return p
	}
	look, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	xids, err := r.leftovers(look, around)
	p.left = len(xids)
	if err == nil && (p.left == 0 || p.c == nil) {
		return p
	}
	if err == nil {
		p.id, err = r.store.Resource(look)
	}
	if err != nil {
		if !r.cfg.Solo {
			r.db.heard(ctx, err)
		}
		p.fail(err)
		return p
	}
	p.run(ctx, xids)
	return p
}

func asList(err error) []error {
	if err == nil {
		return nil
	}
	return []error{err}
}

// leftovers gives the XIDs that are visible, at most scanLimit, those after the
// last pass's first.
func (r *Resolver) leftovers(ctx context.Context, around bool) ([]string, error) {
	r.mu.Lock()
	after := r.cursor
	r.mu.Unlock()
	xids, err := r.store.Leftovers(ctx, after, scanLimit)
	if err == nil && len(xids) == 0 && after != "" && around {
		after = ""
		xids, err = r.store.Leftovers(ctx, after, scanLimit)
	}
	if err != nil {
		return nil, fmt.Errorf("scan for leftovers: %w", err)
	}
	next := ""
	if len(xids) == scanLimit {
		next = xids[len(xids)-1]
	}
	r.mu.Lock()
	r.cursor = next
	r.mu.Unlock()
	r.pruneStuck(after, xids, next == "")
	return xids, nil
}
