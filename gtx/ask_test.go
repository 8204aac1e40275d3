package gtx_test

import (
	"context"
	"errors"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// TestAsk has a branch whose local transaction somebody else commits.
func TestAsk(t *testing.T) {
	broken := errors.New("the database is away")
	tests := map[string]struct {
		has    func(context.Context) (bool, error)
		settle func(*gtx.Tx, gtx.BranchRef)
		want   error
		trace  string
		asked  bool
	}{
		"committed":     {has: func(context.Context) (bool, error) { return true, nil }, trace: "begin commit", asked: true},
		"not committed": {has: func(context.Context) (bool, error) { return false, nil }, want: gtx.ErrNotCommitted, trace: "begin rollback", asked: true},
		"not known":     {has: func(context.Context) (bool, error) { return true, broken }, want: broken, trace: "begin rollback", asked: true},
		"confirmed before": {
			has:    func(context.Context) (bool, error) { return false, nil },
			settle: (*gtx.Tx).Confirm, trace: "begin commit",
		},
		"dead before": {
			has:    func(context.Context) (bool, error) { return true, nil },
			settle: (*gtx.Tx).Dead, trace: "begin commit",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, asked := &scripted{}, false
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				tx, _ := gtx.FromContext(ctx)
				ref := must(tx.Enlist("r"))
				tx.Ask(ref, func(ctx context.Context) (bool, error) {
					asked = true
					if _, ok := ctx.Deadline(); !ok || ctx.Err() != nil {
						t.Errorf("asked without a bound, or too late: %v", ctx.Err())
					}
					return tt.has(ctx)
				})
				if asked {
					t.Error("asked before the function has returned")
				}
				if tt.settle != nil {
					tt.settle(tx, ref)
				}
				return nil
			}, gtx.WithCoordinator(c))
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if got := c.trace(); got != tt.trace || asked != tt.asked {
				t.Errorf("calls %q, asked %t; want %q, %t", got, asked, tt.trace, tt.asked)
			}
		})
	}
}

// TestAskOfAFailure asks nobody where the transaction aborts anyway.
func TestAskOfAFailure(t *testing.T) {
	no := errors.New("no")
	for name, fn := range map[string]func(cancel func()) error{
		"error":     func(func()) error { return no },
		"cancelled": func(cancel func()) error { cancel(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c := &scripted{}
			err := gtx.Run(ctx, func(ctx context.Context) error {
				tx, _ := gtx.FromContext(ctx)
				tx.Ask(must(tx.Enlist("r")), func(context.Context) (bool, error) {
					t.Error("asked")
					return true, nil
				})
				return fn(cancel)
			}, gtx.WithCoordinator(c))
			if err == nil || c.trace() != "begin rollback" {
				t.Errorf("got %v after %q", err, c.trace())
			}
		})
	}
}

// TestAskOfSeveral confirms all, or none of the rest after the first that has not committed.
func TestAskOfSeveral(t *testing.T) {
	c := &scripted{}
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		tx, _ := gtx.FromContext(ctx)
		for range 3 {
			tx.Ask(must(tx.Enlist("r")), func(context.Context) (bool, error) { return true, nil })
		}
		return nil
	}, gtx.WithCoordinator(c))
	if err != nil || len(c.confirmed) != 3 {
		t.Errorf("got %v, confirmed %v", err, c.confirmed)
	}
}

// TestAskInJoin settles the branches of a joined process before they are handed back.
func TestAskInJoin(t *testing.T) {
	for _, committed := range []bool{true, false} {
		xid := gtx.XID{Log: 1, Epoch: 1, Seq: 1}
		var after *gtx.Tx
		confirmed, dead, err := gtx.Join(t.Context(), &scripted{}, xid, func(ctx context.Context) error {
			after, _ = gtx.FromContext(ctx)
			after.Ask(must(after.Enlist("r")), func(context.Context) (bool, error) { return committed, nil })
			return nil
		})
		if committed != (err == nil) || !committed && !errors.Is(err, gtx.ErrNotCommitted) {
			t.Errorf("committed %t: %v", committed, err)
		}
		if len(confirmed) != map[bool]int{true: 1}[committed] || len(dead) != 0 {
			t.Errorf("committed %t: reported %v, %v", committed, confirmed, dead)
		}
		after.Ask(gtx.BranchRef{}, func(context.Context) (bool, error) { t.Error("asked after the end"); return true, nil })
	}
}
