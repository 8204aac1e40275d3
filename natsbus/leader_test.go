package natsbus

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

// leading gives a machine that leads an empty log.
func leading(t *testing.T) *coordinator.Machine {
	t.Helper()
	m, err := coordinator.New(coordinator.Config{}, random(), random())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Campaign(); err != nil {
		t.Fatal(err)
	}
	m.Step(time.Now(), coordinator.Landed{Seq: 1})
	if !m.Leading() {
		t.Fatal("does not lead")
	}
	return m
}

// TestTermEndsInTheMiddle: requests that were taken together with the end of the
// leadership are answered, too.
func TestTermEndsInTheMiddle(t *testing.T) {
	nc := bareConn(t, bareServer(t))
	answers, err := nc.SubscribeSync("_INBOX.x.*")
	if err != nil {
		t.Fatal(err)
	}
	s := &Service{nc: nc, in: newIntake(nc, 0, quiet)}
	r := &term{node: &node{Service: s, m: leading(t)}, clock: newClock(time.Now), box: newInbox(), writes: make(chan coordinator.Append, 1), wrote: make(chan coordinator.Event, 1)}
	if err := r.step(coordinator.Barrier{}); err != nil {
		t.Fatal(err)
	}
	<-r.writes
	r.wrote <- coordinator.Found{} // a hole in its place ends the term
	const n = 3 * pass
	for i := range n {
		r.box.put([]coordinator.Event{coordinator.Outcome{
			Call: &ask{inbox: fmt.Sprint("_INBOX.x.", i), id: 1, op: opOutcome},
			XID:  gtx.XID{Log: r.m.Log(), Epoch: 1, Seq: 1},
		}})
	}
	if err := r.requests(); !errors.Is(err, coordinator.ErrGap) {
		t.Fatalf("term ended with %v", err)
	}
	r.dismiss()
	for i := range n {
		if _, err := answers.NextMsgWithContext(intakeContext(t)); err != nil {
			t.Fatalf("%d of %d answers: %v", i, n, err)
		}
	}
}

// TestAbandonIsQuiet: a Bus that ends with nothing undecided has nothing to warn of.
func TestAbandonIsQuiet(t *testing.T) {
	var log bytes.Buffer
	b, err := Embedded(intakeContext(t), t.TempDir(), WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	if strings.Contains(log.String(), "level=WARN") {
		t.Errorf("logged %s", &log)
	}
}
