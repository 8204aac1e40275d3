package proxy

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

func parse(t *testing.T, text string, d sqltext.Dialect) *sqltext.Statement {
	t.Helper()
	s, err := sqltext.Parse(text, d, sqltext.Mode{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func values(vs ...any) []driver.NamedValue {
	out := make([]driver.NamedValue, len(vs))
	for i, v := range vs {
		out[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return out
}

// TestOwnArguments: each statement gets the arguments of its own markers, counted
// through the whole text and numbered anew.
func TestOwnArguments(t *testing.T) {
	s := parse(t, "UPDATE t SET a = ? WHERE id = ?; SELECT 1; DELETE FROM t WHERE id = ?", sqltext.MySQL)
	var got [][]driver.NamedValue
	for _, p := range s.Parts {
		got = append(got, own(p, values("a", "b", "c")))
	}
	if want := [][]driver.NamedValue{values("a", "b"), nil, values("c")}; !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

// TestSeveralAllowed: what the bare driver could not send is refused.
func TestSeveralAllowed(t *testing.T) {
	const two, marked = "DELETE FROM t; DELETE FROM s", "DELETE FROM t WHERE id = ?; DELETE FROM s"
	prepares := func(_ string, args int) bool { return args > 0 }
	for _, c := range []struct {
		name    string
		text    string
		dialect sqltext.Dialect
		skip    func(string, int) bool
		alone   Alone
		args    []driver.NamedValue
		ok      bool
	}{
		{"no multiStatements", two, sqltext.MySQL, nil, one{}, nil, false},
		{"multiStatements", two, sqltext.MySQL, prepares, nil, nil, true},
		{"no interpolateParams", marked, sqltext.MySQL, prepares, nil, values(1), false},
		{"interpolateParams", marked, sqltext.MySQL, nil, nil, values(1), true},
		{"argument missing", marked, sqltext.MariaDB, nil, nil, nil, false},
		{"argument too many", two, sqltext.MariaDB, nil, nil, values(1), false},
		{"postgres", two, sqltext.Postgres, nil, nil, nil, true},
		{"postgres with arguments", "DELETE FROM t WHERE id = $1; DELETE FROM s", sqltext.Postgres, nil, nil, values(1), false},
		{"sqlite with arguments for each", marked, sqltext.SQLite, nil, nil, values(1, 2), true},
	} {
		err := (&conn{res: &Resource{Config: Config{Skip: c.skip, Alone: c.alone}}}).severalAllowed(parse(t, c.text, c.dialect), c.args)
		var u *gtx.UnsupportedError
		if c.ok && err != nil || !c.ok && (!errors.As(err, &u) || u.Code != "several-statements") {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

// one stands for connections that take one statement in a text.
type one struct{ Alone }

func TestEndsHere(t *testing.T) {
	for rest, want := range map[string]bool{"": true, ";": true, " ;": true, " ": true, "; ": false, ";\n": false, ";;": true} {
		if got := endsHere(rest); got != want {
			t.Errorf("endsHere(%q) = %t, want %t", rest, got, want)
		}
	}
}

// someRows are rows of a driver that uses one buffer for all, tells every type
// while it is open and nothing later.
type someRows struct {
	names  []string
	lines  []string
	buffer []byte
	fails  error
	closed bool
}

func (r *someRows) Columns() []string { return r.names }
func (r *someRows) Close() error      { r.closed = true; return nil }

func (r *someRows) Next(dest []driver.Value) error {
	if len(r.lines) == 0 {
		if r.fails != nil {
			return r.fails
		}
		return io.EOF
	}
	r.buffer = append(r.buffer[:0], r.lines[0]...)
	r.lines = r.lines[1:]
	for i := range dest {
		dest[i] = r.buffer
	}
	return nil
}

func (r *someRows) ColumnTypeScanType(int) reflect.Type   { r.open(); return reflect.TypeFor[string]() }
func (r *someRows) ColumnTypeDatabaseTypeName(int) string { r.open(); return "TEXT" }
func (r *someRows) ColumnTypeLength(int) (int64, bool)    { r.open(); return 7, true }
func (r *someRows) ColumnTypeNullable(int) (bool, bool)   { r.open(); return true, true }

func (r *someRows) ColumnTypePrecisionScale(int) (p, s int64, ok bool) { r.open(); return 5, 2, true }

func (r *someRows) open() {
	if r.closed {
		panic("asked after Close")
	}
}

// TestBuffers: results that were read to their end give what the driver gave.
func TestBuffers(t *testing.T) {
	first := &someRows{names: []string{"a", "b"}, lines: []string{"1", "22"}}
	one, err := DrainRows(first)
	if err != nil || !first.closed {
		t.Fatal(err)
	}
	two, err := DrainRows(&someRows{names: []string{"c"}})
	if err != nil {
		t.Fatal(err)
	}
	r := &buffers{one, []*Buffer{two}}
	if got := r.Columns(); !cmp.Equal(got, []string{"a", "b"}) {
		t.Errorf("columns %q", got)
	}
	var got []string
	dest := make([]driver.Value, 2)
	for r.Next(dest) == nil {
		got = append(got, string(dest[1].([]byte)))
	}
	if !cmp.Equal(got, []string{"1", "22"}) {
		t.Errorf("rows %q", got)
	}
	length, hasLength := r.ColumnTypeLength(1)
	nullable, hasNullable := r.ColumnTypeNullable(1)
	precision, scale, hasScale := r.ColumnTypePrecisionScale(1)
	if r.ColumnTypeScanType(1) != reflect.TypeFor[string]() || r.ColumnTypeDatabaseTypeName(1) != "TEXT" || length != 7 || !hasLength ||
		!nullable || !hasNullable || precision != 5 || scale != 2 || !hasScale {
		t.Errorf("column types were lost")
	}
	if !r.HasNextResultSet() || r.NextResultSet() != nil || !cmp.Equal(r.Columns(), []string{"c"}) || !errors.Is(r.Next(dest), io.EOF) {
		t.Error("the second result is not shown")
	}
	if r.HasNextResultSet() || !errors.Is(r.NextResultSet(), io.EOF) {
		t.Error("there is a third result")
	}
}

// TestRowsFail: what a driver says instead of io.EOF is an error, also where io.EOF is
// the reason: the connection has ended in the middle of the rows.
func TestRowsFail(t *testing.T) {
	for _, broken := range []error{errors.New("broken"), fmt.Errorf("read packet: %w", io.EOF)} {
		r := &someRows{names: []string{"a"}, lines: []string{"1"}, fails: broken}
		if b, err := DrainRows(r); err != broken || b != nil || !r.closed { //nolint:errorlint // as the driver has it
			t.Errorf("got %v, closed %t", err, r.closed)
		}
		if lines, err := readText(&someRows{names: []string{"a"}, lines: []string{"1"}, fails: broken}); !errors.Is(err, broken) {
			t.Errorf("got %v, %v", lines, err)
		}
	}
}

// TestResultSets: Query shows what the base driver shows.
func TestResultSets(t *testing.T) {
	set := func(name string, rows int) *Buffer {
		s := &Buffer{Lines: make([][]driver.Value, rows)}
		if name != "" {
			s.columns = []columnType{{name: name}}
		}
		return s
	}
	for _, c := range []struct {
		name    string
		dialect sqltext.Dialect
		ends    bool
		sets    []*Buffer
		want    []string
	}{
		{"all with columns", sqltext.Postgres, true, []*Buffer{set("", 0), set("a", 1), set("", 0), set("b", 0)}, []string{"a", "b"}},
		{"none", sqltext.MySQL, true, []*Buffer{set("", 0), set("", 0)}, []string{""}},
		{"sqlite, the last", sqltext.SQLite, true, []*Buffer{set("a", 1), set("b", 0)}, []string{"b"}},
		{"sqlite, the last with rows", sqltext.SQLite, false, []*Buffer{set("a", 1), set("b", 2), set("c", 0)}, []string{"b"}},
		{"sqlite, the first of no rows", sqltext.SQLite, false, []*Buffer{set("a", 0), set("b", 0)}, []string{"a"}},
	} {
		r := (&conn{flavour: c.dialect}).resultSets(c.sets, c.ends)
		got := []string{strings.Join(r.Columns(), ",")}
		if more, ok := r.(driver.RowsNextResultSet); ok {
			for more.NextResultSet() == nil {
				got = append(got, strings.Join(r.Columns(), ","))
			}
		}
		if !cmp.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestSupportedParts: a text is refused for what one of its statements is.
func TestSupportedParts(t *testing.T) {
	if err := Supported(parse(t, "DELETE FROM t; INSERT OR ROLLBACK INTO t (a) VALUES (1)", sqltext.SQLite)); !errors.Is(err, gtx.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	if err := Supported(parse(t, "DELETE FROM t; INSERT INTO t (a) VALUES (1)", sqltext.SQLite)); err != nil {
		t.Error(err)
	}
}
