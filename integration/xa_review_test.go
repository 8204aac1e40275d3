package integration

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus"
)

// abortedXA runs text by itself, and in a local transaction, in global transactions that
// abort. It may be refused.
func abortedXA(t *testing.T, db *sql.DB, bus *natsbus.Bus, text string, after func(how string)) {
	t.Helper()
	for how, run := range map[string]func(ctx context.Context) error{
		"alone": func(ctx context.Context) error {
			_, err := db.ExecContext(ctx, text)
			return err
		},
		"queried": func(ctx context.Context) error {
			rows, err := db.QueryContext(ctx, text)
			if err != nil {
				return err
			}
			for rows.Next() {
			}
			return errors.Join(rows.Err(), rows.Close())
		},
		"tx": func(ctx context.Context) error {
			return locally(ctx, db, func(tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, text)
				return err
			})
		},
	} {
		err := gtx.Run(t.Context(), func(ctx context.Context) error { return errors.Join(run(ctx), errNo) }, append(isolated(bus), gtx.WithRetries(0))...)
		if !errors.Is(err, errNo) {
			t.Errorf("%s: %v", how, err)
		}
		after(how)
	}
}

// TestXADDL holds that a change of the schema is undone with the transaction, or refused.
func TestXADDL(t *testing.T) {
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		for _, text := range []string{"CREATE TABLE made (id int)", "ALTER TABLE item ADD COLUMN made int", "COMMENT ON TABLE item IS 'made'"} {
			if text[0] == 'C' && text[1] == 'O' && s.family() != "gtx-postgres" {
				continue
			}
			abortedXA(t, db, bus, text, func(how string) {
				var made int
				err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM information_schema.columns WHERE table_name = 'made' AND table_schema IN ('public', (SELECT TABLE_SCHEMA FROM information_schema.tables WHERE table_name = 'gtx_undo' LIMIT 1)) OR column_name = 'made'").Scan(&made)
				if err != nil || made != 0 {
					t.Errorf("%s, %s: it is there after the abort (%d, %v)", text, how, made, err)
					_, _ = db.ExecContext(t.Context(), "DROP TABLE made")
					_, _ = db.ExecContext(t.Context(), "ALTER TABLE item DROP COLUMN made")
				}
			})
		}
	})
}

// TestXAFunctionThatWrites holds that what a function in a SELECT writes is undone.
func TestXAFunctionThatWrites(t *testing.T) {
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		bump(t, s, db)
		before := value(t, db, 1)
		abortedXA(t, db, bus, "SELECT bump()", func(how string) {
			if got := value(t, db, 1); got != before {
				t.Errorf("%s: got %d after the abort, want %d", how, got, before)
				before = got
			}
		})
	})
}

func bump(t *testing.T, s server, db *sql.DB) {
	t.Helper()
	text := "CREATE FUNCTION bump() RETURNS int DETERMINISTIC MODIFIES SQL DATA BEGIN UPDATE item SET n = n + 1 WHERE id = 1; RETURN 1; END"
	if s.family() == "gtx-postgres" {
		text = "CREATE FUNCTION bump() RETURNS int LANGUAGE sql AS 'UPDATE item SET n = n + 1 WHERE id = 1; SELECT 1'"
	}
	mustExec(t, db, text)
}

// TestXABesideTheTarget is rule W6 where the row that is held is not of the table that the
// text names.
func TestXABesideTheTarget(t *testing.T) {
	type way struct {
		set    []string
		at, xa string
	}
	common := map[string]way{
		"view": {[]string{"CREATE VIEW shown AS SELECT id, n FROM item"}, update(1, 1000), "UPDATE shown SET n = n + 1 WHERE id = 1"},
		"cascade": {
			[]string{
				"CREATE TABLE whole (id bigint PRIMARY KEY)",
				"CREATE TABLE part (id bigint PRIMARY KEY, whole bigint NOT NULL, n bigint NOT NULL, FOREIGN KEY (whole) REFERENCES whole (id) ON DELETE CASCADE)",
				"INSERT INTO whole VALUES (1)", "INSERT INTO part VALUES (1, 1, 1)",
			},
			"UPDATE part SET n = n + 1000 WHERE id = 1", "DELETE FROM whole WHERE id = 1",
		},
		"function":            {nil, update(1, 1000), "SELECT bump()"},
		"function in a write": {nil, update(1, 1000), "INSERT INTO calm (id) VALUES (bump())"},
	}
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		bump(t, s, db)
		ways := maps.Clone(common)
		mustExec(t, db, "CREATE TABLE calm (id bigint PRIMARY KEY)")
		mustExec(t, db, "CREATE TABLE fires (id bigint PRIMARY KEY)")
		fires := []string{"CREATE TRIGGER fires BEFORE INSERT ON fires FOR EACH ROW UPDATE item SET n = n + 1 WHERE id = 1"}
		if s.family() == "gtx-postgres" {
			fires = []string{
				"CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE item SET n = n + 1 WHERE id = 1; RETURN NEW; END'",
				"CREATE TRIGGER fires BEFORE INSERT ON fires FOR EACH ROW EXECUTE FUNCTION fire()",
			}
			mustExec(t, db, "CREATE TABLE parted (id bigint PRIMARY KEY, n bigint NOT NULL) PARTITION BY RANGE (id)")
			mustExec(t, db, "CREATE TABLE leaf PARTITION OF parted FOR VALUES FROM (0) TO (100)")
			mustExec(t, db, "INSERT INTO parted VALUES (1, 1), (2, 2)")
			ways["leaf"] = way{nil, "UPDATE parted SET n = n + 1000 WHERE id = 1", "UPDATE leaf SET n = n + 1 WHERE id = 1"}
			ways["root"] = way{nil, "UPDATE leaf SET n = n + 1000 WHERE id = 2", "UPDATE parted SET n = n + 1 WHERE id = 2"}
		}
		ways["trigger"] = way{fires, update(1, 1000), "INSERT INTO fires (id) VALUES (1)"}
		for name, w := range ways {
			t.Run(name, func(t *testing.T) {
				for _, text := range w.set {
					mustExec(t, db, text)
				}
				err := gtx.Run(t.Context(), func(ctx context.Context) error {
					if _, err := db.ExecContext(ctx, w.at); err != nil {
						return err
					}
					for _, alone := range []bool{true, false} {
						inner := gtx.Run(gtx.Detach(ctx), func(ctx context.Context) error {
							if alone {
								_, err := db.ExecContext(ctx, w.xa)
								return err
							}
							return locally(ctx, db, func(tx *sql.Tx) error {
								_, err := tx.ExecContext(ctx, w.xa)
								return err
							})
						}, append(isolated(bus), gtx.WithRetries(0))...)
						if !errors.Is(inner, gtx.ErrConflict) {
							t.Errorf("alone %t: a held row was written: %v", alone, inner)
						}
					}
					return errNo
				}, gtx.WithCoordinator(bus), gtx.WithRetries(0))
				if !errors.Is(err, errNo) {
					t.Error(err)
				}
			})
		}
	})
}

// TestXATwoPools has one program open a database twice, with both in one transaction: all
// of it has ended when Run returns.
func TestXATwoPools(t *testing.T) {
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		dsn := s.dsn(t)
		one, two := open(t, s, dsn), open(t, s, dsn)
		itemTable(t, one)
		for i := range 20 {
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				if _, err := one.ExecContext(ctx, update(1, 1)); err != nil {
					return err
				}
				_, err := two.ExecContext(ctx, update(2, 1))
				return err
			}, isolated(bus)...)
			if err != nil {
				t.Fatal(err)
			}
			for id := 1; id <= 2; id++ {
				if got := value(t, one, id); got != 101+i {
					t.Fatalf("row %d: got %d, want %d", id, got, 101+i)
				}
			}
		}
	})
}

// TestXACoverCannot runs what capture refuses on a table that both modes have just met in:
// it goes as it is.
func TestXACoverCannot(t *testing.T) {
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			if _, err := db.ExecContext(ctx, update(1, 1000)); err != nil {
				return err
			}
			err := gtx.Run(gtx.Detach(ctx), func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, update(2, 1))
				return err
			}, append(isolated(bus), gtx.WithRetries(0))...)
			if !errors.Is(err, gtx.ErrConflict) {
				t.Errorf("a table with an undo row: %v", err)
			}
			return errNo
		}, gtx.WithCoordinator(bus))
		if !errors.Is(err, errNo) {
			t.Fatal(err)
		}
		clean(t, db)
		random := map[bool]string{true: "random()", false: "rand()"}[s.family() == "gtx-postgres"]
		for name, run := range map[string]func(ctx context.Context, text string) error{
			"alone": func(ctx context.Context, text string) error {
				_, err := db.ExecContext(ctx, text)
				return err
			},
			"tx": func(ctx context.Context, text string) error {
				return locally(ctx, db, func(tx *sql.Tx) error {
					_, err := tx.ExecContext(ctx, text)
					return err
				})
			},
		} {
			before := value(t, db, 2)
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				return run(ctx, "UPDATE item SET n = n + 1 WHERE id = 2 AND "+random+" < 2")
			}, isolated(bus)...)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if got := value(t, db, 2); got != before+1 {
				t.Errorf("%s: got %d, want %d", name, got, before+1)
			}
		}
	})
}

// TestXARole prepares under another role than the one that phase two connects as.
func TestXARole(t *testing.T) {
	for _, s := range preparing() {
		if s.family() != "gtx-postgres" {
			continue // the others let everybody end a branch
		}
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			dsn := s.dsn(t)
			admin := open(t, s, dsn)
			mustExec(t, admin, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL)")
			mustExec(t, admin, "INSERT INTO thing VALUES (1, 1)")
			for _, ddl := range dialects[s.driver].Schema() {
				mustExec(t, admin, ddl)
			}
			limited := limit(t, s, dsn, func(text string) { mustExec(t, admin, text) })
			mustExec(t, admin, "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO PUBLIC")
			db := open(t, s, limited)
			var user string
			if err := db.QueryRowContext(t.Context(), "SELECT current_user").Scan(&user); err != nil {
				t.Fatal(err)
			}
			tenant := user + "_tenant"
			mustExec(t, admin, "CREATE ROLE "+tenant)
			t.Cleanup(func() { mustExec(t, admin, "DROP ROLE "+tenant) })
			mustExec(t, admin, "GRANT "+tenant+" TO "+user)
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				return locally(ctx, db, func(tx *sql.Tx) error {
					if _, err := tx.ExecContext(ctx, "SET LOCAL ROLE "+tenant); err != nil {
						return err
					}
					_, err := tx.ExecContext(ctx, "UPDATE thing SET n = n + 1 WHERE id = 1")
					return err
				})
			}, isolated(bus)...)
			var n, left int
			if qerr := admin.QueryRowContext(t.Context(), "SELECT n, (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()) FROM thing").Scan(&n, &left); qerr != nil {
				t.Fatal(qerr)
			}
			if err != nil || n != 2 || left != 0 {
				t.Errorf("got %d, %d branches left, %v", n, left, err)
				mustExec(t, admin, "GRANT "+user+" TO CURRENT_USER")
			}
		})
	}
}

// TestXARefusals are texts that would leave the local transaction, or the place where undo
// rows are looked for: refused before they run, and nothing else is undone by that.
func TestXARefusals(t *testing.T) {
	onEachXA(t, func(t *testing.T, s server, db *sql.DB, bus *natsbus.Bus) {
		type refusal struct{ text, code string }
		all := []refusal{
			{"UPDATE gtx_undo SET xid = 'x'", "own-table"},
			{"DELETE FROM gtx_branch", "own-table"},
		}
		if s.family() == "gtx-mysql" {
			var other string
			if err := open(t, s, s.dsn(t)).QueryRow("SELECT DATABASE()").Scan(&other); err != nil {
				t.Fatal(err)
			}
			mustExec(t, db, "CREATE TABLE "+other+".item (id bigint PRIMARY KEY, n bigint)")
			all = append(
				all,
				refusal{"INSERT INTO " + other + ".item (id, n) VALUES (1, 1)", "other-schema"},
				refusal{"USE " + other, "transaction-control"},
				refusal{"CREATE TABLE made (id int)", "transaction-control"},
				refusal{"LOCK TABLES item WRITE", "transaction-control"},
				refusal{"SET autocommit = 1", "transaction-control"},
			)
		}
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			return locally(ctx, db, func(tx *sql.Tx) error {
				if _, err := tx.ExecContext(ctx, update(1, 1)); err != nil {
					return err
				}
				for _, r := range all {
					_, err := tx.ExecContext(ctx, r.text)
					var refused *gtx.UnsupportedError
					if !errors.As(err, &refused) || refused.Code != r.code {
						t.Errorf("%s: got %v, want code %s", r.text, err, r.code)
					}
				}
				return nil
			})
		}, isolated(bus)...)
		if err != nil {
			t.Fatal(err)
		}
		if got := value(t, db, 1); got != 101 {
			t.Errorf("got %d, want 101", got)
		}
	})
}

// TestXACoverFromQuery writes from a query into a table that both modes write, where capture
// takes a temporary table, which MySQL does not allow in a branch that it lets go.
func TestXACoverFromQuery(t *testing.T) {
	onEachXA(t, func(t *testing.T, _ server, db *sql.DB, bus *natsbus.Bus) {
		copies := func(opts ...gtx.Option) error {
			return gtx.Run(context.Background(), func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, "INSERT INTO item (id, n) SELECT id + 10, n FROM item WHERE id = 2")
				return err
			}, append(isolated(bus), opts...)...)
		}
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			if _, err := db.ExecContext(ctx, update(1, 1)); err != nil {
				return err
			}
			if err := copies(gtx.WithRetries(0)); !errors.Is(err, gtx.ErrConflict) {
				t.Errorf("beside an undo row: %v", err)
			}
			return nil
		}, gtx.WithCoordinator(bus))
		if err != nil {
			t.Fatal(err)
		}
		clean(t, db)
		if err := copies(); err != nil {
			t.Fatal(err)
		}
		if got := value(t, db, 12); got != 100 {
			t.Errorf("got %d, want 100", got)
		}
	})
}

// TestXACoverLocksItsRowsOnly has a prepared branch that went through capture beside
// writers of other rows, in both modes: none of them waits for its end.
func TestXACoverLocksItsRowsOnly(t *testing.T) {
	onEachXA(t, func(t *testing.T, _ server, db *sql.DB, bus *natsbus.Bus) {
		mustExec(t, db, "CREATE TABLE other (id bigint PRIMARY KEY, n bigint NOT NULL)")
		mustExec(t, db, "INSERT INTO other SELECT id, n FROM item")
		writes := func(ctx context.Context, text string, opts ...gtx.Option) error {
			return gtx.Run(gtx.Detach(ctx), func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, text)
				return err
			}, append(opts, gtx.WithTimeout(10*time.Second))...)
		}
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			if _, err := db.ExecContext(ctx, update(1, 1)); err != nil {
				return err
			}
			if err := writes(ctx, update(2, 1), append(isolated(bus), gtx.WithRetries(0))...); !errors.Is(err, gtx.ErrConflict) {
				t.Errorf("beside an undo row: %v", err)
			}
			return nil
		}, gtx.WithCoordinator(bus))
		if err != nil {
			t.Fatal(err)
		}
		clean(t, db)
		for _, level := range []sql.IsolationLevel{sql.LevelDefault, sql.LevelReadCommitted} {
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				for id := 1; id <= 2; id++ { // each a branch of its own
					tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: level})
					if err != nil {
						return err
					}
					defer tx.Rollback()
					if _, err := tx.ExecContext(ctx, update(id, 1)); err != nil {
						return err
					}
					if err := tx.Commit(); err != nil {
						return err
					}
				}
				if err := writes(ctx, update(3, 1), isolated(bus)...); err != nil {
					t.Errorf("%v: mode XA, another row: %v", level, err)
				}
				if err := writes(ctx, "UPDATE other SET n = n + 1", gtx.WithCoordinator(bus)); err != nil {
					t.Errorf("%v: mode AT, another table: %v", level, err)
				}
				return nil
			}, isolated(bus)...)
			if err != nil {
				t.Error(err)
			}
		}
		for id, want := range map[int]int{1: 103, 2: 102, 3: 102} {
			if got := value(t, db, id); got != want {
				t.Errorf("row %d: got %d, want %d", id, got, want)
			}
		}
	})
}

// TestXAConnAfterDDL has one sql.Conn make tables and then several branches: DDL leaves
// nothing in the session that another one has not.
func TestXAConnAfterDDL(t *testing.T) {
	onEachXA(t, func(t *testing.T, _ server, db *sql.DB, bus *natsbus.Bus) {
		c, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, text := range []string{"CREATE TABLE made (id bigint PRIMARY KEY)", "ALTER TABLE made ADD n bigint", "DROP TABLE made"} {
			if _, err := c.ExecContext(t.Context(), text); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			err = gtx.Run(t.Context(), func(ctx context.Context) error {
				for id := 1; id <= 3; id++ {
					if _, err := c.ExecContext(ctx, update(id, 1)); err != nil {
						return err
					}
				}
				return nil
			}, isolated(bus)...)
			if err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
		if got := value(t, db, 3); got != 102 {
			t.Errorf("got %d, want 102", got)
		}
	})
}
