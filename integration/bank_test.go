package integration

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/globaltx/globaltx/driver/mysql"
	"github.com/globaltx/globaltx/driver/pgsql"
	"github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/internal/bank"
	"github.com/globaltx/globaltx/undo"
)

var dialects = map[string]undo.Dialect{
	"gtx-sqlite": sqlite.Dialect{}, "gtx-mysql": mysql.Dialect{}, "gtx-postgres": pgsql.Dialect{}, "gtx-pgx": pgsql.Dialect{},
}

// allPairsEnv, "all", makes TestBank take every pair of servers.
const allPairsEnv = "GTX_TEST_PAIRS"

// pairs has every server once on either side, and every family with every other.
func pairs() (all [][2]server) {
	ring := servers()
	if os.Getenv(allPairsEnv) == "all" {
		for i, from := range ring {
			for _, to := range ring[i:] {
				all = append(all, [2]server{from, to})
			}
		}
		return all
	}
	ring[2], ring[3] = ring[3], ring[2] // so that neighbours are of two families
	for i, from := range ring {
		all = append(all, [2]server{from, ring[(i+1)%len(ring)]})
	}
	return all
}

// TestBank moves money between pairs of servers, 8 workers at once, a fifth of the
// transfers failing after the first bank has committed locally: money is conserved,
// every transfer is on both sides or on none as its caller was told, and nothing is
// left.
func TestBank(t *testing.T) {
	for _, pair := range pairs() {
		from, to := pair[0], pair[1]
		t.Run(from.name+"+"+to.name, func(t *testing.T) {
			t.Parallel()
			bus := embedded(t)
			b, err := bank.New(bank.Config{
				From: bank.Side{DB: open(t, from, from.dsn(t)), Dialect: dialects[from.driver]},
				To:   bank.Side{DB: open(t, to, to.dsn(t)), Dialect: dialects[to.driver]},
				Name: "bank", Accounts: 20,
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Create(t.Context()); err != nil {
				t.Fatal(err)
			}
			const transfers = 80
			var tally bank.Tally
			load := bank.Load{Bank: b, Coordinator: bus, Transfers: transfers, Workers: 8, Fail: 0.2, Seed: 7, Prefix: "t"}
			load.Run(t.Context(), nil, &tally)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := tally.AskUnknown(ctx, bus); err != nil {
				t.Fatal(err)
			}
			if left, err := b.AwaitNone(ctx, tally.Log(), nil); err != nil {
				t.Fatal(left, err)
			}
			if _, err := b.Check(ctx, tally.Outcomes()); err != nil {
				t.Error(err)
			}
			if c := tally.Counts(); c.Ended() != transfers || c.Committed == 0 || c.Refused == 0 {
				t.Errorf("counts %+v, problem %v", c, tally.Problem())
			}
			if err := bus.Idle(ctx); err != nil {
				t.Error(fmt.Errorf("coordinator still holds something: %w", err))
			}
		})
	}
}
