package integration

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/XSAM/otelsql"
	mysqlbase "github.com/go-sql-driver/mysql"
	pgxbase "github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/driver/mysql"
	"github.com/globaltx/globaltx/driver/pgx"
	"github.com/globaltx/globaltx/driver/postgres"
	"github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver/testdb"
	"github.com/globaltx/globaltx/proxy"
)

// tracing records what otelsql tells.
type tracing struct {
	spans  *tracetest.SpanRecorder
	tracer trace.Tracer
	option otelsql.Option
}

func newTracing(t *testing.T) tracing {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	t.Cleanup(func() {
		if err := provider.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return tracing{spans, provider.Tracer("test"), otelsql.WithTracerProvider(provider)}
}

// under gives what the direct children of a span are called, with the text of a
// statement behind it.
func (r tracing) under(parent trace.Span) (names []string) {
	for _, s := range r.spans.Ended() {
		if s.Parent().SpanID() != parent.SpanContext().SpanID() {
			continue
		}
		name := s.Name()
		for _, a := range s.Attributes() {
			if a.Key == "db.query.text" {
				name += ": " + a.Value.AsString()
			}
		}
		names = append(names, name)
	}
	return names
}

// transfers moves money by every kind of statement, in one global transaction that
// ends as fate says.
func transfers(ctx context.Context, s server, db *sql.DB, fate error, opts ...gtx.Option) error {
	add := "UPDATE account SET n = n + " + s.holder(1) + " WHERE id = " + s.holder(2)
	return gtx.Run(ctx, func(ctx context.Context) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, add, -10, 1); err != nil {
			return fmt.Errorf("exec: %w", err)
		}
		st, err := tx.PrepareContext(ctx, add)
		if err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
		defer st.Close()
		res, err := st.ExecContext(ctx, 10, 2)
		if err != nil {
			return fmt.Errorf("prepared: %w", err)
		}
		if n, err := res.RowsAffected(); n != 1 || err != nil {
			return fmt.Errorf("%d rows affected: %w", n, err)
		}
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT n FROM account WHERE id = "+s.holder(1), 2).Scan(&n); err != nil {
			return fmt.Errorf("query: %w", err)
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		if _, err := db.ExecContext(ctx, add, 1, 3); err != nil {
			return fmt.Errorf("alone: %w", err)
		}
		return fate
	}, append(opts, gtx.WithRetries(0))...)
}

// commitsAndAborts runs transfers with both ends, under a span that it gives back.
func commitsAndAborts(t *testing.T, s server, r tracing, bus gtx.Coordinator, db *sql.DB) trace.Span {
	t.Helper()
	mustExec(t, db, "CREATE TABLE account (id bigint PRIMARY KEY, n bigint NOT NULL)")
	mustExec(t, db, "INSERT INTO account VALUES (1, 100), (2, 100), (3, 100)")
	ctx, span := r.tracer.Start(t.Context(), "transfer")
	for _, fate := range []error{nil, errUndo, nil} {
		if err := transfers(ctx, s, db, fate, gtx.WithCoordinator(bus)); !errors.Is(err, fate) {
			t.Fatal(err)
		}
		clean(t, db)
	}
	span.End()
	rows, err := db.QueryContext(t.Context(), "SELECT n FROM account ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []int
	for rows.Next() {
		var n int
		if err := rows.Scan(&n); err != nil {
			t.Fatal(err)
		}
		got = append(got, n)
	}
	if err := rows.Err(); err != nil || !slices.Equal(got, []int{80, 120, 102}) {
		t.Errorf("accounts %v, %v", got, err)
	}
	return span
}

// closing registers the checks of a database that open has not opened.
func closing(t *testing.T, db *sql.DB) *sql.DB {
	t.Helper()
	t.Cleanup(func() {
		if n := db.Stats().InUse; n != 0 {
			t.Errorf("%d connections leaked", n)
		}
		if err := db.Close(); err != nil {
			t.Errorf("close database: %v", err)
		}
	})
	return db
}

// TestOtelsqlOutside: otelsql around our driver sees the program's statements, as it
// does around the base driver, and driver.Unwrap sees through it.
func TestOtelsqlOutside(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		r, bus, dsn := newTracing(t), embedded(t), s.dsn(t)
		db, err := otelsql.Open(s.driver, dsn, r.option)
		if err != nil {
			t.Fatal(err)
		}
		span := commitsAndAborts(t, s, r, bus, closing(t, db))
		names := r.under(span)
		counts := map[string]int{}
		for _, name := range names {
			name, _, _ := strings.Cut(name, ":")
			counts[name]++
		}
		// Three rounds; that of fate errUndo ends in Run, and not in its statements.
		for name, want := range map[string]int{"sql.conn.begin_tx": 3, "sql.tx.commit": 3, "sql.conn.prepare": 3, "sql.stmt.exec": 3, "sql.conn.exec": 6} {
			if counts[name] < want {
				t.Errorf("%d spans %s, want %d at least: %q", counts[name], name, want, names)
			}
		}
		for _, name := range names {
			if strings.Contains(name, "gtx_") {
				t.Errorf("the program sent %q", name)
			}
		}

		typeOf := func(db *sql.DB) (name string) {
			t.Helper()
			c, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.Raw(func(dc any) error {
				base, err := driver.Unwrap(dc)
				name = fmt.Sprintf("%T", base)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return name
		}
		if got, want := typeOf(db), typeOf(outsider(t, s, dsn)); got != want {
			t.Errorf("Unwrap gives %s, want %s", got, want)
		}
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
			if _, err := tx.ExecContext(ctx, "UPDATE account SET n = 0"); err != nil {
				return err
			}
			if err := c.Raw(func(dc any) error { _, err := driver.Unwrap(dc); return err }); !refusedAs(err, "raw") {
				t.Errorf("Unwrap inside: %v, want code raw", err)
			}
			return errUndo
		}, gtx.WithCoordinator(bus)); !errors.Is(err, errUndo) {
			t.Fatal(err)
		}
		clean(t, db)
	})
}

func refusedAs(err error, code string) bool {
	var u *gtx.UnsupportedError
	return errors.As(err, &u) && u.Code == code
}

// asDriver is the driver that otelsql.WrapDriver wants, of a connector.
type asDriver struct{ c sqldriver.Connector }

func (d asDriver) Open(string) (sqldriver.Conn, error) { return d.c.Connect(context.Background()) }

func (d asDriver) OpenConnector(string) (sqldriver.Connector, error) { return d.c, nil }

// capturable gives the base driver of s, its dialect, and a DSN with which it can do
// what capture sends (see driver.Wrap).
func capturable(t *testing.T, s server, dsn string) (base sqldriver.Driver, d proxy.Dialect, withParams string) {
	t.Helper()
	switch s.driver {
	case "gtx-mysql":
		cfg, err := mysqlbase.ParseDSN(dsn)
		if err != nil {
			t.Fatal(err)
		}
		cfg.MultiStatements, cfg.InterpolateParams, cfg.ClientFoundRows = true, true, true
		return &mysqlbase.MySQLDriver{}, mysql.Dialect{}, cfg.FormatDSN()
	case "gtx-postgres":
		return &pq.Driver{}, postgres.Dialect(), dsn
	case "gtx-pgx":
		cfg, err := pgxbase.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		return stdlib.GetDefaultDriver(), pgx.Dialect(cfg), dsn
	}
	b, err := sqlite.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return b.Connector.Driver(), sqlite.Dialect{}, dsn
}

// TestOtelsqlInside: our driver around otelsql captures as around the base driver, by
// every way to put it there, and what it sends of its own is under the span of the
// program.
func TestOtelsqlInside(t *testing.T) {
	ways := map[string]func(t *testing.T, s server, dsn string, r tracing) *sql.DB{
		"Wrap": func(t *testing.T, s server, dsn string, r tracing) *sql.DB {
			base, d, dsn := capturable(t, s, dsn)
			w := driver.Wrap(otelsql.WrapDriver(base, r.option), d, driver.Config{})
			c, err := w.(sqldriver.DriverContext).OpenConnector(dsn)
			if err != nil {
				t.Fatal(err)
			}
			return sql.OpenDB(c)
		},
		"WrapConnector": func(t *testing.T, s server, dsn string, r tracing) *sql.DB {
			b, err := openers[s.driver](dsn)
			if err != nil {
				t.Fatal(err)
			}
			c, err := otelsql.WrapDriver(asDriver{b.Connector}, r.option).(sqldriver.DriverContext).OpenConnector("")
			if err != nil {
				t.Fatal(err)
			}
			return sql.OpenDB(driver.WrapConnector(c, b.Dialect, driver.Config{Resolver: b.Resolver, Skip: b.Skip, Alone: b.Alone}))
		},
		"New": func(t *testing.T, s server, dsn string, r tracing) *sql.DB {
			c, err := driver.New(func(dsn string) (driver.Base, error) {
				b, err := openers[s.driver](dsn)
				if err != nil {
					return b, err
				}
				b.Connector, err = otelsql.WrapDriver(asDriver{b.Connector}, r.option).(sqldriver.DriverContext).OpenConnector("")
				return b, err
			}).(sqldriver.DriverContext).OpenConnector(dsn)
			if err != nil {
				t.Fatal(err)
			}
			return sql.OpenDB(c)
		},
	}
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		for name, way := range ways {
			t.Run(name, func(t *testing.T) {
				r := newTracing(t)
				span := commitsAndAborts(t, s, r, bus, closing(t, way(t, s, s.dsn(t), r)))
				names := r.under(span)
				for _, text := range []string{"gtx_undo", "UPDATE account", "COMMIT"} {
					if !slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, text) || text == "COMMIT" && n == "sql.tx.commit" }) {
						t.Errorf("no %s under the span of the program: %q", text, names)
					}
				}
			})
		}
	})
}

// TestWrapOfWhatCannotBeCaptured: MySQL's capture needs of the base driver what its
// wrapper, or its DSN, may lack. Then a write inside fails with a hint, and nothing
// of it is left.
func TestWrapOfWhatCannotBeCaptured(t *testing.T) {
	for _, s := range servers()[1:3] {
		bus := embedded(t)
		for name, k := range map[string]struct {
			lacks func(cfg *mysqlbase.Config)
			wrap  func(sqldriver.Driver) sqldriver.Driver
			code  string // "": it is seen when the statement has run, and rolled back
		}{
			"one statement in a packet": {func(cfg *mysqlbase.Config) { cfg.MultiStatements = false }, func(d sqldriver.Driver) sqldriver.Driver { return otelsql.WrapDriver(d) }, "base-driver"},
			"no interpolation":          {func(cfg *mysqlbase.Config) { cfg.InterpolateParams = false }, func(d sqldriver.Driver) sqldriver.Driver { return otelsql.WrapDriver(d) }, "base-driver"},
			"results wrapped":           {func(*mysqlbase.Config) {}, func(d sqldriver.Driver) sqldriver.Driver { return narrowing{d} }, ""},
		} {
			t.Run(s.name+"/"+name, func(t *testing.T) {
				base, d, dsn := capturable(t, s, s.dsn(t))
				cfg, err := mysqlbase.ParseDSN(dsn)
				if err != nil {
					t.Fatal(err)
				}
				k.lacks(cfg)
				c, err := driver.Wrap(k.wrap(base), d, driver.Config{}).(sqldriver.DriverContext).OpenConnector(cfg.FormatDSN())
				if err != nil {
					t.Fatal(err)
				}
				db := closing(t, sql.OpenDB(c))
				mustExec(t, db, "CREATE TABLE account (id bigint PRIMARY KEY, n bigint NOT NULL)")
				mustExec(t, db, "INSERT INTO account VALUES (1, 100)")
				for _, args := range [][]any{nil, {1}} {
					for _, alone := range []bool{true, false} {
						text := "UPDATE account SET n = n + 1 WHERE id = " + map[bool]string{true: "1", false: "?"}[args == nil]
						err := gtx.Run(t.Context(), func(ctx context.Context) error {
							if alone {
								_, err := db.ExecContext(ctx, text, args...)
								return err
							}
							return inTx(func(ctx context.Context, _ *sql.DB, tx *sql.Tx, text string, args ...any) error {
								_, err := tx.ExecContext(ctx, text, args...)
								return err
							})(ctx, db, text, args...)
						}, gtx.WithCoordinator(bus), gtx.WithRetries(0))
						var u *gtx.UnsupportedError
						if k.code == "" {
							if err == nil || !strings.Contains(err.Error(), "mysql.Result: hand that out") {
								t.Errorf("%s: %v, want it to be told that results are wrapped", text, err)
							}
						} else if !errors.As(err, &u) || u.Code != k.code || u.Hint == "" {
							t.Errorf("%s: %v, want code %s with a hint", text, err, k.code)
						}
					}
				}
				clean(t, db)
				var n int
				if err := db.QueryRowContext(t.Context(), "SELECT n FROM account").Scan(&n); err != nil || n != 100 {
					t.Errorf("n = %d, %v, want 100", n, err)
				}
			})
		}
	}
}

// narrowing is a driver whose results say no more than a driver.Result does.
type narrowing struct{ sqldriver.Driver }

func (d narrowing) Open(dsn string) (sqldriver.Conn, error) {
	c, err := d.Driver.Open(dsn)
	return narrowConn{testdb.HookConn(c, &hook{})}, err
}

type narrowConn struct{ *testdb.HookedConn }

func (c narrowConn) ExecContext(ctx context.Context, text string, args []sqldriver.NamedValue) (sqldriver.Result, error) {
	res, err := c.HookedConn.ExecContext(ctx, text, args)
	if err != nil {
		return nil, err
	}
	return struct{ sqldriver.Result }{res}, nil
}
