package undo_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// TestP6OldDoNotDelayNew: more than a page of undecided or stuck transactions stand before a
// new leftover. The first pass reaches it.
func TestP6OldDoNotDelayNew(t *testing.T) {
	for name, stuck := range map[string]bool{"undecided": false, "stuck": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := xids(1201)
				fresh := all[1200]
				m := newModel(all[:1200]...)
				o := newOracle(m)
				if stuck {
					for _, x := range all[:1200] {
						o.fate[x], m.dirty[x] = gtx.Aborted, true
					}
				}
				r := onModel(t, m, o)
				r.Start()
				time.Sleep(20 * time.Second) // of the bubble
				o.do(func() { o.fate[fresh] = gtx.Aborted })
				m.do(func() { m.left[fresh] = true })
				time.Sleep(3 * time.Second) // of the bubble: the pause, and a pass
				if m.has(fresh) || m.count() != 1200 {
					t.Errorf("%d left", m.count())
				}
			})
		})
	}
}

// TestP6SilentCoordinator: one question, then pauses.
func TestP6SilentCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := xids(500)
		m := newModel(all...)
		o := newOracle(m)
		o.away = true
		r := onModel(t, m, o)
		r.Start()
		time.Sleep(2 * time.Minute) // of the bubble
		o.do(func() {
			if o.asked < 5 || o.asked > 15 {
				t.Errorf("%d questions in two minutes", o.asked)
			}
			o.away = false
			for _, x := range all {
				o.fate[x] = gtx.Committed
			}
		})
		time.Sleep(20 * time.Second) // of the bubble
		if m.count() != 0 {
			t.Errorf("%d left", m.count())
		}
	})
}

// leaser gives the lease to one worker.
type leaser struct {
	*oracle
	worker uint64
	until  time.Time
}

func (l *leaser) Scan(_ context.Context, r gtx.ResourceID, worker uint64, d time.Duration) (mine bool, err error) {
	l.do(func() {
		if mine = r == "db" && (l.worker == worker || time.Now().After(l.until)); mine {
			l.worker, l.until = worker, time.Now().Add(d)
		}
	})
	return mine, nil
}

// TestP6OneScans: of many processes one scans, and when it is gone another one does.
func TestP6OneScans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := xids(1)
		m := newModel(all...)
		l := &leaser{oracle: newOracle(m)}
		first := onModel(t, m, l)
		first.Start()
		synctest.Wait()
		var others [9]interface{ Start() }
		for i := range others {
			others[i] = onModel(t, m, l)
			others[i].Start()
		}
		time.Sleep(time.Minute) // of the bubble
		m.do(func() {
			if n := first.Stats().Scans; n < 20 || int(n) != m.looks {
				t.Errorf("%d scans of the first, %d of all", n, m.looks)
			}
		})
		first.Stop()
		l.do(func() { l.fate[all[0]] = gtx.Aborted })
		time.Sleep(13 * time.Second) // of the bubble: the lease and a pause
		if m.count() != 0 {
			t.Error("nobody scans")
		}
	})
}
