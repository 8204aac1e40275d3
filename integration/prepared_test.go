package integration

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"

	gtxdriver "github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/gtx"
)

// TestPreparedCaptures: on Postgres a captured statement that comes again runs
// prepared. Nothing that happens to its table, or to the prepared statements of the
// session, may be seen by the program.
func TestPreparedCaptures(t *testing.T) {
	for _, s := range servers()[3:] {
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			dsn := s.dsn(t)
			db, other := open(t, s, dsn), open(t, s, dsn)
			db.SetMaxOpenConns(1)
			unseen := behind(t, db)
			mustExec(t, other, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL, s text)")
			mustExec(t, other, "INSERT INTO thing VALUES (1, 0, 'a'), (2, 0, NULL)")

			var want int64
			var columns int
			add := func(abort bool) {
				t.Helper()
				err := gtx.Run(t.Context(), func(ctx context.Context) error {
					rows, err := db.QueryContext(ctx, "UPDATE thing SET n = n + $1 WHERE id = $2 RETURNING *", 1, 1)
					if err != nil {
						return err
					}
					names, err := rows.Columns()
					if err != nil {
						return err
					}
					columns = len(names)
					if err := rows.Close(); err != nil {
						return err
					}
					if abort {
						return errUndo
					}
					return nil
				}, gtx.WithCoordinator(bus))
				if abort != errors.Is(err, errUndo) || !abort && err != nil {
					t.Fatal(err)
				}
				if !abort {
					want++
				}
				clean(t, other)
				var n int64
				if err := other.QueryRowContext(t.Context(), "SELECT n FROM thing WHERE id = 1").Scan(&n); err != nil || n != want {
					t.Fatalf("n = %d, %v, want %d", n, err, want)
				}
			}
			kept := func() (n int) {
				t.Helper()
				var args []any
				if s.driver == "gtx-pgx" { // whose cache would not know of DEALLOCATE
					args = append(args, pgx.QueryExecModeExec)
				}
				if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'WITH%'", args...).Scan(&n); err != nil {
					t.Fatal(err)
				}
				return n
			}
			for _, abort := range []bool{false, true, false, true, false, true, false, false} {
				add(abort)
			}
			if n := kept(); n != 1 {
				t.Errorf("%d captured statements are prepared, want 1", n)
			}
			// With another result than when it was prepared.
			mustExec(t, other, "ALTER TABLE thing ADD COLUMN added int DEFAULT 7")
			for _, abort := range []bool{false, true, false} {
				add(abort)
				if columns != 4 {
					t.Errorf("RETURNING * gave %d columns, want 4", columns)
				}
			}
			if n := kept(); n != 1 {
				t.Errorf("after ALTER TABLE %d captured statements are prepared, want 1", n)
			}
			mustExec(t, other, "ALTER TABLE thing DROP COLUMN added")
			add(true)
			add(false)
			for _, text := range []string{"DISCARD ALL", "DEALLOCATE ALL"} {
				mustExec(t, db, text)
				add(false)
				add(true)
				add(false)
			}
			if n := kept(); n != 1 {
				t.Errorf("after DEALLOCATE %d captured statements are prepared, want 1", n)
			}
			// A temporary table of the session begins to hide one that is read.
			mustExec(t, db, "CREATE TABLE step (n bigint)")
			mustExec(t, db, "INSERT INTO step VALUES (1)")
			step := func() {
				t.Helper()
				if err := gtx.Run(t.Context(), func(ctx context.Context) error {
					_, err := db.ExecContext(ctx, "UPDATE thing SET n = n + (SELECT max(n) FROM step) WHERE id = $1", 2)
					return err
				}, gtx.WithCoordinator(bus)); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 {
				step()
			}
			mustExec(t, db, "CREATE TEMP TABLE step AS SELECT 100 AS n")
			step()
			mustExec(t, db, "DROP TABLE pg_temp.step")
			var second int64
			if err := other.QueryRowContext(t.Context(), "SELECT n FROM thing WHERE id = 2").Scan(&second); err != nil || second != 103 {
				t.Errorf("n = %d, %v, want 103", second, err)
			}
			// Behind the driver's back.
			add(false)
			add(true)
			if err := unseen("DEALLOCATE ALL"); err != nil {
				t.Fatal(err)
			}
			add(false)
			add(true)
			add(false)
			stay := map[string]int{"gtx-pgx": 1}[s.driver] // which looks after its own
			if n := kept(); n != stay {
				t.Errorf("%d captured statements are prepared, want %d where none stay", n, stay)
			}
		})
	}
}

// behind gives a way to run text on the base connection of the pool's only one, which
// the driver does not notice when it is used later.
func behind(t *testing.T, db *sql.DB) func(text string) error {
	t.Helper()
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return behindConn(t, c)
}

func behindConn(t *testing.T, c *sql.Conn) func(text string) error {
	t.Helper()
	var base driver.Conn
	if err := c.Raw(func(dc any) (err error) {
		base, err = gtxdriver.Unwrap(dc)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return func(text string) error {
		_, err := base.(driver.ExecerContext).ExecContext(t.Context(), text, nil)
		return err
	}
}
