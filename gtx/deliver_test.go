package gtx_test

import (
	"context"
	"errors"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

type resolver func() error

func (f resolver) Resolve(context.Context, gtx.Resolution) error { return f() }

type acks struct {
	gtx.Coordinator
	n   int
	err error
}

func (a *acks) Acknowledge(context.Context, gtx.XID, gtx.ResourceID) error {
	a.n++
	return a.err
}

// TestP2Deliver: the acknowledgement follows the end of phase two, and nothing else does.
func TestP2Deliver(t *testing.T) {
	failed := errors.New("failed")
	for _, c := range []struct {
		name         string
		status       gtx.Status
		resolve, ack error
		acks         int
		want         error
	}{
		{"committed", gtx.Committed, nil, nil, 1, nil},
		{"committed, not resolved", gtx.Committed, failed, nil, 0, failed},
		{"committed, acknowledgement lost", gtx.Committed, nil, failed, 1, gtx.ErrNotAcknowledged},
		{"aborted (G1)", gtx.Aborted, nil, failed, 0, nil},
		{"aborted, not resolved", gtx.Aborted, failed, nil, 0, failed},
	} {
		a := &acks{err: c.ack}
		err := gtx.Deliver(t.Context(), a, "db", resolver(func() error {
			if a.n > 0 {
				t.Errorf("%s: acknowledged first", c.name)
			}
			return c.resolve
		}), gtx.Resolution{XID: gtx.XID{Log: 1, Epoch: 1, Seq: 1}, Status: c.status})
		if !errors.Is(err, c.want) || a.n != c.acks {
			t.Errorf("%s: %v, %d acknowledgements", c.name, err, a.n)
		}
	}
}

type readies struct {
	acks
	ready int
}

func (a *readies) Ready(context.Context, gtx.XID, gtx.ResourceID) error {
	a.ready++
	return a.err
}

func (a *readies) Claim(context.Context, gtx.XID, []gtx.ResourceID) (gtx.Status, error) {
	return gtx.Pending, a.err
}

func (a *readies) CanCommit(context.Context, gtx.ResourceID) error { return a.err }

// TestH2Deliver: that all are pre-committed is answered with Ready, behind the Resolver
// and never with an acknowledgement.
func TestH2Deliver(t *testing.T) {
	failed := errors.New("failed")
	for _, c := range []struct {
		name           string
		resolve, ready error
		readies        int
		want           error
	}{
		{"told", nil, nil, 1, nil},
		{"not taken", failed, nil, 0, failed},
		{"answer lost", nil, failed, 1, gtx.ErrNotAcknowledged},
	} {
		a := &readies{acks: acks{err: c.ready}}
		told := gtx.Resolution{XID: gtx.XID{Log: 1, Epoch: 1, Seq: 16}, Status: gtx.PreCommitted, Participants: []gtx.ResourceID{"db"}}
		err := gtx.Deliver(t.Context(), a, "db", resolver(func() error {
			if a.ready > 0 {
				t.Errorf("%s: ready before the resolver knew", c.name)
			}
			return c.resolve
		}), told)
		if !errors.Is(err, c.want) || a.ready != c.readies || a.n != 0 {
			t.Errorf("%s: %v, %d times ready, %d acknowledgements", c.name, err, a.ready, a.n)
		}
		if err := gtx.Deliver(t.Context(), &a.acks, "db", resolver(func() error { return nil }), told); err == nil || a.n != 0 {
			t.Errorf("a coordinator that knows no three-phase commit: %v, %d acknowledgements", err, a.n)
		}
	}
}
