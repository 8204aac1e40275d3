package gtx_test

import (
	"context"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/internal/memory"
)

// TestModeOfAnotherTransaction: what a service begins beside the transaction that it was called in has its own mode.
func TestModeOfAnotherTransaction(t *testing.T) {
	c := memory.New()
	for from, want := range map[gtx.Mode]gtx.Mode{gtx.AT: gtx.XA, gtx.XA: gtx.AT} {
		_, _, _ = gtx.Join(gtx.InMode(context.Background(), from), c, gtx.XID{Log: 7, Epoch: 1, Seq: 1}, func(ctx context.Context) error {
			return gtx.Run(gtx.Detach(ctx), func(ctx context.Context) error {
				tx, _ := gtx.FromContext(ctx)
				if got := tx.ModeFor(ctx); got != want {
					t.Errorf("called in mode %s, began one of mode %s, its branches are %s", from, want, got)
				}
				return nil
			}, gtx.WithCoordinator(c), gtx.WithMode(want))
		})
	}
}
