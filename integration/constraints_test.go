package integration

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestConstraintsOfPostgres: rows that exchange unique, excluded or referring
// values in one statement are captured one by one and come back together, and a
// deferred constraint that fails at COMMIT leaves nothing.
func TestConstraintsOfPostgres(t *testing.T) {
	for _, s := range servers() {
		if s.family() != "gtx-postgres" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			db := open(t, s, s.dsn(t))
			for _, text := range []string{
				"CREATE TABLE seat (id int PRIMARY KEY, pos int, late int, span int4range, UNIQUE (pos) DEFERRABLE, UNIQUE (late) DEFERRABLE INITIALLY DEFERRED, EXCLUDE USING gist (span WITH &&) DEFERRABLE)",
				"CREATE TABLE plain (id int PRIMARY KEY, pos int UNIQUE, span int4range, EXCLUDE USING gist (span WITH &&))",
				"CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree, n int)",
				"CREATE TABLE owner (id int PRIMARY KEY, n int)",
				"CREATE TABLE thing (id int PRIMARY KEY, owner int REFERENCES owner DEFERRABLE INITIALLY DEFERRED)",
				"INSERT INTO seat SELECT i, i, i, int4range(i * 10, i * 10 + 10) FROM generate_series(1, 20) AS i",
				"INSERT INTO plain SELECT i, i, int4range(i * 10, i * 10 + 10) FROM generate_series(1, 20) AS i",
				"INSERT INTO tree VALUES (1, NULL, 0), (2, 1, 0), (3, 2, 0), (9, 3, 0), (4, 9, 0), (5, 5, 0)",
				"INSERT INTO owner VALUES (1, 1), (2, 2)", "INSERT INTO thing VALUES (10, 1), (20, 2)",
			} {
				mustExec(t, db, text)
			}
			look := func() string {
				t.Helper()
				var all strings.Builder
				for _, table := range []string{"seat", "plain", "tree", "owner", "thing"} {
					var text string
					if err := db.QueryRow("SELECT COALESCE(string_agg(x::text, ' ' ORDER BY id), '') FROM " + table + " AS x").Scan(&text); err != nil {
						t.Fatal(err)
					}
					all.WriteString(table + ": " + text + "\n")
				}
				return all.String()
			}
			before := look()
			for _, steps := range [][]string{
				{"UPDATE seat SET pos = 21 - pos"},
				{"UPDATE seat SET pos = pos + 1"},
				{"UPDATE seat SET late = late + 1"},
				{"UPDATE seat SET span = int4range(lower(span) + 10, upper(span) + 10)"},
				{"UPDATE seat SET pos = 21 - pos, late = 21 - late, span = int4range((21 - id) * 10, (21 - id) * 10 + 10)"},
				{"UPDATE plain SET pos = pos + 100", "UPDATE plain SET pos = pos - 99"},
				{"UPDATE plain SET pos = 0 WHERE id = 1", "UPDATE plain SET pos = 1 WHERE id = 2", "UPDATE plain SET pos = 2 WHERE id = 1"},
				{"UPDATE plain SET span = NULL WHERE id = 1", "UPDATE plain SET span = '[10,20)' WHERE id = 2", "UPDATE plain SET span = '[20,30)' WHERE id = 1"},
				{"DELETE FROM plain WHERE id < 5", "INSERT INTO plain SELECT i + 50, i, int4range(i * 10, i * 10 + 10) FROM generate_series(1, 4) AS i"},
				{"DELETE FROM tree"},
				{"DELETE FROM tree WHERE id > 1", "INSERT INTO tree VALUES (6, 1, 1), (7, 6, 1)"},
				{"INSERT INTO tree VALUES (30, 40, 0), (40, 30, 0)"},
				{"UPDATE tree SET up = 5, n = n + 1"},
				{"DELETE FROM owner WHERE id = 1", "DELETE FROM thing WHERE owner = 1"},
				{"INSERT INTO thing VALUES (70, 7)", "INSERT INTO owner VALUES (7, 7)"},
			} {
				err := bus.Run(t.Context(), func(ctx context.Context) error {
					tx, err := db.BeginTx(ctx, nil)
					if err != nil {
						return err
					}
					defer func() { _ = tx.Rollback() }()
					for _, step := range steps {
						if _, err := tx.ExecContext(ctx, step); err != nil {
							return err
						}
					}
					return errors.Join(tx.Commit(), errChanged)
				})
				if !errors.Is(err, errChanged) {
					t.Errorf("%v: %v", steps, err)
				}
				clean(t, db)
				if got := look(); got != before {
					t.Fatalf("after the abort of %v\n%s, before\n%s", steps, got, before)
				}
			}
			// What the server refuses at COMMIT has not happened.
			err := bus.Run(t.Context(), func(ctx context.Context) error {
				tx, err := db.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				defer func() { _ = tx.Rollback() }()
				for _, step := range []string{"UPDATE seat SET late = 1", "DELETE FROM owner WHERE id = 1"} {
					if _, err := tx.ExecContext(ctx, step); err != nil {
						return err
					}
				}
				return tx.Commit()
			})
			if err == nil || errors.Is(err, errChanged) {
				t.Errorf("deferred constraints: got %v, want the server's error", err)
			}
			clean(t, db)
			if got := look(); got != before {
				t.Errorf("after a failed COMMIT\n%s, before\n%s", got, before)
			}
		})
	}
}
