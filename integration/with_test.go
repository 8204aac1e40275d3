package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
)

// TestWritingWith: a WITH list that writes several tables is one statement of a
// global transaction, also where the statement behind it only reads.
func TestWritingWith(t *testing.T) {
	for _, s := range servers() {
		if s.family() != "gtx-postgres" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			db := open(t, s, s.dsn(t))
			formTables(t, s, db)
			before := everything(t, db)
			const text = "WITH gone AS (DELETE FROM orders WHERE id < $1 RETURNING id, n), up AS (UPDATE stock SET n = gone.n FROM gone WHERE gone.id = stock.id RETURNING stock.id, stock.n AS now)" +
				" SELECT id, now FROM up ORDER BY id DESC"
			query := func(ctx context.Context) (*sql.Rows, error) { return db.QueryContext(ctx, text, 5) }
			prepared := func(ctx context.Context) (*sql.Rows, error) {
				st, err := db.PrepareContext(ctx, text)
				if err != nil {
					return nil, err
				}
				defer st.Close()
				return st.QueryContext(ctx, 5)
			}
			for _, way := range []struct {
				name  string
				rows  func(ctx context.Context) (*sql.Rows, error)
				after error
			}{{"prepared", prepared, errChanged}, {"query", query, errChanged}, {"query", query, nil}} {
				name, after := way.name, way.after
				err := bus.Run(t.Context(), func(ctx context.Context) error {
					rows, err := way.rows(ctx)
					if err != nil {
						return err
					}
					defer rows.Close()
					var got string
					for rows.Next() {
						var id, n int
						if err := rows.Scan(&id, &n); err != nil {
							return err
						}
						got += fmt.Sprintf("%d:%d ", id, n)
					}
					if got != "2:2 1:11 " || rows.Err() != nil {
						t.Errorf("%s: got %q, %v", name, got, rows.Err())
					}
					return after
				})
				if !errors.Is(err, after) {
					t.Fatalf("%s: %v", name, err)
				}
				clean(t, db)
				got := everything(t, db)
				if after != nil && got != before || after == nil && got == before {
					t.Errorf("%s, ended by %v:\n%s", name, after, got)
				}
				before = got
			}
			err := bus.Run(t.Context(), func(ctx context.Context) error {
				res, err := db.ExecContext(ctx, "WITH gone AS (DELETE FROM orders RETURNING *) INSERT INTO counted (id, n) SELECT id, n FROM gone")
				if err != nil {
					return err
				}
				if n, err := res.RowsAffected(); n != 1 || err != nil {
					t.Errorf("%d rows affected (%v), want 1", n, err)
				}
				return errChanged
			})
			if !errors.Is(err, errChanged) {
				t.Fatal(err)
			}
			clean(t, db)
			if got := everything(t, db); got != before {
				t.Errorf("after the abort\n%s, before\n%s", got, before)
			}
		})
	}
}
