package undo_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// TestAwayDatabase: while the database is away deliveries fail at once, and one probe
// at a time looks for it, with pauses up to 5 s. When it is back it is scanned at
// once, and the coordinator hears of it.
func TestAwayDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := xids(40)
		m := newModel(all...)
		o := newOracle(m)
		r := onModel(t, m, o)
		m.do(func() { m.away = true })
		first := deliver(t, m, r, gtx.Committed, all[:1])
		if !errors.Is(first[0], errLost) {
			t.Fatal(first)
		}
		r.Start()
		began, looks := time.Now(), 0
		m.do(func() { looks = m.looks })
		for time.Since(began) < time.Minute {
			m.do(func() { m.begun = 0 })
			now := time.Now()
			for _, err := range deliver(t, m, r, gtx.Committed, all) {
				if !errors.Is(err, gtx.ErrAway) {
					t.Fatal(err)
				}
			}
			m.do(func() {
				if m.begun != 0 || time.Since(now) > 0 {
					t.Errorf("%d local transactions, %s", m.begun, time.Since(now))
				}
			})
			time.Sleep(500 * time.Millisecond) // of the bubble
		}
		m.do(func() {
			if n := m.looks - looks; n < 12 || n > 40 {
				t.Errorf("%d probes in a minute", n)
			}
		})
		o.do(func() {
			for _, x := range all {
				o.fate[x] = gtx.Committed
			}
		})
		m.do(func() { m.away = false })
		time.Sleep(6 * time.Second) // of the bubble
		o.do(func() {
			if m.count() != 0 || o.hello == 0 || len(o.ackFirst) != 0 {
				t.Errorf("%d left, %d greetings, %d acknowledged too early", m.count(), o.hello, len(o.ackFirst))
			}
		})
		if err := r.Resolve(t.Context(), gtx.Resolution{XID: all[0], Status: gtx.Aborted}); err != nil {
			t.Error(err)
		}
	})
}

// TestOneLateCallIsNoLoss: a caller without patience makes the next one look, no more.
func TestOneLateCallIsNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := xids(2)
		m := newModel(all...)
		m.locked[all[0]] = true
		o := newOracle(m)
		r := onModel(t, m, o)
		deliver(t, m, r, gtx.Aborted, all[:1])
		if errs := deliver(t, m, r, gtx.Aborted, all[1:]); errs[0] != nil || o.hello != 0 {
			t.Errorf("%v, %d greetings", errs, o.hello)
		}
	})
}

// TestP6LookWithoutAnAnswer: a connection is lost and nobody says so. The scan gives it
// up, and goes on when the database answers again.
func TestP6LookWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := xids(3)
		m := newModel(all...)
		m.silent = true
		o := newOracle(m)
		for _, x := range all {
			o.fate[x] = gtx.Committed
		}
		r := onModel(t, m, o)
		r.Start()
		time.Sleep(5 * time.Minute) // of the bubble
		m.do(func() { m.silent = false })
		time.Sleep(30 * time.Second) // of the bubble
		if n := m.count(); n != 0 {
			t.Errorf("%d left", n)
		}
	})
}
