package pgx

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	sqldriver "database/sql/driver"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/wire"
)

var modes = []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"}

func port(cfg *pgx.ConnConfig) string { return strconv.Itoa(int(cfg.Port)) }

const valuesTable = `CREATE TABLE v (id int PRIMARY KEY, n numeric(20,4), j jsonb, u uuid, at timestamptz, plain timestamp, d date, b bytea, arr int[], tags text[],
 f float8, small int2, ok bool, s varchar(20), iv interval, ip inet, x text)`

// roman is a number that pgx encodes as a text or as a number, by the mode.
type roman int32

func (r roman) String() string { return strings.Repeat("I", int(r)) }

// TestValues: arguments of every kind reach the table, and rows come back, as with
// the bare driver in the same mode, which may refuse some of them. An abort undoes it.
func TestValues(t *testing.T) {
	at := time.Date(2024, 2, 29, 13, 14, 15, 123456000, time.FixedZone("", 5*3600+1800))
	texts := []struct {
		text string
		args []any
	}{
		{"UPDATE v SET n = $1 WHERE id = 1 RETURNING *", []any{"123.4500"}},
		{"UPDATE v SET n = $1 WHERE id = 1 RETURNING n, f", []any{1.25}},
		{"UPDATE v SET n = $1 WHERE id = 1 RETURNING n", []any{pgtype.Numeric{NaN: true, Valid: true}}},
		{"UPDATE v SET j = $1 WHERE id = 1 RETURNING j", []any{map[string]any{"a": []int{1, 2}}}},
		{"UPDATE v SET j = $1 WHERE id = 1 RETURNING j", []any{`{"b": null}`}},
		{"UPDATE v SET j = $1 WHERE id = 1 RETURNING j", []any{[]byte(`{"b": 1}`)}},
		{"UPDATE v SET u = $1 WHERE id = 1 RETURNING u", []any{[16]byte{1, 2, 3}}},
		{"UPDATE v SET u = $1 WHERE id = 1 RETURNING u", []any{"00010203-0405-0607-0809-0a0b0c0d0e0f"}},
		{"UPDATE v SET at = $1, plain = $1, d = $1 WHERE id = 1 RETURNING at, plain, d", []any{at}},
		{"UPDATE v SET at = $1, plain = $2 WHERE id = 1 RETURNING at, plain", []any{at, at.UTC()}},
		{"UPDATE v SET at = $1 WHERE id = 1 RETURNING at", []any{"infinity"}},
		{"UPDATE v SET b = $1 WHERE id = 1 RETURNING b", []any{[]byte{0, 255, '\''}}},
		{"UPDATE v SET arr = $1, tags = $2 WHERE id = 1 RETURNING arr, tags", []any{[]int{1, -2}, []string{"a,b", `"`, ""}}},
		{"UPDATE v SET arr = array_append(arr, $1) WHERE id = ANY ($2) RETURNING arr", []any{7, []int32{1, 2}}},
		{"UPDATE v SET f = $1, small = $2 WHERE id = 1 RETURNING f, small", []any{0.1, int16(-3)}},
		{"UPDATE v SET small = $1 WHERE id = 1 RETURNING small", []any{roman(3)}},
		{"UPDATE v SET small = $1 WHERE id = 1 RETURNING small", []any{70000}},
		{"UPDATE v SET ok = $1, s = $2 WHERE id = 1 RETURNING ok, s", []any{true, sql.NullString{}}},
		{"UPDATE v SET s = $1 WHERE id = 1 RETURNING s", []any{5}},
		{"UPDATE v SET s = $1 WHERE id = 1 RETURNING s", []any{"it's \\ $1 -- x"}},
		{"UPDATE v SET x = $1::text || $2 WHERE id = 1 RETURNING x", []any{"a", "b"}},
		{"UPDATE v SET iv = $1, ip = $2 WHERE id = 1 RETURNING iv, ip", []any{90 * time.Minute, net.IPv4(10, 0, 0, 1)}},
		{"UPDATE v SET small = small + $1, f = f * $2 WHERE id = $3", []any{1, 2.5, 2}},
		{"INSERT INTO v (id, s) SELECT $1 + k, $2 FROM generate_series(1, 2) AS k RETURNING id, s", []any{10, "z"}},
		{"INSERT INTO v (id, s) VALUES ($1, $2), ($3, $2) ON CONFLICT (id) DO UPDATE SET s = excluded.s RETURNING id, s", []any{1, "up", 30}},
		{"DELETE FROM v WHERE id = $1 AND at IS NOT DISTINCT FROM $2 RETURNING *", []any{1, nil}},
		{"MERGE INTO v USING (VALUES (1), (40)) AS k (i) ON k.i = v.id WHEN MATCHED THEN UPDATE SET s = $1 WHEN NOT MATCHED THEN INSERT (id) VALUES (k.i) RETURNING v.id, s", []any{"m"}},
		{"WITH d AS (DELETE FROM v WHERE id = $1 RETURNING *) SELECT id, s, n FROM d", []any{2}},
		{"UPDATE v SET x = 'lit', n = 3.5 WHERE id = 2 RETURNING x, n, at, b, arr, f", nil},
		{"UPDATE v SET x = 'lit' WHERE id = 2", nil},
		{"UPDATE v SET s = 'this is longer than twenty characters' WHERE id = 2", nil},
	}
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			dsn, look := setup(t, valuesTable, "INSERT INTO v (id, n, small, f, b, at, arr) VALUES (1, 1, 1, 1, '\\xff00', NULL, '{}'), (2, 2.50, 2, 0.1, '', '2020-01-01 00:00+03', '{1,NULL}')")
			dsn += "&default_query_exec_mode=" + mode
			bare, ours := open(t, "pgx", dsn), open(t, "gtx-pgx", dsn)
			for _, c := range texts {
				var want, table string
				var werr error
				start := rowsOf(look.Query("SELECT v::text FROM v ORDER BY id"))
				if tx, err := bare.Begin(); err != nil {
					t.Fatal(err)
				} else {
					want, werr = both(t.Context(), tx, c.text, c.args)
					if werr == nil {
						table = rowsOf(tx.Query("SELECT v::text FROM v ORDER BY id"))
					}
					tx.Rollback()
				}
				for run := range 3 { // once, seen again, kept
					err := inside(t, ours, errUndo, func(ctx context.Context, tx *sql.Tx) error {
						got, err := both(ctx, tx, c.text, c.args)
						if message(err) != message(werr) {
							t.Errorf("%s %v, run %d: got %v, bare %v", c.text, c.args, run, err, werr)
						}
						if diff := cmp.Diff(want, got); diff != "" {
							t.Errorf("%s %v, run %d (-bare +ours):\n%s", c.text, c.args, run, diff)
						}
						if err == nil {
							if diff := cmp.Diff(table, rowsOf(tx.QueryContext(ctx, "SELECT v::text FROM v ORDER BY id"))); diff != "" {
								t.Errorf("%s %v: table (-bare +ours):\n%s", c.text, c.args, diff)
							}
						}
						return nil
					})
					if err != nil && werr == nil {
						t.Errorf("%s: %v", c.text, err)
					}
					clean(t, look)
					if diff := cmp.Diff(start, rowsOf(look.Query("SELECT v::text FROM v ORDER BY id"))); diff != "" {
						t.Fatalf("%s: after the abort (-start +now):\n%s", c.text, diff)
					}
				}
			}
		})
	}
}

// both runs a text through Exec, takes that back, runs it through Query, takes that
// back, and runs it prepared.
func both(ctx context.Context, tx *sql.Tx, text string, args []any) (string, error) {
	if _, err := tx.ExecContext(ctx, "SAVEPOINT a"); err != nil {
		return "", err
	}
	res, err := tx.ExecContext(ctx, text, args...)
	if err != nil {
		return "", err
	}
	n, err := res.RowsAffected()
	if err != nil {
		return "", err
	}
	if _, err := res.LastInsertId(); err == nil {
		return "", errors.New("there is a LastInsertId")
	}
	if _, err := tx.ExecContext(ctx, "ROLLBACK TO a"); err != nil {
		return "", err
	}
	shown := fmt.Sprint(n, "\n", rowsOf(tx.QueryContext(ctx, text, args...)))
	if _, err := tx.ExecContext(ctx, "ROLLBACK TO a"); err != nil {
		return "", err
	}
	stmt, err := tx.PrepareContext(ctx, text)
	if err != nil {
		return "", err
	}
	defer stmt.Close()
	rows, err := stmt.QueryContext(ctx, args...)
	return shown + rowsOf(rows, err), err
}

// rowsOf prints rows with the types of Go, and what is told of the columns.
func rowsOf(rows *sql.Rows, err error) string {
	if err != nil {
		return err.Error()
	}
	defer rows.Close()
	var out strings.Builder
	types, err := rows.ColumnTypes()
	if err != nil {
		return err.Error()
	}
	for _, c := range types {
		length, hasLength := c.Length()
		precision, scale, hasScale := c.DecimalSize()
		fmt.Fprintln(&out, c.Name(), c.DatabaseTypeName(), c.ScanType(), length, hasLength, precision, scale, hasScale)
	}
	for rows.Next() {
		line, dest := make([]any, len(types)), make([]any, len(types))
		for i := range line {
			dest[i] = &line[i]
		}
		if err := rows.Scan(dest...); err != nil {
			return err.Error()
		}
		for _, v := range line {
			fmt.Fprintf(&out, "%T %v|", v, v)
		}
		out.WriteByte('\n')
	}
	if err := rows.Err(); err != nil {
		return err.Error()
	}
	return out.String()
}

// message is an error without what tells of a place in the text.
func message(err error) string {
	var server *pgconn.PgError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &server):
		return server.Code + " " + server.Message + server.Detail + server.ConstraintName + server.ColumnName
	}
	return err.Error()
}

// TestArgumentsRefused: a first argument that changes the text or the columns is
// refused, and nothing has happened; one that chooses the mode is taken.
func TestArgumentsRefused(t *testing.T) {
	dsn, look := setup(t, "CREATE TABLE t (id int PRIMARY KEY, n int)", "INSERT INTO t VALUES (1, 1)")
	db := open(t, "gtx-pgx", dsn)
	for code, args := range map[string][]any{
		"rewriter":       {pgx.NamedArgs{"id": 1}},
		"result-formats": {pgx.QueryResultFormats{1}, 1},
	} {
		err := inside(t, db, nil, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE t SET n = 2 WHERE id = $1", args...)
			var u *gtx.UnsupportedError
			if !errors.As(err, &u) || u.Code != code || u.Hint == "" {
				t.Errorf("%v: got %v, want code %s", args, err, code)
			}
			_, err = tx.ExecContext(ctx, "UPDATE t SET n = n + 1")
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeCacheStatement} {
		if err := inside(t, db, nil, func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "UPDATE t SET n = n + $1 WHERE id = $2", mode, 10, 1)
			return err
		}); err != nil {
			t.Errorf("%v: %v", mode, err)
		}
	}
	clean(t, look)
	if got := rowsOf(look.Query("SELECT n FROM t")); !strings.Contains(got, "int64 43|") {
		t.Errorf("got %s, want 43", got)
	}
}

// TestWrongArgumentIsTheUsers: what pgx finds wrong with an argument by itself leaves
// the local transaction as it was, as with the bare driver.
func TestWrongArgumentIsTheUsers(t *testing.T) {
	dsn, look := setup(t, "CREATE TABLE t (id int PRIMARY KEY, n int)", "INSERT INTO t VALUES (1, 1)")
	for _, mode := range modes {
		db := open(t, "gtx-pgx", dsn+"&default_query_exec_mode="+mode)
		for range 3 {
			err := inside(t, db, errUndo, func(ctx context.Context, tx *sql.Tx) error {
				for _, args := range [][]any{{struct{}{}, 1}, {make(chan int), 1}} {
					if _, err := tx.ExecContext(ctx, "UPDATE t SET n = n + $1 WHERE id = $2", args...); err == nil {
						t.Errorf("%s: %v was taken", mode, args)
					}
				}
				res, err := tx.ExecContext(ctx, "UPDATE t SET n = n + $1 WHERE id = $2", 1, 1)
				if err != nil {
					return err
				}
				if n, err := res.RowsAffected(); n != 1 || err != nil {
					t.Errorf("%d rows, %v", n, err)
				}
				return nil
			})
			if err != nil {
				t.Errorf("%s: %v", mode, err)
			}
			clean(t, look)
		}
	}
}

// TestRoundTrips: a statement inside an explicit local transaction costs as many round
// trips as with the bare driver, the first time and later.
func TestRoundTrips(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			dsn, look := setup(t, "CREATE TABLE t (id int PRIMARY KEY, n int)", "INSERT INTO t VALUES (1, 1), (2, 2)")
			through, relay, err := wire.Through("pgx", dsn)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(relay.Close)
			through += "&default_query_exec_mode=" + mode
			cfg, err := pgx.ParseConfig(through)
			if err != nil {
				t.Fatal(err)
			}
			direct, err := stdlib.GetDefaultDriver().(sqldriver.DriverContext).OpenConnector(dsn)
			if err != nil {
				t.Fatal(err)
			}
			bare := open(t, "pgx", through)
			// The look for leftovers at the start must not be counted.
			ours := one(t, sql.OpenDB(NewConnector(*cfg, driver.Config{Resolver: direct, ScanInterval: time.Hour})))
			for _, c := range []struct {
				text string
				args []any
				rows bool
			}{
				{"UPDATE t SET n = n + 1 WHERE id = 2", nil, false},
				{"UPDATE t SET n = n + $1 WHERE id = $2", []any{1, 1}, false},
				{"UPDATE t SET n = n + $1 WHERE id = $2 RETURNING n", []any{1, 1}, true},
				{"UPDATE t SET n = n + 7 RETURNING n", nil, true},
				{"SELECT n FROM t WHERE id = $1 FOR UPDATE", []any{1}, true},
			} {
				count := func(ctx context.Context, tx *sql.Tx) (int, error) {
					from := relay.RoundTrips()
					if c.rows {
						rows, err := tx.QueryContext(ctx, c.text, c.args...)
						if err != nil {
							return 0, err
						}
						return relay.RoundTrips() - from, rows.Close()
					}
					_, err := tx.ExecContext(ctx, c.text, c.args...)
					return relay.RoundTrips() - from, err
				}
				var want, got []int
				for range 5 {
					tx, err := bare.Begin()
					if err != nil {
						t.Fatal(err)
					}
					n, err := count(t.Context(), tx)
					if err != nil {
						t.Fatal(err)
					}
					tx.Rollback()
					want = append(want, n)
					if err := inside(t, ours, errUndo, func(ctx context.Context, tx *sql.Tx) error {
						if _, err := tx.ExecContext(ctx, "UPDATE t SET n = 9 WHERE id = 0"); err != nil { // the catalogue is read
							return err
						}
						n, err := count(ctx, tx)
						got = append(got, n)
						return err
					}); err != nil {
						t.Fatal(err)
					}
					clean(t, look)
				}
				for i := range want {
					extra := 0
					if strings.HasPrefix(c.text, "SELECT") {
						extra = 1 // the look for undo rows
					}
					if c.args == nil && !c.rows && i == 1 && strings.HasPrefix(mode, "cache") {
						extra = 1 // it has come again, and is described
					}
					if got[i] > want[i]+extra {
						t.Errorf("%s: %v round trips, the bare driver takes %v", c.text, got, want)
						break
					}
				}
			}
		})
	}
}
