package integration

import (
	"context"
	"database/sql"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

// TestLeftoversFindsPrepared: the checker at the end of every test is worth only what it
// finds. A prepared branch counts, with or without undo rows beside it.
func TestLeftoversFindsPrepared(t *testing.T) {
	onEachXA(t, func(t *testing.T, _ server, db *sql.DB, bus *natsbus.Bus) {
		for _, mixed := range []bool{false, true} {
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				want := 1
				if mixed {
					if _, err := db.ExecContext(gtx.InMode(ctx, gtx.AT), update(2, 1)); err != nil {
						return err
					}
					want += 2 // header and undo row
				}
				if _, err := db.ExecContext(ctx, update(1, 1)); err != nil {
					return err
				}
				if got, err := leftovers(context.Background(), db); err != nil || got != want {
					t.Errorf("mixed %t: %d left (%v) before the decision, want %d", mixed, got, err, want)
				}
				return nil
			}, isolated(bus)...)
			if err != nil {
				t.Fatal(err)
			}
			clean(t, db)
		}
	})
}
