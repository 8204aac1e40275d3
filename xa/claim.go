package xa

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// told is what a coordinator said of a three-phase transaction.
type told struct {
	participants []gtx.ResourceID
	at           time.Time
}

const (
	// claimAfter is how long a coordinator may take from PreCommit to the decision before
	// somebody asks.
	claimAfter = 2 * time.Second
	claimEvery = 500 * time.Millisecond
	maxTold    = 1 << 16
	// claimFor is how long a coordinator that refuses a claim is asked again: it may be one
	// of another log, for which the scan leaves the branches alone, too.
	claimFor = time.Minute
)

// note remembers that all branches of an XID have prepared (rule H2).
func (r *Resolver) note(res gtx.Resolution) error {
	if !res.XID.ThreePhase() || len(res.Participants) == 0 {
		return fmt.Errorf("resolve %s: pre-committed without participants", res.XID)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return gtx.ErrAway
	}
	if len(r.told) >= maxTold {
		return fmt.Errorf("resolve %s: %d pre-committed transactions wait here", res.XID, maxTold)
	}
	if r.told[res.XID] == nil {
		r.told[res.XID] = &told{slices.Clone(res.Participants), time.Now()}
	}
	if !r.claiming && !r.cfg.Solo {
		r.claiming = true
		r.wait.Go(r.claims)
	}
	return nil
}

// claims asks for the end of transactions that are pre-committed here for long, until
// there is none: their coordinator may be gone.
func (r *Resolver) claims() {
	for pause(r.ctx, claimEvery) {
		if err := r.Claim(r.ctx, claimAfter); err != nil && r.ctx.Err() == nil {
			r.cfg.Logger.Debug("ask for the end of a pre-committed transaction", "err", err)
		}
		r.mu.Lock()
		r.claiming = len(r.told) > 0
		more := r.claiming
		r.mu.Unlock()
		if !more {
			return
		}
	}
}

// Claim tells the coordinator which transactions a former one has called pre-committed at
// least since after, and ends those that it has decided (rule H4).
func (r *Resolver) Claim(ctx context.Context, after time.Duration) error {
	p, ok := r.cfg.Coordinator().(gtx.PreCommitter)
	if !ok {
		return nil
	}
	db, err := r.store.Database(ctx)
	if err != nil {
		return err
	}
	r.mu.Lock()
	due := map[gtx.XID][]gtx.ResourceID{}
	for xid, t := range r.told {
		if time.Since(t.at) >= after || r.cfg.Solo {
			due[xid] = t.participants
		}
	}
	r.mu.Unlock()
	return r.each(slices.SortedFunc(maps.Keys(due), oldest), func(xid gtx.XID) error {
		one, cancel := context.WithTimeout(ctx, listTime)
		defer cancel()
		return r.claim(one, p, db, xid, due[xid])
	})
}

func oldest(a, b gtx.XID) int {
	return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Seq, b.Seq))
}

func (r *Resolver) claim(ctx context.Context, p gtx.PreCommitter, db gtx.ResourceID, xid gtx.XID, participants []gtx.ResourceID) error {
	st, err := p.Claim(ctx, xid, participants)
	switch {
	case err != nil:
		if !errors.Is(err, gtx.ErrUnavailable) {
			r.giveUp(xid)
		}
		return fmt.Errorf("claim %s: %w", xid, err)
	case st == gtx.Expired:
		st = gtx.Aborted // rule G4
	case st == gtx.Pending:
		return nil
	}
	if st == gtx.Committed {
		r.mu.Lock()
		r.stats.Claimed++
		r.mu.Unlock()
	}
	return gtx.Deliver(ctx, r.cfg.Coordinator(), ResourceOf(db), r, gtx.Resolution{XID: xid, Status: st})
}

// giveUp forgets a transaction whose claim has been refused for long.
func (r *Resolver) giveUp(xid gtx.XID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.told[xid]; t != nil && time.Since(t.at) > claimFor {
		delete(r.told, xid)
	}
}
