package gtx_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// The tests here run in virtual time.

func TestRunRetriesConflicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &scripted{}
		start := time.Now()
		seen := map[gtx.XID]bool{}
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			tx, _ := gtx.FromContext(ctx)
			seen[tx.XID()] = true
			if len(seen) < 4 {
				return fmt.Errorf("update account: %w", gtx.ErrConflict)
			}
			return work(ctx)
		}, gtx.WithCoordinator(c))
		if err != nil {
			t.Fatal(err)
		}
		if len(seen) != 4 {
			t.Errorf("got %d transactions, want a new one for each of 4 tries", len(seen))
		}
		if got, want := c.trace(), "begin rollback begin rollback begin rollback begin commit"; got != want {
			t.Errorf("calls: got %q, want %q", got, want)
		}
		// Pauses of 1 to 6, 11 and 21 ms.
		if d := time.Since(start); d < 3*time.Millisecond || d > 38*time.Millisecond {
			t.Errorf("paused %s in all", d)
		}
	})
}

func TestRunGivesUpAfterRetries(t *testing.T) {
	for _, retries := range []int{0, 3, gtx.DefaultRetries} {
		synctest.Test(t, func(t *testing.T) {
			calls := 0
			start := time.Now()
			err := gtx.Run(t.Context(), func(context.Context) error {
				calls++
				return gtx.ErrConflict
			}, gtx.WithCoordinator(&scripted{}), gtx.WithRetries(retries))
			if !errors.Is(err, gtx.ErrConflict) {
				t.Errorf("got %v, want ErrConflict", err)
			}
			if calls != retries+1 {
				t.Errorf("fn ran %d times, want %d", calls, retries+1)
			}
			if d := time.Since(start); d > time.Duration(retries)*501*time.Millisecond {
				t.Errorf("paused %s in all", d)
			}
		})
	}
}

// TestRunTimeout holds that the deadline of the transaction reaches fn, and that
// work which ignores it is not committed.
func TestRunTimeout(t *testing.T) {
	for _, tc := range []struct {
		name string
		fn   func(context.Context) error
	}{
		{"fn obeys", waitFor},
		{"fn ignores", func(ctx context.Context) error {
			<-ctx.Done()
			return nil
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &scripted{}
				start := time.Now()
				err := gtx.Run(t.Context(), tc.fn, gtx.WithCoordinator(c), gtx.WithTimeout(3*time.Second))
				if !errors.Is(err, gtx.ErrAborted) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, gtx.ErrUnknown) {
					t.Errorf("got %v, want ErrAborted and DeadlineExceeded", err)
				}
				if d := time.Since(start); d != 3*time.Second {
					t.Errorf("took %s, want 3s", d)
				}
				if got, want := c.trace(), "begin rollback"; got != want {
					t.Errorf("calls: got %q, want %q", got, want)
				}
			})
		})
	}
}

func TestRunDefaultTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &scripted{}
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			if d, ok := ctx.Deadline(); !ok || time.Until(d) != gtx.DefaultTimeout {
				t.Errorf("deadline of fn: got %v, %v", time.Until(d), ok)
			}
			return work(ctx)
		}, gtx.WithCoordinator(c), gtx.WithTimeout(-1))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.requests[0].Timeout; got != gtx.DefaultTimeout {
			t.Errorf("timeout at the coordinator: got %s", got)
		}
	})
}

// TestRunCancelled cancels the caller's context at every step. None may answer
// nil unless the coordinator has said committed.
func TestRunCancelled(t *testing.T) {
	type step struct {
		name  string
		prep  func(c *scripted, cancel func())
		fn    func(ctx context.Context, cancel func()) error
		want  error // nil: committed
		trace string
	}
	ignore := func(ctx context.Context, _ func()) error { return work(ctx) }
	for _, tc := range []step{
		{
			name: "before begin", prep: func(_ *scripted, cancel func()) { cancel() }, fn: ignore,
			want: context.Canceled,
		},
		{
			name: "in begin, no answer", fn: ignore, want: gtx.ErrUnavailable, trace: "begin",
			prep: func(c *scripted, cancel func()) {
				c.begin = func(ctx context.Context) error { cancel(); return waitFor(ctx) }
			},
		},
		{
			name: "in begin, answered", fn: ignore, want: context.Canceled, trace: "begin rollback",
			prep: func(c *scripted, cancel func()) {
				c.begin = func(context.Context) error { cancel(); return nil }
			},
		},
		{
			name: "in fn, which ignores it", want: context.Canceled, trace: "begin rollback",
			fn: func(ctx context.Context, cancel func()) error { cancel(); return work(ctx) },
		},
		{
			name: "in fn, conflict", want: gtx.ErrConflict, trace: "begin rollback",
			fn: func(_ context.Context, cancel func()) error { cancel(); return gtx.ErrConflict },
		},
		{
			name: "in rollback", want: gtx.ErrConflict, trace: "begin rollback",
			fn: func(context.Context, func()) error { return gtx.ErrConflict },
			prep: func(c *scripted, cancel func()) {
				c.rollback = func(ctx context.Context) (gtx.Status, error) { cancel(); return gtx.Aborted, ctx.Err() }
			},
		},
		{
			name: "in commit, no answer", fn: ignore, want: gtx.ErrUnknown, trace: "begin commit",
			prep: func(c *scripted, cancel func()) {
				c.commit = func(ctx context.Context, _, _ []gtx.BranchRef) (gtx.Status, error) {
					cancel()
					return gtx.Pending, waitFor(ctx)
				}
			},
		},
		{
			name: "in commit, answered committed", fn: ignore, trace: "begin commit",
			prep: func(c *scripted, cancel func()) {
				c.commit = func(ctx context.Context, _, _ []gtx.BranchRef) (gtx.Status, error) {
					cancel()
					return gtx.Committed, ctx.Err()
				}
			},
		},
		{
			name: "in commit, answered aborted", fn: ignore, want: gtx.ErrAborted, trace: "begin commit",
			prep: func(c *scripted, cancel func()) {
				c.commit = func(context.Context, []gtx.BranchRef, []gtx.BranchRef) (gtx.Status, error) {
					cancel()
					return gtx.Aborted, nil
				}
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				c := &scripted{}
				if tc.prep != nil {
					tc.prep(c, cancel)
				}
				err := gtx.Run(ctx, func(ctx context.Context) error { return tc.fn(ctx, cancel) }, gtx.WithCoordinator(c))
				if !errors.Is(err, tc.want) {
					t.Errorf("got %v, want %v", err, tc.want)
				}
				if got := c.trace(); got != tc.trace {
					t.Errorf("calls: got %q, want %q", got, tc.trace)
				}
			})
		})
	}
}

// TestRunCancelledInPause holds that a pause before the next try ends with the
// caller's context, with the error of the last try.
func TestRunCancelledInPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := &scripted{}
		calls := 0
		err := gtx.Run(ctx, func(context.Context) error {
			if calls++; calls == 1 {
				// At least 1 ms of pause follows.
				time.AfterFunc(time.Microsecond, cancel)
			}
			return gtx.ErrConflict
		}, gtx.WithCoordinator(c))
		if !errors.Is(err, gtx.ErrConflict) || calls != 1 {
			t.Errorf("got %v after %d calls, want ErrConflict after 1", err, calls)
		}
	})
}

// TestRunBoundsSettling holds that a coordinator which never answers does not
// hold the caller for ever.
func TestRunBoundsSettling(t *testing.T) {
	silent := func(ctx context.Context, _, _ []gtx.BranchRef) (gtx.Status, error) { return gtx.Pending, waitFor(ctx) }
	for _, tc := range []struct {
		name string
		fn   func(context.Context) error
		want error
	}{
		{"commit", work, gtx.ErrUnknown},
		{"rollback", func(context.Context) error { return gtx.ErrDirty }, gtx.ErrDirty},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &scripted{commit: silent, rollback: func(ctx context.Context) (gtx.Status, error) { return silent(ctx, nil, nil) }}
				start := time.Now()
				err := gtx.Run(t.Context(), tc.fn, gtx.WithCoordinator(c))
				if !errors.Is(err, tc.want) {
					t.Errorf("got %v, want %v", err, tc.want)
				}
				if d := time.Since(start); d != 10*time.Second {
					t.Errorf("took %s, want 10s", d)
				}
			})
		})
	}
}
