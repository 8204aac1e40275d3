package undo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// One local transaction for committed XIDs.
const (
	groupMax  = 128             // XIDs
	groupWait = time.Second     // for a lock
	groupTime = 5 * time.Second // for all
)

// forget deletes the images of committed XIDs in one local transaction (rule P2). It
// waits for headers that another resolver has locked: skipping them would acknowledge
// what is not done. Headers are locked in one order, so that two processes that
// forget the same XIDs wait for each other, and nothing worse. found tells which XIDs
// had anything left.
func (r *Resolver) forget(ctx context.Context, xids []gtx.XID, wait time.Duration) (found map[gtx.XID]bool, err error) {
	err = r.transact(ctx, TxOptions{LockWait: wait}, true, func(tx StoreTx) error {
		found = make(map[gtx.XID]bool, len(xids))
		headers, err := tx.Headers(ctx, xids, true)
		if err != nil {
			return err
		}
		for _, h := range headers {
			found[h.XID] = true
		}
		n, err := tx.DropUndo(ctx, xids)
		if err != nil {
			return err
		}
		if len(xids) == 1 && n > 0 {
			found[xids[0]] = true // undo rows without a header
		}
		return tx.DeleteHeaders(ctx, headers)
	})
	return found, err
}

// commit forgets the images of xid, together with those of the XIDs that came while
// the last local transaction of this kind was running. found tells whether anything
// was left.
func (r *Resolver) commit(ctx context.Context, xid gtx.XID) (found bool, err error) {
	if r.cfg.Solo || r.isApart(xid) {
		return r.commitAlone(ctx, xid)
	}
	m := r.group.join(xid)
	var end groupEnd
	select {
	case end = <-m.end:
	case <-ctx.Done():
		if r.group.leave(m) {
			return false, fmt.Errorf("resolve %s as committed: %w", xid, ctx.Err())
		}
		end = <-m.end // somebody has taken it along
	}
	if end.lead {
		end = r.lead(ctx, m)
	}
	switch {
	case end.alone:
		return r.commitAlone(ctx, xid)
	case end.err != nil:
		return false, fmt.Errorf("resolve %s as committed: %w", xid, end.err)
	}
	return end.found, nil
}

func (r *Resolver) commitAlone(ctx context.Context, xid gtx.XID) (found bool, err error) {
	err = r.alone(ctx, xid, func(wait time.Duration) error {
		left, err := r.forget(ctx, []gtx.XID{xid}, wait)
		found = left[xid]
		return err
	})
	if err != nil {
		return false, fmt.Errorf("resolve %s as committed: %w", xid, err)
	}
	return found, nil
}

// lead runs the local transaction for all who wait. One of them that cannot be ended
// must not hold up the others, nor one with undo rows for minutes: after an error, or
// when time is over, each goes alone, unless the database is to blame.
func (r *Resolver) lead(ctx context.Context, m *member) groupEnd {
	defer r.group.next()
	if ctx.Err() != nil {
		return groupEnd{err: ctx.Err()}
	}
	members := r.group.take(m)
	var xids []gtx.XID
	for _, m := range members {
		if !slices.Contains(xids, m.xid) {
			xids = append(xids, m.xid)
		}
	}
	// The others have not given up because one has.
	all, cancel := context.WithTimeout(context.WithoutCancel(ctx), groupTime)
	found, err := r.forget(all, xids, min(groupWait, r.cfg.LockWait))
	late := all.Err() != nil
	cancel()
	end := func(m *member) groupEnd {
		switch {
		case err == nil:
			had := found[m.xid]
			delete(found, m.xid) // counted once
			return groupEnd{found: had}
		case late:
			return groupEnd{alone: true}
		case r.db.gone(err), errors.Is(err, errNotBegun): // SQLite is locked as a whole
			return groupEnd{err: err}
		}
		return groupEnd{alone: true}
	}
	mine := end(m)
	for _, other := range members {
		if other != m {
			other.end <- end(other)
		}
	}
	return mine
}

// group gathers callers: while one leads a local transaction, those who come wait, and
// the first of them leads the next.
type group struct {
	mu      sync.Mutex
	led     bool
	waiting []*member
}

type member struct {
	xid gtx.XID
	end chan groupEnd // takes one without a reader
}

// groupEnd tells a member to lead, to go alone, or how it has ended.
type groupEnd struct {
	lead, alone bool
	found       bool
	err         error
}

func (g *group) join(xid gtx.XID) *member {
	m := &member{xid: xid, end: make(chan groupEnd, 1)}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.led {
		g.waiting = append(g.waiting, m)
		return m
	}
	g.led = true
	m.end <- groupEnd{lead: true}
	return m
}

// leave is false when m has been taken along or told to lead.
func (g *group) leave(m *member) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, m)
	if i < 0 {
		return false
	}
	g.waiting = slices.Delete(g.waiting, i, i+1)
	return true
}

// take gives m and those who go with it.
func (g *group) take(m *member) []*member {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), groupMax-1)
	out := append([]*member{m}, g.waiting[:n]...)
	g.waiting = slices.Delete(g.waiting, 0, n)
	return out
}

// next passes the lead on.
func (g *group) next() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.led = false
		return
	}
	m := g.waiting[0]
	g.waiting = slices.Delete(g.waiting, 0, 1)
	m.end <- groupEnd{lead: true}
}
