package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	mysqldriver "github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// TestGuardTriggerForms: on guarded tables every form is captured, undone and
// committed as on others.
func TestGuardTriggerForms(t *testing.T) {
	for _, s := range guardServers() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			bus := embedded(t)
			dsn, other := s.dsn(t), s.dsn(t)
			db, twin, plain := open(t, s, dsn), open(t, s, other), outside(t, s, dsn)
			for _, form := range forms {
				if !strings.Contains(form.servers, letters[s.name]) {
					continue
				}
				t.Run(form.text, func(t *testing.T) {
					remakeTables(t, s, db)
					remakeTables(t, s, twin)
					guard(t, s, plain, "stock", "orders", "counted")
					before := everything(t, db)
					want, err := twin.Exec(form.text)
					if err != nil {
						t.Fatal(err)
					}
					run := func(after error) error {
						return bus.Run(t.Context(), func(ctx context.Context) error {
							got, err := db.ExecContext(ctx, form.text)
							if err != nil {
								return err
							}
							g, _ := got.RowsAffected()
							if w, _ := want.RowsAffected(); g != w && !strings.HasPrefix(form.text, "MERGE") { // lib/pq reads no count of MERGE
								t.Errorf("%d rows affected, without a guard %d", g, w)
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
						t.Errorf("after the commit\n%s, without a guard\n%s", got, want)
					}
				})
			}
		})
	}
}

// TestGuardTriggerMarker: a connection that has written for a global transaction
// is nobody special afterwards, however the statement and the local transaction
// have ended.
func TestGuardTriggerMarker(t *testing.T) {
	for _, s := range guardServers() {
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			dsn := s.dsn(t)
			db := open(t, s, dsn)
			mustExec(t, db, "CREATE TABLE thing (id int PRIMARY KEY, n int NOT NULL UNIQUE)")
			mustExec(t, db, "INSERT INTO thing VALUES (1, 10), (2, 20), (3, 30)")
			guard(t, s, outside(t, s, dsn), "thing")
			db.SetMaxOpenConns(1)
			for name, end := range map[string]func(ctx context.Context, tx *sql.Tx) error{
				"commit":   func(_ context.Context, tx *sql.Tx) error { return tx.Commit() },
				"rollback": func(_ context.Context, tx *sql.Tx) error { return tx.Rollback() },
				"failed": func(ctx context.Context, tx *sql.Tx) error {
					if _, err := tx.ExecContext(ctx, "UPDATE thing SET n = 21 WHERE id = 3"); err == nil {
						return errors.New("a duplicate is no error")
					}
					if s.family() == "gtx-postgres" {
						return tx.Rollback() // nothing else is possible
					}
					return tx.Commit()
				},
				"cancelled": func(ctx context.Context, tx *sql.Tx) error {
					ctx, cancel := context.WithCancel(ctx)
					cancel()
					if _, err := tx.ExecContext(ctx, "UPDATE thing SET n = 31 WHERE id = 3"); err == nil {
						return errors.New("a cancelled statement has run")
					}
					return tx.Rollback()
				},
			} {
				t.Run(name, func(t *testing.T) {
					err := bus.Run(t.Context(), func(ctx context.Context) error {
						g, _ := gtx.FromContext(ctx)
						if _, err := db.ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 1"); err != nil {
							return err
						}
						tx, err := db.BeginTx(ctx, nil)
						if err != nil {
							return err
						}
						if _, err := tx.ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 2"); err != nil {
							return errors.Join(err, tx.Rollback())
						}
						if err := end(ctx, tx); err != nil {
							return err
						}
						// The same connection, outside any global transaction.
						_, err = db.ExecContext(gtx.Detach(ctx), "UPDATE thing SET n = 0 WHERE id = 1")
						refused(t, s, g.XID(), "plain write", err)
						var marker sql.NullString
						query := "SELECT @gtx_xid"
						if s.family() == "gtx-postgres" {
							query = "SELECT NULLIF(current_setting('gtx.xid', true), '')"
						}
						if err := db.QueryRowContext(gtx.Detach(ctx), query).Scan(&marker); err != nil || marker.Valid {
							t.Errorf("marker %v, %v", marker, err)
						}
						return errChanged
					})
					if !errors.Is(err, errChanged) {
						t.Fatal(err)
					}
					clean(t, db)
				})
			}
		})
	}
}

// TestGuardTriggerConflict: of two global transactions the second waits for the
// first, on a guarded table as on any other.
func TestGuardTriggerConflict(t *testing.T) {
	for _, s := range guardServers() {
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			dsn := s.dsn(t)
			db := open(t, s, dsn)
			mustExec(t, db, "CREATE TABLE thing (id int PRIMARY KEY, n int NOT NULL)")
			mustExec(t, db, "INSERT INTO thing VALUES (1, 1), (2, 2)")
			guard(t, s, outside(t, s, dsn), "thing")
			for _, text := range []string{"UPDATE thing SET n = n + 1 WHERE id = 1", "INSERT INTO thing VALUES (2, 2)", "DELETE FROM thing"} {
				held := make(chan struct{})
				end := make(chan struct{})
				var first gtx.XID
				var wg sync.WaitGroup
				wg.Go(func() {
					err := bus.Run(t.Context(), func(ctx context.Context) error {
						g, _ := gtx.FromContext(ctx)
						first = g.XID()
						for _, text := range []string{"UPDATE thing SET n = n + 1 WHERE id = 1", "DELETE FROM thing WHERE id = 2"} {
							if _, err := db.ExecContext(ctx, text); err != nil {
								close(held)
								return err
							}
						}
						close(held)
						<-end
						return errChanged
					})
					if !errors.Is(err, errChanged) {
						t.Error(err)
					}
				})
				<-held
				// In a local transaction that has read, so that the driver does not wait unseen.
				err := bus.Run(t.Context(), func(ctx context.Context) error {
					tx, err := db.BeginTx(ctx, nil)
					if err != nil {
						return err
					}
					defer func() { _ = tx.Rollback() }()
					if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM thing").Scan(new(int)); err != nil {
						return err
					}
					_, err = tx.ExecContext(ctx, text)
					var c *gtx.ConflictError
					if !errors.As(err, &c) || c.Holder != first {
						t.Errorf("%s: got %v, want a conflict with %s", text, err, first)
					}
					return errChanged
				})
				close(end)
				wg.Wait()
				if !errors.Is(err, errChanged) {
					t.Error(err)
				}
				clean(t, db)
			}
		})
	}
}

// TestGuardTriggerKeys: whatever the type of the key, the guard finds the undo row
// that capture has written, in sessions with other modes than the one it was
// installed in.
func TestGuardTriggerKeys(t *testing.T) {
	keys := map[string][][2]string{
		"gtx-mysql": {
			{"varchar(20) COLLATE utf8mb4_general_ci", "'Ärger '"},
			{"char(9) CHARACTER SET latin1", "'abc'"},
			{"varbinary(9)", "X'00FF27'"},
			{"binary(4)", "X'01'"},
			{"bigint unsigned", "18446744073709551615"},
			{"decimal(30,9)", "-1.5"},
			{"date", "'2020-02-29'"},
			{"datetime(3)", "'2020-01-01 00:00:00.25'"},
			{"time(2)", "'-12:30:01.5'"},
			{"year", "1999"},
			{"int, PRIMARY KEY (id, n), x int", "7"},
		},
		"gtx-postgres": {
			{"varchar(20)", "'Ärger '"},
			{"char(9)", "'abc'"},
			{"bytea", `'\x00ff27'`},
			{"numeric", "1.50"},
			{"float8", "'-0'"},
			{"date", "'2020-02-29'"},
			{"timestamptz", "'2020-01-01 00:00:00.25+05'"},
			{"uuid", "'00000000-0000-0000-0000-00000000000a'"},
			{"inet", "'10.0.0.1'"},
			{"bool", "true"},
			{"interval", "'1 day'"},
			{"jsonb", `'{"a": 1.0}'`},
			{"int[]", "'{1,2}'"},
			{"int, PRIMARY KEY (id, n)", "7"},
		},
	}
	for _, s := range guardServers() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			bus := embedded(t)
			dsn := s.dsn(t)
			db, plain, strange := open(t, s, dsn), outside(t, s, dsn), outside(t, s, dsn)
			for i, key := range keys[s.family()] {
				table := fmt.Sprintf("Key's %d", i)
				quoted := `"` + table + `"`
				if s.driver == "gtx-mysql" {
					quoted = "`" + table + "`"
				}
				typ := key[0]
				if !strings.Contains(typ, "PRIMARY") {
					typ += " PRIMARY KEY"
				}
				mustExec(t, plain, "CREATE TABLE "+quoted+" (n int NOT NULL, id "+typ+")")
				mustExec(t, plain, "INSERT INTO "+quoted+" (n, id) VALUES (1, "+key[1]+")")
				guard(t, s, plain, table)
				err := bus.Run(t.Context(), func(ctx context.Context) error {
					g, _ := gtx.FromContext(ctx)
					if _, err := db.ExecContext(ctx, "DELETE FROM "+quoted); err != nil {
						return err
					}
					c, err := strange.Conn(t.Context())
					if err != nil {
						return err
					}
					defer c.Close()
					mode := "SET sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES', time_zone = '-08:00'"
					if s.family() == "gtx-postgres" {
						mode = "SET datestyle = 'SQL, DMY'; SET timezone = 'Asia/Kolkata'; SET extra_float_digits = -5; SET search_path = pg_catalog, public"
					}
					if _, err := c.ExecContext(t.Context(), mode); err != nil {
						return err
					}
					quoted := quoted
					if s.driver == "gtx-mysql" {
						quoted = `"` + table + `"`
					}
					_, err = c.ExecContext(t.Context(), "INSERT INTO "+quoted+" (n, id) VALUES (1, "+key[1]+")")
					refused(t, s, g.XID(), key[0], err)
					return errChanged
				})
				if !errors.Is(err, errChanged) {
					t.Errorf("%s: %v", key[0], err)
				}
				clean(t, db)
				mustExec(t, plain, "UPDATE "+quoted+" SET n = 1")
			}
		})
	}
}

// TestGuardTriggerRights: who may write to the table and knows nothing of the
// tables of globaltx is refused and let through as others are.
func TestGuardTriggerRights(t *testing.T) {
	for _, s := range guardServers() {
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			dsn := s.dsn(t)
			db, plain := open(t, s, dsn), outside(t, s, dsn)
			mustExec(t, plain, "CREATE TABLE thing (id int PRIMARY KEY, n int NOT NULL)")
			mustExec(t, plain, "INSERT INTO thing VALUES (1, 10), (2, 20)")
			guard(t, s, plain, "thing")
			limited := limit(t, s, dsn, func(text string) {
				if s.driver == "gtx-mysql" && strings.HasPrefix(text, "GRANT") { // on this table only
					cfg, err := mysqldriver.ParseDSN(dsn)
					if err != nil {
						t.Fatal(err)
					}
					text = strings.Replace(text, "`"+cfg.DBName+"`.*", "`"+cfg.DBName+"`.thing", 1)
				}
				mustExec(t, plain, text)
			})
			stranger := outside(t, s, limited)
			if _, err := stranger.Exec("SELECT 1 FROM gtx_undo"); err == nil {
				t.Fatal("the user may read gtx_undo")
			}
			err := bus.Run(t.Context(), func(ctx context.Context) error {
				g, _ := gtx.FromContext(ctx)
				if _, err := db.ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 1"); err != nil {
					return err
				}
				for _, isolation := range []string{"READ COMMITTED", "REPEATABLE READ"} {
					refused(t, s, g.XID(), isolation, at(stranger, isolation, "UPDATE thing SET n = 0 WHERE id = 1"))
					if err := at(stranger, isolation, "UPDATE thing SET n = n + 1 WHERE id = 2"); err != nil {
						t.Errorf("free row at %s: %v", isolation, err)
					}
				}
				return errChanged
			})
			if !errors.Is(err, errChanged) {
				t.Fatal(err)
			}
			clean(t, db)
		})
	}
}

// TestGuardTriggerFits: a guard that is not the one for this table is never taken
// for one, and installing again repairs it, several times at once too.
func TestGuardTriggerFits(t *testing.T) {
	for _, s := range guardServers() {
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			dsn := s.dsn(t)
			db, plain := open(t, s, dsn), outside(t, s, dsn)
			g := dialects[s.driver].(undo.Guarder)
			mustExec(t, db, "CREATE TABLE thing (id int NOT NULL, k int NOT NULL, n int NOT NULL, CONSTRAINT thing_pkey PRIMARY KEY (id))")
			mustExec(t, db, "INSERT INTO thing VALUES (1, 2, 3)")
			guard(t, s, plain)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() { onGuard(t, s, plain, "thing", g.InstallGuard) })
			}
			wg.Wait()
			state := func(table string, want undo.GuardState) {
				t.Helper()
				if got := guardOf(t, s, plain, table); got.State != want || (got.Reason == "") != (want == undo.Guarded || want == "") {
					t.Errorf("got %+v, want %q", got, want)
				}
			}
			write := func(table, code string) {
				t.Helper()
				err := bus.Run(t.Context(), func(ctx context.Context) error {
					_, err := db.ExecContext(ctx, "UPDATE "+table+" SET n = n + 1")
					return err
				})
				var u *gtx.UnsupportedError
				if code == "" && err != nil || code != "" && (!errors.As(err, &u) || u.Code != code) {
					t.Errorf("got %v, want %q", err, code)
				}
				clean(t, db)
			}
			state("thing", undo.Guarded)
			write("thing", "")

			mustExec(t, db, "ALTER TABLE thing ADD COLUMN more int")
			state("thing", undo.Guarded)
			write("thing", "")

			drop := "ALTER TABLE thing DROP PRIMARY KEY, ADD PRIMARY KEY (k)"
			if s.family() == "gtx-postgres" {
				drop = "ALTER TABLE thing DROP CONSTRAINT thing_pkey, ADD PRIMARY KEY (k)"
			}
			mustExec(t, db, drop)
			state("thing", undo.GuardStale)
			write("thing", undo.CodeGuardStale)
			onGuard(t, s, plain, "thing", g.InstallGuard)
			state("thing", undo.Guarded)
			write("thing", "")

			mustExec(t, db, "ALTER TABLE thing RENAME TO thing2")
			state("thing2", undo.GuardStale)
			write("thing2", undo.CodeGuardStale)
			onGuard(t, s, plain, "thing2", g.InstallGuard)
			state("thing2", undo.Guarded)
			write("thing2", "")

			// Part of it is missing: no risk for what is captured.
			trigger := "gtx_guard_truncate ON thing2"
			if s.driver == "gtx-mysql" {
				if err := db.QueryRow("SELECT min(TRIGGER_NAME) FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = DATABASE()").Scan(&trigger); err != nil {
					t.Fatal(err)
				}
			}
			mustExec(t, db, "DROP TRIGGER "+trigger)
			state("thing2", undo.GuardPartial)
			write("thing2", "")
			onGuard(t, s, plain, "thing2", g.InstallGuard)
			state("thing2", undo.Guarded)
			onGuard(t, s, plain, "thing2", g.RemoveGuard)
			state("thing2", "")
			onGuard(t, s, plain, "thing2", g.RemoveGuard) // nothing to do
			write("thing2", "")

			// Somebody else's, by our name.
			foreign := []string{"CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'", "CREATE TRIGGER gtx_guard AFTER UPDATE ON thing2 FOR EACH ROW EXECUTE FUNCTION theirs()"}
			if s.driver == "gtx-mysql" {
				foreign = []string{"CREATE TRIGGER gtx_guard_u_theirs AFTER UPDATE ON thing2 FOR EACH ROW SET @x = 1"}
			}
			for _, text := range foreign {
				mustExec(t, db, text)
			}
			state("thing2", undo.GuardStale)
			write("thing2", undo.CodeGuardForeign)
			for _, do := range []func(context.Context, *sql.Conn, string) error{g.InstallGuard, g.RemoveGuard} {
				c, err := plain.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var u *gtx.UnsupportedError
				if err := do(t.Context(), c, tableID(t, s, plain, "thing2")); !errors.As(err, &u) || u.Code != undo.CodeGuardForeign {
					t.Errorf("got %v, want %s", err, undo.CodeGuardForeign)
				}
				c.Close()
			}
		})
	}
}

// TestGuardTriggerTruncate: Postgres asks a trigger before it empties a table.
func TestGuardTriggerTruncate(t *testing.T) {
	for _, s := range guardServers()[2:] {
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			dsn := s.dsn(t)
			db, plain := open(t, s, dsn), outside(t, s, dsn)
			mustExec(t, plain, "CREATE TABLE thing (id int PRIMARY KEY, n int NOT NULL)")
			mustExec(t, plain, "INSERT INTO thing VALUES (1, 10)")
			guard(t, s, plain, "thing")
			err := bus.Run(t.Context(), func(ctx context.Context) error {
				g, _ := gtx.FromContext(ctx)
				if _, err := db.ExecContext(ctx, "UPDATE thing SET n = n + 1"); err != nil {
					return err
				}
				refused(t, s, g.XID(), "TRUNCATE", at(plain, "READ COMMITTED", "TRUNCATE thing"))
				if err := at(plain, "REPEATABLE READ", "TRUNCATE thing"); err == nil {
					t.Error("TRUNCATE at REPEATABLE READ: not refused")
				}
				return errChanged
			})
			if !errors.Is(err, errChanged) {
				t.Fatal(err)
			}
			clean(t, db)
			mustExec(t, plain, "TRUNCATE thing")
		})
	}
}
