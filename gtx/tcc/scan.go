package tcc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

const (
	// scanLimit is how many XIDs one page has.
	scanLimit = 500
	// lookTime bounds a look for a page, and one question to the coordinator.
	lookTime = 30 * time.Second
)

// scanLoop looks for guards whose transaction has been decided, at once and at intervals
// (rule P6). Every process that registers actions does: what one does not know, another does.
func (r *Resource) scanLoop() {
	said := ""
	for {
		err := r.pass(r.ctx)
		if r.ctx.Err() != nil {
			return
		}
		text := ""
		if err != nil && !r.lost(err) && !errors.Is(err, gtx.ErrAway) { // the database's own scan tells that it is away
			text = err.Error()
		}
		if text != "" && text != said {
			r.cfg.Logger.Warn("scan for guards of actions", "resource", string(r.id), "err", err)
		}
		said = text
		t := time.NewTimer(r.cfg.ScanInterval*7/8 + rand.N(r.cfg.ScanInterval/4+1)) // not all processes at once
		select {
		case <-t.C:
		case <-r.look:
			t.Stop()
		case <-r.ctx.Done():
			t.Stop()
			return
		}
	}
}

// pass goes through all leftovers, page by page.
func (r *Resource) pass(ctx context.Context) error {
	c := r.coordinator()
	if c == nil {
		return nil
	}
	for after := ""; ; {
		look, cancel := context.WithTimeout(ctx, lookTime)
		xids, err := r.guards.leftovers(look, after, scanLimit)
		cancel()
		if err != nil {
			return err
		}
		for _, text := range xids {
			if err := r.ask(ctx, c, text); err != nil {
				return err
			}
		}
		if len(xids) < scanLimit {
			return nil
		}
		after = xids[len(xids)-1]
	}
}

// ask asks for the fate of an XID, and ends what is decided. What it knows from the scan is
// only that something is there (rule P5).
func (r *Resource) ask(ctx context.Context, c gtx.Coordinator, text string) error {
	xid, err := gtx.ParseXID(text)
	if err != nil {
		r.foreign(text, err)
		return nil
	}
	look, cancel := context.WithTimeout(ctx, lookTime)
	st, err := c.Outcome(look, xid)
	cancel()
	switch {
	case errors.Is(err, gtx.ErrUnavailable):
		return fmt.Errorf("ask for the outcome of %s: %w", xid, err)
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil: // another log's XID gets an error, never "aborted" (rule I1)
		r.foreign(text, err)
		return nil
	case st == gtx.Expired:
		// What committed was acknowledged by this resource first (rules G2, G4).
		st = gtx.Aborted
	case st != gtx.Committed && st != gtx.Aborted:
		return nil
	}
	d := gtx.Resolution{XID: xid, Status: st}
	r.inLane(func(ctx context.Context) { r.tell(d, r.deliver(ctx, c, d)) })
	return nil
}

// foreign logs once for each XID that it is left alone.
func (r *Resource) foreign(xid string, err error) {
	if r.once("foreign " + xid) {
		r.cfg.Logger.Warn("leave actions of a transaction alone", "resource", string(r.id), "xid", xid, "err", err)
	}
}
