package pgsql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"

	"github.com/globaltx/globaltx/driver/internal/pgxbase"
	"github.com/globaltx/globaltx/driver/internal/pqbase"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// bench is a fresh database with the tables of this module.
type bench struct {
	*testing.T
	Dialect
	carrier string // the base driver: "postgres" or "pgx"
	dsn     string
	db      *sql.DB // plain, for looking and for writers outside
	pinned  *sql.DB // for undoing
	tables  map[sqltext.Name]*undo.Table
}

// onEach runs a test on a server of either way to capture, before and from 18 on, at
// the same time: the older one behind lib/pq, the newer one behind pgx.
func onEach(t *testing.T, test func(*testing.T)) {
	on(t, test, testserver.NamePostgres15, testserver.NamePostgres18+viaPGX)
	if os.Getenv("GTX_TEST_DRIVERS") == "all" {
		crosswise(t, test)
	}
}

// onAll runs a test on every server behind every base driver: for what passes through
// the base driver, such as arguments, values, errors and prepared statements.
func onAll(t *testing.T, test func(*testing.T)) {
	onEach(t, test)
	if os.Getenv("GTX_TEST_DRIVERS") != "all" {
		crosswise(t, test)
	}
}

func crosswise(t *testing.T, test func(*testing.T)) {
	on(t, test, testserver.NamePostgres15+viaPGX, testserver.NamePostgres18)
}

func on(t *testing.T, test func(*testing.T), names ...string) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// viaPGX is in the name of a test that runs behind pgx.
const viaPGX = "-pgx"

// carrierOf gives the base driver that the name of the test tells, and its dialect.
func carrierOf(t *testing.T) (string, Dialect) {
	if !strings.Contains(t.Name(), viaPGX) {
		return "postgres", Dialect{base: pqbase.Base()}
	}
	var mode pgxbase.Mode
	mode.Set(&pgx.ConnConfig{DefaultQueryExecMode: pgx.QueryExecModeCacheStatement, StatementCacheCapacity: 512})
	return "pgx", Dialect{base: mode.Base()}
}

// modern tells that onEach chose the newer server.
func modern(t *testing.T) bool { return strings.Contains(t.Name(), "/"+testserver.NamePostgres18) }

func setup(t *testing.T, ddl ...string) *bench {
	t.Helper()
	server := testserver.NamePostgres15
	if modern(t) {
		server = testserver.NamePostgres18
	}
	b := &bench{T: t, dsn: testserver.Open(t, server).DSN}
	b.carrier, b.Dialect = carrierOf(t)
	for _, db := range []**sql.DB{&b.db, &b.pinned} {
		var err error
		if *db, err = sql.Open(b.carrier, b.dsn); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*db).Close() })
	}
	b.run(b.Schema()...)
	b.run(ddl...)
	return b
}

// run executes statements on the plain connection.
func (b *bench) run(texts ...string) {
	b.Helper()
	for _, text := range texts {
		if verb, _, _ := strings.Cut(text, " "); strings.Contains(text, ";") || verb != "INSERT" && verb != "UPDATE" && verb != "DELETE" {
			b.tables = map[sqltext.Name]*undo.Table{}
		}
		if _, err := b.db.Exec(text); err != nil {
			b.Fatalf("%s: %v", text, err)
		}
	}
}

// read gives all rows of a query as text.
func (b *bench) read(text string, args ...any) string {
	b.Helper()
	rows, err := queryDB(b.db)(b.Context(), text, args...)
	if err != nil {
		b.Fatalf("%s: %v", text, err)
	}
	lines := make([]string, len(rows))
	for i, r := range rows {
		lines[i] = strings.Join(r, "|")
	}
	return strings.Join(lines, "\n")
}

func (b *bench) want(text, want string) {
	b.Helper()
	if got := b.read(text); got != want {
		b.Errorf("%s\n got %q\nwant %q", text, got, want)
	}
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func queryDB(db querier) undo.Query {
	return func(ctx context.Context, query string, args ...any) ([][]string, error) {
		rows, err := db.QueryContext(ctx, query, args...)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		names, err := rows.Columns()
		if err != nil {
			return nil, err
		}
		var all [][]string
		for rows.Next() {
			vals := make([]sql.NullString, len(names))
			dest := make([]any, len(names))
			for i := range vals {
				dest[i] = &vals[i]
			}
			if err := rows.Scan(dest...); err != nil {
				return nil, err
			}
			row := make([]string, len(names))
			for i, v := range vals {
				row[i] = v.String
			}
			all = append(all, row)
		}
		return all, rows.Err()
	}
}

// branch is one local transaction of a global one, on a connection of its own.
type branch struct {
	*bench
	conn   driver.Conn
	tx     driver.Tx
	xid    gtx.XID
	id     gtx.BranchID
	header bool
	seq    int64
	kept   bool // the last error was the user's own

	statements proxy.Statements
}

func xidOf(n uint64) gtx.XID { return gtx.XID{Log: 1, Epoch: 1, Seq: n} }

func (b *bench) connect() driver.Conn {
	b.Helper()
	var base driver.Driver = pq.Driver{}
	if b.carrier == "pgx" {
		base = stdlib.GetDefaultDriver()
	}
	conn, err := base.Open(b.dsn)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return conn
}

// begin starts a branch; settings run on its session first.
func (b *bench) begin(xid uint64, settings ...string) *branch {
	b.Helper()
	br := &branch{bench: b, conn: b.connect(), xid: xidOf(xid), id: gtx.NewBranchID(), header: true}
	for _, s := range settings {
		if _, err := br.conn.(driver.ExecerContext).ExecContext(b.Context(), s, nil); err != nil {
			b.Fatalf("%s: %v", s, err)
		}
	}
	if _, _, err := b.Inspect(b.Context(), br.conn); err != nil {
		b.Fatal(err)
	}
	tx, err := br.conn.(driver.ConnBeginTx).BeginTx(b.Context(), driver.TxOptions{})
	if err != nil {
		b.Fatal(err)
	}
	br.tx = tx
	return br
}

// parse analyses text and reads the catalogue for it.
func (b *bench) parse(text string) (*proxy.Capture, error) {
	stmt, err := sqltext.Parse(text, sqltext.Postgres, sqltext.Mode{})
	if err != nil {
		return nil, err
	}
	if err := proxy.Supported(stmt); err != nil {
		return nil, err
	}
	r := &proxy.Capture{Stmt: stmt}
	table := func(name sqltext.Name) (*undo.Table, error) {
		if t, ok := b.tables[name]; ok {
			return t, nil
		}
		id, err := b.Resolve(b.Context(), queryDB(b.db), name)
		if err != nil {
			return nil, err
		}
		t, err := b.Table(b.Context(), queryDB(b.db), id)
		if err == nil {
			b.tables[name] = t
		}
		return t, err
	}
	if stmt.Targets != nil {
		if r.Table, err = table(stmt.Target().Name); err != nil {
			return nil, err
		}
	}
	if !proxy.Writes(stmt) {
		return r, nil
	}
	r.Members = make([]*undo.Table, len(stmt.CTEs))
	for i, c := range stmt.CTEs {
		if c.Write == nil {
			continue
		}
		if r.Members[i], err = table(c.Write.Target().Name); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func named(args []any) []driver.NamedValue {
	var vals []driver.NamedValue
	for i, a := range args {
		if n, ok := a.(int); ok {
			a = int64(n)
		}
		vals = append(vals, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return vals
}

// capture runs text in the branch.
func (br *branch) capture(rows bool, text string, args ...any) (*proxy.Captured, error) {
	br.Helper()
	r, err := br.parse(text)
	if err != nil {
		return nil, err
	}
	br.seq++
	r.XID, r.Branch, r.Header, r.Seq, r.Args, r.WantRows = br.xid, br.id, br.header, br.seq, named(args), rows
	if (br.xid.Seq+uint64(br.seq))%2 == 0 { // half of all captures run prepared
		r.Statements = &br.statements
		r.Statements.Get(shapeOf(r))
	}
	got, err := br.Capture(br.Context(), br.conn, r)
	if err == nil || r.Kept && r.Wrote {
		br.header = false
	}
	br.kept = r.Kept
	return got, err
}

// exec captures text and checks the number of affected rows.
func (br *branch) exec(affected int64, text string, args ...any) *branch {
	br.Helper()
	got, err := br.capture(false, text, args...)
	if err != nil {
		br.Fatalf("%s: %v", text, err)
	}
	if got.RowsAffected != affected {
		br.Fatalf("%s: affected %d rows, want %d", text, got.RowsAffected, affected)
	}
	if got.LastInsertErr == nil || got.Rows != nil {
		br.Fatalf("%s: result %+v is not what lib/pq gives", text, got)
	}
	return br
}

func (br *branch) commit() {
	br.Helper()
	if err := br.tx.Commit(); err != nil {
		br.Fatal(err)
	}
}

func (br *branch) rollback() {
	br.Helper()
	if err := br.tx.Rollback(); err != nil {
		br.Fatal(err)
	}
}

// abort undoes an XID as phase two does (rule P3), and reports the row that
// could not be restored.
func (b *bench) abort(xid uint64) error {
	b.Helper()
	ctx, x, d := b.Context(), xidOf(xid).String(), b.Dialect
	conn, err := b.pinned.Conn(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	for _, s := range d.Session() {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			b.Fatalf("%s: %v", s, err)
		}
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is none
	heads, err := queryDB(tx)(ctx, "SELECT tbl, keyh, branch, seq, op, schema_fp FROM gtx_undo WHERE xid = $1 ORDER BY branch DESC, seq DESC", x)
	if err != nil {
		b.Fatal(err)
	}
	tables := map[string]*undo.Table{}
	for _, h := range heads {
		r := &undo.Row{Table: h[0], KeyHash: h[1], XID: xidOf(xid), Op: undo.Op(h[4]), Fingerprint: h[5]}
		t := tables[r.Table]
		if t == nil {
			if t, err = d.Table(ctx, queryDB(tx), r.Table); err != nil {
				b.Fatal(err)
			}
			tables[r.Table] = t
		}
		if t.Fingerprint != r.Fingerprint {
			b.Fatalf("fingerprint of %s changed", r.Table)
		}
		for _, s := range d.Lock(t, r) {
			if _, err := tx.ExecContext(ctx, s.Text, s.Args...); err != nil {
				b.Fatalf("%s: %v", s.Text, err)
			}
		}
		s := d.Restore(t, r)
		res, err := tx.ExecContext(ctx, s.Text, s.Args...)
		if err != nil {
			return fmt.Errorf("restore: %w", err)
		}
		if n, _ := res.RowsAffected(); n == 1 {
			continue
		}
		s = d.IsBefore(t, r)
		var is int
		if err := tx.QueryRowContext(ctx, s.Text, s.Args...).Scan(&is); err != nil {
			b.Fatalf("%s: %v", s.Text, err)
		}
		if is != 1 {
			return fmt.Errorf("row of %s: %w", r.Table, gtx.ErrDirty)
		}
	}
	for _, s := range []string{"DELETE FROM gtx_undo WHERE xid = $1", "DELETE FROM gtx_branch WHERE xid = $1"} {
		if _, err := tx.ExecContext(ctx, s, x); err != nil {
			b.Fatal(err)
		}
	}
	return tx.Commit()
}

// undone aborts and demands success and an empty undo log.
func (b *bench) undone(xid uint64) {
	b.Helper()
	if err := b.abort(xid); err != nil {
		b.Fatalf("abort: %v", err)
	}
	b.want("SELECT (SELECT count(*) FROM gtx_undo), (SELECT count(*) FROM gtx_branch)", "0|0")
}
