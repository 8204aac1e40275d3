package integration

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// only are the servers with these letters.
func only(wanted string) []server {
	var list []server
	for _, s := range servers() {
		for _, l := range wanted {
			if letters[s.name] == string(l) {
				list = append(list, s)
			}
		}
	}
	return list
}

// meetsHolder checks that do meets a row that a global transaction has changed by
// hold.
func meetsHolder(t *testing.T, bus gtx.Coordinator, holder *sql.DB, hold string, do func(ctx context.Context) error) {
	t.Helper()
	undo := errors.New("undo")
	err := gtx.Run(t.Context(), func(ctx context.Context) error {
		if _, err := holder.ExecContext(ctx, hold); err != nil {
			return err
		}
		if err := do(gtx.Detach(ctx)); !errors.Is(err, gtx.ErrConflict) {
			t.Errorf("got %v, want ErrConflict", err)
		}
		return undo
	}, gtx.WithCoordinator(bus))
	if !errors.Is(err, undo) {
		t.Fatal(err)
	}
}

// TestGuardOnPathEnds: SET LOCAL of the search path ends with its local
// transaction, and with it what the names of tables mean to the guard.
func TestGuardOnPathEnds(t *testing.T) {
	for _, s := range only("pq") {
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			dsn := withParam(s.dsn(t), "gtx_lock_wait=100ms")
			db, other := guarded(t, s, dsn), open(t, s, dsn)
			db.SetMaxOpenConns(1)
			formTables(t, s, other)
			mustExec(t, other, "CREATE SCHEMA side")
			mustExec(t, other, "CREATE TABLE side.stock (id INT PRIMARY KEY, n INT)")
			for _, commit := range []bool{true, false} {
				tx, err := db.BeginTx(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				for _, text := range []string{"SET LOCAL search_path = side", "UPDATE stock SET n = 1"} {
					if _, err := tx.ExecContext(t.Context(), text); err != nil {
						t.Fatal(err)
					}
				}
				end := tx.Rollback
				if commit {
					end = tx.Commit
				}
				if err := end(); err != nil {
					t.Fatal(err)
				}
				meetsHolder(t, bus, other, "UPDATE stock SET n = 5 WHERE id = 1", func(ctx context.Context) error {
					_, err := db.ExecContext(ctx, "UPDATE stock SET n = n + 1 WHERE id = 1")
					return err
				})
			}
		})
	}
}

// TestGuardOnShadowed: a table made elsewhere can come to be what a name means.
func TestGuardOnShadowed(t *testing.T) {
	for _, s := range only("pq") {
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			dsn := withParam(s.dsn(t), "gtx_lock_wait=100ms")
			db, other := guarded(t, s, dsn), open(t, s, dsn)
			db.SetMaxOpenConns(1)
			formTables(t, s, other)
			mustExec(t, other, "CREATE SCHEMA early")
			mustExec(t, db, "SET search_path = early, public")
			mustExec(t, db, "UPDATE stock SET n = 1 WHERE id = 1")
			mustExec(t, other, "CREATE TABLE early.stock (id INT PRIMARY KEY, n INT)")
			mustExec(t, other, "INSERT INTO early.stock VALUES (1, 1)")
			meetsHolder(t, bus, other, "UPDATE early.stock SET n = 5 WHERE id = 1", func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, "UPDATE stock SET n = n + 1 WHERE id = 1")
				return err
			})
		})
	}
}

// TestGuardOnComments: what stands in a comment does not hide what a text does.
func TestGuardOnComments(t *testing.T) {
	for _, s := range only("pq") {
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			dsn := withParam(s.dsn(t), "gtx_lock_wait=100ms")
			db, other := guarded(t, s, dsn), open(t, s, dsn)
			formTables(t, s, other)
			meetsHolder(t, bus, other, "UPDATE stock SET n = 5 WHERE id = 1", func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, "/* /* */ select */ UPDATE stock SET n = n + 1 WHERE id = 1")
				return err
			})
		})
	}
	for _, s := range only("ma") {
		t.Run(s.name, func(t *testing.T) {
			db := guarded(t, s, s.dsn(t))
			formTables(t, s, db)
			for _, ddl := range []string{
				"-- temporary\nCREATE TABLE made (id INT PRIMARY KEY)", "/* temporary */ DROP TABLE orders", "SET DEFAULT ROLE NONE",
				"SET DEFAULT ROLE NONE TO CURRENT_USER()", "DESC ANALYZE DELETE s, o FROM stock AS s JOIN orders AS o ON o.id = s.id",
			} {
				tx, err := db.BeginTx(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := tx.ExecContext(t.Context(), "UPDATE stock SET n = 77 WHERE id = 1"); err != nil {
					t.Fatal(err)
				}
				if _, err := tx.ExecContext(t.Context(), ddl); !errors.Is(err, gtx.ErrUnsupported) {
					t.Errorf("%s: got %v, want ErrUnsupported", ddl, err)
				}
				if n, err := leftovers(t.Context(), db); n != 0 || err != nil {
					t.Errorf("%s: %d undo rows were committed (%v)", ddl, n, err)
				}
				if err := tx.Rollback(); err != nil {
					t.Fatal(err)
				}
				var n int
				if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM stock WHERE n = 77").Scan(&n); err != nil || n != 0 {
					t.Errorf("%s: %d rows were committed (%v)", ddl, n, err)
				}
			}
		})
	}
}

// TestHiddenWriteBeforeUpsert: a statement whose changes cannot be counted hides
// no write that came before it.
func TestHiddenWriteBeforeUpsert(t *testing.T) {
	for _, s := range only("pq") {
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			db := open(t, s, withParam(s.dsn(t), "gtx_counters=on"))
			formTables(t, s, db)
			for _, text := range []string{
				"CREATE FUNCTION sneak() RETURNS int LANGUAGE sql VOLATILE AS 'UPDATE orders SET n = 1000 RETURNING id'",
				"CREATE TABLE parts (id int PRIMARY KEY, n int) PARTITION BY LIST (id)", "CREATE TABLE parts1 PARTITION OF parts FOR VALUES IN (1)", "CREATE TABLE rest PARTITION OF parts DEFAULT",
				"INSERT INTO parts VALUES (1, 1), (2, 2)",
			} {
				mustExec(t, db, text)
			}
			for _, text := range []string{
				"INSERT INTO stock (id, name, n) VALUES (1, 'up', 5) ON CONFLICT (id) DO UPDATE SET n = 55",
				"WITH w AS (INSERT INTO stock (id, name, n) VALUES (1, 'up', 5) ON CONFLICT (id) DO UPDATE SET n = 55 RETURNING id) SELECT id FROM w",
				"MERGE INTO parts AS p USING (VALUES (1), (3)) AS v (id) ON v.id = p.id WHEN MATCHED THEN UPDATE SET n = 5 WHEN NOT MATCHED THEN INSERT VALUES (v.id, 1)",
			} {
				err := bus.Run(t.Context(), func(ctx context.Context) error {
					tx, err := db.BeginTx(ctx, nil)
					if err != nil {
						return err
					}
					defer func() { _ = tx.Rollback() }()
					for _, step := range []string{"SELECT sneak()", text} {
						if _, err := tx.ExecContext(ctx, step); err != nil {
							return err
						}
					}
					return tx.Commit()
				})
				var un *gtx.UnsupportedError
				if !errors.As(err, &un) || un.Code != "hidden-write" {
					t.Errorf("%s: got %v, want hidden-write", text, err)
				}
			}
			clean(t, db)
			var n int
			if err := db.QueryRow("SELECT count(*) FROM orders WHERE n = 1000").Scan(&n); err != nil || n != 0 {
				t.Errorf("%d hidden writes were committed (%v)", n, err)
			}
		})
	}
}

// TestReadPartitions: rows of a partitioned table are found through it and
// through the partition.
func TestReadPartitions(t *testing.T) {
	for _, s := range only("pq") {
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			db := open(t, s, withParam(s.dsn(t), "gtx_lock_wait=100ms"))
			for _, text := range []string{
				"CREATE TABLE parts (id int PRIMARY KEY, n int) PARTITION BY LIST (id)", "CREATE TABLE parts1 PARTITION OF parts FOR VALUES IN (1)", "CREATE TABLE rest PARTITION OF parts DEFAULT",
				"INSERT INTO parts VALUES (1, 1), (2, 2)",
			} {
				mustExec(t, db, text)
			}
			for _, text := range []string{"SELECT n FROM parts WHERE id = 1", "SELECT n FROM parts1", "SELECT sum(n) FROM parts", "SELECT n FROM parts WHERE id = 1 FOR UPDATE", "SELECT n FROM parts1 FOR UPDATE"} {
				for _, hold := range []string{"UPDATE parts SET n = n + 1 WHERE id = 1", "UPDATE parts1 SET n = n + 1 WHERE id = 1"} {
					t.Log(text, "--", hold)
					meetsHolder(t, bus, db, hold, func(ctx context.Context) error {
						return gtx.Run(ctx, func(ctx context.Context) error {
							_, err := shown(db.QueryContext(gtx.ReadCommitted(ctx), text))
							return err
						}, gtx.WithCoordinator(bus), gtx.WithRetries(0))
					})
				}
			}
		})
	}
}

// TestReadDirtySession: a session that reads uncommitted rows sees them without
// their undo rows.
func TestReadDirtySession(t *testing.T) {
	for _, s := range only("ma") {
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			db := open(t, s, s.dsn(t))
			formTables(t, s, db)
			if err := bus.Run(t.Context(), func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, "UPDATE stock SET n = 1 WHERE id = 1")
				return err
			}); err != nil {
				t.Fatal(err)
			}
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for _, c := range []struct {
				text string
				want bool
			}{
				{"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", true},
				{"SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED", false},
				{"SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ", true},
			} {
				if _, err := conn.ExecContext(t.Context(), c.text); err != nil {
					t.Fatal(err)
				}
				_, err := shown(conn.QueryContext(gtx.ReadCommitted(t.Context()), "SELECT n FROM stock"))
				if got := err == nil; got != c.want || !got && !errors.Is(err, gtx.ErrUnsupported) {
					t.Errorf("%s: got %v", c.text, err)
				}
			}
		})
	}
}

// TestSessionSideEffects: what one connection alone has, a temporary trigger or
// foreign keys that are checked, writes nothing beside the capture.
func TestSessionSideEffects(t *testing.T) {
	s := servers()[0]
	for _, setup := range []string{"PRAGMA foreign_keys = ON", "CREATE TEMP TRIGGER sly AFTER DELETE ON parent BEGIN DELETE FROM child WHERE up = OLD.id; END"} {
		t.Run(setup[:13], func(t *testing.T) {
			bus := embedded(t)
			db := open(t, s, s.dsn(t))
			mustExec(t, db, "CREATE TABLE parent (id INTEGER PRIMARY KEY, n INT)")
			mustExec(t, db, "CREATE TABLE child (id INTEGER PRIMARY KEY, up INT REFERENCES parent (id) ON DELETE CASCADE)")
			mustExec(t, db, "INSERT INTO parent VALUES (1, 1), (2, 2)")
			mustExec(t, db, "INSERT INTO child VALUES (1, 1), (2, 2)")
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.ExecContext(t.Context(), setup); err != nil {
				t.Fatal(err)
			}
			touch := func(ctx context.Context) error { // another connection reads the catalogue
				_, err := db.ExecContext(ctx, "UPDATE parent SET n = n + 1 WHERE id = 2")
				return err
			}
			undo := errors.New("undo")
			if err := bus.Run(t.Context(), touch); err != nil {
				t.Fatal(err)
			}
			err = bus.Run(t.Context(), func(ctx context.Context) error {
				if _, err := conn.ExecContext(ctx, "DELETE FROM parent WHERE id = 1"); err != nil {
					return err
				}
				return undo
			})
			if !errors.Is(err, gtx.ErrUnsupported) {
				t.Errorf("got %v, want ErrUnsupported", err)
			}
			clean(t, db)
			var n int
			if err := db.QueryRow("SELECT count(*) FROM child").Scan(&n); err != nil || n != 2 {
				t.Errorf("%d children (%v)", n, err)
			}
		})
	}
}

// TestGuardOnUse: USE within a local transaction does not leave undo rows in the
// database that was current before.
func TestGuardOnUse(t *testing.T) {
	for _, s := range only("ma") {
		t.Run(s.name, func(t *testing.T) {
			dsn := withParam(s.dsn(t), "multiStatements=true")
			db := guarded(t, s, dsn)
			formTables(t, s, db)
			mustExec(t, db, "UPDATE stock SET n = 1") // makes the tables of this module
			var home string
			if err := db.QueryRowContext(t.Context(), "SELECT DATABASE()").Scan(&home); err != nil {
				t.Fatal(err)
			}
			away := home + "_away"
			mustExec(t, db, "CREATE DATABASE "+away)
			defer mustExec(t, db, "DROP DATABASE "+away)
			mustExec(t, db, "CREATE TABLE "+away+".gtx_undo LIKE gtx_undo")
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			tx, err := conn.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.ExecContext(t.Context(), "UPDATE stock SET n = 2 WHERE id = 1"); err != nil {
				t.Fatal(err)
			}
			if _, err := tx.ExecContext(t.Context(), "USE "+away); !errors.Is(err, gtx.ErrUnsupported) {
				t.Errorf("got %v, want ErrUnsupported", err)
			}
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
			if n, err := leftovers(t.Context(), db); n != 0 || err != nil {
				t.Errorf("%d undo rows were committed (%v)", n, err)
			}
			bus, loose := embedded(t), open(t, s, dsn)
			held, err := loose.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer held.Close()
			for _, where := range []struct {
				use   string
				works bool
			}{{"USE " + away, false}, {"USE " + home, true}, {"SELECT 1; USE " + away, false}, {"USE " + home, true}} {
				if _, err := held.ExecContext(t.Context(), where.use); err != nil {
					t.Fatal(err)
				}
				err := bus.Run(t.Context(), func(ctx context.Context) error {
					_, err := held.ExecContext(ctx, "UPDATE "+home+".stock SET n = n + 1")
					return err
				})
				if works := err == nil; works != where.works || !works && !errors.Is(err, gtx.ErrUnsupported) {
					t.Errorf("%s: got %v", where.use, err)
				}
			}
		})
	}
}
