package gtx_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/internal/memory"
)

// ballot is a resolver that votes as the test says.
type ballot func(context.Context) error

func (ballot) Resolve(context.Context, gtx.Resolution) error { return nil }
func (b ballot) CanCommit(ctx context.Context) error         { return b(ctx) }

// begun keeps what Begin was asked for.
type begun struct {
	*memory.Coordinator
	requests []gtx.BeginRequest
}

func (b *begun) Begin(ctx context.Context, req gtx.BeginRequest) (gtx.XID, error) {
	b.requests = append(b.requests, req)
	return b.Coordinator.Begin(ctx, req)
}

func polled(t *testing.T, votes map[gtx.ResourceID]ballot) *begun {
	t.Helper()
	c := &begun{Coordinator: memory.New()}
	for r, v := range votes {
		if _, err := c.Serve(r, v); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestH1EveryParticipantIsAskedBeforeBegin(t *testing.T) {
	asked := make(chan string, 9)
	votes := map[gtx.ResourceID]ballot{}
	for _, r := range []gtx.ResourceID{"a", "b"} {
		votes[r] = func(ctx context.Context) error {
			if _, bounded := ctx.Deadline(); !bounded {
				t.Error("a vote may take for ever")
			}
			asked <- string(r)
			return nil
		}
	}
	c := polled(t, votes)
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		if len(asked) != 3 { // b is named twice
			t.Errorf("%d were asked before the work", len(asked))
		}
		tx, _ := gtx.FromContext(ctx)
		if tx.Mode() != gtx.ThreePhase || !tx.XID().ThreePhase() || tx.ModeFor(gtx.InMode(ctx, gtx.AT)) != gtx.ThreePhase {
			t.Errorf("%s in mode %s", tx.XID(), tx.Mode())
		}
		var unsupported *gtx.UnsupportedError
		if _, err := tx.Enlist("c"); !errors.As(err, &unsupported) || unsupported.Code != "not-named" {
			t.Errorf("a branch where nobody was asked: %v", err)
		}
		return memory.Branch(ctx, "a", (*gtx.Tx).Confirm)
	}, gtx.WithCoordinator(c), gtx.WithTimeout(time.Minute), gtx.WithMode(gtx.ThreePhase),
		gtx.WithResources(gtx.Remote("b"), gtx.Remote("a")), gtx.WithResources(gtx.Remote("b")))
	want := []gtx.BeginRequest{{Timeout: time.Minute, Mode: gtx.ThreePhase, Resources: []gtx.ResourceID{"a", "b"}}}
	if diff := cmp.Diff(want, c.requests); err != nil || diff != "" || len(c.Committed()) != 1 {
		t.Errorf("%v, %d committed: %s", err, len(c.Committed()), diff)
	}
}

func TestH1NothingBeginsWithoutEveryVote(t *testing.T) {
	full := errors.New("no room for another prepared transaction")
	named := gtx.WithResources(gtx.Remote("yes"), gtx.Remote("no"))
	for name, tt := range map[string]struct {
		coord gtx.Coordinator
		opts  []gtx.Option
		is    error
		text  string
	}{
		"one says no":             {nil, []gtx.Option{gtx.WithMode(gtx.ThreePhase), named}, gtx.ErrVotedNo, full.Error()},
		"nobody is named":         {nil, []gtx.Option{gtx.WithMode(gtx.ThreePhase)}, nil, "use WithResources"},
		"named in another mode":   {nil, []gtx.Option{gtx.WithMode(gtx.XA), named}, nil, "WithResources is for WithMode(ThreePhase)"},
		"no such mode":            {nil, []gtx.Option{gtx.WithMode(3)}, nil, "Mode(3)"},
		"coordinator of old":      {&scripted{}, []gtx.Option{gtx.WithMode(gtx.ThreePhase), named}, nil, "no three-phase commit"},
		"nobody serves the named": {nil, []gtx.Option{gtx.WithMode(gtx.ThreePhase), gtx.WithResources(gtx.Remote("away"))}, gtx.ErrVotedNo, "away"},
	} {
		t.Run(name, func(t *testing.T) {
			c := polled(t, map[gtx.ResourceID]ballot{
				"yes": func(context.Context) error { return nil },
				"no":  func(context.Context) error { return full },
			})
			if tt.coord == nil {
				tt.coord = c
			}
			err := gtx.Run(t.Context(), func(context.Context) error {
				t.Error("the work was done")
				return nil
			}, append(tt.opts, gtx.WithCoordinator(tt.coord))...)
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v", err)
			}
			if s, ok := tt.coord.(*scripted); len(c.requests) > 0 || ok && s.trace() != "" {
				t.Error("something has begun")
			}
		})
	}
}

func TestModeOfABranch(t *testing.T) {
	for _, tt := range []struct{ tx, in, want gtx.Mode }{
		{gtx.AT, gtx.AT, gtx.AT},
		{gtx.AT, gtx.XA, gtx.XA},
		{gtx.XA, gtx.AT, gtx.AT},
	} {
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			tx, _ := gtx.FromContext(ctx)
			if got := tx.ModeFor(ctx); got != tt.tx {
				t.Errorf("in %s: %s", tt.tx, got)
			}
			if got := tx.ModeFor(gtx.InMode(ctx, tt.in)); got != tt.want {
				t.Errorf("%s in %s: %s", tt.in, tt.tx, got)
			}
			return nil
		}, gtx.WithCoordinator(memory.New()), gtx.WithMode(tt.tx))
		if err != nil {
			t.Error(err)
		}
	}
	_, _, err := gtx.Join(t.Context(), memory.New(), gtx.XID{Log: 1, Epoch: 1, Seq: 32}, func(ctx context.Context) error {
		tx, _ := gtx.FromContext(ctx)
		if tx.Mode() != gtx.ThreePhase {
			t.Errorf("joined in %s", tx.Mode())
		}
		_, err := tx.Enlist("anywhere") // the coordinator knows who was named
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestModesStay: numbers and the meaning of an XID are on the wire and in databases.
func TestModesStay(t *testing.T) {
	for i, want := range []string{"AT", "XA", "3PC", "Mode(3)"} {
		if got := gtx.Mode(i).String(); got != want {
			t.Errorf("Mode(%d) is %s, want %s", i, got, want)
		}
	}
	for seq, want := range map[uint64]bool{0: false, 1: false, 15: false, 16: true, 17: false, 1 << 40: true, 1<<40 + 8: false} {
		x := gtx.XID{Log: 1, Epoch: 1, Seq: seq}
		if got := x.ThreePhase(); got != want || got && !strings.HasSuffix(x.String(), "0") {
			t.Errorf("%s is three-phase: %v", x, got)
		}
	}
}
