package pgx

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

// TestSeveral: Exec takes several statements, as in pgx. Query takes one: where one of
// several writes, the text is refused before any of them has run, and the local
// transaction goes on.
func TestSeveral(t *testing.T) {
	const text = "UPDATE t SET n = n + 1 WHERE id = 1; DELETE FROM t WHERE id = 2"
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			dsn, look := setup(t, counters, "INSERT INTO t VALUES (1, 10), (2, 20)")
			db := open(t, "gtx-pgx", dsn+"&default_query_exec_mode="+mode)
			want := func(when, want string) {
				t.Helper()
				var got string
				if err := look.QueryRow("SELECT string_agg(id || ' ' || n, ', ' ORDER BY id) FROM t").Scan(&got); err != nil || got != want {
					t.Errorf("%s: got %q, %v, want %q", when, got, err, want)
				}
			}
			refused := func(err error) {
				t.Helper()
				var u *gtx.UnsupportedError
				if !errors.As(err, &u) || u.Code != "several-statements" || u.Hint == "" {
					t.Errorf("got %v, want code several-statements", err)
				}
			}
			if err := gtx.Run(t.Context(), func(ctx context.Context) error {
				rows, err := db.QueryContext(ctx, text)
				if err == nil {
					rows.Close()
				}
				refused(err)
				return nil
			}); err != nil {
				t.Error(err)
			}
			want("after a refusal outside a local transaction", "1 10, 2 20")
			if err := inside(t, db, nil, func(ctx context.Context, tx *sql.Tx) error {
				rows, err := tx.QueryContext(ctx, text)
				if err == nil {
					rows.Close()
				}
				refused(err)
				var n int
				if err := tx.QueryRowContext(ctx, "UPDATE t SET n = n + 5 WHERE id = 1 RETURNING n").Scan(&n); err != nil || n != 15 {
					t.Errorf("n = %d, want 15: the refused text has run", n)
					return err
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
			clean(t, look)
			want("after a refusal inside one", "1 15, 2 20")
			for _, fate := range []error{errUndo, nil} {
				if err := inside(t, db, fate, func(ctx context.Context, tx *sql.Tx) error {
					_, err := tx.ExecContext(ctx, text)
					return err
				}); err != nil {
					t.Error(err)
				}
				clean(t, look)
				if fate != nil {
					want("after an abort", "1 15, 2 20")
				}
			}
			want("after a commit", "1 16")
		})
	}
}
