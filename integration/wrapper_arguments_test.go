package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
)

const argumentsTable = `CREATE TABLE arg (id BIGINT PRIMARY KEY, s VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, m DECIMAL(30,18), d DOUBLE,
 f FLOAT, js JSON, b VARBINARY(40), n BIGINT, u BIGINT UNSIGNED, at DATETIME(6), y YEAR, ok TINYINT, x TEXT CHARACTER SET latin1)`

// TestArgumentsMeanTheSame: MySQL reads an argument that came beside the text as a
// value of its type; written into the text of a captured statement it must mean the
// same, in comparisons, in arithmetic and in JSON.
func TestArgumentsMeanTheSame(t *testing.T) {
	at := time.Date(2024, 2, 29, 13, 14, 15, 123456000, time.UTC)
	cases := []struct {
		text string
		args []any
	}{
		{"UPDATE arg SET n = 7 WHERE s = ?", []any{[]byte("ABC")}},
		{"UPDATE arg SET n = 7 WHERE s = ?", []any{"ABC"}},
		{"UPDATE arg SET n = 7 WHERE s LIKE ?", []any{[]byte("AB%")}},
		{"DELETE FROM arg WHERE s = ?", []any{[]byte("ABC")}},
		{"UPDATE arg SET js = ? WHERE id = 1", []any{[]byte(`{"k": 1}`)}},
		{"UPDATE arg SET js = ? WHERE id = 1", []any{`{"k": 1}`}},
		{"UPDATE arg SET js = JSON_SET(js, '$.a', ?) WHERE id = 1", []any{3.0}},
		{"UPDATE arg SET js = JSON_SET(js, '$.a', ?) WHERE id = 1", []any{0.1}},
		{"UPDATE arg SET js = JSON_SET(js, '$.a', ?) WHERE id = 1", []any{true}},
		{"UPDATE arg SET js = JSON_SET(js, '$.a', ?) WHERE id = 1", []any{[]byte("x")}},
		{"UPDATE arg SET js = JSON_SET(js, '$.a', ?) WHERE id = 1", []any{"x"}},
		{"UPDATE arg SET m = m + ? WHERE id = 1", []any{0.1}},
		{"UPDATE arg SET m = m * ? WHERE id = 1", []any{1.1}},
		{"UPDATE arg SET m = ? / 3 WHERE id = 1", []any{2.0}},
		{"UPDATE arg SET m = ? / 3 WHERE id = 1", []any{2}},
		{"UPDATE arg SET d = ? / 3 WHERE id = 1", []any{1.0}},
		{"UPDATE arg SET d = ? * ? WHERE id = 1", []any{0.1, 3.0}},
		{"UPDATE arg SET d = ? WHERE id = 1", []any{math.MaxFloat64}},
		{"UPDATE arg SET d = ? WHERE id = 1", []any{math.SmallestNonzeroFloat64}},
		{"UPDATE arg SET d = ? WHERE id = 1", []any{math.Copysign(0, -1)}},
		{"UPDATE arg SET f = ? WHERE id = 1", []any{float32(0.1)}},
		{"UPDATE arg SET s = ? WHERE id = 1", []any{1e15}},
		{"UPDATE arg SET s = ? WHERE id = 1", []any{3.0}},
		{"UPDATE arg SET s = ? WHERE id = 1", []any{0.1}},
		{"UPDATE arg SET s = CONCAT(?, '') WHERE id = 1", []any{1e20}},
		{"UPDATE arg SET s = CONCAT(?, '') WHERE id = 1", []any{1e-7}},
		{"UPDATE arg SET n = 8 WHERE m = ?", []any{0.1}},
		{"UPDATE arg SET n = 8 WHERE d = ?", []any{0.1}},
		{"UPDATE arg SET n = 8 WHERE d + 0.2 = ?", []any{0.30000000000000004}},
		{"UPDATE arg SET n = ? WHERE id = 1", []any{int64(math.MinInt64)}},
		{"UPDATE arg SET u = ? WHERE id = 1", []any{uint64(math.MaxUint64)}},
		{"UPDATE arg SET n = n - ? WHERE id = 1", []any{-5}},
		{"UPDATE arg SET n = n -? WHERE id = 1", []any{-5}},
		{"UPDATE arg SET n = -? WHERE id = 1", []any{-5}},
		{"UPDATE arg SET n = ~? & 255 WHERE id = 1", []any{-5}},
		{"UPDATE arg SET b = ? WHERE id = 1", []any{[]byte{0, 255, '\'', '\\', 26, '?'}}},
		{"UPDATE arg SET b = ? WHERE id = 1", []any{"\x00é\\'"}},
		{"UPDATE arg SET s = ? WHERE id = 1", []any{[]byte("é'\\ü")}},
		{"UPDATE arg SET x = ? WHERE id = 1", []any{[]byte("é")}},
		{"UPDATE arg SET x = ? WHERE id = 1", []any{"é"}},
		{"UPDATE arg SET s = UPPER(?) WHERE id = 1", []any{[]byte("aé")}},
		{"UPDATE arg SET s = LEFT(?, 1) WHERE id = 1", []any{[]byte("éa")}},
		{"UPDATE arg SET n = CHAR_LENGTH(?) WHERE id = 1", []any{[]byte("éa")}},
		{"UPDATE arg SET s = CONCAT(s, ?) WHERE id = 1", []any{[]byte("é")}},
		{"UPDATE arg SET at = ? WHERE id = 1", []any{at}},
		{"UPDATE arg SET at = ? WHERE id = 1", []any{time.Time{}}},
		{"UPDATE arg SET at = ? + INTERVAL ? DAY WHERE id = 1", []any{at, 1}},
		{"UPDATE arg SET at = ? + INTERVAL ? SECOND WHERE id = 1", []any{at, 1.5}},
		{"UPDATE arg SET y = ? WHERE id = 1", []any{"0"}},
		{"UPDATE arg SET y = ? WHERE id = 1", []any{0}},
		{"UPDATE arg SET ok = ? WHERE id = 1", []any{true}},
		{"UPDATE arg SET n = n + ? WHERE id = 1", []any{"3"}},
		{"UPDATE arg SET n = n + ? WHERE id = 1", []any{[]byte("3")}},
		{"UPDATE arg SET n = ? | 1 WHERE id = 1", []any{[]byte("8")}},
		{"UPDATE arg SET n = ? WHERE id = 1", []any{[]byte("12")}},
		{"UPDATE arg SET n = ? WHERE id = 1", []any{2.5}},
		{"UPDATE arg SET n = ROUND(?) WHERE id = 1", []any{2.5}},
		{"UPDATE arg SET n = ? WHERE id = 1", []any{9007199254740993.0}},
		{"UPDATE arg SET m = ? WHERE id = 1", []any{1.0000000000000002}},
		{"UPDATE arg SET n = ? DIV 2 WHERE id = 1", []any{5.0}},
		{"UPDATE arg SET s = IF(?, 'a', 'b') WHERE id = 1", []any{0.4}},
		{"UPDATE arg SET s = COALESCE(?, s) WHERE id = 1", []any{nil}},
		{"UPDATE arg SET s = ? WHERE id = 1", []any{at}},
		{"INSERT INTO arg (id, s, js, b, m) VALUES (?, ?, ?, ?, ?)", []any{9, []byte("é"), []byte("[1]"), []byte{1}, 0.1}},
		{"UPDATE arg SET n = 4 WHERE id IN (?, ?) ORDER BY id LIMIT ?", []any{1, 2, 1}},
		{"UPDATE arg SET n = 4 WHERE s > ? AND s < ?", []any{[]byte("ABB"), []byte("ABD")}},
		{"UPDATE arg SET s = MD5(?) WHERE id = 1", []any{0.1}},
		{"UPDATE arg SET s = HEX(?) WHERE id = 1", []any{3.0}},
		{"UPDATE arg SET s = HEX(?) WHERE id = 1", []any{10}},
		{"UPDATE arg SET s = REPEAT('x', ?) WHERE id = 1", []any{2.5}},
		{"UPDATE arg SET b = ? WHERE id = 1", []any{"\xff\x00"}},
		{"UPDATE arg SET b = ? WHERE id = 1", []any{[]byte("\xc3'\\")}},
		{"UPDATE arg SET s = ? WHERE id = 1", []any{[]byte{255}}},
		{"UPDATE arg SET s = ? WHERE id = 1", []any{"a\xff"}},
		{"UPDATE arg SET b = CONCAT(?, ?) WHERE id = 1", []any{[]byte{255}, "é"}},
		{"UPDATE arg SET n = 3 WHERE b = ?", []any{[]byte("abc")}},
		{"UPDATE arg SET n = 3 WHERE b = ?", []any{[]byte{255}}},
		{"UPDATE arg SET s = ? WHERE id = 1", []any{[]byte(nil)}},
		{"UPDATE arg SET s = ? WHERE id = 1", []any{[]byte{}}},
		{"UPDATE arg SET n = 5 ORDER BY id LIMIT?", []any{1}},
		{"UPDATE arg SET n = n - ? WHERE id = 1", []any{uint64(3)}},
		{"UPDATE arg SET js = JSON_SET(js, '$.a', ?) WHERE id = 1", []any{uint64(3)}},
		{"INSERT INTO arg (id, s, b) SELECT ?, ?, ? FROM arg WHERE id = ?", []any{9, []byte("é"), []byte{255}, 2}},
		{"INSERT INTO arg (id, d, m, js) SELECT ?, ? / 3, ?, ? FROM arg WHERE id = ?", []any{9, 1.0, 0.1, []byte("[1]"), 2}},
		{"INSERT INTO arg (id, s) VALUES (?, ?) ON DUPLICATE KEY UPDATE s = ?, d = ? / 3", []any{1, "q", []byte("é"), 1.0}},
		{"REPLACE INTO arg (id, s, d) VALUES (?, ?, ? / 3)", []any{1, []byte("é"), 1.0}},
	}
	for _, s := range servers() {
		if s.family() != "gtx-mysql" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			bus, dsn := embedded(t), s.dsn(t)
			db, bare := open(t, s, dsn), outsider(t, s, dsn)
			mustExec(t, db, argumentsTable)
			fill := func() {
				t.Helper()
				mustExec(t, bare, "DELETE FROM arg")
				mustExec(t, bare, `INSERT INTO arg VALUES (1, 'abc', 0.1, 0.1, 0.1, '{"a": 1}', 'abc', 10, 10, '2020-01-01', 2020, 0, 'abc'), (2, 'xyz', 2, 2, 2, '[]', 'xyz', 20, 20, NULL, NULL, 1, 'xyz')`)
			}
			for i, c := range cases {
				t.Run(fmt.Sprint(i), func(t *testing.T) {
					fill()
					want := argumentsDo(t, t.Context(), bare, c.text, c.args)
					fill()
					var got string
					err := gtx.Run(t.Context(), func(ctx context.Context) error {
						got = argumentsDo(t, ctx, db, c.text, c.args)
						return errUndo
					}, gtx.WithCoordinator(bus))
					if err == nil {
						t.Fatal("committed")
					}
					clean(t, db)
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("%s %v: %s", c.text, c.args, diff)
					}
				})
			}
		})
	}
}

// argumentsDo is what a statement said and did.
func argumentsDo(t *testing.T, ctx context.Context, db *sql.DB, text string, args []any) string {
	t.Helper()
	var out strings.Builder
	res, err := db.ExecContext(ctx, text, args...)
	if err != nil {
		fmt.Fprintln(&out, "error", atRow.ReplaceAllString(err.Error(), ""))
	} else {
		n, _ := res.RowsAffected()
		fmt.Fprintln(&out, n, "rows")
	}
	rows, err := db.QueryContext(gtx.Detach(ctx), "SELECT * FROM arg ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		line := make([]sql.RawBytes, 13)
		into := make([]any, len(line))
		for i := range line {
			into[i] = &line[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%q\n", line)
	}
	return out.String()
}

// TestArgumentsOfLook: the look behind a SELECT that groups rows finds the rows that
// the SELECT has seen, whatever the arguments are.
func TestArgumentsOfLook(t *testing.T) {
	for _, s := range servers() {
		if s.family() != "gtx-mysql" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			bus, dsn := embedded(t), s.dsn(t)
			db := open(t, s, dsn+"?gtx_lock_wait=100ms")
			mustExec(t, db, argumentsTable)
			mustExec(t, db, "INSERT INTO arg (id, d, n) VALUES (1, ? / 3, 10)", 1.0)
			err := gtx.Run(t.Context(), func(holder context.Context) error {
				if _, err := db.ExecContext(holder, "UPDATE arg SET n = 99"); err != nil {
					return err
				}
				var sum int
				err := gtx.Run(gtx.Detach(holder), func(ctx context.Context) error {
					return db.QueryRowContext(ctx, "SELECT SUM(n) FROM arg WHERE d = ? / 3 FOR UPDATE", 1.0).Scan(&sum)
				}, gtx.WithCoordinator(bus), gtx.WithRetries(0))
				if !errors.Is(err, gtx.ErrConflict) {
					t.Errorf("read %d of an open transaction, %v", sum, err)
				}
				return errUndo
			}, gtx.WithCoordinator(bus))
			if !errors.Is(err, errUndo) {
				t.Fatal(err)
			}
		})
	}
}

// TestReturnedAsPrepared: what RETURNING of MariaDB gives has the Go types that it has
// through a prepared statement of the base driver.
func TestReturnedAsPrepared(t *testing.T) {
	for _, s := range servers() {
		if s.name != "mariadb" {
			continue
		}
		bus, dsn := embedded(t), s.dsn(t)
		db, bare := open(t, s, dsn), outsider(t, s, dsn)
		mustExec(t, db, argumentsTable)
		for _, args := range [][]any{{uint64(5), 0.1, []byte("\xff"), "é"}, {uint64(math.MaxUint64), -1e300, nil, []byte("é")}} {
			read := func(ctx context.Context, db *sql.DB) string {
				row := make([]any, 11)
				into := make([]any, len(row))
				for i := range row {
					into[i] = &row[i]
				}
				if err := db.QueryRowContext(ctx, "INSERT INTO arg (id, at, y, ok, js, n, u, d, b, s) VALUES (1, '2024-02-29 01:02:03.5', 2024, 1, '{}', -1, ?, ?, ?, ?)"+
					" RETURNING id, u, d, b, s, at, y, ok, js, n, m", args...).Scan(into...); err != nil {
					t.Fatal(err)
				}
				return fmt.Sprintf("%#v", row)
			}
			want := read(t.Context(), bare)
			mustExec(t, bare, "DELETE FROM arg")
			var got string
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				got = read(ctx, db)
				return errUndo
			}, gtx.WithCoordinator(bus))
			if !errors.Is(err, errUndo) {
				t.Fatal(err)
			}
			clean(t, db)
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}
}

// TestArgumentsRefused: no text says what these arguments say beside it.
func TestArgumentsRefused(t *testing.T) {
	for _, s := range servers() {
		if s.family() != "gtx-mysql" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			bus := embedded(t)
			db := open(t, s, s.dsn(t))
			mustExec(t, db, argumentsTable)
			mustExec(t, db, "INSERT INTO arg (id, s) VALUES (1, 'abc')")
			for _, c := range []struct {
				text string
				args []any
			}{
				{"UPDATE arg SET d = ? WHERE id = 1", []any{math.NaN()}},
				{"UPDATE arg SET d = ? WHERE id = 1", []any{math.Inf(-1)}},
				{"INSERT INTO arg (id, s) SELECT id + 1, ? 'alias' FROM arg", []any{"x"}},
				{"INSERT INTO arg (id, s) SELECT id + 1, ?\n\"alias\" FROM arg", []any{[]byte("x")}},
			} {
				err := gtx.Run(t.Context(), func(ctx context.Context) error {
					_, err := db.ExecContext(ctx, c.text, c.args...)
					return err
				}, gtx.WithCoordinator(bus))
				var refused *gtx.UnsupportedError
				if !errors.As(err, &refused) || refused.Code != "arguments" {
					t.Errorf("%s: %v", c.text, err)
				}
			}
		})
	}
}
