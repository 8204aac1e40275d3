package integration

import (
	"context"
	"database/sql"
	"errors"
	"testing"
)

// TestTableChangesMeanwhile: a table that another connection has changed since its
// catalogue was read is read again; the statement runs unseen a second time where
// it is the first of its local transaction.
func TestTableChangesMeanwhile(t *testing.T) {
	for _, s := range servers() {
		if s.family() != "gtx-postgres" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			dsn := s.dsn(t)
			db := open(t, s, dsn)
			outside, err := sql.Open("postgres", dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer outside.Close()
			formTables(t, s, db)
			before := everything(t, db)
			for _, ddl := range []string{
				"ALTER TABLE stock ADD COLUMN more int DEFAULT 5", "ALTER TABLE stock DROP COLUMN more", "ALTER TABLE stock ALTER COLUMN n TYPE bigint",
				"ALTER TABLE stock RENAME COLUMN name TO label", "ALTER TABLE stock RENAME COLUMN label TO name", "ALTER TABLE stock ALTER COLUMN n TYPE int",
				"ALTER TABLE stock DROP CONSTRAINT stock_pkey, ADD PRIMARY KEY (id, name)", "ALTER TABLE stock DROP CONSTRAINT stock_pkey, ADD PRIMARY KEY (id)",
			} {
				for _, second := range []bool{false, true} {
					if !second {
						if _, err := outside.Exec(ddl); err != nil {
							t.Fatalf("%s: %v", ddl, err)
						}
					}
					tries := 0
					err := bus.Run(t.Context(), func(ctx context.Context) error {
						tries++
						for _, text := range []string{"UPDATE stock SET n = 7 WHERE id = 1", "DELETE FROM stock WHERE id = 2", "INSERT INTO stock (id, n) SELECT id, n FROM stock WHERE false"} {
							if _, err := db.ExecContext(ctx, text); err != nil {
								return err
							}
						}
						return errChanged
					})
					if !errors.Is(err, errChanged) || tries != 1 {
						t.Errorf("after %s: %v at try %d", ddl, err, tries)
					}
					clean(t, db)
				}
			}
			if got := everything(t, db); got != before {
				t.Errorf("now\n%s, before\n%s", got, before)
			}
		})
	}
}
