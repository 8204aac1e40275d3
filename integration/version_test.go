package integration

import (
	"context"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// TestTablesOfAnotherVersion: a program that meets tables of another release says
// so and touches nothing.
func TestTablesOfAnotherVersion(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		dsn := s.dsn(t)
		db := open(t, s, dsn)
		mustExec(t, db, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL)")
		mustExec(t, db, "INSERT INTO thing VALUES (1, 1)")
		update := func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 1")
			return err
		}
		if err := gtx.Run(t.Context(), update, gtx.WithCoordinator(bus)); err != nil {
			t.Fatal(err)
		}
		clean(t, db)
		mustExec(t, db, "UPDATE gtx_resource SET version = version + 1")

		// What looks before the first branch must not take the tables for its own.
		late := open(t, s, dsn)
		db = late
		var n int
		err := late.QueryRowContext(gtx.ReadCommitted(t.Context()), "SELECT n FROM thing WHERE id = 1").Scan(&n)
		if err == nil || !strings.Contains(err.Error(), "have version 2") {
			t.Errorf("a read of committed rows: %v", err)
		}
		err = gtx.Run(t.Context(), update, gtx.WithCoordinator(bus))
		if err == nil || !strings.Contains(err.Error(), "have version 2, this program knows version 1") {
			t.Errorf("got %v", err)
		}
		if err := late.QueryRowContext(t.Context(), "SELECT n FROM thing WHERE id = 1").Scan(&n); err != nil || n != 2 {
			t.Errorf("n = %d, %v", n, err)
		}
		mustExec(t, late, "UPDATE gtx_resource SET version = version - 1")
		if err := gtx.Run(t.Context(), update, gtx.WithCoordinator(bus)); err != nil {
			t.Errorf("after the update: %v", err)
		}
	})
}
