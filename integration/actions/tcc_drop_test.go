package actions

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/tcc"
	"github.com/globaltx/globaltx/natsbus"
)

// TestTCCDrop has an operator do by hand what Confirm cannot.
func TestTCCDrop(t *testing.T) {
	onEachTCC(t, func(t *testing.T, _ server, db *sql.DB, bus *natsbus.Bus) {
		at, err := driver.DatabaseOf(db)
		if err != nil {
			t.Fatal(err)
		}
		h := newHolder(t, db, bus)
		h.action.before = func(_ context.Context, _ tcc.Tx, what string, _ int) error {
			return map[bool]error{true: errNo}[what == "confirm"]
		}
		if err := gtx.Run(t.Context(), func(ctx context.Context) error { return h.handle.Try(ctx, holdArgs{ID: 1, N: 5}) }, within20(bus)...); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a failure", func() bool { return h.res.Stats().Waiting == 1 })
		all, err := tcc.List(t.Context(), db, 10)
		if err != nil || len(all) != 1 {
			t.Fatalf("list: %+v, %v", all, err)
		}
		drop := func(branch gtx.BranchID, who, reason string) error {
			return tcc.Drop(t.Context(), db, at.Dialect(), all[0].XID, branch, who, reason)
		}
		if err := drop(all[0].Branch, "", "why"); err == nil {
			t.Error("dropped by nobody")
		}
		if err := drop(all[0].Branch, "anna", ""); err == nil {
			t.Error("dropped without a reason")
		}
		if err := drop(all[0].Branch+1, "anna", "why"); !errors.Is(err, tcc.ErrNothing) {
			t.Errorf("another branch: %v", err)
		}
		var dropped error
		eventually(t, "dropped", func() bool { // a try of Confirm may be under way
			dropped = drop(all[0].Branch, "anna", "done by hand")
			return !errors.Is(dropped, gtx.ErrConflict)
		})
		if dropped != nil {
			t.Fatal(dropped)
		}
		if err := drop(all[0].Branch, "anna", "again"); !errors.Is(err, tcc.ErrNothing) {
			t.Errorf("twice: %v", err)
		}
		var n int
		err = db.QueryRowContext(t.Context(), "SELECT count(*) FROM gtx_operator WHERE action = 'drop-guard' AND who = 'anna'").Scan(&n)
		if err != nil || n != 1 {
			t.Errorf("%d records, %v", n, err)
		}
		eventually(t, "nothing waits", func() bool { return h.res.Stats().Waiting == 0 })
		becomes(t, db, 1, [3]int64{95, 5, 0}) // as Try left it
	})
}
