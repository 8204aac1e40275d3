package natsbus

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx/coordinator"
	"github.com/globaltx/globaltx/internal/testserver/natstest"
)

// TestL4AppendSettles: only what the server cannot take back settles an append.
func TestL4AppendSettles(t *testing.T) {
	c := natstest.Start(t, 1)
	ctx := logContext(t)
	l := testLog(t, c.URL(), 1)
	d := drive(t, l) // its Epoch record is message 1
	try := func(t *testing.T, prev uint64, body string) (coordinator.Event, error) {
		t.Helper()
		return l.append(ctx, coordinator.Append{Prev: prev, Body: []byte(body)})
	}
	t.Run("acknowledged", func(t *testing.T) {
		e, err := try(t, 1, "a")
		if e != (coordinator.Landed{Seq: 2}) || err != nil {
			t.Errorf("got %v, %v", e, err)
		}
	})
	t.Run("its answer was lost", func(t *testing.T) {
		e, err := try(t, 1, "a")
		if f, ok := e.(coordinator.Found); !ok || string(f.Body) != "a" || f.At.IsZero() || err != nil {
			t.Errorf("got %v, %v", e, err)
		}
	})
	t.Run("a rival was first", func(t *testing.T) {
		e, err := try(t, 1, "b")
		if f, ok := e.(coordinator.Found); !ok || string(f.Body) != "a" || err != nil {
			t.Errorf("got %v, %v", e, err)
		}
	})
	t.Run("trimmed meanwhile", func(t *testing.T) {
		if _, err := try(t, 2, "c"); err != nil {
			t.Fatal(err)
		}
		if err := l.purge(ctx, 2); err != nil {
			t.Fatal(err)
		}
		e, err := try(t, 1, "b")
		if f, ok := e.(coordinator.Found); !ok || f.Body != nil || err != nil {
			t.Errorf("got %v, %v", e, err)
		}
	})
	t.Run("one server has lost what it acknowledged", func(t *testing.T) {
		e, err := try(t, 9, "d")
		if f, ok := e.(coordinator.Found); !ok || f.Body != nil {
			t.Errorf("got %v, want to step down", e)
		}
		wantDamage(t, err, coordinator.ErrTruncated, "n1")
	})
	t.Run("no server", func(t *testing.T) {
		c.Nodes()[0].Stop()
		e, err := try(t, 3, "e")
		if e != (coordinator.Unclear{}) || err == nil {
			t.Errorf("got %v, %v", e, err)
		}
		c.Nodes()[0].Restart()
		for err != nil {
			if ctx.Err() != nil {
				t.Fatal(err)
			}
			e, err = try(t, 3, "e")
		}
		if e != (coordinator.Landed{Seq: 4}) {
			t.Errorf("got %v, %v", e, err)
		}
	})
	if _, err := d.l.open(ctx, freshMachine); !errors.Is(err, coordinator.ErrCorrupt) && !errors.Is(err, coordinator.ErrGap) {
		t.Errorf("foreign messages were loaded: %v", err)
	}
}

// TestL4FullLogKeepsTheLeader: commits wait, none is told, until there is room.
func TestL4FullLogKeepsTheLeader(t *testing.T) {
	c := natstest.Start(t, 1)
	ctx := logContext(t)
	l := testLog(t, c.URL(), 1)
	d := drive(t, l)
	d.commit(1)
	d.flush()
	d.commit(2)
	limit(t, l, int64(l.stream.CachedInfo().State.Bytes+100))
	for range 3 {
		if e := d.try(); e != (coordinator.Unclear{}) {
			t.Fatalf("a full log gave %v", e)
		}
	}
	if len(d.told) != 1 || !d.m.Leading() {
		t.Fatalf("told %d commits, leading %v", len(d.told), d.m.Leading())
	}
	t.Logf("the log says %v", d.errs[len(d.errs)-1])
	limit(t, l, 1<<20)
	d.flush()
	if len(d.told) != 3 || d.down != nil {
		t.Errorf("told %d commits of 3, stepped down: %v", len(d.told), d.down)
	}
	m, err := l.open(ctx, freshMachine)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.check(m); err != nil {
		t.Error(err)
	}
}

// limit sets max_bytes of the log.
func limit(t *testing.T, l *decisionLog, bytes int64) {
	t.Helper()
	ctx := logContext(t)
	info, err := l.stream.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cfg := info.Config
	cfg.MaxBytes = bytes
	if _, err := l.js.UpdateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
}

// storeFailed is JetStream's code where a stream cannot be made on the disk.
const storeFailed = 10049

// TestI1DeletedLogIsNotMadeAgain: a leader whose stream is deleted steps down,
// and nobody begins a new log under the old name while the anchor knows one.
func TestI1DeletedLogIsNotMadeAgain(t *testing.T) {
	c := natstest.Start(t, 1)
	ctx := logContext(t)
	l := testLog(t, c.URL(), 1)
	d := drive(t, l)
	d.fill(1, 1)
	seq, hash := d.m.Position()
	if err := l.saveAnchor(ctx, d.m.Log(), seq, hash); err != nil {
		t.Fatal(err)
	}
	if err := l.js.DeleteStream(ctx, l.name); err != nil {
		t.Fatal(err)
	}
	d.commit(1)
	d.flush()
	if d.down == nil || len(d.told) != 1 {
		t.Fatalf("told %d commits, stepped down: %v", len(d.told), d.down)
	}
	wantDamage(t, errors.Join(d.errs...), coordinator.ErrTruncated, "")
	wantDamage(t, l.check(ctx), coordinator.ErrTruncated, "")
	other := logConn(t, c.URL())
	_, err := openLog(ctx, other, logConfig(1))
	wantDamage(t, err, coordinator.ErrTruncated, "")

	// What the error says helps.
	if err := l.js.DeleteStream(ctx, anchorStream); err != nil {
		t.Fatal(err)
	}
	for {
		l, err = openLog(ctx, other, logConfig(1))
		var api *jetstream.APIError
		if errors.As(err, &api) && api.ErrorCode == storeFailed && ctx.Err() == nil {
			continue // the server is still removing the files of the old one
		}
		break
	}
	if err != nil {
		t.Fatal(err)
	}
	drive(t, l)
}

// TestL4DeposedStreamLeader: a stream leader that is cut off answers from the
// past. Nothing that it says settles an append, and nothing that it says makes a
// coordinator give up, until it is back among the others.
func TestL4DeposedStreamLeader(t *testing.T) {
	c := natstest.Start(t, 3)
	ctx := logContext(t)
	d := drive(t, testLog(t, c.URL(), 3))
	d.fill(2, 1)
	c.WaitCurrent(streamName)
	old := c.Leader(streamName)
	stale := testLog(t, old.URL(), 3) // talks to the old leader alone
	old.Cut()
	c.Leader(streamName)

	var others []string
	for _, nd := range c.Nodes() {
		if nd != old {
			others = append(others, nd.URL())
		}
	}
	d.l = testLog(t, others[0]+","+others[1], 3)
	d.fill(2, 1)
	seq, _ := d.m.Position()

	// At the end of the truth, at the end that the old leader knows, and before.
	var unclear int
	ask := func(prev uint64) {
		e, err := stale.append(ctx, coordinator.Append{Prev: prev, Body: []byte("late")})
		switch e := e.(type) {
		case coordinator.Unclear:
			unclear++
		case coordinator.Found:
			if e.Body == nil || string(e.Body) == "late" {
				t.Errorf("append behind %d of %d gave %v, %v", prev, seq, e, err)
			}
		default:
			t.Errorf("append behind %d of %d gave %v, %v", prev, seq, e, err)
		}
	}
	ask(seq)
	ask(seq - 2)
	if unclear == 0 {
		t.Error("the old leader settled everything: it was not cut off")
	}
	old.Heal()
	c.WaitCurrent(streamName)
	for {
		e, err := stale.append(ctx, coordinator.Append{Prev: seq - 2, Body: []byte("late")})
		if f, ok := e.(coordinator.Found); ok {
			if f.Body == nil || string(f.Body) == "late" || err != nil {
				t.Errorf("after the cut: %v, %v", f, err)
			}
			break
		}
		if e != (coordinator.Unclear{}) || ctx.Err() != nil {
			t.Fatalf("after the cut: %v, %v", e, err)
		}
	}
	// A read may still be stale on a slow machine; the Epoch record would find out.
	for {
		m, err := stale.open(ctx, freshMachine)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			continue // of one read
		}
		if err != nil {
			t.Fatal(err)
		}
		if at, _ := m.Position(); at < seq && ctx.Err() == nil {
			continue
		}
		if err := d.check(m); err != nil {
			t.Error(err)
		}
		return
	}
}

// TestA1CommitsSurviveEveryStreamLeader: commits go on while the stream leader
// is cut off, stopped, and asked to go, and none that was told is lost.
func TestA1CommitsSurviveEveryStreamLeader(t *testing.T) {
	c := natstest.Start(t, 3)
	ctx := logContext(t)
	d := drive(t, testLog(t, c.URL(), 3))
	c.Node(d.l.nc.ConnectedServerName()).Lead(streamName) // the first fault is at the server that we are connected to
	for _, fault := range []func(*natstest.Node) (end func()){
		func(nd *natstest.Node) func() { nd.Cut(); return nd.Heal },
		func(nd *natstest.Node) func() { nd.Stop(); return nd.Restart },
		func(nd *natstest.Node) func() { nd.Cut(); nd.Stop(); return func() { nd.Heal(); nd.Restart() } },
		func(nd *natstest.Node) func() {
			next := (slices.Index(c.Nodes(), nd) + 1) % 3
			c.Nodes()[next].Lead(streamName)
			return func() {}
		},
	} {
		d.commit(3) // one is in flight, two wait
		end := fault(c.Leader(streamName))
		d.flush()
		d.fill(3, 2)
		end()
		c.WaitCurrent(streamName)
		d.fill(1, 1)
		if d.down != nil {
			t.Fatalf("stepped down: %v", d.down)
		}
	}
	if len(d.told) != 4*10 {
		t.Errorf("told %d commits", len(d.told))
	}
	m, err := testLog(t, c.URL(), 3).open(ctx, freshMachine)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.check(m); err != nil {
		t.Error(err)
	}
}

// TestAppendNamesTheRemedy: what an operator can change is said.
func TestAppendNamesTheRemedy(t *testing.T) {
	c := natstest.Start(t, 1)
	ctx := logContext(t)
	l := testLog(t, c.URL(), 1)
	if _, err := l.js.UpdateStream(ctx, func() jetstream.StreamConfig {
		cfg := l.stream.CachedInfo().Config
		cfg.MaxMsgSize = 10
		return cfg
	}()); err != nil {
		t.Fatal(err)
	}
	e, err := l.append(ctx, coordinator.Append{Body: make([]byte, 11)})
	if e != (coordinator.Unclear{}) || err == nil {
		t.Errorf("got %v, %v", e, err)
	}
	if err := l.check(ctx); err == nil {
		t.Error("the setting was not refused")
	}
	e, err = l.append(ctx, coordinator.Append{Body: make([]byte, 2<<20)})
	if e != (coordinator.Unclear{}) || err == nil {
		t.Errorf("got %v, %v", e, err)
	}
}
