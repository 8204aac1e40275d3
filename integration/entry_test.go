package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
)

var errUndo = errors.New("undo, please")

// entry is a way to run statements through database/sql. exec runs one writing
// statement with arguments inside the global transaction of ctx.
type entry struct {
	name string
	exec func(ctx context.Context, db *sql.DB, text string, args ...any) error
}

func entries() []entry {
	return []entry{
		{"DB.Exec", func(ctx context.Context, db *sql.DB, text string, args ...any) error {
			_, err := db.ExecContext(ctx, text, args...)
			return err
		}},
		{"DB.Query", func(ctx context.Context, db *sql.DB, text string, args ...any) error {
			rows, err := db.QueryContext(ctx, text, args...)
			if err != nil {
				return err
			}
			for rows.Next() {
				return errors.New("a statement without RETURNING gave a row")
			}
			return errors.Join(rows.Err(), rows.Close())
		}},
		{"DB.Prepare", func(ctx context.Context, db *sql.DB, text string, args ...any) error {
			st, err := db.PrepareContext(ctx, text)
			if err != nil {
				return err
			}
			_, err = st.ExecContext(ctx, args...)
			return errors.Join(err, st.Close())
		}},
		{"Stmt prepared outside", func(ctx context.Context, db *sql.DB, text string, args ...any) error {
			st, err := db.PrepareContext(context.Background(), text)
			if err != nil {
				return err
			}
			_, err = st.ExecContext(ctx, args...)
			return errors.Join(err, st.Close())
		}},
		{"Tx.Exec", inTx(func(ctx context.Context, _ *sql.DB, tx *sql.Tx, text string, args ...any) error {
			_, err := tx.ExecContext(ctx, text, args...)
			return err
		})},
		{"Tx.Exec without context", inTx(func(_ context.Context, _ *sql.DB, tx *sql.Tx, text string, args ...any) error {
			_, err := tx.ExecContext(context.Background(), text, args...)
			return err
		})},
		{"Tx.Prepare", inTx(func(ctx context.Context, _ *sql.DB, tx *sql.Tx, text string, args ...any) error {
			st, err := tx.PrepareContext(ctx, text)
			if err != nil {
				return err
			}
			_, err = st.ExecContext(ctx, args...)
			return errors.Join(err, st.Close())
		})},
		{"Tx.Stmt", inTx(func(ctx context.Context, db *sql.DB, tx *sql.Tx, text string, args ...any) error {
			st, err := db.PrepareContext(context.Background(), text)
			if err != nil {
				return err
			}
			defer st.Close()
			_, err = tx.StmtContext(ctx, st).ExecContext(ctx, args...)
			return err
		})},
		{"Conn", func(ctx context.Context, db *sql.DB, text string, args ...any) error {
			c, err := db.Conn(ctx)
			if err != nil {
				return err
			}
			_, err = c.ExecContext(ctx, text, args...)
			return errors.Join(err, c.Close())
		}},
	}
}

func inTx(fn func(ctx context.Context, db *sql.DB, tx *sql.Tx, text string, args ...any) error) func(context.Context, *sql.DB, string, ...any) error {
	return func(ctx context.Context, db *sql.DB, text string, args ...any) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if err := fn(ctx, db, tx, text, args...); err != nil {
			return errors.Join(err, tx.Rollback())
		}
		return tx.Commit()
	}
}

func table(t testing.TB, db *sql.DB) []string {
	t.Helper()
	rows, err := db.QueryContext(context.Background(), "SELECT id, n, s FROM thing ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var id, n int64
		var s sql.NullString
		if err := rows.Scan(&id, &n, &s); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%d %d %q %v", id, n, s.String, s.Valid))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestEntryPoints runs INSERT, UPDATE and DELETE through every way into
// database/sql: kept after commit, undone after abort (peers 3).
func TestEntryPoints(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		mustExec(t, db, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL, s varchar(100))")
		p := s.holder
		for i, e := range entries() {
			t.Run(e.name, func(t *testing.T) {
				id := int64(1000 * (i + 1))
				mustExec(t, db, fmt.Sprintf("INSERT INTO thing VALUES (%d, 1, 'it''s'), (%d, 2, NULL), (%d, 3, '')", id, id+1, id+2))
				before := table(t, db)
				work := func(ctx context.Context) error {
					return errors.Join(
						e.exec(ctx, db, fmt.Sprintf("INSERT INTO thing (id, n, s) VALUES (%s, %s, 'x;--'), (%s, 5, %s)", p(1), p(2), p(3), p(4)), id+3, 4, id+4, "WHERE"),
						e.exec(ctx, db, fmt.Sprintf("UPDATE thing SET n = n + %s, s = %s WHERE id = %s -- end", p(1), p(2), p(3)), 10, "new", id),
						e.exec(ctx, db, fmt.Sprintf("DELETE FROM thing WHERE id = %s OR id = %d", p(1), id+2), id+1),
						// The same row again, in another branch of the same transaction.
						e.exec(ctx, db, fmt.Sprintf("UPDATE thing SET n = n + 1 WHERE id = %s", p(1)), id),
					)
				}
				err := gtx.Run(t.Context(), func(ctx context.Context) error {
					if err := work(ctx); err != nil {
						return err
					}
					return errUndo
				}, gtx.WithCoordinator(bus))
				if !errors.Is(err, errUndo) {
					t.Fatalf("got %v, want %v", err, errUndo)
				}
				clean(t, db)
				if diff := cmp.Diff(before, table(t, db)); diff != "" {
					t.Fatalf("after abort (-before +after):\n%s", diff)
				}
				if err := gtx.Run(t.Context(), work, gtx.WithCoordinator(bus)); err != nil {
					t.Fatal(err)
				}
				clean(t, db)
				var n, gone, added int
				q := fmt.Sprintf("SELECT (SELECT n FROM thing WHERE id = %d), (SELECT count(*) FROM thing WHERE id IN (%d, %d)), (SELECT count(*) FROM thing WHERE id IN (%d, %d))", id, id+1, id+2, id+3, id+4)
				if err := db.QueryRowContext(t.Context(), q).Scan(&n, &gone, &added); err != nil {
					t.Fatal(err)
				}
				if n != 12 || gone != 0 || added != 2 {
					t.Errorf("after commit: n = %d, want 12; %d deleted rows still there; %d of 2 rows added", n, gone, added)
				}
			})
		}
	})
}

// TestRefused holds that what is not understood does not run.
func TestRefused(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		mustExec(t, db, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL, s varchar(100))")
		mustExec(t, db, "CREATE TABLE keyless (n bigint)")
		mustExec(t, db, "INSERT INTO thing VALUES (1, 1, 'a')")
		mustExec(t, db, "INSERT INTO keyless VALUES (1)")
		before := table(t, db)
		for _, text := range []string{
			"UPDATE keyless SET n = 2",
			"INSERT INTO keyless VALUES (3)",
			"INSERT INTO keyless SELECT n FROM thing",
			"UPDATE thing SET n = 2; DROP TABLE thing",
			"TRUNCATE TABLE thing",
			"DROP TABLE thing",
			"CREATE TABLE other (id int PRIMARY KEY)",
			"BEGIN",
			"COMMIT",
			"ANALYZE UPDATE thing SET n = 2",
			"EXPLAIN ANALYZE DELETE FROM thing",
			"SET STATEMENT max_statement_time=1 FOR DELETE FROM thing",
			"WITH d AS (DELETE FROM keyless RETURNING n) SELECT * FROM d",
			"DELETE FROM gtx_undo",
			"INSERT INTO gtx_branch SELECT * FROM gtx_branch",
			"",
		} {
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, text)
				return err
			}, gtx.WithCoordinator(bus))
			if !errors.Is(err, gtx.ErrUnsupported) {
				t.Errorf("%q: got %v, want ErrUnsupported", text, err)
			}
		}
		if diff := cmp.Diff(before, table(t, db)); diff != "" {
			t.Errorf("a refused statement ran (-before +after):\n%s", diff)
		}
	})
}

// TestGeneratedKeys undoes rows whose keys the server made.
func TestGeneratedKeys(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		db := open(t, s, s.dsn(t))
		id := map[string]string{
			"gtx-sqlite":   "id integer PRIMARY KEY",
			"gtx-mysql":    "id bigint PRIMARY KEY AUTO_INCREMENT",
			"gtx-postgres": "id bigserial PRIMARY KEY",
		}[s.family()]
		mustExec(t, db, "CREATE TABLE thing ("+id+", n bigint NOT NULL, s varchar(100))")
		mustExec(t, db, "INSERT INTO thing (n) VALUES (1)")
		before := table(t, db)
		for _, fail := range []bool{true, false} {
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				res, err := db.ExecContext(ctx, "INSERT INTO thing (n, s) VALUES (7, 'a'), (8, 'b')")
				if err != nil {
					return err
				}
				if n, err := res.RowsAffected(); err != nil || n != 2 {
					t.Errorf("RowsAffected = %d, %v, want 2", n, err)
				}
				if s.family() != "gtx-postgres" {
					if id, err := res.LastInsertId(); err != nil || id == 0 {
						t.Errorf("LastInsertId = %d, %v", id, err)
					}
				} else {
					var id int64
					if err := db.QueryRowContext(ctx, "INSERT INTO thing (n) VALUES ($1) RETURNING id", 9).Scan(&id); err != nil || id == 0 {
						t.Errorf("RETURNING id = %d, %v", id, err)
					}
				}
				if fail {
					return errUndo
				}
				return nil
			}, gtx.WithCoordinator(bus))
			if fail != errors.Is(err, errUndo) || !fail && err != nil {
				t.Fatal(err)
			}
			clean(t, db)
			if diff := cmp.Diff(before, table(t, db)); fail && diff != "" {
				t.Errorf("after abort (-before +after):\n%s", diff)
			} else if !fail && diff == "" {
				t.Error("nothing was inserted")
			}
		}
	})
}
