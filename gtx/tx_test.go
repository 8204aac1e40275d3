package gtx_test

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
)

func TestNestedRunJoins(t *testing.T) {
	c := &scripted{}
	err := gtx.Run(t.Context(), func(outer context.Context) error {
		a, _ := gtx.FromContext(outer)
		if err := work(outer); err != nil {
			return err
		}
		return gtx.Run(outer, func(inner context.Context) error {
			if b, _ := gtx.FromContext(inner); a != b {
				t.Errorf("inner transaction: got %v, want %v", b.XID(), a.XID())
			}
			return work(inner)
		})
	}, gtx.WithCoordinator(c))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.trace(), "begin commit"; got != want {
		t.Errorf("calls: got %q, want %q", got, want)
	}
	if len(c.confirmed) != 2 {
		t.Errorf("confirmed: got %v, want both branches", c.confirmed)
	}
}

// TestNestedRunDoesNotRetry holds that only the outermost Run repeats: the inner
// one cannot undo what was done before it.
func TestNestedRunDoesNotRetry(t *testing.T) {
	inner := 0
	c := &scripted{}
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		return gtx.Run(ctx, func(context.Context) error {
			inner++
			return gtx.ErrConflict
		})
	}, gtx.WithCoordinator(c), gtx.WithRetries(0))
	if !errors.Is(err, gtx.ErrConflict) || inner != 1 {
		t.Errorf("got %v after %d inner calls, want ErrConflict after 1", err, inner)
	}
	if got, want := c.trace(), "begin rollback"; got != want {
		t.Errorf("calls: got %q, want %q", got, want)
	}
}

func TestDetach(t *testing.T) {
	type key struct{}
	c := &scripted{}
	err := gtx.Run(context.WithValue(t.Context(), key{}, "kept"), func(ctx context.Context) error {
		outer, _ := gtx.FromContext(ctx)
		ctx = gtx.Detach(ctx)
		if _, ok := gtx.FromContext(ctx); ok {
			t.Error("detached context carries a transaction")
		}
		if ctx.Value(key{}) != "kept" {
			t.Error("detached context lost another value")
		}
		return gtx.Run(ctx, func(ctx context.Context) error {
			if inner, _ := gtx.FromContext(ctx); inner.XID() == outer.XID() {
				t.Error("Run in a detached context joined")
			}
			return work(ctx)
		}, gtx.WithCoordinator(c))
	}, gtx.WithCoordinator(c))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.trace(), "begin begin commit rollback"; got != want {
		t.Errorf("calls: got %q, want %q", got, want)
	}
}

// TestAfterTheEnd holds that a context which outlives its transaction is refused,
// and that late reports change nothing.
func TestAfterTheEnd(t *testing.T) {
	c := &scripted{}
	var kept context.Context
	var ref gtx.BranchRef
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		kept = ctx
		tx, _ := gtx.FromContext(ctx)
		ref = must(tx.Enlist("db"))
		return errors.New("stop")
	}, gtx.WithCoordinator(c))
	if err == nil {
		t.Fatal("got nil")
	}
	tx, _ := gtx.FromContext(kept)
	tx.Confirm(ref)
	if err := tx.Active(); !errors.Is(err, gtx.ErrEnded) {
		t.Errorf("Active: got %v, want ErrEnded", err)
	}
	if _, err := tx.Enlist("db"); !errors.Is(err, gtx.ErrEnded) {
		t.Errorf("Enlist: got %v, want ErrEnded", err)
	}
	err = gtx.Run(kept, func(context.Context) error {
		t.Error("fn was called")
		return nil
	}, gtx.WithCoordinator(c))
	if !errors.Is(err, gtx.ErrEnded) {
		t.Errorf("Run: got %v, want ErrEnded", err)
	}
	if got, want := c.trace(), "begin rollback"; got != want {
		t.Errorf("calls: got %q, want %q", got, want)
	}
}

func TestJoin(t *testing.T) {
	c := &scripted{}
	xid := gtx.XID{Log: 1, Epoch: 1, Seq: 1}
	var wantConfirmed, wantDead []gtx.BranchRef
	errWork := errors.New("later step")
	join := func() (confirmed, dead []gtx.BranchRef, err error) {
		return gtx.Join(t.Context(), c, xid, func(ctx context.Context) error {
			tx, _ := gtx.FromContext(ctx)
			if tx.XID() != xid {
				t.Errorf("joined %v, want %v", tx.XID(), xid)
			}
			a, b := must(tx.Enlist("a")), must(tx.Enlist("b"))
			must(tx.Enlist("left open"))
			tx.Confirm(a)
			tx.Dead(b)
			wantConfirmed, wantDead = []gtx.BranchRef{a}, []gtx.BranchRef{b}
			return errWork
		})
	}
	confirmed, dead, err := join()
	if !errors.Is(err, errWork) {
		t.Errorf("got %v, want the error of fn", err)
	}
	if d := gocmp.Diff(wantConfirmed, confirmed); d != "" {
		t.Errorf("confirmed (-want +got):\n%s", d)
	}
	if d := gocmp.Diff(wantDead, dead); d != "" {
		t.Errorf("dead (-want +got):\n%s", d)
	}
	if got := c.trace(); got != "" {
		t.Errorf("Join decided: %q", got)
	}

	// The beginner reports them with its own.
	err = gtx.Run(t.Context(), func(ctx context.Context) error {
		tx, _ := gtx.FromContext(ctx)
		tx.Report(confirmed, dead)
		return nil
	}, gtx.WithCoordinator(c))
	if err != nil {
		t.Fatal(err)
	}
	if d := gocmp.Diff(wantConfirmed, c.confirmed); d != "" {
		t.Errorf("confirmed at the coordinator (-want +got):\n%s", d)
	}
	if d := gocmp.Diff(wantDead, c.dead); d != "" {
		t.Errorf("dead at the coordinator (-want +got):\n%s", d)
	}
}

// TestConcurrentBranches holds that no branch is lost when fn works in several
// goroutines.
func TestConcurrentBranches(t *testing.T) {
	const workers, each = 8, 50
	c := &scripted{}
	var mu sync.Mutex
	var want []gtx.BranchRef
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		tx, _ := gtx.FromContext(ctx)
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for range each {
					ref := must(tx.Enlist("db"))
					tx.Confirm(ref)
					mu.Lock()
					want = append(want, ref)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		return nil
	}, gtx.WithCoordinator(c))
	if err != nil {
		t.Fatal(err)
	}
	byBranch := func(a, b gtx.BranchRef) int { return cmp.Compare(a.Branch, b.Branch) }
	slices.SortFunc(want, byBranch)
	slices.SortFunc(c.confirmed, byBranch)
	if d := gocmp.Diff(want, c.confirmed); d != "" || len(want) != workers*each {
		t.Errorf("confirmed %d of %d (-want +got):\n%s", len(c.confirmed), len(want), d)
	}
}

func TestErrorTexts(t *testing.T) {
	u := &gtx.UnsupportedError{Code: "no-key", Reason: "table has no primary key", Hint: "add one"}
	if !errors.Is(u, gtx.ErrUnsupported) || errors.Is(u, gtx.ErrUnknown) {
		t.Error("UnsupportedError matches the wrong sentinel")
	}
	if got, want := u.Error(), "gtx: not supported in a global transaction: table has no primary key; add one"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	cause := context.DeadlineExceeded
	e := &gtx.UnknownError{XID: gtx.XID{Log: 1, Epoch: 1, Seq: 1}, Err: cause}
	if !errors.Is(e, gtx.ErrUnknown) || !errors.Is(e, cause) || errors.Is(e, gtx.ErrAborted) {
		t.Error("UnknownError matches the wrong errors")
	}
}
