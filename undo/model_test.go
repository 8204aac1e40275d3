package undo_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

var (
	errLost   = errors.New("model: connection lost")
	errLocked = errors.New("model: lock wait timeout")
)

// model is a database in memory, for tests in virtual time: XIDs with one header each.
// Local transactions take effect at COMMIT.
type model struct {
	step time.Duration // what a COMMIT takes

	mu      sync.Mutex
	left    map[gtx.XID]bool
	locked  map[gtx.XID]bool // somebody else holds the header's lock
	dirty   map[gtx.XID]bool
	rows    map[gtx.XID]time.Duration // what deleting its undo rows takes
	away    bool
	silent  bool // no look is answered
	looks   int  // calls of Leftovers
	begun   int  // local transactions
	commits int
	most    int // XIDs of one local transaction
}

func newModel(xids ...gtx.XID) *model {
	m := &model{step: 5 * time.Millisecond, left: map[gtx.XID]bool{}, locked: map[gtx.XID]bool{}, dirty: map[gtx.XID]bool{}, rows: map[gtx.XID]time.Duration{}}
	for _, x := range xids {
		m.left[x] = true
	}
	return m
}

func (m *model) do(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *model) has(x gtx.XID) (there bool) {
	m.do(func() { there = m.left[x] })
	return there
}

func (m *model) count() (n int) {
	m.do(func() { n = len(m.left) })
	return n
}

func (m *model) reach() (err error) {
	m.do(func() {
		if m.away {
			err = errLost
		}
	})
	return err
}

func (m *model) Resource(context.Context) (gtx.ResourceID, error) { return "db", m.reach() }

func (m *model) Leftovers(ctx context.Context, after string, limit int) (out []string, err error) {
	silent := false
	m.do(func() { silent = m.silent })
	if silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	m.do(func() {
		m.looks++
		for x := range m.left {
			if text := x.String(); text > after {
				out = append(out, text)
			}
		}
	})
	slices.Sort(out)
	return out[:min(len(out), limit)], m.reach()
}

func (m *model) Begin(_ context.Context, o undo.TxOptions) (undo.StoreTx, error) {
	m.do(func() { m.begun++ })
	return &modelTx{m: m, wait: o.LockWait}, m.reach()
}

func (m *model) Classify(err error) undo.ErrorClass {
	switch {
	case errors.Is(err, errLost):
		return undo.Lost
	case errors.Is(err, errLocked):
		return undo.Conflict
	}
	return undo.Other
}

type modelTx struct {
	m    *model
	wait time.Duration
	drop []gtx.XID
}

func (t *modelTx) Headers(_ context.Context, xids []gtx.XID, lock bool) (out []undo.Header, err error) {
	t.m.do(func() {
		t.m.most = max(t.m.most, len(xids))
		for _, x := range xids {
			if lock && t.m.locked[x] {
				err = errLocked
			}
			if t.m.left[x] {
				out = append(out, undo.Header{XID: x, Branch: 1})
			}
		}
	})
	if err != nil {
		time.Sleep(t.wait) // of the bubble
	}
	return out, errors.Join(err, t.m.reach())
}

func (t *modelTx) Claim(_ context.Context, h undo.Header) (bool, error) {
	return t.m.has(h.XID), t.m.reach()
}
func (t *modelTx) Guard(context.Context, gtx.XID, []gtx.BranchID) error { return t.m.reach() }

func (t *modelTx) UndoRows(_ context.Context, x gtx.XID, _ int) ([]undo.Row, error) {
	if !t.m.has(x) {
		return nil, t.m.reach()
	}
	return []undo.Row{{Table: "t", KeyHash: "k", XID: x, Branch: 1}}, t.m.reach()
}

func (t *modelTx) Restore(_ context.Context, rows []undo.Row) (_ []undo.Row, err error) {
	t.m.do(func() {
		for i := range rows {
			if t.m.dirty[rows[i].XID] {
				err = undo.Dirty(&rows[i], "written by somebody else")
			}
		}
	})
	return rows, err
}

func (t *modelTx) DeleteUndo(context.Context, []undo.Row) error { return t.m.reach() }

func (t *modelTx) DropUndo(ctx context.Context, xids []gtx.XID) (int, error) {
	var d time.Duration
	t.m.do(func() {
		for _, x := range xids {
			d += t.m.rows[x]
		}
	})
	select {
	case <-time.After(d): // of the bubble
		return len(xids), t.m.reach()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (t *modelTx) DeleteHeaders(_ context.Context, hs []undo.Header) error {
	for _, h := range hs {
		t.drop = append(t.drop, h.XID)
	}
	return t.m.reach()
}

func (t *modelTx) Commit(context.Context) error {
	time.Sleep(t.m.step) // of the bubble
	if err := t.m.reach(); err != nil {
		return err
	}
	t.m.do(func() {
		t.m.commits++
		for _, x := range t.drop {
			delete(t.m.left, x)
		}
	})
	return nil
}

func (t *modelTx) Rollback(context.Context) {}

// oracle is a coordinator for scans: what it does not know is undecided.
type oracle struct {
	gtx.Coordinator
	mu       sync.Mutex
	fate     map[gtx.XID]gtx.Status
	away     bool
	asked    int
	hello    int
	ackFirst []gtx.XID // acknowledged while still there
	m        *model
}

func (o *oracle) do(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

func (o *oracle) Outcome(_ context.Context, x gtx.XID) (s gtx.Status, err error) {
	o.do(func() {
		o.asked++
		s = o.fate[x]
		if o.away {
			err = fmt.Errorf("ask: %w", gtx.ErrUnavailable)
		}
	})
	return s, err
}

func (o *oracle) Acknowledge(_ context.Context, x gtx.XID, _ gtx.ResourceID) error {
	o.do(func() {
		if o.m.has(x) {
			o.ackFirst = append(o.ackFirst, x)
		}
	})
	return nil
}

func (o *oracle) Hello(gtx.ResourceID) { o.do(func() { o.hello++ }) }

func newOracle(m *model) *oracle { return &oracle{m: m, fate: map[gtx.XID]gtx.Status{}} }

func onModel(t *testing.T, m *model, c gtx.Coordinator) *undo.Resolver {
	t.Helper()
	r, err := undo.NewResolver(undo.Config{
		Store: m, Coordinator: func() gtx.Coordinator { return c },
		ScanInterval: 2 * time.Second, LockWait: 3 * time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return r
}

// xids gives n of them, in the order of their texts.
func xids(n int) []gtx.XID {
	out := make([]gtx.XID, n)
	for i := range out {
		out[i] = gtx.XID{Log: 1, Epoch: 1, Seq: uint64(1<<20 + i)} // texts of one length
	}
	if !slices.IsSortedFunc(out, func(a, b gtx.XID) int { return strings.Compare(a.String(), b.String()) }) {
		panic("order")
	}
	return out
}
