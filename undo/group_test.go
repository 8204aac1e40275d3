package undo_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// deliver resolves all at once and gives the errors.
func deliver(t *testing.T, m *model, r gtx.Resolver, s gtx.Status, all []gtx.XID) []error {
	t.Helper()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, x := range all {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			errs[i] = r.Resolve(ctx, gtx.Resolution{XID: x, Status: s})
			if errs[i] == nil && m.has(x) {
				t.Errorf("%s: resolved and still there", x)
			}
		})
	}
	wg.Wait()
	return errs
}

// TestP2Groups: what comes while one local transaction runs goes together into the next
// one, and nobody hears of the end before it.
func TestP2Groups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := xids(1000)
		m := newModel(all...)
		r := onModel(t, m, newOracle(m))
		for i, err := range deliver(t, m, r, gtx.Committed, append(all, all[:100]...)) {
			if err != nil {
				t.Fatalf("%d: %v", i, err)
			}
		}
		if m.count() != 0 || m.commits > 20 || m.most > 128 {
			t.Errorf("%d left, %d local transactions of at most %d", m.count(), m.commits, m.most)
		}
		if n := r.Stats().Committed; n != int64(len(all)) {
			t.Errorf("counted %d, want %d", n, len(all))
		}
	})
}

// TestP7PoisonedXID: one of a group cannot be locked. The others do not wait for it
// twice, and it is told apart from then on.
func TestP7PoisonedXID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := xids(401)
		m := newModel(all...)
		bad := all[200]
		m.locked[bad] = true
		r := onModel(t, m, newOracle(m))
		for i, err := range deliver(t, m, r, gtx.Committed, all[:201]) {
			if all[i] == bad != (err != nil) || err != nil && !errors.Is(err, gtx.ErrConflict) {
				t.Errorf("%d: %v", i, err)
			}
		}
		began, before := time.Now(), m.commits
		held := make(chan error, 1)
		go func() { held <- r.Resolve(t.Context(), gtx.Resolution{XID: bad, Status: gtx.Committed}) }()
		synctest.Wait()
		for i, err := range deliver(t, m, r, gtx.Committed, all[201:]) {
			if err != nil {
				t.Errorf("%d: %v", i, err)
			}
		}
		if d := time.Since(began); d > 100*time.Millisecond || m.commits-before > 10 {
			t.Errorf("200 beside the poisoned one took %s and %d local transactions", d, m.commits-before)
		}
		if err := <-held; !errors.Is(err, gtx.ErrConflict) {
			t.Error(err)
		}
		m.do(func() { m.locked[bad] = false })
		if err := r.Resolve(t.Context(), gtx.Resolution{XID: bad, Status: gtx.Committed}); err != nil || m.count() != 0 {
			t.Errorf("%v, %d left", err, m.count())
		}
	})
}

// TestP7LocksLeaveTheOthersALane: a hundred rollbacks wait for locks, and are delivered
// again and again. Another one goes by.
func TestP7LocksLeaveTheOthersALane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := xids(101)
		m := newModel(all...)
		for _, x := range all[:100] {
			m.locked[x] = true
		}
		r := onModel(t, m, newOracle(m))
		deliver(t, m, r, gtx.Aborted, all[:100]) // each meets its lock, two at a time
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, x := range all[:100] {
			wg.Go(func() {
				for ctx.Err() == nil {
					_ = r.Resolve(ctx, gtx.Resolution{XID: x, Status: gtx.Aborted})
					time.Sleep(100 * time.Millisecond) // of the bubble
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		if err := r.Resolve(t.Context(), gtx.Resolution{XID: all[100], Status: gtx.Aborted}); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d > 10*time.Millisecond {
			t.Errorf("waited %s", d)
		}
		cancel()
		wg.Wait()
	})
}

// TestGroupOutlivesWhoLeavesIt: callers give up while they wait, and while they lead.
func TestGroupOutlivesWhoLeavesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := xids(3)
		m := newModel(all...)
		m.step = time.Second
		r := onModel(t, m, newOracle(m))
		ends := make([]error, 3)
		var wg sync.WaitGroup
		for i, patience := range []time.Duration{500 * time.Millisecond, 700 * time.Millisecond, time.Minute} {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				ends[i] = r.Resolve(ctx, gtx.Resolution{XID: all[i], Status: gtx.Committed})
			})
			synctest.Wait()
		}
		wg.Wait()
		// The first was under way and ends; the second has left; the third leads.
		if ends[0] != nil || !errors.Is(ends[1], context.DeadlineExceeded) || ends[2] != nil {
			t.Error(ends)
		}
		if m.has(all[0]) || !m.has(all[1]) || m.has(all[2]) {
			t.Error("not what the callers were told")
		}
	})
}

// TestP2HugeXID: one of a group has undo rows for minutes. The others do not share its
// fate, those who come later do not meet it, and it is ended by who has the time.
func TestP2HugeXID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := xids(400)
		m := newModel(all...)
		huge := all[50]
		m.rows[huge] = 10 * time.Minute
		r := onModel(t, m, newOracle(m))
		for i, err := range deliver(t, m, r, gtx.Committed, all[:200]) {
			if all[i] == huge != (err != nil) {
				t.Errorf("%d: %v", i, err)
			}
		}
		end := make(chan error, 1)
		go func() { end <- r.Resolve(t.Context(), gtx.Resolution{XID: huge, Status: gtx.Committed}) }()
		synctest.Wait()
		began := time.Now()
		for i, err := range deliver(t, m, r, gtx.Committed, all[200:]) {
			if err != nil {
				t.Errorf("%d: %v", i, err)
			}
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("200 beside the huge one took %s", d)
		}
		if err := <-end; err != nil || m.count() != 0 {
			t.Errorf("%v, %d left", err, m.count())
		}
	})
}
