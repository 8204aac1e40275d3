package integration

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// TestBeginByText: a local transaction that the program has begun by a text is not
// committed by a global transaction on the same connection, which is refused; when it
// has ended the connection serves both again.
func TestBeginByText(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		if s.name == "sqlite" { // which has no BEGIN inside of a local transaction
			return
		}
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		db.SetMaxOpenConns(1)
		mustExec(t, db, "CREATE TABLE item (id INT PRIMARY KEY)")
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		do := func(text string) {
			t.Helper()
			if _, err := conn.ExecContext(t.Context(), text); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
		}
		alone := func(ctx context.Context) error {
			_, err := conn.ExecContext(ctx, "INSERT INTO item VALUES (2)")
			return err
		}
		inTx := func(ctx context.Context) error {
			tx, err := conn.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			if _, err := tx.ExecContext(ctx, "INSERT INTO item VALUES (2)"); err != nil {
				return err
			}
			return tx.Commit()
		}
		for _, c := range []struct {
			begin, end string
			first      int // rows of the text's transaction that stay
			work       func(context.Context) error
		}{
			{"BEGIN", "ROLLBACK", 0, alone},
			{"begin;", "rollback;", 0, inTx},
			{"/* by hand */ START TRANSACTION", "COMMIT", 1, alone},
			{"BEGIN", "COMMIT", 1, inTx},
		} {
			do("DELETE FROM item")
			do(c.begin)
			do("INSERT INTO item VALUES (1)")
			var refused *gtx.UnsupportedError
			if err := gtx.Run(t.Context(), c.work, gtx.WithCoordinator(bus)); !errors.As(err, &refused) || refused.Code != "plain-tx" {
				t.Errorf("%s: %v", c.begin, err)
			}
			do(c.end)
			if n := items(t, conn); n != c.first {
				t.Errorf("%s, %s: %d rows, want %d", c.begin, c.end, n, c.first)
			}
			if err := gtx.Run(t.Context(), c.work, gtx.WithCoordinator(bus)); err != nil {
				t.Errorf("after %s: %v", c.end, err)
			}
			if n := items(t, conn); n != c.first+1 {
				t.Errorf("%s, %s and a global transaction: %d rows, want %d", c.begin, c.end, n, c.first+1)
			}
		}
		conn.Close()
	})
}

func items(t *testing.T, conn *sql.Conn) (n int) {
	t.Helper()
	if err := conn.QueryRowContext(t.Context(), "SELECT count(*) FROM item").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
