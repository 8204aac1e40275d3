package natsbus

import (
	"context"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// gate is a Resolver that lets the test answer.
type gate struct {
	in   chan gtx.Resolution
	pass chan error
}

func (g *gate) Resolve(_ context.Context, d gtx.Resolution) error {
	g.in <- d
	return <-g.pass
}

// TestH2TheDecisionFollowsThePreCommit: a decision that comes while the Resolver still
// hears that all are pre-committed is not taken for a repetition of that, and does not
// overtake it.
func TestH2TheDecisionFollowsThePreCommit(t *testing.T) {
	b := bareBus(t, bareServer(t), Config{})
	g := &gate{make(chan gtx.Resolution), make(chan error)}
	stop, err := b.Serve("r", g)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	var s *subscription
	b.mu.Lock()
	for s = range b.served {
	}
	b.mu.Unlock()
	push := func(st gtx.Status) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.add(gtx.Resolution{XID: gtx.XID{Log: 1, Epoch: 1, Seq: 16}, Status: st, Participants: []gtx.ResourceID{"r"}})
	}
	heard := func() gtx.Status {
		t.Helper()
		select {
		case d := <-g.in:
			return d.Status
		case <-time.After(20 * time.Second):
			t.Fatal("nothing was delivered")
			return 0
		}
	}
	push(gtx.PreCommitted)
	if st := heard(); st != gtx.PreCommitted {
		t.Fatalf("delivered %s", st)
	}
	for _, st := range []gtx.Status{gtx.PreCommitted, gtx.Committed, gtx.PreCommitted, gtx.Committed} {
		push(st)
	}
	select {
	case d := <-g.in:
		t.Fatalf("%s has overtaken", d.Status)
	default:
	}
	g.pass <- nil
	if st := heard(); st != gtx.Committed {
		t.Fatalf("delivered %s", st)
	}
	push(gtx.PreCommitted) // of yesterday
	g.pass <- nil
	s.mu.Lock()
	left := len(s.queue)
	s.mu.Unlock()
	if left != 0 {
		t.Errorf("%d wait", left)
	}
}

// TestPushable: a coordinator pushes no outcome, and pre-commits nothing but three-phase
// transactions with participants.
func TestPushable(t *testing.T) {
	x := gtx.XID{Log: 1, Epoch: 1, Seq: 16}
	for _, tt := range []struct {
		d    gtx.Resolution
		want bool
	}{
		{gtx.Resolution{XID: x, Status: gtx.Committed}, true},
		{gtx.Resolution{XID: x, Status: gtx.Aborted}, true},
		{gtx.Resolution{XID: x, Status: gtx.PreCommitted, Participants: []gtx.ResourceID{"r"}}, true},
		{gtx.Resolution{XID: x, Status: gtx.PreCommitted}, false},
		{gtx.Resolution{XID: gtx.XID{Log: 1, Epoch: 1, Seq: 1}, Status: gtx.PreCommitted, Participants: []gtx.ResourceID{"r"}}, false},
		{gtx.Resolution{XID: x, Status: gtx.Pending}, false},
		{gtx.Resolution{XID: x, Status: gtx.Expired}, false},
		{gtx.Resolution{XID: x, Status: 9}, false},
	} {
		if got := pushable(&tt.d); got != tt.want {
			t.Errorf("%+v: %v", tt.d, got)
		}
	}
}
