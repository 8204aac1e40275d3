package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
)

// levelOf gives what the server says of the local transaction: its isolation level and
// whether it is read-only. tx has read something.
func levelOf(t *testing.T, s server, tx *sql.Tx) string {
	t.Helper()
	var level, readOnly string
	switch s.family() {
	case "gtx-sqlite":
		return "the one there is"
	case "gtx-mysql":
		// The variables tell of the next transaction; this table shows what was up to
		// date 0.1 s after it was last read.
		eventuallyEvery(t, 120*time.Millisecond, "the server lists the transaction", func() bool {
			err := tx.QueryRow("SELECT trx_isolation_level, trx_is_read_only FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = CONNECTION_ID()").Scan(&level, &readOnly)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				t.Fatal(err)
			}
			return err == nil
		})
	default:
		for name, to := range map[string]*string{"transaction_isolation": &level, "transaction_read_only": &readOnly} {
			if err := tx.QueryRow("SHOW " + name).Scan(to); err != nil {
				t.Fatal(err)
			}
		}
	}
	return strings.ToLower(level) + ", read-only " + readOnly
}

// TestIsolationLevels: a local transaction inside a global one has the level that was
// asked for, whether it reads or writes first, or the base driver's error.
func TestIsolationLevels(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		dsn := s.dsn(t)
		db, bare := open(t, s, dsn), outsider(t, s, dsn)
		mustExec(t, db, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL)")
		mustExec(t, db, "INSERT INTO thing VALUES (1, 0)")
		try := func(ctx context.Context, who *sql.DB, opts *sql.TxOptions, first string) (string, error) {
			tx, err := who.BeginTx(ctx, opts)
			if err != nil {
				return "refused: " + err.Error(), nil
			}
			defer tx.Rollback()
			if _, err := tx.ExecContext(ctx, first); err != nil {
				return "", err
			}
			level := levelOf(t, s, tx)
			return level, tx.Commit()
		}
		levels := []sql.IsolationLevel{
			sql.LevelDefault, sql.LevelReadUncommitted, sql.LevelReadCommitted, sql.LevelWriteCommitted,
			sql.LevelRepeatableRead, sql.LevelSnapshot, sql.LevelSerializable, sql.LevelLinearizable,
		}
		for _, level := range levels {
			for _, first := range []string{"UPDATE thing SET n = n + 1", "SELECT n FROM thing"} {
				opts := &sql.TxOptions{Isolation: level, ReadOnly: strings.HasPrefix(first, "SELECT") && level%4 != 2}
				want, err := try(context.Background(), bare, opts, first)
				if err != nil {
					t.Fatalf("%v: bare: %v", opts, err)
				}
				var got string
				if err := gtx.Run(t.Context(), func(ctx context.Context) (err error) {
					got, err = try(ctx, db, opts, first)
					return err
				}, gtx.WithCoordinator(bus)); err != nil {
					t.Fatalf("%v, %s: %v", opts, first, err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%v, %s (-bare +ours):\n%s", opts, first, diff)
				}
			}
		}
	})
}

// census counts what a coordinator is asked.
type census struct {
	gtx.Coordinator
	registered, commits atomic.Int64
}

func (c *census) Register(ctx context.Context, xid gtx.XID, b gtx.BranchRef) error {
	c.registered.Add(1)
	return c.Coordinator.Register(ctx, xid, b)
}

func (c *census) Commit(ctx context.Context, xid gtx.XID, confirmed, dead []gtx.BranchRef) (gtx.Status, error) {
	c.commits.Add(1)
	return c.Coordinator.Commit(ctx, xid, confirmed, dead)
}

// TestReadOnly: a read-only local transaction makes no branch, sees what the global one
// has written before, and refuses what writes before it runs.
func TestReadOnly(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		c := &census{Coordinator: embedded(t)}
		dsn := s.dsn(t)
		db, bare := open(t, s, dsn), outsider(t, s, dsn)
		mustExec(t, db, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint NOT NULL)")
		mustExec(t, db, "INSERT INTO thing VALUES (1, 0)")
		rows := func() int {
			t.Helper()
			n, err := leftovers(t.Context(), bare)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		read := func(ctx context.Context, want int) error {
			tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
			if err != nil {
				return err
			}
			defer tx.Rollback()
			var n int
			if err := tx.QueryRowContext(ctx, "SELECT n FROM thing WHERE id = "+s.holder(1), 1).Scan(&n); err != nil {
				return err
			}
			if n != want {
				t.Errorf("n = %d, want %d", n, want)
			}
			return tx.Commit()
		}
		if err := gtx.Run(t.Context(), func(ctx context.Context) error {
			err := read(ctx, 0)
			if n := rows(); n != 0 {
				t.Errorf("%d rows of this module after a read", n)
			}
			return err
		}, gtx.WithCoordinator(c)); err != nil {
			t.Fatal(err)
		}
		if r, n := c.registered.Load(), c.commits.Load(); r != 0 || n != 0 {
			t.Errorf("the coordinator was asked to register %d branches and to commit %d times by who only reads", r, n)
		}
		for _, text := range []string{"UPDATE thing SET n = 5", "INSERT INTO thing VALUES (2, 2)", "DELETE FROM thing"} {
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
				if err != nil {
					return err
				}
				defer tx.Rollback()
				_, err = tx.ExecContext(ctx, text)
				if rerr := tx.Rollback(); rerr != nil {
					return fmt.Errorf("roll back: %w", rerr)
				}
				return err
			}, gtx.WithCoordinator(c))
			var refused *gtx.UnsupportedError
			if !errors.As(err, &refused) || refused.Code != "read-only" {
				t.Errorf("%s in a read-only transaction: %v", text, err)
			}
		}
		if r := c.registered.Load(); r != 0 {
			t.Errorf("%d branches were registered for refused statements", r)
		}
		// Beside a branch, and after it.
		if err := gtx.Run(t.Context(), func(ctx context.Context) error {
			if _, err := db.ExecContext(ctx, "UPDATE thing SET n = n + 7"); err != nil {
				return err
			}
			return errors.Join(read(ctx, 7), read(ctx, 7))
		}, gtx.WithCoordinator(c)); err != nil {
			t.Fatal(err)
		}
		if r, n := c.registered.Load(), c.commits.Load(); r != 1 || n != 1 {
			t.Errorf("%d branches were registered, %d transactions committed, want 1 and 1", r, n)
		}
	})
}
