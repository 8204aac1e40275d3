package gtx_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
)

// scripted is a coordinator in memory. A function that is set answers in place
// of the default, which plays a healthy coordinator.
type scripted struct {
	begin    func(context.Context) error
	commit   func(ctx context.Context, confirmed, dead []gtx.BranchRef) (gtx.Status, error)
	rollback func(context.Context) (gtx.Status, error)
	outcome  gtx.Status

	// mu protects the following.
	mu        sync.Mutex
	calls     []string
	begun     uint64
	requests  []gtx.BeginRequest
	confirmed []gtx.BranchRef
	dead      []gtx.BranchRef
	awaited   [][2]gtx.XID // waiter and holder
}

var _ gtx.Coordinator = (*scripted)(nil)

func (c *scripted) called(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, name)
}

// trace gives the calls so far, in order, as one text.
func (c *scripted) trace() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.calls, " ")
}

func (c *scripted) Begin(ctx context.Context, req gtx.BeginRequest) (gtx.XID, error) {
	c.called("begin")
	if c.begin != nil {
		if err := c.begin(ctx); err != nil {
			return gtx.XID{}, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun++
	c.requests = append(c.requests, req)
	return gtx.XID{Log: 1, Epoch: 1, Seq: c.begun}, nil
}

func (c *scripted) Register(context.Context, gtx.XID, gtx.BranchRef) error {
	c.called("register")
	return nil
}

func (c *scripted) Commit(ctx context.Context, _ gtx.XID, confirmed, dead []gtx.BranchRef) (gtx.Status, error) {
	c.called("commit")
	c.mu.Lock()
	c.confirmed, c.dead = confirmed, dead
	c.mu.Unlock()
	if c.commit != nil {
		return c.commit(ctx, confirmed, dead)
	}
	return gtx.Committed, nil
}

func (c *scripted) Rollback(ctx context.Context, _ gtx.XID) (gtx.Status, error) {
	c.called("rollback")
	if c.rollback != nil {
		return c.rollback(ctx)
	}
	return gtx.Aborted, nil
}

func (c *scripted) Outcome(context.Context, gtx.XID) (gtx.Status, error) {
	c.called("outcome")
	return c.outcome, nil
}

func (c *scripted) Await(_ context.Context, waiter, holder gtx.XID) (gtx.Status, error) {
	c.called("await")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.awaited = append(c.awaited, [2]gtx.XID{waiter, holder})
	return c.outcome, nil
}

func (c *scripted) Serve(gtx.ResourceID, gtx.Resolver) (func(), error) {
	return func() {}, nil
}

func (c *scripted) Acknowledge(context.Context, gtx.XID, gtx.ResourceID) error { return nil }

// work opens and confirms one branch, as a driver does around a local COMMIT.
func work(ctx context.Context) error {
	tx, ok := gtx.FromContext(ctx)
	if !ok {
		return errors.New("context carries no transaction")
	}
	ref, err := tx.Enlist("db")
	if err != nil {
		return err
	}
	tx.Confirm(ref)
	return nil
}

func TestRunCommits(t *testing.T) {
	c := &scripted{}
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		tx, ok := gtx.FromContext(ctx)
		if !ok || tx.XID().IsZero() || tx.Coordinator() != gtx.Coordinator(c) {
			t.Errorf("transaction in the context: got %v, %v", tx, ok)
		}
		tx.Dead(must(tx.Enlist("other")))
		return work(ctx)
	}, gtx.WithCoordinator(c), gtx.WithName("transfer"), gtx.WithTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.trace(), "begin commit"; got != want {
		t.Errorf("calls: got %q, want %q", got, want)
	}
	if len(c.confirmed) != 1 || c.confirmed[0].Resource != "db" || len(c.dead) != 1 || c.dead[0].Resource != "other" {
		t.Errorf("reported: got confirmed %v, dead %v", c.confirmed, c.dead)
	}
	if diff := cmp.Diff(gtx.BeginRequest{Name: "transfer", Timeout: time.Minute}, c.requests[0]); diff != "" {
		t.Errorf("begin request: %s", diff)
	}
}

// TestRunEnds holds the three answers of Run: nil, unknown, anything else.
func TestRunEnds(t *testing.T) {
	errWork := errors.New("no money")
	for _, tc := range []struct {
		name  string
		coord *scripted
		fn    func(context.Context) error
		want  error // nil: committed
		trace string
	}{
		{
			name: "error of fn", coord: &scripted{},
			fn: func(context.Context) error { return errWork }, want: errWork, trace: "begin rollback",
		},
		{
			name: "error of fn, coordinator gone", fn: func(context.Context) error { return errWork },
			coord: &scripted{rollback: func(context.Context) (gtx.Status, error) {
				return gtx.Pending, fmt.Errorf("rollback: %w", gtx.ErrUnavailable)
			}},
			want: errWork, trace: "begin rollback",
		},
		{
			name: "begin without an answer", fn: work,
			coord: &scripted{begin: func(context.Context) error { return gtx.ErrUnavailable }},
			want:  gtx.ErrUnavailable, trace: "begin",
		},
		{
			name: "nothing done", coord: &scripted{},
			fn: func(context.Context) error { return nil }, trace: "begin rollback",
		},
		{
			name: "nothing done, coordinator gone", fn: func(context.Context) error { return nil },
			coord: &scripted{rollback: func(context.Context) (gtx.Status, error) { return gtx.Pending, gtx.ErrUnavailable }},
			trace: "begin rollback",
		},
		{
			name: "only dead branches", coord: &scripted{},
			fn: func(ctx context.Context) error {
				tx, _ := gtx.FromContext(ctx)
				tx.Dead(must(tx.Enlist("db")))
				return nil
			},
			trace: "begin commit",
		},
		{
			name: "coordinator refuses", fn: work, coord: commitAnswers(gtx.Aborted, nil),
			want: gtx.ErrAborted, trace: "begin commit",
		},
		{
			name: "commit without an answer", fn: work, coord: commitAnswers(gtx.Pending, gtx.ErrUnavailable),
			want: gtx.ErrUnknown, trace: "begin commit",
		},
		{
			name: "commit answers an error and a status", fn: work, coord: commitAnswers(gtx.Committed, errors.New("torn reply")),
			want: gtx.ErrUnknown, trace: "begin commit",
		},
		{
			name: "commit pending", fn: work, coord: commitAnswers(gtx.Pending, nil),
			want: gtx.ErrUnknown, trace: "begin commit",
		},
		{
			name: "commit expired is not aborted (rule C5)", fn: work, coord: commitAnswers(gtx.Expired, nil),
			want: gtx.ErrUnknown, trace: "begin commit",
		},
		{
			name: "unknown is never tried again", fn: work, coord: commitAnswers(gtx.Pending, gtx.ErrConflict),
			want: gtx.ErrUnknown, trace: "begin commit",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := gtx.Run(t.Context(), tc.fn, gtx.WithCoordinator(tc.coord))
			if !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if errors.Is(err, gtx.ErrUnknown) {
				var u *gtx.UnknownError
				if !errors.As(err, &u) || u.XID.IsZero() || !strings.Contains(err.Error(), u.XID.String()) {
					t.Errorf("%v does not tell which transaction", err)
				}
			}
			if got := tc.coord.trace(); got != tc.trace {
				t.Errorf("calls: got %q, want %q", got, tc.trace)
			}
		})
	}
}

// TestRunPanics holds that a panic aborts and goes on with its own value.
func TestRunPanics(t *testing.T) {
	c := &scripted{}
	value := errors.New("boom")
	func() {
		defer func() {
			if got := recover(); got != value { //nolint:errorlint // the very same value
				t.Errorf("recovered %v, want %v", got, value)
			}
		}()
		_ = gtx.Run(t.Context(), func(ctx context.Context) error {
			_ = work(ctx)
			panic(value)
		}, gtx.WithCoordinator(c))
	}()
	if got, want := c.trace(), "begin rollback"; got != want {
		t.Errorf("calls: got %q, want %q", got, want)
	}
}

// TestRunGoexit holds the same for runtime.Goexit, which t.FailNow uses.
func TestRunGoexit(t *testing.T) {
	c := &scripted{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = gtx.Run(t.Context(), func(ctx context.Context) error {
			_ = work(ctx)
			runtime.Goexit()
			return nil
		}, gtx.WithCoordinator(c))
		t.Error("Run came back from Goexit")
	}()
	<-done
	if got, want := c.trace(), "begin rollback"; got != want {
		t.Errorf("calls: got %q, want %q", got, want)
	}
}

func TestRunOpenBranchAborts(t *testing.T) {
	c := &scripted{}
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		tx, _ := gtx.FromContext(ctx)
		must(tx.Enlist("db"))
		return work(ctx)
	}, gtx.WithCoordinator(c))
	if err == nil || errors.Is(err, gtx.ErrUnknown) || !strings.Contains(err.Error(), "1 local transaction(s) neither committed nor rolled back") {
		t.Errorf("got %v", err)
	}
	if got, want := c.trace(), "begin rollback"; got != want {
		t.Errorf("calls: got %q, want %q", got, want)
	}
}

func TestRunWithoutCoordinator(t *testing.T) {
	gtx.SetDefault(nil)
	err := gtx.Run(t.Context(), func(context.Context) error {
		t.Error("fn was called")
		return nil
	})
	if !errors.Is(err, gtx.ErrNoCoordinator) {
		t.Errorf("Run: got %v, want ErrNoCoordinator", err)
	}
	if _, err := gtx.Outcome(t.Context(), gtx.XID{}); !errors.Is(err, gtx.ErrNoCoordinator) {
		t.Errorf("Outcome: got %v, want ErrNoCoordinator", err)
	}
}

func TestDefaultCoordinator(t *testing.T) {
	c := &scripted{outcome: gtx.Expired}
	gtx.SetDefault(c)
	t.Cleanup(func() { gtx.SetDefault(nil) })
	if err := gtx.Run(t.Context(), work); err != nil {
		t.Errorf("Run: %v", err)
	}
	if st, err := gtx.Outcome(t.Context(), gtx.XID{}); st != gtx.Expired || !errors.Is(err, gtx.ErrExpired) {
		t.Errorf("Outcome: got %v, %v, want expired and ErrExpired", st, err)
	}
	c.outcome = gtx.Committed
	if st, err := gtx.Outcome(t.Context(), gtx.XID{}); st != gtx.Committed || err != nil {
		t.Errorf("Outcome: got %v, %v, want committed", st, err)
	}
	if got, want := c.trace(), "begin commit outcome outcome"; got != want {
		t.Errorf("calls: got %q, want %q", got, want)
	}
}

func commitAnswers(st gtx.Status, err error) *scripted {
	return &scripted{commit: func(context.Context, []gtx.BranchRef, []gtx.BranchRef) (gtx.Status, error) {
		return st, err
	}}
}

func must(ref gtx.BranchRef, err error) gtx.BranchRef {
	if err != nil {
		panic(err)
	}
	return ref
}

// waitFor blocks like a call to a coordinator that never answers.
func waitFor(ctx context.Context) error {
	<-ctx.Done()
	return fmt.Errorf("%w: %w", gtx.ErrUnavailable, ctx.Err())
}
