package integration

import (
	"context"
	"database/sql"
	"errors"
	"testing"
)

// TestRowsFromQuery inserts what a query gives, with the keys of the query and with
// generated ones, in one local transaction; and reads RETURNING where the server
// has it.
func TestRowsFromQuery(t *testing.T) {
	for _, s := range servers() {
		if s.driver != "gtx-mysql" {
			continue // TestForms
		}
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			db := open(t, s, s.dsn(t))
			formTables(t, s, db)
			before := everything(t, db)
			work := func(ctx context.Context) (ids []int64, err error) {
				tx, err := db.BeginTx(ctx, nil)
				if err != nil {
					return nil, err
				}
				defer func() { _ = tx.Rollback() }()
				for _, text := range []string{
					"INSERT INTO stock (id, name, n) SELECT id + ?, CONCAT('order ', id), n FROM orders",
					"INSERT INTO counted (n) SELECT id FROM orders WHERE id < ?",
					"INSERT IGNORE INTO orders (id, n) SELECT id, n FROM stock WHERE n < ?",
				} {
					if _, err := tx.ExecContext(ctx, text, 50); err != nil {
						return nil, err
					}
				}
				if s.name == "mariadb" {
					rows, err := tx.QueryContext(ctx, "INSERT INTO counted (n) SELECT n FROM orders WHERE n > ? RETURNING id", 5)
					if err != nil {
						return nil, err
					}
					defer rows.Close()
					for rows.Next() {
						var id int64
						if err := rows.Scan(&id); err != nil {
							return nil, err
						}
						ids = append(ids, id)
					}
					if err := rows.Err(); err != nil {
						return nil, err
					}
				}
				return ids, tx.Commit()
			}
			err := bus.Run(t.Context(), func(ctx context.Context) error {
				if _, err := work(ctx); err != nil {
					return err
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
			var ids []int64
			if err := bus.Run(t.Context(), func(ctx context.Context) (err error) {
				ids, err = work(ctx)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			for _, id := range ids {
				var n sql.NullInt64
				if err := db.QueryRow("SELECT n FROM counted WHERE id = ?", id).Scan(&n); err != nil || n.Int64 <= 5 {
					t.Errorf("row %d: %v, %v", id, n, err)
				}
			}
			var stock, counted int
			if err := db.QueryRow("SELECT (SELECT COUNT(*) FROM stock), (SELECT COUNT(*) FROM counted)").Scan(&stock, &counted); err != nil {
				t.Fatal(err)
			}
			if stock != 7 || counted != 3+len(ids) || s.name == "mariadb" && len(ids) == 0 {
				t.Errorf("%d rows of stock, %d counted, %d returned", stock, counted, len(ids))
			}
		})
	}
}
