package tcc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

// mortal is the coordinator as a process sees it that dies at one of its calls: before it is
// sent, or before its answer comes. Nothing that the process does afterwards reaches anybody.
type mortal struct {
	*natsbus.Bus
	at     int
	before bool

	// mu protects the following.
	mu    sync.Mutex
	calls []string
	died  chan struct{}
}

var errDied = fmt.Errorf("the process has died: %w", gtx.ErrUnavailable)

func (m *mortal) dead() bool {
	select {
	case <-m.died:
		return true
	default:
		return false
	}
}

func (m *mortal) step(name string, do func() error) error {
	m.mu.Lock()
	if m.dead() {
		m.mu.Unlock()
		return errDied
	}
	m.calls = append(m.calls, name)
	now := len(m.calls) == m.at
	if now && m.before {
		close(m.died)
		m.mu.Unlock()
		return errDied
	}
	m.mu.Unlock()
	err := do()
	m.mu.Lock()
	defer m.mu.Unlock()
	if now && !m.dead() {
		close(m.died)
	}
	if m.dead() {
		return errDied
	}
	return err
}

func (m *mortal) CreateGuard(ctx context.Context, g gtx.Guard) (rev uint64, err error) {
	err = m.step("create", func() error { rev, err = m.Bus.CreateGuard(ctx, g); return err })
	return rev, err
}

func (m *mortal) UpdateGuard(ctx context.Context, g gtx.Guard) (rev uint64, err error) {
	err = m.step("update", func() error { rev, err = m.Bus.UpdateGuard(ctx, g); return err })
	return rev, err
}

func (m *mortal) DeleteGuard(ctx context.Context, g gtx.Guard) error {
	return m.step("delete", func() error { return m.Bus.DeleteGuard(ctx, g) })
}

func (m *mortal) Guards(ctx context.Context, r gtx.ResourceID, xid gtx.XID) (all []gtx.Guard, err error) {
	if m.dead() {
		return nil, errDied
	}
	return m.Bus.Guards(ctx, r, xid)
}

func (m *mortal) Register(ctx context.Context, xid gtx.XID, b gtx.BranchRef) error {
	return m.step("register", func() error { return m.Bus.Register(ctx, xid, b) })
}

func (m *mortal) Commit(ctx context.Context, xid gtx.XID, confirmed, dead []gtx.BranchRef) (st gtx.Status, err error) {
	err = m.step("commit", func() error { st, err = m.Bus.Commit(ctx, xid, confirmed, dead); return err })
	return st, err
}

func (m *mortal) Rollback(ctx context.Context, xid gtx.XID) (st gtx.Status, err error) {
	err = m.step("rollback", func() error { st, err = m.Bus.Rollback(ctx, xid); return err })
	return st, err
}

func (m *mortal) Outcome(ctx context.Context, xid gtx.XID) (gtx.Status, error) {
	if m.dead() {
		return gtx.Pending, errDied
	}
	return m.Bus.Outcome(ctx, xid)
}

// TestY1CrashAtEveryStep kills a process before and after every call that changes something,
// in a transaction that wants to commit and in one that aborts. Another process ends it.
func TestY1CrashAtEveryStep(t *testing.T) {
	b := bareBus(t, t.TempDir())
	for _, fail := range []bool{false, true} {
		for at := 1; ; at++ {
			steps := crashAt(t, b, fail, at, true)
			if steps < at {
				break // it has not come so far
			}
			crashAt(t, b, fail, at, false)
		}
	}
}

// crashAt tells how many steps were made.
func crashAt(t *testing.T, b *natsbus.Bus, fail bool, at int, before bool) (steps int) {
	t.Helper()
	f := newFar()
	m := &mortal{Bus: bareGuest(t, b), at: at, before: before, died: make(chan struct{})}
	mine := &mail{f, func(context.Context, string, string) error {
		if m.dead() {
			return errDied
		}
		return nil
	}}
	r := bareResource(t, m, func(c *Config) { c.ScanInterval = time.Hour })
	h := bareAction(t, r, mine)
	var xid gtx.XID
	err := gtx.Run(bareContext(t), func(ctx context.Context) error {
		tx, _ := gtx.FromContext(ctx)
		xid = tx.XID()
		if err := h.Try(ctx, "x"); err != nil || !fail {
			return err
		}
		return errBare
	}, gtx.WithCoordinator(m), gtx.WithRetries(0), gtx.WithTimeout(500*time.Millisecond))
	ctx := bareContext(t)
	for !m.dead() { // phase two goes on
		all, lerr := b.Guards(ctx, BareID("mail"), gtx.XID{})
		if lerr != nil {
			t.Fatal(lerr)
		}
		if len(all) == 0 {
			break
		}
		sleep(ctx, 5*time.Millisecond)
	}
	r.Close()
	m.mu.Lock()
	calls := slices.Clone(m.calls)
	m.mu.Unlock()

	// Later: what is waited for at most is over.
	next := bareResource(t, b, func(c *Config) {
		c.now = func() time.Time { return time.Now().Add(leaseTime + bareMargin + 10*time.Second) }
	})
	bareAction(t, next, &mail{f, nil})
	bareClean(t, b)
	next.Close()
	st, oerr := b.Outcome(ctx, xid)
	if oerr != nil {
		t.Fatal(oerr)
	}
	got, _ := f.of(xid)
	if bad := wrongEnd(st, got); bad != "" {
		t.Errorf("death at step %d %q (before: %v, abort: %v), %s: calls %q: %s; run: %v", at, calls, before, fail, st, got, bad, err)
	}
	if !errors.Is(err, gtx.ErrUnknown) && (err == nil) != (st == gtx.Committed) {
		t.Errorf("step %d: run says %v, and it is %s", at, err, st)
	}
	return len(calls)
}

// wrongEnd tells what is wrong with the calls of a transaction that has ended so.
func wrongEnd(st gtx.Status, calls []string) string {
	last := ""
	if len(calls) > 0 {
		last = calls[len(calls)-1]
	}
	tried, confirmed := slices.Contains(calls, "try"), slices.Contains(calls, "confirm")
	cancelled := slices.Contains(calls, "cancel") || slices.Contains(calls, "cancel?")
	switch {
	case confirmed && cancelled:
		return "confirmed and cancelled"
	case st == gtx.Committed && last != "confirm":
		return "committed and not confirmed"
	case st != gtx.Committed && confirmed:
		return "confirmed and not committed"
	case st != gtx.Committed && tried && last != "cancel" && last != "cancel?":
		return "tried and not cancelled"
	}
	return ""
}
