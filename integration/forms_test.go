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

// forms are statements over the tables of TestForms, by the letters of the
// servers that have them: s SQLite, m MySQL, a MariaDB, p Postgres 15, q
// Postgres 18. Each changes something.
var forms = []struct{ servers, text string }{
	{"smapq", "UPDATE stock SET n = n + 1 WHERE id IN (SELECT id FROM orders)"},
	{"smapq", "UPDATE stock SET id = id + 100 WHERE id = 3"},
	{"spq", "UPDATE stock SET n = o.n FROM orders AS o WHERE o.id = stock.id"},
	{"ma", "UPDATE stock AS s JOIN orders AS o ON o.id = s.id SET s.n = o.n, o.n = 0"},
	{"ma", "UPDATE stock SET n = 0 ORDER BY n DESC, id LIMIT 2"},
	{"spqm", "WITH big AS (SELECT id FROM orders WHERE n > 10) UPDATE stock SET n = 0 WHERE id IN (SELECT id FROM big)"},
	{"smapq", "DELETE FROM stock WHERE id IN (SELECT id FROM orders)"},
	{"pq", "DELETE FROM stock USING orders AS o WHERE o.id = stock.id"},
	{"ma", "DELETE s, o FROM stock AS s JOIN orders AS o ON o.id = s.id WHERE o.n > 10"},
	{"ma", "DELETE FROM stock ORDER BY id LIMIT 1"},
	{"spq", "INSERT INTO stock (id, name, n) SELECT id + 50, 'order ' || id, n FROM orders"},
	{"ma", "INSERT INTO stock SET id = 9, name = 'set', n = 9"},
	{"spq", "INSERT INTO counted DEFAULT VALUES"},
	{"ma", "INSERT INTO counted () VALUES ()"},
	{"spq", "INSERT INTO stock (id, name, n) VALUES (1, 'old', 0), (8, 'new', 8) ON CONFLICT DO NOTHING"},
	{"spq", "INSERT INTO stock (id, name, n) VALUES (1, 'old', 5), (8, 'new', 8) ON CONFLICT (id) DO UPDATE SET n = stock.n + excluded.n"},
	{"ma", "INSERT INTO stock (id, name, n) VALUES (1, 'old', 5), (8, 'new', 8) ON DUPLICATE KEY UPDATE n = n + VALUES(n)"},
	{"ma", "INSERT IGNORE INTO stock (id, name, n) VALUES (1, 'old', 0), (8, 'new', 8)"},
	{"s", "INSERT OR IGNORE INTO stock (id, name, n) VALUES (1, 'old', 0), (8, 'new', 8)"},
	{"sma", "REPLACE INTO stock (id, name, n) VALUES (1, 'again', 5), (8, 'pear', 8)"},
	{"q", "MERGE INTO stock USING orders AS o ON o.id = stock.id WHEN MATCHED AND o.n > 10 THEN DELETE WHEN MATCHED THEN UPDATE SET n = 0 WHEN NOT MATCHED THEN INSERT (id, name, n) VALUES (o.id, 'merged', 0)"},
}

var letters = map[string]string{"sqlite": "s", "mysql": "m", "mariadb": "a", "postgres15": "p", "postgres18": "q"}

func formTables(t *testing.T, s server, db *sql.DB) {
	t.Helper()
	auto := map[string]string{"gtx-sqlite": "INTEGER PRIMARY KEY", "gtx-mysql": "INT AUTO_INCREMENT PRIMARY KEY", "gtx-postgres": "SERIAL PRIMARY KEY"}
	for _, text := range []string{
		"CREATE TABLE stock (id INT PRIMARY KEY, name VARCHAR(40) NOT NULL UNIQUE, n INT)",
		"CREATE TABLE orders (id INT PRIMARY KEY, n INT NOT NULL)",
		"CREATE TABLE counted (id " + auto[s.family()] + ", n INT NOT NULL DEFAULT 7)",
		"INSERT INTO stock (id, name, n) VALUES (1, 'apple', 10), (2, 'pear', NULL), (3, 'o''plum', -3), (4, '', 4)",
		"INSERT INTO orders (id, n) VALUES (1, 11), (2, 2), (7, 70)",
	} {
		mustExec(t, db, text)
	}
}

// everything gives all rows of the tables of formTables as text.
func everything(t *testing.T, db *sql.DB) string {
	t.Helper()
	var b strings.Builder
	for _, table := range []string{"stock", "orders", "counted"} {
		rows, err := db.Query("SELECT * FROM " + table + " ORDER BY id")
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			values := make([]sql.NullString, len(columns))
			into := make([]any, len(columns))
			for i := range values {
				into[i] = &values[i]
			}
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s %v\n", table, values)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		rows.Close()
	}
	return b.String()
}

var errChanged = errors.New("changed my mind")

// remakeTables makes the tables of formTables anew, whatever a form has left of them.
func remakeTables(t *testing.T, s server, db *sql.DB) {
	t.Helper()
	for _, table := range []string{"stock", "orders", "counted"} {
		mustExec(t, db, "DROP TABLE IF EXISTS "+table)
	}
	formTables(t, s, db)
}

// TestForms runs every form through database/sql: aborted it leaves every table
// as it was, committed it does what it does outside a global transaction.
func TestForms(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		t.Parallel()
		bus := embedded(t)
		db, twin := open(t, s, s.dsn(t)), open(t, s, s.dsn(t))
		for _, form := range forms {
			if !strings.Contains(form.servers, letters[s.name]) {
				continue
			}
			t.Run(form.text, func(t *testing.T) {
				remakeTables(t, s, db)
				remakeTables(t, s, twin)
				before := everything(t, db)
				want, err := twin.Exec(form.text)
				if err != nil {
					t.Fatal(err)
				}
				if everything(t, twin) == before {
					t.Fatal("the form changes nothing")
				}
				run := func(after error) error {
					return bus.Run(t.Context(), func(ctx context.Context) error {
						got, err := db.ExecContext(ctx, form.text)
						if err != nil {
							return err
						}
						g, gerr := got.RowsAffected()
						w, werr := want.RowsAffected()
						if g != w && !strings.HasPrefix(form.text, "MERGE") || (gerr == nil) != (werr == nil) { // lib/pq reads no count of MERGE
							t.Errorf("%d rows affected (%v), bare %d (%v)", g, gerr, w, werr)
						}
						return after
					})
				}
				if err := run(errChanged); !errors.Is(err, errChanged) {
					t.Fatalf("got %v", err)
				}
				clean(t, db)
				if got := everything(t, db); got != before {
					t.Errorf("after the abort\n%s, before\n%s", got, before)
				}
				if strings.Contains(form.text, "counted") {
					return // the number that the abort used is gone
				}
				if err := run(nil); err != nil {
					t.Fatal(err)
				}
				clean(t, db)
				if got, want := everything(t, db), everything(t, twin); got != want {
					t.Errorf("after the commit\n%s, bare\n%s", got, want)
				}
			})
		}
	})
}

// TestSavepoints: what ROLLBACK TO takes back is not undone a second time, what
// it leaves is, and a statement that fails ends nothing but itself.
func TestSavepoints(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		formTables(t, s, db)
		before := everything(t, db)
		work := func(ctx context.Context) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }()
			for _, step := range []struct {
				text  string
				fails bool
			}{
				{text: "SAVEPOINT one"},
				{text: "UPDATE stock SET n = 1 WHERE id = 1"},
				{text: "SAVEPOINT two"},
				{text: "UPDATE stock SET n = 2 WHERE id < 3"},
				{text: "INSERT INTO stock (id, name, n) VALUES (1, 'twice', 1)", fails: true},
				{text: "ROLLBACK TO SAVEPOINT two"},
				{text: "DELETE FROM stock WHERE id = 2"},
				{text: "RELEASE SAVEPOINT two"},
				{text: "UPDATE stock SET n = 3 WHERE id = 3"},
			} {
				if _, err := tx.ExecContext(ctx, step.text); (err != nil) != step.fails {
					return fmt.Errorf("%s: %w", step.text, err)
				}
			}
			return tx.Commit()
		}
		err := bus.Run(t.Context(), func(ctx context.Context) error {
			if err := work(ctx); err != nil {
				return err
			}
			return errChanged
		})
		if !errors.Is(err, errChanged) {
			t.Fatalf("got %v", err)
		}
		clean(t, db)
		if got := everything(t, db); got != before {
			t.Errorf("after the abort\n%s, before\n%s", got, before)
		}
		if err := bus.Run(t.Context(), work); err != nil {
			t.Fatal(err)
		}
		const want = "stock [{1 true} {apple true} {1 true}]\nstock [{3 true} {o'plum true} {3 true}]\nstock [{4 true} { true} {4 true}]\n"
		if got := everything(t, db); !strings.HasPrefix(got, want) {
			t.Errorf("after the commit\n%s", got)
		}
	})
}

// TestFailedStatement: a statement that fails leaves the local transaction as
// the bare driver would, and what came before counts.
func TestFailedStatement(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		if s.family() == "gtx-postgres" {
			return // a failed statement ends the local transaction there: TestSavepoints
		}
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		formTables(t, s, db)
		before := everything(t, db)
		err := bus.Run(t.Context(), func(ctx context.Context) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }()
			if _, err := tx.ExecContext(ctx, "INSERT INTO stock (id, name, n) VALUES (1, 'twice', 1)"); err == nil {
				t.Error("a duplicate key is no error")
			}
			if _, err := tx.ExecContext(ctx, "UPDATE stock SET n = 99 WHERE id = 1"); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "UPDATE stock SET name = 'pear' WHERE id = 1"); err == nil {
				t.Error("a duplicate name is no error")
			}
			if err := tx.Commit(); err != nil {
				return err
			}
			var held *gtx.ConflictError
			if errors.As(err, &held) {
				t.Errorf("a duplicate key is taken for a conflict: %v", err)
			}
			return errChanged
		})
		if !errors.Is(err, errChanged) {
			t.Fatalf("got %v", err)
		}
		clean(t, db)
		if got := everything(t, db); got != before {
			t.Errorf("after the abort\n%s, before\n%s", got, before)
		}
	})
}
