package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// TestHiddenWrites: with gtx_counters=on the server's count of changed rows must
// be that of the captured statements, or the local transaction does not commit.
func TestHiddenWrites(t *testing.T) {
	for _, s := range servers() {
		if s.family() != "gtx-postgres" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			dsn := s.dsn(t)
			db := open(t, s, withParam(dsn, "gtx_counters=on"))
			outside, err := sql.Open("postgres", dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer outside.Close()
			formTables(t, s, db)
			for _, text := range []string{
				"CREATE TABLE log (id serial PRIMARY KEY, what text)",
				"CREATE FUNCTION sneak() RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO log (what) VALUES (''sneaked'') RETURNING id'",
				"CREATE FUNCTION logged() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO log (what) VALUES (TG_OP); RETURN NEW; END'",
				"CREATE TABLE parts (id int PRIMARY KEY, n int) PARTITION BY LIST (id)", "CREATE TABLE parts1 PARTITION OF parts FOR VALUES IN (1)", "CREATE TABLE rest PARTITION OF parts DEFAULT",
				"INSERT INTO parts VALUES (1, 1), (2, 2)",
			} {
				mustExec(t, db, text)
			}
			before := everything(t, db)
			nothing := func(what string) {
				t.Helper()
				clean(t, db)
				var n int
				if err := db.QueryRow("SELECT (SELECT count(*) FROM log) + (SELECT count(*) FROM parts WHERE id <> n)").Scan(&n); err != nil || n != 0 {
					t.Errorf("%s: %d rows were written (%v)", what, n, err)
				}
				if got := everything(t, db); got != before {
					t.Errorf("%s: now\n%s, before\n%s", what, got, before)
				}
			}
			run := func(steps ...string) error {
				return bus.Run(t.Context(), func(ctx context.Context) error {
					tx, err := db.BeginTx(ctx, nil)
					if err != nil {
						return err
					}
					defer func() { _ = tx.Rollback() }()
					for _, step := range steps {
						text, fails := strings.CutPrefix(step, "fails: ")
						if _, err := tx.ExecContext(ctx, text); (err != nil) != fails {
							return fmt.Errorf("%s: %w", text, err)
						}
					}
					return tx.Commit()
				})
			}
			refused := func(what, code string, err error) {
				t.Helper()
				var un *gtx.UnsupportedError
				if !errors.As(err, &un) || un.Code != code {
					t.Errorf("%s: got %v, want %s", what, err, code)
				}
				nothing(what)
			}
			// What is accounted for commits, here only to be undone.
			for _, steps := range [][]string{
				{"UPDATE stock SET n = n + 1", "DELETE FROM orders WHERE id = 1", "INSERT INTO orders VALUES (50, 1), (51, 2)", "SELECT count(*) FROM stock, orders"},
				{"SAVEPOINT a", "UPDATE stock SET n = 1", "ROLLBACK TO a", "DELETE FROM stock WHERE id = 1"},
				{"UPDATE stock SET n = 1", "SAVEPOINT a", "DELETE FROM orders", "fails: INSERT INTO stock VALUES (70, 'new', 1), (1, 'twice', 1)", "ROLLBACK TO a", "DELETE FROM stock WHERE id = 1", "RELEASE a", "SAVEPOINT b", "UPDATE orders SET n = 5"},
				{"INSERT INTO stock VALUES (1, 'up', 1), (60, 'in', 1) ON CONFLICT (id) DO UPDATE SET n = 9", "UPDATE stock SET n = 8"},
				{"UPDATE parts SET id = 7, n = 7 WHERE id = 1", "DELETE FROM parts WHERE id = 2", "UPDATE stock SET id = id + 100"},
				{"WITH d AS (DELETE FROM orders RETURNING *), u AS (UPDATE stock SET n = 0 RETURNING id) SELECT d.id, u.id FROM d, u"},
				{"SELECT 1"},
			} {
				err := bus.Run(t.Context(), func(ctx context.Context) error {
					tx, err := db.BeginTx(ctx, nil)
					if err != nil {
						return err
					}
					defer func() { _ = tx.Rollback() }()
					for _, step := range steps {
						text, fails := strings.CutPrefix(step, "fails: ")
						if _, err := tx.ExecContext(ctx, text); (err != nil) != fails {
							return fmt.Errorf("%s: %w", text, err)
						}
					}
					return errors.Join(tx.Commit(), errChanged)
				})
				if err == nil || strings.Contains(err.Error(), "hidden") || !errors.Is(err, errChanged) {
					t.Errorf("%v: got %v", steps, err)
				}
				nothing(strings.Join(steps, "; "))
			}
			refused("a function in SELECT", "hidden-write", run("SELECT sneak()"))
			refused("a function in SELECT beside captured writes", "hidden-write", run("UPDATE stock SET n = 5", "SELECT sneak()", "DELETE FROM orders"))
			refused("a function in an expression", "hidden-write", run("UPDATE stock SET n = sneak() WHERE id = 1"))
			refused("a function before a savepoint", "hidden-write", run("UPDATE stock SET n = 5", "SELECT sneak()", "SAVEPOINT a"))
			refused("a function after a savepoint", "hidden-write", run("UPDATE stock SET n = 5", "SAVEPOINT a", "DELETE FROM orders", "ROLLBACK TO a", "SELECT sneak()"))
			err = bus.Run(t.Context(), func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, "SELECT sneak()")
				return err
			})
			refused("a function in a query alone", "function", err)
			err = bus.Run(t.Context(), func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, "SELECT lower(name), now(), count(*) FROM stock GROUP BY 1")
				return err
			})
			if err != nil {
				t.Errorf("a query alone: %v", err)
			}
			// A trigger that is made when the catalogue has just been read.
			if err := run("UPDATE stock SET n = n WHERE id = 1"); err != nil {
				t.Fatal(err)
			}
			if _, err := outside.Exec("CREATE TRIGGER logged AFTER UPDATE ON stock FOR EACH ROW EXECUTE FUNCTION logged()"); err != nil {
				t.Fatal(err)
			}
			refused("a new trigger", "hidden-write", run("UPDATE stock SET n = 5 WHERE id = 1"))
			err = bus.Run(t.Context(), func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, "UPDATE stock SET n = 5 WHERE id = 1")
				return err
			})
			refused("a new trigger, statement alone", "hidden-write", err)
		})
	}
}
