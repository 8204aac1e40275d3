package natsbus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

// logContext bounds one test of the log; elections take their time.
func logContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func logConfig(replicas int) *ServiceConfig {
	cfg := ServiceConfig{
		Replicas: replicas, MaxBytes: 4 << 20, AssumeSyncAlways: true,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}.withDefaults()
	return &cfg
}

// logConn connects; the test closes it.
func logConn(t testing.TB, url string) *nats.Conn {
	t.Helper()
	nc, err := dial(url, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// testLog opens the log of a cluster as a process that knows nothing does.
func testLog(t testing.TB, url string, replicas int) *decisionLog {
	t.Helper()
	l, err := openLog(logContext(t), logConn(t, url), logConfig(replicas))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func freshMachine() (*coordinator.Machine, error) {
	return coordinator.New(coordinator.Config{TrimBytes: 1 << 40}, random(), random())
}

// driver leads a log: it performs the appends of a machine, one after another.
type driver struct {
	t       testing.TB
	ctx     context.Context
	l       *decisionLog
	m       *coordinator.Machine
	told    map[gtx.XID]gtx.Status // answers to Commit
	pending []coordinator.Append
	purges  []uint64
	down    error // of the StepDown
	errs    []error
}

// drive loads the log and leads it, never trimming it.
func drive(t testing.TB, l *decisionLog) *driver {
	t.Helper()
	return driveWith(t, l, freshMachine)
}

func driveWith(t testing.TB, l *decisionLog, fresh func() (*coordinator.Machine, error)) *driver {
	t.Helper()
	d := &driver{t: t, ctx: logContext(t), l: l, told: map[gtx.XID]gtx.Status{}}
	var err error
	if d.m, err = l.open(d.ctx, fresh); err != nil {
		t.Fatal(err)
	}
	acts, err := d.m.Campaign()
	if err != nil {
		t.Fatal(err)
	}
	d.do(acts)
	d.flush()
	if !d.m.Leading() {
		t.Fatalf("does not lead: %v %v", d.down, d.errs)
	}
	return d
}

func (d *driver) do(acts []coordinator.Action) (xid gtx.XID) {
	for _, a := range acts {
		switch a := a.(type) {
		case coordinator.Append:
			d.pending = append(d.pending, a)
		case coordinator.Reply:
			if xid = a.XID; a.Err != nil && d.m.Leading() {
				d.t.Fatalf("reply: %v", a.Err)
			}
			if a.Call == "commit" && a.Err == nil {
				d.told[a.XID] = a.Status
			}
		case coordinator.Purge:
			d.purges = append(d.purges, a.UpTo)
		case coordinator.StepDown:
			d.down = a.Err
		}
	}
	return xid
}

func (d *driver) step(e coordinator.Event) gtx.XID { return d.do(d.m.Step(time.Now(), e)) }

// try performs one append.
func (d *driver) try() coordinator.Event {
	d.t.Helper()
	a := d.pending[0]
	d.pending = d.pending[1:]
	e, err := d.l.append(d.ctx, a)
	if err != nil {
		d.errs = append(d.errs, err)
	}
	d.step(e)
	return e
}

// flush performs appends until none is left.
func (d *driver) flush() {
	d.t.Helper()
	for try := 0; len(d.pending) > 0; try++ {
		if _, unclear := d.try().(coordinator.Unclear); unclear {
			if !pause(d.ctx, 5*time.Millisecond, 500*time.Millisecond, try) {
				d.t.Fatalf("append stays unclear: %v", d.errs)
			}
			continue
		}
		try = 0
	}
}

// commit asks for n commits of one participant with a long name, and does not
// perform the appends.
func (d *driver) commit(n int) {
	for range n {
		xid := d.step(coordinator.Begin{Timeout: time.Hour})
		ref := gtx.BranchRef{Resource: gtx.ResourceID(strings.Repeat("r", 100)), Branch: 1}
		d.step(coordinator.Register{XID: xid, Ref: ref})
		d.step(coordinator.Commit{Call: "commit", XID: xid, Confirmed: []gtx.BranchRef{ref}})
	}
}

// fill writes messages of n commits each.
func (d *driver) fill(messages, n int) {
	d.t.Helper()
	for range messages {
		d.commit(n)
		d.flush()
	}
}

// check compares what another process loads with what d knows of the log.
func (d *driver) check(m *coordinator.Machine) error {
	seq, hash := d.m.Position()
	gotSeq, gotHash := m.Position()
	got, want := m.Stats(), d.m.Stats()
	if gotSeq != seq || gotHash != hash || got.Unfinished != want.Unfinished {
		return fmt.Errorf("loaded %d messages and %d commits, want %d and %d", gotSeq, got.Unfinished, seq, want.Unfinished)
	}
	return nil
}

// wantDamage checks that err is a DamageError of that cause and server.
func wantDamage(t testing.TB, err, cause error, node string) {
	t.Helper()
	var d *DamageError
	if !errors.As(err, &d) || cause != nil && !errors.Is(err, cause) {
		t.Fatalf("got error %v, want damage: %v", err, cause)
	}
	if d.Node != node || d.Stream == "" {
		t.Errorf("damage is of server %q and stream %q, want server %q", d.Node, d.Stream, node)
	}
}
