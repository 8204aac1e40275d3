package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// A reading is a SELECT over the tables of formTables; @1 is its argument 1.
type reading struct{ servers, text string }

// lockingReads want rows that the holder of TestReadWaits has.
var lockingReads = []reading{
	{"mapq", "SELECT id, name, n FROM stock WHERE id = 1 FOR UPDATE"},
	{"mapq", "SELECT * FROM stock AS s ORDER BY s.id -- all of them\n FOR UPDATE"},
	{"mpq", "SELECT n FROM stock WHERE id = @1 + 7 FOR SHARE"},
	{"ma", "SELECT n FROM stock WHERE id = @1 LOCK IN SHARE MODE"},
	{"pq", "SELECT lower(name) AS low, my.* FROM ONLY public.stock AS my WHERE id = 1 FOR NO KEY UPDATE"},
	{"ma", "SELECT `s`.`n` AS `order`, 1 FROM `stock` AS `s` WHERE (`s`.`id` = 1) FOR UPDATE"},
	{"mapq", "SELECT s.n, o.n FROM stock AS s JOIN orders AS o ON o.id = s.id ORDER BY 1 FOR UPDATE"},
	{"mpq", "SELECT s.n, o.n FROM orders AS o LEFT JOIN stock AS x ON x.id = -1, stock AS s WHERE s.id = o.id ORDER BY s.id FOR UPDATE OF s"},
	{"mapq", "SELECT n FROM stock WHERE n IS NOT NULL ORDER BY n DESC, id LIMIT 1 FOR UPDATE"},
	{"mapq", "SELECT name FROM stock WHERE id IN (SELECT id FROM orders) ORDER BY id FOR UPDATE"},
	{"ma", "SELECT sum(n) FROM stock WHERE id > 0 FOR UPDATE"},
	{"ma", "SELECT DISTINCT n FROM stock WHERE n > @1 ORDER BY n FOR UPDATE"},
	{"ma", "SELECT n, count(*) FROM stock GROUP BY n ORDER BY n LIMIT 10 FOR UPDATE"},
}

// decidedReads want them, too, when gtx.ReadCommitted asks.
var decidedReads = []reading{
	{"smapq", "SELECT id, name, n FROM stock WHERE id = 1"},
	{"smapq", "SELECT * FROM stock ORDER BY id"},
	{"smapq", "SELECT n /* , */ -- the list ends\nFROM stock WHERE id = 8 -- and the condition\n"},
	{"smapq", "SELECT s.*, upper(s.name) AS big FROM stock AS s WHERE s.id = @1 OR s.id = @1 + 7 ORDER BY s.id DESC"},
	{"smapq", "SELECT n FROM stock WHERE n IS NOT NULL ORDER BY n DESC, id LIMIT 1"},
	{"smapq", "SELECT count(*), sum(n), min(name) FROM stock"},
	{"smapq", "SELECT sum(n) + @1 FROM stock WHERE id > @1 - 1 AND n > @2"},
	{"smapq", "SELECT n, count(*) AS c FROM stock GROUP BY n HAVING count(*) > 0 ORDER BY n, c"},
	{"smapq", "SELECT DISTINCT n FROM stock WHERE n > 0 ORDER BY n"},
	{"smapq", "SELECT s.n, o.n FROM stock AS s JOIN orders AS o ON o.id = s.id ORDER BY s.id"},
	{"smapq", "SELECT o.id, s.n FROM orders AS o LEFT JOIN stock AS s ON s.id = o.id AND s.id <> 2 ORDER BY o.id"},
	{"smapq", "SELECT sum(s.n), count(o.id) FROM stock s, orders o WHERE o.id = s.id AND s.id = @1"},
	{"smapq", "SELECT a.id, b.id FROM stock AS a CROSS JOIN stock AS b WHERE a.id < b.id ORDER BY a.id, b.id"},
	{"spq", "SELECT row_number() OVER (ORDER BY id) AS r, \"n\" FROM stock ORDER BY id"},
	{"pq", "SELECT DISTINCT ON (n > 0) name FROM stock ORDER BY n > 0, id"},
	{"pq", "SELECT id FROM public.stock WHERE n > $1 ORDER BY id FETCH FIRST 2 ROWS ONLY"},
	{"sma", "SELECT `n` AS `order` FROM `stock` WHERE `id` = ? ORDER BY `order`"},
	{"ma", "SELECT SQL_NO_CACHE max(n) FROM stock FORCE INDEX (PRIMARY)"},
}

// bind puts the server's markers into the text and tells the arguments.
func (r reading) bind(s server) (string, []any) {
	text, args := r.text, []any{}
	if strings.Contains(text, "@") {
		if s.family() == "gtx-postgres" {
			for n := 1; strings.Contains(text, "@"+strconv.Itoa(n)); n++ {
				text = strings.ReplaceAll(text, "@"+strconv.Itoa(n), "$"+strconv.Itoa(n)+"::int")
				args = append(args, n)
			}
			return text, args
		}
		for {
			i := strings.IndexByte(text, '@')
			if i < 0 {
				return text, args
			}
			args = append(args, int(text[i+1]-'0'))
			text = text[:i] + "?" + text[i+2:]
		}
	}
	if strings.Contains(text, "= ?") || strings.Contains(text, "> $1") {
		args = append(args, 1)
	}
	return text, args
}

// shown is everything that a program can see of a result.
func shown(rows *sql.Rows, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var b strings.Builder
	types, err := rows.ColumnTypes()
	if err != nil {
		return "", err
	}
	for _, t := range types {
		length, hasLength := t.Length()
		precision, scale, hasScale := t.DecimalSize()
		null, hasNull := t.Nullable()
		fmt.Fprintf(&b, "%s %s %v %d %v %d %d %v %v %v\n", t.Name(), t.DatabaseTypeName(), t.ScanType(), length, hasLength, precision, scale, hasScale, null, hasNull)
	}
	for rows.Next() {
		values, into := make([]any, len(types)), make([]any, len(types))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%#v\n", values)
	}
	if rows.NextResultSet() {
		b.WriteString("another result\n")
	}
	return b.String(), rows.Err()
}

// readers are the ways to run a SELECT.
var readers = []struct {
	name string
	read func(ctx context.Context, db *sql.DB, text string, args []any) (string, error)
}{
	{"db", func(ctx context.Context, db *sql.DB, text string, args []any) (string, error) {
		return shown(db.QueryContext(ctx, text, args...))
	}},
	{"tx", func(ctx context.Context, db *sql.DB, text string, args []any) (string, error) {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return "", err
		}
		defer func() { _ = tx.Rollback() }()
		got, err := shown(tx.QueryContext(ctx, text, args...))
		if err != nil {
			return "", err
		}
		return got, tx.Commit()
	}},
	{"prepared", func(ctx context.Context, db *sql.DB, text string, args []any) (string, error) {
		st, err := db.PrepareContext(ctx, text)
		if err != nil {
			return "", err
		}
		defer st.Close()
		return shown(st.QueryContext(ctx, args...))
	}},
}

// TestReadWaits: a SELECT that must show decided rows waits for the holder, shows
// what there is after its end, and looks to the program as on the bare driver.
func TestReadWaits(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		t.Parallel()
		bus := watch(embedded(t))
		db, twin := open(t, s, s.dsn(t)), open(t, s, s.dsn(t))
		formTables(t, s, db)
		formTables(t, s, twin)
		kinds := []struct {
			name  string
			list  []reading
			apart bool // outside global transactions
			ctx   func(context.Context) context.Context
		}{
			{"locking", lockingReads, false, func(ctx context.Context) context.Context { return ctx }},
			{"decided", decidedReads, false, gtx.ReadCommitted},
			{"apart", decidedReads, true, gtx.ReadCommitted},
		}
		for _, kind := range kinds {
			for i, r := range kind.list {
				if !strings.Contains(r.servers, letters[s.name]) {
					continue
				}
				way := readers[i%len(readers)]
				if kind.apart {
					if way = readers[(i+1)%len(readers)]; way.name == "tx" {
						continue // waits for nobody: TestReadConflict
					}
				}
				t.Run(kind.name+"/"+way.name+"/"+r.text, func(t *testing.T) {
					text, args := r.bind(s)
					bothEnds(t, func(t *testing.T, end error) {
						for _, d := range []*sql.DB{db, twin} {
							mustExec(t, d, "DELETE FROM stock")
							mustExec(t, d, "INSERT INTO stock (id, name, n) VALUES (1, 'apple', 10), (2, 'pear', NULL), (3, 'o''plum', -3), (4, '', 4)")
						}
						type answer struct {
							text string
							err  error
						}
						done := make(chan answer, 1)
						reader := func() {
							var a answer
							fn := func(ctx context.Context) error {
								a.text, a.err = way.read(kind.ctx(ctx), db, text, args)
								return a.err
							}
							if kind.apart {
								_ = fn(t.Context())
							} else if err := gtx.Run(t.Context(), fn, gtx.WithCoordinator(bus), gtx.WithRetries(0)); a.err == nil {
								a.err = err
							}
							done <- a
						}
						select {
						case <-bus.waits: // of the test before
						default:
						}
						err := gtx.Run(t.Context(), func(ctx context.Context) error {
							if err := hold(ctx, db); err != nil {
								return err
							}
							go reader()
							select {
							case <-bus.waits:
							case a := <-done:
								done <- a
								return fmt.Errorf("nobody waited: %w\n%s", a.err, a.text)
							}
							return end
						}, gtx.WithCoordinator(bus))
						if !errors.Is(err, end) {
							t.Fatal(err)
						}
						got := <-done
						if got.err != nil {
							t.Fatal(got.err)
						}
						if end == nil {
							if err := hold(t.Context(), twin); err != nil {
								t.Fatal(err)
							}
						}
						want, err := way.read(t.Context(), twin, text, args)
						if err != nil {
							t.Fatal(err)
						}
						if got.text != want {
							t.Errorf("got\n%swant\n%s", got.text, want)
						}
						clean(t, db)
					})
				})
			}
		}
	})
}

// TestReadOwn: what the own transaction has changed is shown at once, zero rows
// are zero rows, and a table that nobody changes is read past any holder.
func TestReadOwn(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		formTables(t, s, db)
		lock := " FOR UPDATE"
		if s.name == "sqlite" {
			lock = ""
		}
		err := bus.Run(t.Context(), func(ctx context.Context) error {
			if err := hold(ctx, db); err != nil {
				return err
			}
			for _, text := range []string{"SELECT n FROM stock WHERE id = 1", "SELECT sum(n) FROM stock WHERE id = 8", "SELECT n FROM stock WHERE id = 8" + lock} {
				var n int
				if err := db.QueryRowContext(gtx.ReadCommitted(ctx), text).Scan(&n); err != nil || n != 1000 {
					return fmt.Errorf("%s: %d, %w", text, n, err)
				}
			}
			// Another transaction, while this one is open.
			return gtx.Run(gtx.Detach(ctx), func(ctx context.Context) error {
				for _, text := range []string{"SELECT n FROM stock WHERE id = 99" + lock, "SELECT n FROM stock WHERE id = 2"} {
					var n int
					if err := db.QueryRowContext(gtx.ReadCommitted(ctx), text).Scan(&n); !errors.Is(err, sql.ErrNoRows) {
						return fmt.Errorf("%s: %d, %w", text, n, err)
					}
				}
				for text, want := range map[string]int{
					"SELECT n FROM orders WHERE id = 1" + lock: 11, "SELECT n FROM stock WHERE id = 3" + lock: -3,
					"SELECT count(*) FROM stock WHERE id IN (3, 4)": 2, "SELECT 7": 7,
				} {
					var n int
					if err := db.QueryRowContext(gtx.ReadCommitted(ctx), text).Scan(&n); err != nil || n != want {
						return fmt.Errorf("%s: %d, %w", text, n, err)
					}
				}
				return nil
			}, gtx.WithCoordinator(bus), gtx.WithRetries(0))
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// TestReadConflict: a local transaction that has done something waits for nobody.
// In a global transaction it is rolled back, outside it stays as it is.
func TestReadConflict(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := watch(embedded(t))
		db := open(t, s, s.dsn(t))
		formTables(t, s, db)
		before := everything(t, db)
		lock := " FOR UPDATE"
		if s.name == "sqlite" {
			lock = ""
		}
		var holder gtx.XID
		conflict := func(err error) error {
			var held *gtx.ConflictError
			if !errors.As(err, &held) || held.Holder != holder || !strings.Contains(held.Table, "stock") {
				return fmt.Errorf("got %w, want a conflict with %s", err, holder)
			}
			return nil
		}
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			tx, _ := gtx.FromContext(ctx)
			holder = tx.XID()
			if err := hold(ctx, db); err != nil {
				return err
			}
			ctx = gtx.Detach(ctx)
			for _, text := range []string{"SELECT n FROM stock WHERE id = 1" + lock, "SELECT sum(n) FROM stock"} {
				err := gtx.Run(ctx, func(ctx context.Context) error {
					tx, err := db.BeginTx(gtx.ReadCommitted(ctx), nil)
					if err != nil {
						return err
					}
					defer func() { _ = tx.Rollback() }()
					if s.name != "sqlite" { // there it would block the holder's end
						if _, err := tx.ExecContext(ctx, "UPDATE stock SET n = 5 WHERE id = 4"); err != nil {
							return err
						}
					} else if _, err := shown(tx.QueryContext(ctx, "SELECT n FROM stock WHERE id = 4")); err != nil {
						return err
					}
					if _, err := shown(tx.QueryContext(ctx, text)); conflict(err) != nil {
						return conflict(err)
					}
					if _, err := shown(tx.QueryContext(ctx, "SELECT n FROM stock WHERE id = 4")); err == nil {
						return errors.New("the local transaction is still open")
					}
					return tx.Rollback()
				}, gtx.WithCoordinator(bus), gtx.WithRetries(0))
				if err != nil {
					return fmt.Errorf("%s: %w", text, err)
				}
				plain, err := db.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				if _, err := shown(plain.QueryContext(gtx.ReadCommitted(ctx), text)); conflict(err) != nil {
					return errors.Join(conflict(err), plain.Rollback())
				}
				if _, err := shown(plain.QueryContext(ctx, "SELECT n FROM stock WHERE id = 1")); err != nil {
					return errors.Join(err, plain.Rollback())
				}
				if err := plain.Rollback(); err != nil {
					return err
				}
			}
			if len(bus.waits) > 0 {
				return errors.New("somebody has waited")
			}
			return errChanged
		}, gtx.WithCoordinator(bus))
		if !errors.Is(err, errChanged) {
			t.Fatal(err)
		}
		clean(t, db)
		if got := everything(t, db); got != before {
			t.Errorf("got\n%swant\n%s", got, before)
		}
	})
}

// TestReadPatience: who waits in vain gets the holder's name after gtx_lock_wait.
func TestReadPatience(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := open(t, s, quickly(s.dsn(t)))
		formTables(t, s, db)
		err := bus.Run(t.Context(), func(ctx context.Context) error {
			if err := hold(ctx, db); err != nil {
				return err
			}
			_, err := shown(db.QueryContext(gtx.ReadCommitted(gtx.Detach(ctx)), "SELECT max(n) FROM stock"))
			var held *gtx.ConflictError
			if tx, _ := gtx.FromContext(ctx); !errors.As(err, &held) || held.Holder != tx.XID() {
				return fmt.Errorf("got %w", err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// TestReadSkips: SKIP LOCKED passes by what is held, locked or not, and NOWAIT
// does not wait for it.
func TestReadSkips(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		if s.name == "sqlite" {
			return // has no locking SELECT
		}
		bus := watch(embedded(t))
		db := open(t, s, s.dsn(t))
		formTables(t, s, db)
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			if err := hold(ctx, db); err != nil {
				return err
			}
			locked, err := db.BeginTx(gtx.Detach(ctx), nil)
			if err != nil {
				return err
			}
			defer func() { _ = locked.Rollback() }()
			if _, err := shown(locked.Query("SELECT n FROM stock WHERE id = 3 FOR UPDATE")); err != nil {
				return err
			}
			return gtx.Run(gtx.Detach(ctx), func(ctx context.Context) error {
				for _, text := range []string{
					"SELECT id FROM stock ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED",
					"SELECT id FROM stock WHERE id > 0 OR n > 0 FOR UPDATE SKIP LOCKED",
				} {
					rows, err := db.QueryContext(ctx, text)
					if err != nil {
						return err
					}
					var ids []int
					for rows.Next() {
						var id int
						if err := rows.Scan(&id); err != nil {
							return err
						}
						ids = append(ids, id)
					}
					if err := errors.Join(rows.Err(), rows.Close()); err != nil || fmt.Sprint(ids) != "[4]" {
						return fmt.Errorf("%s: %v, %w", text, ids, err)
					}
				}
				if _, err := db.ExecContext(ctx, "SELECT id FROM stock WHERE id = 1 FOR UPDATE NOWAIT"); !errors.Is(err, gtx.ErrConflict) {
					return fmt.Errorf("a held row: %w", err)
				}
				if _, err := db.ExecContext(ctx, "SELECT id FROM stock WHERE id = 3 FOR UPDATE NOWAIT"); err == nil || errors.Is(err, gtx.ErrConflict) {
					return fmt.Errorf("a locked row is the server's business: %w", err)
				}
				if len(bus.waits) > 0 {
					return errors.New("somebody has waited")
				}
				return nil
			}, gtx.WithCoordinator(bus), gtx.WithRetries(0))
		}, gtx.WithCoordinator(bus))
		if err != nil {
			t.Fatal(err)
		}
	})
}

// TestReadOldSnapshot: a row that another transaction has changed after the local
// one took its snapshot is not taken for decided.
func TestReadOldSnapshot(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		if s.name == "sqlite" {
			return // its local transactions exclude each other
		}
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		formTables(t, s, db)
		for _, level := range []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable} {
			for _, text := range []string{"SELECT n FROM stock WHERE id = 1 FOR UPDATE", "SELECT n FROM stock WHERE id IN (1, 8) ORDER BY id DESC FOR UPDATE"} {
				err := bus.Run(t.Context(), func(ctx context.Context) error {
					tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: level})
					if err != nil {
						return err
					}
					defer func() { _ = tx.Rollback() }()
					if _, err := shown(tx.QueryContext(ctx, "SELECT n FROM orders WHERE id = 1")); err != nil {
						return err
					}
					return bus.Run(gtx.Detach(ctx), func(other context.Context) error {
						if err := hold(other, db); err != nil {
							return err
						}
						if got, err := shown(tx.QueryContext(ctx, text)); !errors.Is(err, gtx.ErrConflict) {
							return fmt.Errorf("%s, %s: %w\n%s", level, text, err, got)
						}
						return errChanged
					}, gtx.WithRetries(0))
				}, gtx.WithRetries(0))
				if !errors.Is(err, errChanged) {
					t.Fatal(err)
				}
				clean(t, db)
			}
		}
	})
}

// TestReadRefused: what cannot be told is refused before it runs, but only where
// it would matter.
func TestReadRefused(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		formTables(t, s, db)
		mustExec(t, db, "CREATE VIEW seen AS SELECT * FROM stock")
		for _, c := range []struct {
			servers, code, text string
		}{
			{"smapq", "read-committed", "SELECT n FROM stock UNION SELECT n FROM orders"},
			{"smapq", "read-committed", "SELECT n FROM stock WHERE id IN (SELECT id FROM orders)"},
			{"smapq", "read-committed", "SELECT n FROM (SELECT n FROM stock) AS x"},
			{"smapq", "read-committed", "WITH x AS (SELECT n FROM stock) SELECT n FROM x"},
			{"s", "read-committed", "SELECT sum(n) FROM stock WHERE abs(random()) > 0"},
			{"pq", "read-committed", "SELECT sum(n) FROM stock WHERE random() > 0"},
			{"ma", "read-committed", "SELECT sum(n) FROM stock WHERE rand() > 0"},
			{"smapq", "view", "SELECT n FROM seen"},
			{"smapq", "own-table", "SELECT xid FROM gtx_undo"},
			{"smapq", "alias", "SELECT n FROM stock AS gtx_u"},
			{"mapq", "view", "SELECT n FROM seen FOR UPDATE"},
			{"mapq", "locking-select", "SELECT n FROM (SELECT n FROM stock FOR UPDATE) AS x"},
			{"pq", "locking-select", "SELECT n FROM stock FOR KEY SHARE"},
			{"pq", "locking-select", "WITH x AS (SELECT n FROM stock FOR UPDATE) SELECT n FROM x"},
			{"pq", "locking-select", "SELECT DISTINCT n FROM stock FOR UPDATE"},
			{"ma", "locking-select", "SELECT sum(n) FROM stock WHERE rand() > 0 FOR UPDATE"},
			{"mapq", "locking-select", "SELECT n FROM stock WHERE id IN (SELECT id FROM orders) FOR UPDATE"},
		} {
			if !strings.Contains(c.servers, letters[s.name]) {
				continue
			}
			err := bus.Run(t.Context(), func(ctx context.Context) error {
				_, err := shown(db.QueryContext(gtx.ReadCommitted(ctx), c.text))
				return err
			})
			var no *gtx.UnsupportedError
			if !errors.As(err, &no) || no.Code != c.code {
				t.Errorf("%s: got %v, want code %s", c.text, err, c.code)
			}
			if c.code != "read-committed" && c.code != "view" {
				continue
			}
			if err := bus.Run(t.Context(), func(ctx context.Context) error {
				_, err := shown(db.QueryContext(ctx, strings.TrimSuffix(c.text, " FOR UPDATE")))
				return err
			}); err != nil {
				t.Errorf("not asked for: %s: %v", c.text, err)
			}
		}
		err := bus.Run(t.Context(), func(ctx context.Context) error {
			tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadUncommitted})
			if err != nil {
				return err
			}
			defer func() { _ = tx.Rollback() }()
			_, err = shown(tx.QueryContext(gtx.ReadCommitted(ctx), "SELECT n FROM stock"))
			return err
		})
		var no *gtx.UnsupportedError
		if !errors.As(err, &no) || no.Code != "read-committed" {
			t.Errorf("READ UNCOMMITTED: got %v", err)
		}
		mustExec(t, db, "DROP VIEW seen")
	})
}

// TestReadKeys: rows are told apart by keys of every kind, and tables that capture
// refuses are read.
func TestReadKeys(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := open(t, s, quickly(s.dsn(t)))
		quote := `"`
		if s.driver == "gtx-mysql" {
			quote = "`"
		}
		q := func(text string) string { return strings.ReplaceAll(text, `"`, quote) }
		for _, text := range []string{
			`CREATE TABLE "order" ("a b" VARCHAR(20) NOT NULL, "d" DECIMAL(10,2) NOT NULL, "se?l'ect" INT, PRIMARY KEY ("d", "a b"))`,
			`INSERT INTO "order" VALUES ('x', 1.00, 1), ('x', 1.50, 2), ('Y|', 1, 3), ('', 0, NULL)`,
			`CREATE TABLE keyless (n INT)`,
			`INSERT INTO keyless VALUES (1)`,
			`CREATE TABLE parent (id INT PRIMARY KEY)`,
			`CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE)`,
			`INSERT INTO parent VALUES (1)`,
		} {
			mustExec(t, db, q(text))
		}
		lock := " FOR UPDATE"
		if s.name == "sqlite" {
			lock = ""
		}
		err := bus.Run(t.Context(), func(ctx context.Context) error {
			if err := execs(db, q(`UPDATE "order" SET "se?l'ect" = 10 WHERE "d" = 1.5`), q(`UPDATE "order" SET "se?l'ect" = 30 WHERE "a b" = 'Y|'`))(ctx); err != nil {
				return err
			}
			return gtx.Run(gtx.Detach(ctx), func(ctx context.Context) error {
				ctx = gtx.ReadCommitted(ctx)
				for text, held := range map[string]bool{
					`SELECT * FROM "order" AS "o" WHERE "d" = ` + s.holder(1) + lock:                                           true,
					`SELECT "se?l'ect" FROM "order" WHERE "a b" = 'x' AND "d" = ` + s.holder(1) + ` AND "se?l'ect" = 1`:        false,
					`SELECT "se?l'ect" FROM "order" WHERE "a b" = 'x' AND "d" = ` + s.holder(1) + ` AND "se?l'ect" = 1` + lock: false,
					`SELECT count("se?l'ect") FROM "order" WHERE "d" <= ` + s.holder(1):                                        true,
					`SELECT count("se?l'ect") FROM "order" WHERE "d" < ` + s.holder(1):                                         false,
					`SELECT n FROM keyless WHERE n = ` + s.holder(1) + lock:                                                    false,
					`SELECT id FROM parent WHERE id = ` + s.holder(1) + lock:                                                   false,
				} {
					_, err := shown(db.QueryContext(ctx, q(text), 1))
					if (err != nil) != held || held && !errors.Is(err, gtx.ErrConflict) {
						return fmt.Errorf("%s: held %v, got %w", text, held, err)
					}
				}
				return nil
			}, gtx.WithCoordinator(bus), gtx.WithRetries(0))
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// typed are tables with values that a driver could show in another way.
var typed = map[string][]string{
	"gtx-sqlite": {
		"CREATE TABLE typed (id INTEGER PRIMARY KEY, i INT, r REAL, t TEXT, b BLOB, d DATETIME, n NUMERIC, y BOOLEAN)",
		"INSERT INTO typed VALUES (1, 1, 1.5, 'a', x'00ff', '2024-02-29 12:00:00', '1.10', true), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL), (3, 0, 0, '', x'', '', 0, 0)",
	},
	"gtx-mysql": {
		"CREATE TABLE typed (id BIGINT UNSIGNED PRIMARY KEY, t TINYINT, y TINYINT(1), f FLOAT, d DOUBLE, n DECIMAL(20,5), c CHAR(5), v VARCHAR(20), x TEXT, b BLOB, vb VARBINARY(9)," +
			" bi BIT(9), da DATE, dt DATETIME(3), ts TIMESTAMP NULL, tm TIME, ye YEAR, e ENUM('a','b'), s SET('a','b'), j JSON)",
		"INSERT INTO typed VALUES (18446744073709551615, -1, 1, 1.5, 2.25, 12345.67891, 'abc', 'v', 'text', x'00ff', x'', b'101', '2024-02-29', '2024-02-29 12:00:00.123', '2024-02-29 12:00:00', '-12:00:01', 2024, 'b', 'a,b', '{\"a\": 1}')",
		"INSERT INTO typed (id) VALUES (1)",
	},
	"gtx-postgres": {
		"CREATE TABLE typed (id BIGINT PRIMARY KEY, si SMALLINT, f REAL, d DOUBLE PRECISION, n NUMERIC(20,5), m NUMERIC, b BOOLEAN, c CHAR(5), v VARCHAR(20), x TEXT, y BYTEA," +
			" da DATE, ts TIMESTAMP, tz TIMESTAMPTZ, tm TIME, iv INTERVAL, u UUID, j JSONB, a INT[], net INET)",
		"INSERT INTO typed VALUES (1, -1, 1.5, 'NaN', 12345.67891, 1e100, true, 'abc', 'v', 'text', '\\x00ff', '2024-02-29', '2024-02-29 12:00', '2024-02-29 12:00+02', '12:00', '1 day 2 hours'," +
			" 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{\"a\": null}', '{1,NULL}', '10.0.0.1')",
		"INSERT INTO typed (id, y, x) VALUES (2, '', '')",
	},
}

// TestReadTypes: columns and values are those of the bare driver, however the
// SELECT is sent.
func TestReadTypes(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		dsn := s.dsn(t)
		all := []string{dsn}
		if s.driver == "gtx-mysql" {
			all = append(all, withParam(dsn, "interpolateParams=true&parseTime=true"))
		}
		for i, dsn := range all {
			db := open(t, s, dsn)
			if i == 0 {
				for _, text := range typed[s.family()] {
					mustExec(t, db, text)
				}
			}
			// Once, so that there is something to look for.
			mustExec(t, db, "DROP TABLE IF EXISTS once")
			mustExec(t, db, "CREATE TABLE once (id INT PRIMARY KEY)")
			if err := bus.Run(t.Context(), execs(db, "INSERT INTO once VALUES (1)")); err != nil {
				t.Fatal(err)
			}
			texts := []string{"SELECT * FROM typed ORDER BY id", "SELECT count(*), max(x.id), min(x.v) AS v FROM typed AS x", "SELECT DISTINCT * FROM typed WHERE id = 1"}
			if s.name == "sqlite" {
				texts[1] = "SELECT count(*), max(x.id), min(x.t) AS v FROM typed AS x"
			} else {
				texts = append(texts, "SELECT typed.*, id + 0 AS plus FROM typed WHERE id = 1 FOR UPDATE")
			}
			if s.family() == "gtx-postgres" {
				texts[2] = "SELECT DISTINCT si, f, y, tz, u FROM typed WHERE id = 1"
			}
			withArg := "SELECT * FROM typed WHERE id >= " + s.holder(1) + " ORDER BY id"
			for _, way := range readers {
				for _, text := range append(texts, withArg) {
					var args []any
					if text == withArg {
						args = append(args, 1)
					}
					want, err := way.read(t.Context(), db, text, args)
					if err != nil {
						t.Fatal(err)
					}
					for _, ctx := range []context.Context{t.Context(), nil} {
						var got string
						read := func(ctx context.Context) (err error) {
							got, err = way.read(gtx.ReadCommitted(ctx), db, text, args)
							return err
						}
						if ctx == nil {
							err = bus.Run(t.Context(), read)
						} else {
							err = read(ctx)
						}
						if err != nil || got != want {
							t.Errorf("%s, %s: %v\n%swant\n%s", way.name, text, err, got, want)
						}
					}
				}
			}
		}
	})
}

// TestReadBank: money moves inside pairs of accounts, one local transaction for
// each side, and a third of the transfers fails in between. Whoever reads a pair
// sees all of its money. GTX_READ_TRANSFERS is how many transfers each writer does,
// 6 when it is not set.
func TestReadBank(t *testing.T) {
	transfers, err := strconv.Atoi(os.Getenv("GTX_READ_TRANSFERS"))
	if err != nil {
		transfers = 6
	}
	const writers, pairs, money = 8, 6, 200
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		db.SetMaxOpenConns(16)
		mustExec(t, db, "CREATE TABLE account (id INT PRIMARY KEY, n INT NOT NULL)")
		for i := range 2 * pairs {
			mustExec(t, db, fmt.Sprintf("INSERT INTO account VALUES (%d, %d)", i, money/2))
		}
		lock := " FOR UPDATE"
		if s.name == "sqlite" {
			lock = ""
		}
		var done atomic.Bool
		var open, seen atomic.Int64
		var others sync.WaitGroup
		for i, kind := range []struct {
			text   string
			inside bool
			tx     bool
		}{
			{"SELECT id, n FROM account WHERE id IN (%d, %d)", false, false},
			{"SELECT 0, sum(n) FROM account WHERE id IN (%d, %d)", true, false},
			{"SELECT id, n FROM account WHERE id IN (%d, %d) ORDER BY id" + lock, true, true},
			{"SELECT id, n FROM account WHERE id IN (%d, %d) ORDER BY id DESC" + lock, true, false},
		} {
			others.Go(func() {
				rng := rand.New(rand.NewPCG(7, uint64(i)))
				for !done.Load() {
					p := rng.IntN(pairs)
					sum := 0
					read := func(ctx context.Context) error {
						return sumOf(gtx.ReadCommitted(ctx), db, fmt.Sprintf(kind.text, 2*p, 2*p+1), kind.tx, &sum)
					}
					var err error
					if kind.inside {
						err = bus.Run(t.Context(), read)
					} else {
						err = read(t.Context())
					}
					switch {
					case errors.Is(err, gtx.ErrConflict):
						open.Add(1)
					case err != nil:
						t.Errorf("%s: %v", kind.text, err)
						return
					case sum != money:
						t.Errorf("%s: pair %d has %d", kind.text, p, sum)
					default:
						seen.Add(1)
					}
				}
			})
		}
		together(t, writers, func(i int) error {
			rng := rand.New(rand.NewPCG(8, uint64(i)))
			for range transfers {
				p, side, fails := rng.IntN(pairs), rng.IntN(2), rng.IntN(3) == 0
				err := bus.Run(t.Context(), execs(db,
					fmt.Sprintf("UPDATE account SET n = n - 10 WHERE id = %d", 2*p+side),
					fmt.Sprintf("UPDATE account SET n = n + 10 WHERE id = %d", 2*p+1-side),
				))
				if fails {
					err = bus.Run(t.Context(), func(ctx context.Context) error {
						if err := execs(db, fmt.Sprintf("UPDATE account SET n = n - 10 WHERE id = %d", 2*p+side))(ctx); err != nil {
							return err
						}
						return errChanged
					})
					if errors.Is(err, errChanged) {
						err = nil
					}
				}
				if err != nil && !errors.Is(err, gtx.ErrConflict) {
					return err
				}
			}
			return nil
		})
		done.Store(true)
		others.Wait()
		if seen.Load() == 0 {
			t.Errorf("nobody has seen anything, %d gave up", open.Load())
		}
		t.Logf("%d reads, %d gave up", seen.Load(), open.Load())
	})
}

// sumOf adds up the second column.
func sumOf(ctx context.Context, db *sql.DB, text string, inTx bool, sum *int) error {
	var q interface {
		QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	} = db
	if inTx {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		q = tx
	}
	rows, err := q.QueryContext(ctx, text)
	if err != nil {
		return err
	}
	*sum = 0
	for rows.Next() {
		var id, n int
		if err := rows.Scan(&id, &n); err != nil {
			return errors.Join(err, rows.Close())
		}
		*sum += n
	}
	return errors.Join(rows.Err(), rows.Close())
}

// TestReadBounds: whoever waits for row locks does so with a bound, of his own
// where he has one (rule W5).
func TestReadBounds(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		if s.family() != "gtx-postgres" {
			return // the others always have one
		}
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		formTables(t, s, db)
		for set, want := range map[string]bool{"0": true, "3s": false} {
			var before, after string
			err := bus.Run(t.Context(), func(ctx context.Context) error {
				tx, err := db.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				defer func() { _ = tx.Rollback() }()
				for _, into := range []*string{&before, &after} {
					if err := tx.QueryRowContext(ctx, "SELECT set_config('lock_timeout', '"+set+"', true)").Scan(into); err != nil {
						return err
					}
					if _, err := shown(tx.QueryContext(ctx, "SELECT n FROM stock WHERE id = 1 OR id = 3 FOR UPDATE")); err != nil {
						return err
					}
					if err := tx.QueryRowContext(ctx, "SELECT current_setting('lock_timeout')").Scan(into); err != nil {
						return err
					}
					if into == &before && (*into != set) != want {
						t.Errorf("lock_timeout %s has become %s", set, *into)
					}
				}
				return tx.Commit()
			})
			if err != nil {
				t.Fatal(err)
			}
			if after != set {
				t.Errorf("lock_timeout %s, which was set behind a bound, has become %s", set, after)
			}
		}
	})
}

// TestReadGuarded: gtx_guard=on changes nothing about who sees what.
func TestReadGuarded(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := open(t, s, withParam(s.dsn(t), "gtx_guard=on&"+quick))
		formTables(t, s, db)
		err := bus.Run(t.Context(), func(ctx context.Context) error {
			if err := hold(ctx, db); err != nil {
				return err
			}
			ctx = gtx.Detach(ctx)
			if got, err := shown(db.QueryContext(gtx.ReadCommitted(ctx), "SELECT n FROM stock WHERE id = 1")); !errors.Is(err, gtx.ErrConflict) {
				return fmt.Errorf("got %s, %w", got, err)
			}
			if _, err := shown(db.QueryContext(gtx.ReadCommitted(ctx), "SELECT n FROM stock WHERE id = 3")); err != nil {
				return err
			}
			_, err := shown(db.QueryContext(ctx, "SELECT n FROM stock WHERE id = 1"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// TestReadBare: where no global transaction has ever been there is nothing to
// look for, and nothing is made.
func TestReadBare(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		db := open(t, s, s.dsn(t))
		formTables(t, s, db)
		ctx := gtx.ReadCommitted(t.Context())
		if _, err := shown(db.QueryContext(ctx, "SELECT n FROM stock WHERE id IN (SELECT id FROM orders)")); err != nil {
			t.Error(err)
		}
		if _, err := db.ExecContext(ctx, "/* made */ CREATE TABLE other (id INT PRIMARY KEY)"); err != nil {
			t.Error(err)
		}
		if _, err := db.Query("SELECT * FROM gtx_undo"); !noTable(err) {
			t.Errorf("gtx_undo: %v", err)
		}
	})
}

// TestReadSeveral: a locking SELECT is not run unseen among other statements.
func TestReadSeveral(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		dsn := s.dsn(t)
		if s.driver == "gtx-mysql" {
			dsn = withParam(dsn, "multiStatements=true")
		}
		bus := embedded(t)
		db := open(t, s, dsn)
		formTables(t, s, db)
		for _, c := range []struct {
			servers, text string
			refused       bool
		}{
			{"mapq", "SELECT n FROM stock FOR UPDATE; SELECT 1", true},
			{"smapq", "UPDATE stock SET n = 1 WHERE id = 1; SELECT n FROM stock", true},
			{"smapq", "UPDATE stock SET n = 1 WHERE id = 1; UPDATE stock SET n = 2 WHERE id = 1", false},
		} {
			if !strings.Contains(c.servers, letters[s.name]) {
				continue
			}
			err := bus.Run(t.Context(), func(ctx context.Context) error {
				_, err := db.ExecContext(gtx.ReadCommitted(ctx), c.text)
				return err
			})
			var no *gtx.UnsupportedError
			if refused := errors.As(err, &no) && no.Code == "several-statements"; refused != c.refused {
				t.Errorf("%s: %v", c.text, err)
			}
		}
	})
}
