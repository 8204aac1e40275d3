package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// guardServers have triggers that can compute the key of an undo row.
func guardServers() []server { return servers()[1:] }

// outside opens a database with the base driver, as those do who know nothing of
// global transactions.
func outside(t *testing.T, s server, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(strings.TrimPrefix(s.driver, "gtx-"), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// guard installs the guard of tables of the current schema.
func guard(t *testing.T, s server, db *sql.DB, tables ...string) {
	t.Helper()
	d := dialects[s.driver]
	for _, text := range d.Schema() {
		mustExec(t, db, text)
	}
	for _, table := range tables {
		onGuard(t, s, db, table, d.(undo.Guarder).InstallGuard)
		if g := guardOf(t, s, db, table); g.State != undo.Guarded {
			t.Fatalf("guard of %s: %+v", table, g)
		}
	}
}

func onGuard(t *testing.T, s server, db *sql.DB, table string, do func(context.Context, *sql.Conn, string) error) {
	t.Helper()
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := do(t.Context(), c, tableID(t, s, db, table)); err != nil {
		t.Fatal(err)
	}
}

func tableID(t *testing.T, s server, db *sql.DB, table string) string {
	t.Helper()
	if s.family() == "gtx-postgres" {
		return `"public"."` + table + `"`
	}
	var schema string
	if err := db.QueryRow("SELECT DATABASE()").Scan(&schema); err != nil {
		t.Fatal(err)
	}
	return "`" + schema + "`.`" + table + "`"
}

func guardOf(t *testing.T, s server, db *sql.DB, table string) undo.Guard {
	t.Helper()
	found, err := dialects[s.driver].(undo.Guarder).Guards(t.Context(), undo.QueryDB(db), tableID(t, s, db, table))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 {
		return undo.Guard{}
	}
	return found[0]
}

// refused checks that err is a guard's refusal that names the holder.
func refused(t *testing.T, s server, holder gtx.XID, what string, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: not refused", what)
		return
	}
	if !strings.Contains(err.Error(), holder.String()) || dialects[s.driver].Classify(err) != undo.Conflict {
		t.Errorf("%s: got %v, want a conflict with %s", what, err, holder)
	}
}

// TestGuardTrigger: while a global transaction holds rows, nobody else writes to them, by
// whatever statement; free rows are written, and all of them when it has ended.
func TestGuardTrigger(t *testing.T) {
	for _, s := range guardServers() {
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			dsn := s.dsn(t)
			db, plain := open(t, s, dsn), outside(t, s, dsn)
			mustExec(t, plain, "CREATE TABLE thing (id int PRIMARY KEY, n int NOT NULL)")
			mustExec(t, plain, "INSERT INTO thing VALUES (1, 10), (2, 20), (3, 30), (5, 50)")
			guard(t, s, plain, "thing")
			for name, end := range map[string]error{"abort": errChanged, "commit": nil} {
				t.Run(name, func(t *testing.T) {
					err := bus.Run(t.Context(), func(ctx context.Context) error {
						tx, _ := gtx.FromContext(ctx)
						for _, text := range []string{
							"UPDATE thing SET n = n + 1 WHERE id = 1", "DELETE FROM thing WHERE id = 2", "INSERT INTO thing VALUES (4, 40)",
							"UPDATE thing SET n = n + 1 WHERE id = 1", // again, on its own row
						} {
							if _, err := db.ExecContext(ctx, text); err != nil {
								return fmt.Errorf("%s: %w", text, err)
							}
						}
						for _, isolation := range []string{"READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"} {
							for _, text := range []string{
								"UPDATE thing SET n = 0 WHERE id = 1", "UPDATE thing SET n = n", "UPDATE thing SET id = 9 WHERE id = 1",
								"UPDATE thing SET id = 2 WHERE id = 3", "DELETE FROM thing WHERE id = 1", "DELETE FROM thing",
								"INSERT INTO thing VALUES (2, 0)", "INSERT INTO thing VALUES (7, 70), (2, 0)", "DELETE FROM thing WHERE id = 4",
							} {
								err := at(plain, isolation, text)
								refused(t, s, tx.XID(), isolation+": "+text, err)
							}
							for _, text := range []string{
								"UPDATE thing SET n = n + 1 WHERE id = 3", "DELETE FROM thing WHERE id = 5", "INSERT INTO thing VALUES (5, 50)",
								"INSERT INTO thing VALUES (6, 60)", "UPDATE thing SET id = 7 WHERE id = 6", "DELETE FROM thing WHERE id = 7",
							} {
								if err := at(plain, isolation, text); err != nil {
									t.Errorf("%s: %s on free rows: %v", isolation, text, err)
								}
							}
						}
						return end
					})
					if !errors.Is(err, end) {
						t.Fatal(err)
					}
					clean(t, db)
					for _, text := range []string{"UPDATE thing SET n = 10 WHERE id = 1", "DELETE FROM thing WHERE id IN (2, 4)", "INSERT INTO thing VALUES (2, 20)"} {
						if err := at(plain, "REPEATABLE READ", text); err != nil {
							t.Errorf("%s after the end: %v", text, err)
						}
					}
				})
			}
			onGuard(t, s, plain, "thing", dialects[s.driver].(undo.Guarder).RemoveGuard)
			if g := guardOf(t, s, plain, "thing"); g.State != "" {
				t.Errorf("after removal: %+v", g)
			}
		})
	}
}

// at runs one statement in a local transaction of its own.
func at(db *sql.DB, isolation, text string) error {
	levels := map[string]sql.IsolationLevel{
		"READ COMMITTED": sql.LevelReadCommitted, "REPEATABLE READ": sql.LevelRepeatableRead, "SERIALIZABLE": sql.LevelSerializable,
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: levels[isolation]})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, text); err != nil {
		return err
	}
	return tx.Commit()
}

// TestGuardTriggerAfterWait: a writer that had to wait for the row or the key, or whose
// snapshot is older, sees who has come to hold it meanwhile.
func TestGuardTriggerAfterWait(t *testing.T) {
	writes := []struct{ holder, outside string }{
		{"UPDATE thing SET n = n + 1 WHERE id = 1", "UPDATE thing SET n = 0 WHERE id = 1"},
		{"UPDATE thing SET n = n + 1 WHERE id = 1", "DELETE FROM thing WHERE id = 1"},
		{"UPDATE thing SET n = n + 1 WHERE id = 2", "UPDATE thing SET n = n"}, // a row behind one that is free
		{"DELETE FROM thing WHERE id = 1", "INSERT INTO thing VALUES (1, 0)"},
		{"DELETE FROM thing WHERE id = 1", "UPDATE thing SET id = 1 WHERE id = 2"},
	}
	for _, s := range guardServers() {
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			dsn := s.dsn(t)
			db, plain := open(t, s, dsn), outside(t, s, dsn)
			mustExec(t, plain, "CREATE TABLE thing (id int PRIMARY KEY, n int NOT NULL)")
			mustExec(t, plain, "INSERT INTO thing VALUES (1, 10), (2, 20)")
			guard(t, s, plain, "thing")
			for _, w := range writes {
				for _, level := range []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable} {
					for _, early := range []bool{true, false} {
						what := fmt.Sprintf("%s against %s at %s, waiting %t", w.outside, w.holder, level, early)
						err := bus.Run(t.Context(), func(ctx context.Context) error {
							g, _ := gtx.FromContext(ctx)
							other, err := plain.BeginTx(t.Context(), &sql.TxOptions{Isolation: level})
							if err != nil {
								return err
							}
							defer func() { _ = other.Rollback() }()
							if level != sql.LevelSerializable { // there a read of InnoDB locks
								if err := other.QueryRow("SELECT n FROM thing WHERE id = 2").Scan(new(int)); err != nil {
									return err
								}
							}
							tx, err := db.BeginTx(ctx, nil)
							if err != nil {
								return err
							}
							defer func() { _ = tx.Rollback() }()
							if _, err := tx.ExecContext(ctx, w.holder); err != nil {
								return err
							}
							result := make(chan error, 1)
							write := func() { _, err := other.ExecContext(t.Context(), w.outside); result <- err }
							if early {
								go write()
								blocked(t, s, plain, what, result)
							}
							if err := tx.Commit(); err != nil {
								return err
							}
							if !early {
								go write()
							}
							err = <-result
							if s.family() == "gtx-postgres" && level != sql.LevelReadCommitted && err != nil && strings.Contains(err.Error(), "could not serialize") {
								return errChanged
							}
							refused(t, s, g.XID(), what, err)
							return errChanged
						})
						if !errors.Is(err, errChanged) {
							t.Fatalf("%s: %v", what, err)
						}
						clean(t, db)
					}
				}
			}
			var sum int
			if err := plain.QueryRow("SELECT sum(n * id) FROM thing").Scan(&sum); err != nil || sum != 50 {
				t.Errorf("the rows have changed: sum %d, %v", sum, err)
			}
		})
	}
}

// blocked waits until somebody waits for a lock of a row. InnoDB keeps what it
// shows as long as it is asked more often than every 100 ms.
func blocked(t *testing.T, s server, db *sql.DB, what string, result chan error) {
	t.Helper()
	query := "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
	if s.family() == "gtx-postgres" {
		query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		var n int
		if err := db.QueryRowContext(ctx, query).Scan(&n); err != nil {
			t.Errorf("wait for a blocked writer: %v", err)
			return
		}
		if n > 0 {
			return
		}
		select {
		case err := <-result:
			t.Errorf("%s: not blocked, got %v", what, err)
			result <- err
			return
		case <-ctx.Done():
		case <-time.After(120 * time.Millisecond):
		}
	}
}
