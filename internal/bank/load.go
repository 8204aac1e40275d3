package bank

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// ErrRefused is the error of the transfers that a Load lets fail between the
// two banks.
var ErrRefused = errors.New("refused between the two banks")

// Load runs random transfers.
type Load struct {
	Bank *Bank
	// Coordinator of the transactions; nil: gtx.Default().
	Coordinator gtx.Coordinator
	// Transfers to run in all; negative: until stopped.
	Transfers int
	// Workers run at the same time, from 1.
	Workers int
	// Fail is the share, 0 to 1, of transfers that fail after the first bank has
	// committed locally.
	Fail float64
	// Seed of the random choices, and Prefix of the transfers' IDs: both together
	// must not repeat in one Bank.
	Seed   uint64
	Prefix string
	// Between, if not nil, is called after the first bank's local COMMIT.
	Between func(gtx.XID, Transfer) error
	// Ended, if not nil, is called after each transfer with what Run returned.
	Ended func(Transfer, error)
	// Options of gtx.Run, and, if not nil, those of the n-th transfer, from 1.
	Options   []gtx.Option
	OptionsOf func(n int64) []gtx.Option
}

// Run runs the load and returns when every transfer that was begun has ended.
// Closing stop lets no more begin; nil never stops. tally is filled meanwhile.
func (l *Load) Run(ctx context.Context, stop <-chan struct{}, tally *Tally) {
	opts := l.Options
	if l.Coordinator != nil {
		opts = append([]gtx.Option{gtx.WithCoordinator(l.Coordinator)}, opts...)
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	for range max(l.Workers, 1) {
		workers.Go(func() {
			for {
				n := next.Add(1)
				if l.Transfers >= 0 && n > int64(l.Transfers) {
					return
				}
				select {
				case <-stop:
					return
				case <-ctx.Done():
					return
				default:
				}
				l.one(ctx, n, opts, tally)
			}
		})
	}
	workers.Wait()
}

// one runs the n-th transfer. Its choices depend on the seed and n only.
func (l *Load) one(ctx context.Context, n int64, opts []gtx.Option, tally *Tally) {
	r := rand.New(rand.NewPCG(l.Seed, uint64(n)))
	t := Transfer{
		ID:     fmt.Sprintf("%s%d", l.Prefix, n),
		From:   1 + r.IntN(l.Bank.Accounts()),
		To:     1 + r.IntN(l.Bank.Accounts()),
		Amount: 1 + r.Int64N(100),
	}
	refuse := r.Float64() < l.Fail

	var xid gtx.XID
	tries, local := 0, 0 // local counts tries whose first branch had committed
	begin := time.Now()
	if l.OptionsOf != nil {
		opts = append(slices.Clip(opts), l.OptionsOf(n)...)
	}
	err := gtx.Run(ctx, func(ctx context.Context) error {
		tries++
		if tx, ok := gtx.FromContext(ctx); ok {
			xid = tx.XID()
		}
		return l.Bank.Move(ctx, t, func() error {
			local++
			if l.Between != nil {
				if err := l.Between(xid, t); err != nil {
					return err
				}
			}
			if refuse {
				return ErrRefused
			}
			return nil
		})
	}, opts...)
	tally.add(t.ID, xid, err, time.Since(begin), tries, local)
	if l.Ended != nil {
		l.Ended(t, err)
	}
}
