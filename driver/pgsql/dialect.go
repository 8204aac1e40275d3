// Package pgsql is the dialect of PostgreSQL, whichever base driver carries it:
// driver/postgres and driver/pgx are made of it.
package pgsql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

var _ proxy.Dialect = Dialect{}

// minVersion is the oldest server whose catalogue has hash_record_extended, in
// the form of server_version_num.
const minVersion = 140000

// Dialect speaks PostgreSQL 14 and newer, for phase one and two. The
// zero value is ready; it holds no state of a connection and is safe for concurrent use.
//
// # One statement
//
// Capture turns the user's INSERT, UPDATE, DELETE or MERGE into one statement
// of common table expressions that writes the branch header, locks and captures
// the rows, changes them and writes their undo rows: no round trip more than the
// bare statement takes. From PostgreSQL 18 on the row before and after a change
// comes from RETURNING, and every part of the user's text stands in it exactly
// once, so volatile functions run once and parameters keep their inferred types.
//
// Before 18 an UPDATE locks and reads its rows first. Two forms then hold a part of
// the text twice, and are refused where the second reading could differ: UPDATE
// with FROM its join and condition, ON CONFLICT DO UPDATE the values of the
// conflict target. MERGE is refused before 18.
//
// A member of WITH that writes is captured beside it, in the same statement, and
// its RETURNING stands under its name as before. All parts see one snapshot, so no
// two of them may write the same table. Foreign keys between their tables give the
// order in which the undo rows are numbered.
//
// A row of a partitioned table is captured, locked and restored as a row of the
// topmost table that has a primary key, whichever name the statement uses.
//
// The result says too whether the table is still what the catalogue told when it
// was read (tableAttr.same).
//
// # What is stored
//
//	before_img  the row as text under pinned settings, castable to the table's row
//	            type; for inserts only the key is needed (see keyImage)
//	before_sum  SHA-256 of record_send(row) before the first change, NULL = absent
//	after_img   SHA-256 of record_send(row) after the last change, NULL = absent
//
// The binary form under the digests does not depend on session settings, but for
// client_encoding, which Inspect checks.
//
// # The same row again (rule T4)
//
// One undo row serves all branches of an XID. It is changed only when the row
// that was found equals the after image, else the statement fails as dirty:
//
//	stored  statement  becomes  before image   after image
//	none    I, U, D    I, U, D  of the row     of the row; absent for D
//	I       U          I        key, kept      new
//	I       D          I        key, kept      absent: abort finds nothing to do
//	I       D, then I  I        key, kept      new
//	U       U          U        first, kept    new
//	U       D          D        first, kept    absent
//	D       I          U        first, kept    new
//	D       I, then D  D        first, kept    absent
//
// An undo row that becomes I or stays U keeps its branch and seq, so that undo
// in reverse order removes rows in reverse order of their making; the others take
// those of the last statement, since that is when the row vanished or came back.
type Dialect struct {
	counters bool // gtx_counters=on
	base     Base
	// bytes: the server counts bytes where it counts characters elsewhere, see Relocate.
	// Inspect finds out. Nil in the zero value, which takes that for false.
	bytes *atomic.Bool
}

// New gives the dialect for the gtx_ parameters of a DSN, and takes its own out of
// params, which may be nil. The packages of the base drivers fill in base: who wraps a
// base driver by hand takes postgres.Dialect or pgx.Dialect. With the zero Base errors
// keep the positions that they have in the captured text.
func New(params map[string]string, base Base) (Dialect, error) {
	counters, err := countersOf(params)
	return Dialect{counters: counters, base: base, bytes: new(atomic.Bool)}, err
}

// Name is "postgres".
func (Dialect) Name() string { return "postgres" }

// Placeholder gives $1, $2, ...
func (Dialect) Placeholder(n int) string { return "$" + strconv.Itoa(n) }

// LazyBegin is false: a statement with arguments travels in the extended
// protocol, which carries one statement at a time.
func (Dialect) LazyBegin() bool { return false }

// Commit is not used, see LazyBegin.
func (Dialect) Commit() string { return "COMMIT" }

// Begin is not used, see LazyBegin.
func (Dialect) Begin(driver.TxOptions) (string, error) {
	return "", errors.New("begin postgres transaction: must be begun by the base driver")
}

// Session pins, in one round trip, every setting on which reading an image
// depends, asks for READ COMMITTED and read-write transactions (rules T6, A2),
// and adds the schema of the gtx tables to the search path where it is missing.
// The rest of the path stays: check constraints of the user may rely on it.
func (Dialect) Session() []string {
	var sets []string
	for _, s := range [][2]string{
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"datestyle", "ISO, MDY"},
		{"intervalstyle", "postgres"},
		{"timezone", "UTC"},
		{"extra_float_digits", "3"},
		{"bytea_output", "hex"},
		{"xmloption", "content"},
		{"lc_monetary", "C"},
		{"array_nulls", "on"},
		{"standard_conforming_strings", "on"},
	} {
		sets = append(sets, "pg_catalog.set_config('"+s[0]+"', '"+s[1]+"', false)")
	}
	path := "pg_catalog.current_setting('search_path')"
	return []string{"SELECT " + strings.Join(sets, ", ") + ", CASE WHEN '" + schemaName + "' <> ALL (pg_catalog.current_schemas(false))" +
		" THEN pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', NULLIF(" + path + ", ''), '" + schemaName + "'), false) END"}
}

// Inspect checks, in one round trip, what the text of Capture and its digests
// rely on. Settings that only change the text form of values do not matter:
// images are made by a function that pins them.
func (d Dialect) Inspect(ctx context.Context, c driver.Conn) (sqltext.Dialect, sqltext.Mode, error) {
	return sqltext.Postgres, sqltext.Mode{}, d.inspect(ctx, c)
}

func (d Dialect) inspect(ctx context.Context, c driver.Conn) error {
	row, err := d.queryRow(ctx, c, "SELECT pg_catalog.current_setting('server_version_num')::int8,"+
		" pg_catalog.current_setting('standard_conforming_strings') = 'on',"+
		" pg_catalog.current_setting('client_encoding') IN ('UTF8', 'SQL_ASCII'),"+
		" pg_catalog.getdatabaseencoding() = 'SQL_ASCII'")
	if err != nil {
		return fmt.Errorf("inspect session: %w", err)
	}
	switch {
	case len(row) != 4:
		return fmt.Errorf("inspect session: got %d columns", len(row))
	case asInt(row[0]) < minVersion:
		return &gtx.UnsupportedError{
			Code: "server-version", Reason: fmt.Sprintf("the server is version %d", asInt(row[0])),
			Hint: "use PostgreSQL 14 or newer",
		}
	case row[1] != true:
		return &gtx.UnsupportedError{
			Code: "session", Reason: "standard_conforming_strings is off, so string literals read differently",
			Hint: "SET standard_conforming_strings = on",
		}
	case row[2] != true:
		return &gtx.UnsupportedError{
			Code: "session", Reason: "client_encoding is not UTF8, so digests of rows would differ between sessions",
			Hint: "SET client_encoding = 'UTF8'",
		}
	}
	if d.bytes != nil {
		d.bytes.Store(row[3] == true)
	}
	return nil
}

// query runs text on the base connection and reads every row.
func query(ctx context.Context, c driver.Conn, text string, args []driver.NamedValue) (*proxy.Buffer, error) {
	rows, err := open(ctx, c, text, args)
	if err != nil {
		return nil, err
	}
	return proxy.DrainRows(rows)
}

func open(ctx context.Context, c driver.Conn, text string, args []driver.NamedValue) (driver.Rows, error) {
	q, ok := c.(driver.QueryerContext)
	if !ok {
		return nil, fmt.Errorf("query through %T: not a driver.QueryerContext", c)
	}
	return q.QueryContext(ctx, text, args)
}

// queryRow runs a query of this module without arguments and gives its first row.
func (d Dialect) queryRow(ctx context.Context, c driver.Conn, text string) ([]driver.Value, error) {
	buf, err := query(ctx, c, text, d.Passing(nil, false))
	if err != nil {
		return nil, err
	}
	if len(buf.Lines) == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return buf.Lines[0], nil
}

// asInt reads a bigint; anything else is -1, which no count equals.
func asInt(v driver.Value) int64 {
	if n, ok := v.(int64); ok {
		return n
	}
	return -1
}

// asText reads a text; NULL is "".
func asText(v driver.Value) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}
