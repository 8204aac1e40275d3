package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
)

// TestPreparedKept: statements that were made on the sql.DB once serve many global
// transactions of several goroutines, by themselves and through Tx.StmtContext, while
// connections are replaced and the table changes.
func TestPreparedKept(t *testing.T) {
	const workers, rounds = 4, 8
	onEach(t, func(t *testing.T, s server) {
		bus, dsn := embedded(t), s.dsn(t)
		if s.name == "sqlite" {
			dsn += "&_pragma=synchronous(off)"
		}
		db, other := open(t, s, dsn), open(t, s, dsn)
		db.SetMaxOpenConns(workers)
		mustExec(t, db, "CREATE TABLE account (id bigint PRIMARY KEY, n bigint NOT NULL)")
		for id := range workers {
			mustExec(t, db, fmt.Sprintf("INSERT INTO account VALUES (%d, 0)", id))
		}
		prepare := func(text string) *sql.Stmt {
			t.Helper()
			st, err := db.PrepareContext(t.Context(), text)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { st.Close() })
			return st
		}
		add := prepare("UPDATE account SET n = n + " + s.holder(1) + " WHERE id = " + s.holder(2))
		read := prepare("SELECT n FROM account WHERE id = " + s.holder(1))
		in := func(ctx context.Context, id, want int) error {
			if _, err := add.ExecContext(ctx, 1, id); err != nil {
				return fmt.Errorf("by db: %w", err)
			}
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			if _, err := tx.StmtContext(ctx, add).ExecContext(ctx, 2, id); err != nil {
				return fmt.Errorf("by tx: %w", err)
			}
			var n int
			if err := tx.StmtContext(ctx, read).QueryRowContext(ctx, id).Scan(&n); err != nil || n != want+3 {
				return fmt.Errorf("%d: account %d holds %d, want %d: %w", id, id, n, want+3, err)
			}
			return tx.Commit()
		}
		works := func() {
			t.Helper()
			var wg sync.WaitGroup
			for id := range workers {
				wg.Go(func() {
					var want int
					if err := read.QueryRowContext(t.Context(), id).Scan(&want); err != nil {
						t.Error(err)
					}
					for round := range rounds / 2 {
						var fate error
						if round%2 == 1 {
							fate = errUndo
						}
						err := gtx.Run(t.Context(), func(ctx context.Context) error {
							if err := in(ctx, id, want); err != nil {
								return err
							}
							return fate
						}, gtx.WithCoordinator(bus))
						if !errors.Is(err, fate) {
							t.Errorf("round %d: %v", round, err)
							return
						}
						if fate == nil {
							want += 3
						}
					}
				})
			}
			wg.Wait()
			clean(t, other)
			for id := range workers {
				var n int
				if err := read.QueryRowContext(t.Context(), id).Scan(&n); err != nil || n == 0 || n%3 != 0 {
					t.Errorf("account %d holds %d, %v", id, n, err)
				}
			}
		}
		works()
		db.SetMaxIdleConns(-1) // no connection comes back
		works()
		db.SetMaxIdleConns(workers)
		mustExec(t, db, "ALTER TABLE account ADD COLUMN added bigint DEFAULT 7")
		works()
		var sum int
		if err := db.QueryRowContext(t.Context(), "SELECT sum(n) FROM account").Scan(&sum); err != nil || sum != workers*3*3*rounds/4 {
			t.Errorf("sum %d, %v, want %d", sum, err, workers*3*3*rounds/4)
		}
	})
}

// TestPreparedTypes: what a prepared statement gives inside is of the Go types that
// the base driver's gives.
func TestPreparedTypes(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus, dsn := embedded(t), s.dsn(t)
		db, bare := open(t, s, dsn), outsider(t, s, dsn)
		mustExec(t, db, "CREATE TABLE kinds (id bigint PRIMARY KEY, i smallint, d decimal(8,3), f double precision, s varchar(20), day date, at timestamp NULL)")
		mustExec(t, db, "INSERT INTO kinds VALUES (1, 2, 1.5, 0.25, 'text', '2024-02-29', '2024-02-29 12:30:00'), (2, NULL, NULL, NULL, NULL, NULL, NULL)")
		texts := []string{"SELECT * FROM kinds WHERE id >= " + s.holder(1) + " ORDER BY id"}
		switch s.name {
		case "mariadb":
			texts = append(texts, "DELETE FROM kinds WHERE id >= ? RETURNING id, i, d, f, s, day, at", "INSERT INTO kinds (i, id) VALUES (?, 9) RETURNING *")
		case "sqlite", "postgres15", "postgres18":
			texts = append(texts, "UPDATE kinds SET i = 3 WHERE id >= "+s.holder(1)+" RETURNING *", "DELETE FROM kinds WHERE id >= "+s.holder(1)+" RETURNING *")
		}
		rows := func(ctx context.Context, db *sql.DB, text string) (out []string, err error) {
			st, err := db.PrepareContext(context.Background(), text)
			if err != nil {
				return nil, err
			}
			defer st.Close()
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return nil, err
			}
			defer tx.Rollback()
			rs, err := tx.StmtContext(ctx, st).QueryContext(ctx, 1)
			if err != nil {
				return nil, err
			}
			defer rs.Close()
			names, err := rs.Columns()
			if err != nil {
				return nil, err
			}
			for rs.Next() {
				values, into := make([]any, len(names)), make([]any, len(names))
				for i := range values {
					into[i] = &values[i]
				}
				if err := rs.Scan(into...); err != nil {
					return nil, err
				}
				for i, v := range values {
					out = append(out, fmt.Sprintf("%s %T %v", names[i], v, v))
				}
			}
			return out, rs.Err()
		}
		for _, text := range texts {
			want, err := rows(t.Context(), bare, text)
			if err != nil || len(want) == 0 {
				t.Fatalf("%s: the base driver gives %d values, %v", text, len(want), err)
			}
			for range 3 {
				var got []string
				if err := gtx.Run(t.Context(), func(ctx context.Context) (err error) {
					if got, err = rows(ctx, db, text); err != nil {
						return err
					}
					return errUndo
				}, gtx.WithCoordinator(bus), gtx.WithRetries(0)); !errors.Is(err, errUndo) {
					t.Fatalf("%s: %v", text, err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-bare +ours):\n%s", text, diff)
				}
				clean(t, db)
			}
		}
	})
}
