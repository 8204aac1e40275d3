package integration

import (
	"context"
	"database/sql/driver"
	"errors"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// TestBeginWhileOpen: database/sql can begin on a sql.Conn while it is still about to
// roll back the local transaction of a cancelled context. What begins then must not
// take the connection over: the ROLLBACK would undo the second one's work, unseen.
func TestBeginWhileOpen(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		mustExec(t, db, "CREATE TABLE item (id INT PRIMARY KEY)")
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			conn, err := db.Conn(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			for _, first := range []context.Context{ctx, t.Context()} {
				if err := conn.Raw(func(c any) error { return beginTwice(t, c, first, ctx) }); err != nil {
					return err
				}
			}
			return nil
		}, gtx.WithCoordinator(bus))
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if err := db.QueryRow("SELECT count(*) FROM item").Scan(&n); err != nil || n != 1 {
			t.Errorf("%d rows, %v", n, err)
		}
	})
}

// beginTwice begins with both contexts. The first may insert a row; in an open
// transaction it does so under the first's rules.
func beginTwice(t *testing.T, c any, first, second context.Context) error {
	t.Helper()
	tx, err := c.(driver.ConnBeginTx).BeginTx(first, driver.TxOptions{})
	if err != nil {
		return err
	}
	if _, ok := gtx.FromContext(first); ok {
		if _, err := c.(driver.ExecerContext).ExecContext(first, "INSERT INTO item VALUES (1)", nil); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	if _, err := c.(driver.ConnBeginTx).BeginTx(second, driver.TxOptions{}); !errors.Is(err, driver.ErrBadConn) {
		t.Errorf("second BeginTx: %v, want driver.ErrBadConn", err)
	}
	return tx.Commit()
}
