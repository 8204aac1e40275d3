package integration

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// TestValueThatItsTypeLost: a before image holds a value that the column's type has
// lost meanwhile. The row is stuck and shown, not tried for ever, and comes back
// when the type has the value again.
func TestValueThatItsTypeLost(t *testing.T) {
	for _, s := range servers()[3:] {
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			db := open(t, s, s.dsn(t)+"&gtx_scan_interval=20ms")
			mustExec(t, db, "CREATE TYPE mood AS ENUM ('good', 'bad')")
			mustExec(t, db, "CREATE TABLE thing (id bigint PRIMARY KEY, m mood)")
			mustExec(t, db, "INSERT INTO thing VALUES (1, 'good')")
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				if _, err := db.ExecContext(ctx, "UPDATE thing SET m = 'bad' WHERE id = 1"); err != nil {
					return err
				}
				mustExec(t, db, "ALTER TYPE mood RENAME VALUE 'good' TO 'fine'")
				return errUndo
			}, gtx.WithCoordinator(bus))
			if !errors.Is(err, errUndo) {
				t.Fatal(err)
			}
			deadline := time.Now().Add(30 * time.Second)
			for stuck := 0; stuck == 0; {
				if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM gtx_branch WHERE state = 1").Scan(&stuck); err != nil {
					t.Fatal(err)
				}
				if time.Now().After(deadline) {
					t.Fatal("the row is not stuck")
				}
			}
			mustExec(t, db, "ALTER TYPE mood RENAME VALUE 'fine' TO 'good'")
			clean(t, db)
			var m string
			if err := db.QueryRowContext(t.Context(), "SELECT m FROM thing").Scan(&m); err != nil || m != "good" {
				t.Errorf("m = %q, %v", m, err)
			}
		})
	}
}
