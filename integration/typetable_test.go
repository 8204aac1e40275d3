package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/coltype"
)

// typeTable is the tables of one type: gN with columns c and u (unique), gkN with
// the key k, gpN with the key (g, k), and their twins bN, bkN, bpN. In texts a #
// stands for the letter.
type typeTable struct {
	coltype.Type
	number  int
	dialect string
	array   bool    // column a holds an array of the type
	unique  []bool  // which of Values column u has
	keys    []bool  // which of KeyValues the keyed tables have
	keyed   bool    // the server has gkN and gpN
	aborted answers // of the run that was aborted
	bare    answers // of the twins
	wrong   []string
}

type runner interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// typeSingles bounds how many values are written one by one; all are changed by
// the statements for all rows.
const typeSingles = 6

// step is one statement of the script. Those with tx stand in one local
// transaction at the end.
type step struct {
	text string
	args []any
	want coltype.Answer
	tx   bool
}

// answers of the steps: the affected rows, or "refused", or "error".
type answers []string

func named(text, letter string) string { return strings.ReplaceAll(text, "#", letter) }

func (x *typeTable) title() string { return strings.TrimSpace(x.Name + " " + x.Options) }

func newTypeTable(t *testing.T, db *sql.DB, dialect string, number int, typ coltype.Type) *typeTable {
	t.Helper()
	x := &typeTable{Type: typ, number: number, dialect: dialect}
	x.array = dialect == "postgres" && !typ.Lone && !typ.NotNull && !strings.HasSuffix(typ.Name, "]") && typ.Column == coltype.Captured
	cols := "id INT PRIMARY KEY, c " + typ.Name + ", n INT NOT NULL DEFAULT 0"
	if !typ.NotNull {
		cols += ", u " + typ.Name
		if typ.Key != coltype.NoSuch {
			cols += ", UNIQUE (u)"
		}
	}
	if x.array {
		cols += ", a " + typ.Name + "[]"
	}
	create := func(letter, name, cols string) error {
		_, err := db.ExecContext(t.Context(), fmt.Sprintf("CREATE TABLE %s%s%d (%s) %s", letter, name, number, cols, typ.Options))
		return err
	}
	for _, letter := range []string{"g", "b"} {
		if err := create(letter, "", cols); err != nil {
			t.Fatalf("%s: %v", x.title(), err)
		}
		err := create(letter, "k", "k "+typ.Name+" PRIMARY KEY, n INT")
		if x.keyed = err == nil; x.keyed == (typ.Key == coltype.NoSuch) {
			t.Fatalf("%s as a primary key: %v, the list says %q", x.title(), err, typ.Key)
		}
		if x.keyed {
			if err := create(letter, "p", "g INT, k "+typ.Name+", n INT, PRIMARY KEY (g, k)"); err != nil {
				t.Fatalf("%s in a primary key: %v", x.title(), err)
			}
		}
	}
	x.unique, x.keys = slices.Repeat([]bool{true}, len(typ.Values)), slices.Repeat([]bool{true}, len(typ.KeyValues()))
	return x
}

func (x *typeTable) table(kind string) string { return "#" + kind + strconv.Itoa(x.number) }

// pairs gives the names of the tables with their twins.
func (x *typeTable) pairs() [][2]string {
	var out [][2]string
	for _, kind := range []string{"", "k", "p"} {
		if kind == "" || x.keyed {
			out = append(out, [2]string{named(x.table(kind), "g"), named(x.table(kind), "b")})
		}
	}
	return out
}

// fill gives the tables and their twins their first rows, in a session that
// takes every value.
func (x *typeTable) fill(ctx context.Context, db runner) error {
	run := func(text string) error {
		for _, letter := range []string{"g", "b"} {
			if _, err := db.ExecContext(ctx, named(text, letter)); err != nil {
				return fmt.Errorf("%s: %w", named(text, letter), err)
			}
		}
		return nil
	}
	main := x.table("")
	texts := []string{"DELETE FROM " + main}
	for i, v := range x.Values {
		names, values := "id, n, c", fmt.Sprintf("%d, %d, %s", i+1, i, v)
		if !x.NotNull {
			names, values = names+", u", values+", NULL"
		}
		if x.array {
			names, values = names+", a", values+", ARRAY["+v+", NULL]::"+x.Name+"[]"
		}
		texts = append(texts, fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", main, names, values))
	}
	if !x.NotNull {
		texts = append(texts, fmt.Sprintf("INSERT INTO %s (id, c, u) VALUES (99, NULL, NULL)", main))
	}
	for _, kind := range []string{"k", "p"} {
		if x.keyed {
			texts = append(texts, "DELETE FROM "+x.table(kind))
		}
	}
	for _, text := range texts {
		if err := run(text); err != nil {
			return err
		}
	}
	// A value may be the equal of another, or become it in a column of the type.
	unless := func(have []bool, i int, texts ...string) error {
		for _, text := range texts {
			if !have[i] {
				break
			}
			if err := run(text); err != nil && i == 0 {
				return err
			} else if err != nil {
				have[i] = false
			}
		}
		return nil
	}
	for i, v := range x.Values {
		if x.NotNull || x.Column != coltype.Captured {
			break
		}
		if err := unless(x.unique, i, fmt.Sprintf("UPDATE %s SET u = %s WHERE id = %d", main, v, i+1)); err != nil {
			return err
		}
	}
	for i, v := range x.KeyValues() {
		if !x.keyed || x.Column != coltype.Captured {
			break
		}
		if err := unless(x.keys, i, fmt.Sprintf("INSERT INTO %s (k, n) VALUES (%s, %d)", x.table("k"), v, i),
			fmt.Sprintf("INSERT INTO %s (g, k, n) VALUES (%d, %s, %d)", x.table("p"), i%2, v, i)); err != nil {
			return err
		}
	}
	return nil
}

// steps is the script: every kind of change, some rows again and again.
func (x *typeTable) steps() []step {
	var out []step
	add := func(want coltype.Answer, format string, args ...any) {
		out = append(out, step{text: fmt.Sprintf(format, args...), want: want})
	}
	main, v := x.table(""), x.Values
	last := v[len(v)-1]
	names, none := "id, c, n", "" // a timestamp has a default
	if !x.NotNull {
		names, none = "id, c, n, u", ", NULL"
	}
	singles := min(len(v), typeSingles)
	if x.dialect == "sqlite" { // affinities treat their many values alike
		singles = 2
	}
	for i := range singles {
		add(x.Column, "UPDATE %s SET c = %s, n = n + 1 WHERE id = %d", main, v[(i+1)%len(v)], i+1)
	}
	add(x.Column, "UPDATE %s SET c = c", main)
	if lit := plainLiteral(v[0]); lit != "" {
		out = append(out, step{text: "UPDATE " + main + " SET c = " + x.marker() + " WHERE id = 1", args: []any{lit}, want: x.Column})
	}
	add(x.Column, "DELETE FROM %s WHERE id = 2", main)
	add(x.Column, "INSERT INTO %s (%s) VALUES (2, %s, 3%s), (100, %s, 4%s)", main, names, v[0], none, last, none)
	if !x.NotNull && x.UpsertAnswer() != coltype.NoSuch {
		want := x.UpsertAnswer()
		if x.Column != coltype.Captured {
			want = x.Column
		}
		tail := "ON CONFLICT (u) DO UPDATE SET n = 77"
		if x.dialect == "mysql" {
			tail = "ON DUPLICATE KEY UPDATE n = 77"
		}
		add(want, "INSERT INTO %s (id, c, u, n) VALUES (101, %s, %s, 5) %s", main, last, x.literal(), tail)
	}
	if x.keyed {
		x.keySteps(add)
	}
	from := len(out)
	if x.NotNull {
		add(x.Column, "UPDATE %s SET n = 9", main)
	} else {
		add(x.Column, "UPDATE %s SET c = NULL, u = NULL", main)
	}
	add(x.Column, "UPDATE %s SET n = n * 2", main)
	add(x.Column, "DELETE FROM %s WHERE id <= %d", main, len(v))
	add(x.Column, "INSERT INTO %s (%s) VALUES (1, %s, 1%s)", main, names, v[0], none)
	add(x.Column, "UPDATE %s SET c = %s WHERE id = 1", main, last)
	add(x.Column, "INSERT INTO %s (%s) VALUES (103, %s, 0%s)", main, names, v[0], none)
	add(x.Column, "DELETE FROM %s WHERE id = 103", main)
	for i := from; i < len(out); i++ {
		out[i].tx = true
	}
	return out
}

// keySteps change the tables with the type in the key.
func (x *typeTable) keySteps(add func(want coltype.Answer, format string, args ...any)) {
	k, p, v := x.table("k"), x.table("p"), x.KeyValues()
	add(x.Key, "UPDATE %s SET n = n + 1", k)
	add(x.Key, "DELETE FROM %s WHERE n = 1", k)
	if len(v) > 1 {
		move := x.Move
		if x.Key != coltype.Captured {
			move = x.Key
		}
		add(move, "UPDATE %s SET k = %s WHERE n = 2", k, v[0])
	}
	add(x.Key, "DELETE FROM %s WHERE n > 1", k)
	add(x.Key, "DELETE FROM %s", k)
	add(x.Key, "INSERT INTO %s (k, n) VALUES (%s, 5)", k, v[0])
	add(x.Key, "INSERT INTO %s (k, n) VALUES (%s, 5)", k, v[len(v)-1])
	add(x.Key, "UPDATE %s SET n = 6", k)
	add(x.Key, "UPDATE %s SET n = n + 1 WHERE g = 0", p)
	add(x.Key, "DELETE FROM %s WHERE g = 1", p)
	add(x.Key, "INSERT INTO %s (g, k, n) VALUES (7, %s, 1), (1, %s, 2)", p, v[0], v[0])
	add(x.Key, "UPDATE %s SET g = 8 WHERE g = 7", p)
	add(x.Key, "DELETE FROM %s WHERE g = 0", p)
}

// literal is the value of column u in the first row, as an upsert takes it.
func (x *typeTable) literal() string {
	if x.Keys != nil {
		return x.Keys[0]
	}
	return x.Values[0]
}

func (x *typeTable) marker() string {
	if x.dialect == "postgres" {
		return "$1"
	}
	return "?"
}

// plainLiteral is the content of a string literal without any sign that needs
// quoting, else empty.
func plainLiteral(v string) string {
	if len(v) < 3 || v[0] != '\'' || v[len(v)-1] != '\'' || strings.ContainsAny(v[1:len(v)-1], `'\`) {
		return ""
	}
	return v[1 : len(v)-1]
}

// run takes one of the twins through the script. Only gtx knows refusals, whose
// codes must be those of the list.
func (x *typeTable) run(ctx context.Context, conn *sql.Conn, isGtx bool) (answers, error) {
	letter := "b"
	if isGtx {
		letter = "g"
	}
	var out answers
	var on runner = conn
	var tx *sql.Tx
	for _, s := range x.steps() {
		if s.tx && tx == nil {
			var err error
			if tx, err = conn.BeginTx(ctx, nil); err != nil {
				return nil, err
			}
			defer tx.Rollback() //nolint:errcheck // after a commit there is none
			on = tx
		}
		if s.want != coltype.Captured && !isGtx {
			out = append(out, "refused")
			continue
		}
		said, err := x.answer(ctx, on, named(s.text, letter), s)
		if err != nil {
			return nil, err
		}
		out = append(out, said)
	}
	if err := tx.Commit(); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return out, nil
}

// answer runs one statement.
func (x *typeTable) answer(ctx context.Context, on runner, text string, s step) (string, error) {
	res, err := on.ExecContext(ctx, text, s.args...)
	var u *gtx.UnsupportedError
	switch {
	case s.want != coltype.Captured && err == nil:
		return "", fmt.Errorf("%s ran, want it refused with %q", text, s.want)
	case s.want != coltype.Captured && (!errors.As(err, &u) || u.Code != string(s.want)):
		return "", fmt.Errorf("%s: want it refused with %q, got %w", text, s.want, err)
	case s.want != coltype.Captured:
		return "refused", nil
	case errors.As(err, &u):
		return "", fmt.Errorf("%s: %w", text, err)
	case errors.Is(err, gtx.ErrConflict), errors.Is(err, gtx.ErrDirty), errors.Is(err, gtx.ErrAborted):
		return "", fmt.Errorf("%s: %w", text, err)
	case err != nil:
		return "error", nil
	}
	n, err := res.RowsAffected()
	if err != nil {
		return "", fmt.Errorf("%s: %w", text, err)
	}
	return strconv.FormatInt(n, 10), nil
}

// same compares answers with those of the bare driver.
func (x *typeTable) same(got answers, when string) error {
	if got == nil || x.bare == nil {
		return nil // told already
	}
	var wrong []string
	failed := 0
	for i, s := range x.steps() {
		if x.bare[i] == "error" {
			failed++
		}
		if got[i] != x.bare[i] {
			wrong = append(wrong, fmt.Sprintf("%s: %s says %s, the bare driver %s", s.text, when, got[i], x.bare[i]))
		}
	}
	if 2*failed > len(x.bare) {
		wrong = append(wrong, fmt.Sprintf("%d of %d statements fail on the bare driver", failed, len(x.bare)))
	}
	if wrong != nil {
		return errors.New(strings.Join(wrong, "\n"))
	}
	return nil
}
