package pgx

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	sqldriver "database/sql/driver"

	"github.com/XSAM/otelsql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/wire"
	"github.com/globaltx/globaltx/undo"
)

const counters = "CREATE TABLE t (id int PRIMARY KEY, n int)"

// rawConn runs fn on the connection of pgx below db.
func rawConn(t *testing.T, db *sql.DB, fn func(c *pgx.Conn) error) error {
	t.Helper()
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.Raw(func(dc any) error {
		base, err := driver.Unwrap(dc)
		if err != nil {
			return err
		}
		return fn(base.(*stdlib.Conn).Conn())
	})
}

// TestRawOutside: what database/sql has no words for works on the connection of pgx.
func TestRawOutside(t *testing.T) {
	dsn, look := setup(t, counters)
	db := open(t, "gtx-pgx", dsn)
	if err := rawConn(t, db, func(c *pgx.Conn) error {
		n, err := c.CopyFrom(t.Context(), pgx.Identifier{"t"}, []string{"id", "n"}, pgx.CopyFromRows([][]any{{1, 10}, {2, nil}}))
		if err != nil || n != 2 {
			t.Errorf("copied %d rows", n)
			return err
		}
		b := &pgx.Batch{}
		b.Queue("UPDATE t SET n = n + $1 WHERE id = $2", 5, 1)
		b.Queue("INSERT INTO t VALUES (3, 3)")
		if err := c.SendBatch(t.Context(), b).Close(); err != nil {
			return err
		}
		if _, err := c.Exec(t.Context(), "LISTEN told"); err != nil {
			return err
		}
		if _, err := look.Exec("NOTIFY told, 'it'"); err != nil {
			return err
		}
		got, err := c.WaitForNotification(t.Context())
		if err == nil && got.Payload != "it" {
			t.Errorf("heard %q", got.Payload)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var sum int
	if err := db.QueryRow("SELECT sum(n) FROM t").Scan(&sum); err != nil || sum != 18 {
		t.Errorf("sum %d, %v, want 18", sum, err)
	}
}

// TestRawInside: inside it would escape the capture.
func TestRawInside(t *testing.T) {
	dsn, look := setup(t, counters)
	db := open(t, "gtx-pgx", dsn)
	if err := gtx.Run(t.Context(), func(ctx context.Context) error {
		c, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer c.Close()
		tx, err := c.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		for _, text := range []string{"INSERT INTO t VALUES (1, 1)", "UPDATE t SET n = 2"} {
			if _, err := tx.ExecContext(ctx, text); err != nil {
				return err
			}
			err := c.Raw(func(dc any) error { _, err := driver.Unwrap(dc); return err })
			var u *gtx.UnsupportedError
			if !errors.As(err, &u) || u.Code != "raw" {
				t.Errorf("got %v, want code raw", err)
			}
		}
		for _, text := range []string{"COPY t FROM STDIN", "LISTEN told"} {
			var u *gtx.UnsupportedError
			if _, err := tx.ExecContext(ctx, text); !errors.As(err, &u) {
				t.Errorf("%s: got %v, want a refusal", text, err)
			}
		}
		return tx.Commit()
	}); err != nil {
		t.Fatal(err)
	}
	clean(t, look)
}

// TestConnectors: a ConnConfig with hooks, a pool, and a connector that otelsql has
// wrapped take part in global transactions, with as many round trips as by DSN.
func TestConnectors(t *testing.T) {
	dsn, look := setup(t, counters, "INSERT INTO t VALUES (1, 0)")
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	var before, after atomic.Int64
	hooked := one(t, sql.OpenDB(NewConnector(*cfg, driver.Config{},
		stdlib.OptionBeforeConnect(func(_ context.Context, c *pgx.ConnConfig) error {
			before.Add(1)
			c.DefaultQueryExecMode = pgx.QueryExecModeExec
			return nil
		}),
		stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
			after.Add(1)
			_, err := c.Exec(ctx, "SET application_name = 'hooked'")
			return err
		}))))
	pool, err := pgxpool.New(t.Context(), dsn+"&pool_max_conns=1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	pooled := OpenDBFromPool(pool, driver.Config{})
	t.Cleanup(func() { pooled.Close() })
	otel, err := otelsql.WrapDriver(stdlib.GetDefaultDriver()).(sqldriver.DriverContext).OpenConnector(dsn)
	if err != nil {
		t.Fatal(err)
	}
	traced := one(t, sql.OpenDB(driver.WrapConnector(otel, Dialect(cfg), driver.Config{})))
	for name, db := range map[string]*sql.DB{"hooked": hooked, "pooled": pooled, "traced": traced} {
		for _, fate := range []error{nil, errUndo, nil} {
			if err := inside(t, db, fate, func(ctx context.Context, tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, "UPDATE t SET n = n + $1 WHERE id = $2", 1, 1)
				if err == nil {
					_, err = tx.ExecContext(ctx, "INSERT INTO t VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET n = t.n + 1", 2, nil)
				}
				return err
			}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			clean(t, look)
		}
	}
	var n int
	if err := look.QueryRow("SELECT n FROM t WHERE id = 1").Scan(&n); err != nil || n != 6 {
		t.Errorf("n = %d, %v, want 6", n, err)
	}
	if before.Load() == 0 || after.Load() != before.Load() {
		t.Errorf("hooks ran %d and %d times", before.Load(), after.Load())
	}
	var app string
	if err := hooked.QueryRow("SHOW application_name").Scan(&app); err != nil || app != "hooked" {
		t.Errorf("application_name %q, %v", app, err)
	}
	if got := rowsOf(hooked.Query("SELECT count(*) FROM pg_prepared_statements")); !contains(got, "int64 0|") {
		t.Errorf("the mode that a hook has set was not heard of: %s", got)
	}
	if err := pooled.Close(); err != nil {
		t.Error(err)
	}
	if err := pool.Ping(t.Context()); err != nil {
		t.Errorf("closing the sql.DB closed the pool: %v", err)
	}
}

// TestErrorsAreThoseOfPGX: errors.As finds what the server said, inside and outside.
func TestErrorsAreThoseOfPGX(t *testing.T) {
	dsn, look := setup(t, counters, "INSERT INTO t VALUES (1, 1)")
	db := open(t, "gtx-pgx", dsn)
	want := func(where string, err error) {
		t.Helper()
		var server *pgconn.PgError
		if !errors.As(err, &server) || server.Code != "23505" || server.ConstraintName != "t_pkey" || server.TableName != "t" || server.Detail == "" {
			t.Errorf("%s: got %#v", where, err)
		}
	}
	_, err := db.Exec("INSERT INTO t VALUES (1, 1)")
	want("outside", err)
	for _, args := range [][]any{nil, {1, 1}} {
		text := "INSERT INTO t VALUES (1, 1)"
		if args != nil {
			text = "INSERT INTO t VALUES ($1, $2)"
		}
		for range 3 {
			err = gtx.Run(t.Context(), func(ctx context.Context) error {
				_, err := db.ExecContext(ctx, text, args...)
				want("autocommit", err)
				return err
			})
			want("of Run", err)
			if err := inside(t, db, errUndo, func(ctx context.Context, tx *sql.Tx) error {
				if _, err := tx.ExecContext(ctx, "SAVEPOINT a"); err != nil {
					return err
				}
				_, err := tx.ExecContext(ctx, text, args...)
				want("inside", err)
				_, err = tx.ExecContext(ctx, "ROLLBACK TO a")
				return err
			}); err != nil {
				t.Error(err)
			}
		}
	}
	clean(t, look)
}

// TestContextEnds: pgx closes the connection of a statement whose context ends. The
// local transaction is gone, and the next one gets another connection.
func TestContextEnds(t *testing.T) {
	dsn, look := setup(t, counters, "INSERT INTO t VALUES (1, 1)")
	db := open(t, "gtx-pgx", dsn)
	holder, err := look.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holder.Exec("UPDATE t SET n = 5"); err != nil {
		t.Fatal(err)
	}
	for _, auto := range []bool{true, false} {
		err = gtx.Run(t.Context(), func(ctx context.Context) error {
			short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			if auto {
				_, err := db.ExecContext(short, "UPDATE t SET n = n + $1", 1)
				return err
			}
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(short, "UPDATE t SET n = n + $1", 1)
			return errors.Join(err, tx.Rollback())
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("auto %v: got %v", auto, err)
		}
	}
	if err := holder.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := inside(t, db, nil, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE t SET n = n + $1", 1)
		return err
	}); err != nil {
		t.Error(err)
	}
	clean(t, look)
	if got := rowsOf(look.Query("SELECT n FROM t")); !contains(got, "int64 2|") {
		t.Errorf("got %s, want 2", got)
	}
}

// TestSilentServer: a server that takes a statement and says nothing is given up when
// the context ends, so phase two needs no other bound.
func TestSilentServer(t *testing.T) {
	dsn, _ := setup(t)
	through, relay, err := wire.Through("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(relay.Close)
	b, err := Open(through)
	if err != nil {
		t.Fatal(err)
	}
	if b.Resolver != nil {
		t.Error("phase two has connections of its own: test those")
	}
	db := one(t, sql.OpenDB(b.Connector))
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
	relay.Silence("silence")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = db.ExecContext(ctx, "SELECT 'silence'")
	if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > 10*time.Second {
		t.Errorf("got %v after %s", err, took)
	}
	if err := db.Ping(); err != nil {
		t.Errorf("the next connection: %v", err)
	}
}

// TestClassify: what pgx says of a connection that is gone.
func TestClassify(t *testing.T) {
	dsn, _ := setup(t)
	b, err := Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	killed := func(text string) error {
		db := one(t, sql.OpenDB(b.Connector))
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		_, err = tx.Exec("SELECT pg_terminate_backend(pg_backend_pid())")
		if text != "" {
			_, err = tx.Exec(text)
		}
		return err
	}
	cfg, err := pgx.ParseConfig("postgres://a@127.0.0.1:1/x?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	_, unreachable := stdlib.GetConnector(*cfg).Connect(t.Context())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	db := one(t, sql.OpenDB(b.Connector))
	_, cancelled := db.ExecContext(ended, "SELECT 1")
	_, missing := db.Exec("SELECT * FROM missing")
	for name, c := range map[string]struct {
		err  error
		want undo.ErrorClass
	}{
		"terminated":  {killed(""), undo.Lost},
		"used again":  {killed("SELECT 1"), undo.Lost},
		"conn closed": {pgconn.ErrConnClosed, undo.Lost},
		"unreachable": {unreachable, undo.Lost},
		"cancelled":   {cancelled, undo.Other},
		"no table":    {missing, undo.NoTable},
	} {
		if got := b.Dialect.Classify(c.err); c.err == nil || got != c.want {
			t.Errorf("%s: %v is %v, want %v", name, c.err, got, c.want)
		}
	}
}
