package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"testing"

	base "github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

func TestMain(m *testing.M) { testserver.Main(m) }

// onEach runs a test on a fresh database of each server.
func onEach(t *testing.T, test func(t *testing.T, d *database)) {
	for _, name := range []string{testserver.NameMariaDB, testserver.NameMySQL} {
		t.Run(name, func(t *testing.T) { test(t, setup(t, testserver.Open(t, name).DSN)) })
	}
}

// database is a fresh database with the tables of this module.
type database struct {
	*testing.T
	cfg *base.Config
	db  *sql.DB // as register.go opens the user's
	two *sql.DB // as register.go opens the resolver's
	// stale are tables as the wrapper remembers them.
	stale map[string]*undo.Table
}

func setup(t *testing.T, dsn string) *database {
	t.Helper()
	cfg, _, err := SplitDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.MultiStatements, cfg.InterpolateParams = true, true
	d := &database{T: t, cfg: cfg, db: pool(t, cfg)}
	found := cfg.Clone()
	found.ClientFoundRows = true
	d.two = pool(t, found)
	for _, text := range (Dialect{}).Schema() {
		d.exec(text)
		d.exec(text)
	}
	return d
}

func pool(t *testing.T, cfg *base.Config) *sql.DB {
	t.Helper()
	c, err := base.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func (d *database) exec(text string, args ...any) {
	d.Helper()
	if _, err := d.db.ExecContext(d.Context(), text, args...); err != nil {
		d.Fatalf("%.200s: %v", text, err)
	}
}

func (d *database) one(text string, args ...any) string {
	d.Helper()
	var s sql.NullString
	if err := d.db.QueryRowContext(d.Context(), text, args...).Scan(&s); err != nil {
		d.Fatalf("%.200s: %v", text, err)
	}
	return s.String
}

// checksum is the server's own judgement whether a table has changed.
func (d *database) checksum(table string) string {
	d.Helper()
	var name, sum string
	if err := d.db.QueryRowContext(d.Context(), "CHECKSUM TABLE "+table+" EXTENDED").Scan(&name, &sum); err != nil {
		d.Fatal(err)
	}
	return sum
}

// branch is one local transaction of a global one.
type branch struct {
	d      *database
	c      *sql.Conn
	xid    gtx.XID
	id     gtx.BranchID
	seq    int64
	begin  string
	header bool
	kept   bool // by the last statement (proxy.Capture.Kept)
}

var lastXID uint64

func newXID() gtx.XID {
	lastXID++
	return gtx.XID{Log: 0xabc, Epoch: 1, Seq: lastXID}
}

func (d *database) branch(xid gtx.XID, setup ...string) *branch {
	d.Helper()
	return d.branchIn(sql.LevelDefault, xid, setup...)
}

func (d *database) branchIn(level sql.IsolationLevel, xid gtx.XID, setup ...string) *branch {
	d.Helper()
	c, err := d.db.Conn(d.Context())
	if err != nil {
		d.Fatal(err)
	}
	b := &branch{d: d, c: c, xid: xid, id: gtx.NewBranchID(), header: true}
	d.Cleanup(func() {
		_, _ = c.ExecContext(context.Background(), "ROLLBACK")
		// The session was changed by hand: the pool must not see it again.
		_ = c.Raw(func(any) error { return driver.ErrBadConn })
		_ = c.Close()
	})
	for _, text := range setup {
		b.plain(text)
	}
	if b.begin, err = (Dialect{}).Begin(driver.TxOptions{Isolation: driver.IsolationLevel(level)}); err != nil {
		d.Fatal(err)
	}
	return b
}

// plain runs a statement beside the capture.
func (b *branch) plain(text string) {
	b.d.Helper()
	if _, err := b.c.ExecContext(b.d.Context(), text); err != nil {
		b.d.Fatalf("%s: %v", text, err)
	}
}

// run captures a statement.
func (b *branch) run(text string, args ...any) (out *proxy.Captured, err error) {
	ctx := b.d.Context()
	rerr := b.c.Raw(func(raw any) error {
		c := raw.(driver.Conn)
		dialect := Dialect{}
		var flavour sqltext.Dialect
		var mode sqltext.Mode
		if flavour, mode, err = dialect.Inspect(ctx, c); err != nil {
			return nil
		}
		var s *sqltext.Statement
		if s, err = sqltext.Parse(text, flavour, mode); err != nil {
			return nil
		}
		if err = proxy.Supported(s); err != nil {
			return nil
		}
		b.seq++
		r := &proxy.Capture{XID: b.xid, Branch: b.id, Header: b.header, Begin: b.begin, Seq: b.seq, Stmt: s}
		for _, target := range s.Targets {
			var id string
			if id, err = dialect.Resolve(ctx, query(c), target.Name); err != nil {
				return nil
			}
			table := b.d.stale[id]
			if table == nil {
				table, err = dialect.Table(ctx, query(c), id)
			}
			if err != nil {
				return nil
			}
			r.Tables = append(r.Tables, table)
		}
		if r.Tables != nil {
			r.Table = r.Tables[0]
		}
		for i, a := range args {
			nv := driver.NamedValue{Ordinal: i + 1, Value: a}
			if err = c.(driver.NamedValueChecker).CheckNamedValue(&nv); err != nil {
				return nil
			}
			r.Args = append(r.Args, nv)
		}
		out, err = dialect.Capture(ctx, c, r)
		if b.kept = r.Kept; err == nil || r.Kept && r.Wrote {
			b.begin, b.header = "", false
		}
		return nil
	})
	if rerr != nil {
		b.d.Fatal(rerr)
	}
	return out, err
}

// must captures a statement that changes n rows.
func (b *branch) must(n int64, text string, args ...any) *proxy.Captured {
	b.d.Helper()
	out, err := b.run(text, args...)
	if err != nil {
		b.d.Fatalf("%s: %v", text, err)
	}
	if out.RowsAffected != n {
		b.d.Fatalf("%s: %d rows affected, want %d", text, out.RowsAffected, n)
	}
	return out
}

func (b *branch) commit()   { b.d.Helper(); b.plain("COMMIT") }
func (b *branch) rollback() { b.d.Helper(); b.plain("ROLLBACK") }

// query is the undo.Query of a base connection.
func query(c driver.Conn) undo.Query {
	return func(ctx context.Context, text string, args ...any) ([][]string, error) {
		named := make([]driver.NamedValue, len(args))
		for i, a := range args {
			named[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
		}
		rows, err := c.(driver.QueryerContext).QueryContext(ctx, text, named)
		if err != nil {
			return nil, err
		}
		var out [][]string
		dest := make([]driver.Value, len(rows.Columns()))
		for rows.Next(dest) == nil {
			line := make([]string, len(dest))
			for i, v := range dest {
				switch v := v.(type) {
				case nil:
				case []byte:
					line[i] = string(v)
				default:
					line[i] = fmt.Sprint(v)
				}
			}
			out = append(out, line)
		}
		return out, rows.Close()
	}
}

// abort undoes xid as rule P3 says, and returns gtx.ErrDirty for a dirty row. A row
// that meets a unique key comes after the others, as in package undo.
func (d *database) abort(xid gtx.XID) error {
	d.Helper()
	var last []string
	for {
		blocked, err := d.abortOnce(xid, last)
		if (Dialect{}).Classify(err) != undo.Duplicate || slices.Contains(last, blocked) {
			return err
		}
		last = append(last, blocked)
	}
}

func (d *database) abortOnce(xid gtx.XID, last []string) (blocked string, err error) {
	d.Helper()
	ctx := d.Context()
	c, err := d.two.Conn(ctx)
	if err != nil {
		d.Fatal(err)
	}
	defer c.Close()
	dialect := Dialect{}
	for _, text := range dialect.Session() {
		if _, err := c.ExecContext(ctx, text); err != nil {
			d.Fatal(err)
		}
	}
	tx, err := c.BeginTx(ctx, nil)
	if err != nil {
		d.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	rows := undoRows(d, tx, xid)
	slices.SortStableFunc(rows, func(a, b *undo.Row) int {
		return slices.Index(last, a.Table+a.KeyHash) - slices.Index(last, b.Table+b.KeyHash)
	})
	tables := map[string]*undo.Table{}
	for _, r := range rows {
		if err := restore(d, tx, tables, r); err != nil {
			return r.Table + r.KeyHash, err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM gtx_undo WHERE tbl=? AND keyh=? AND xid=?", r.Table, r.KeyHash, xid.String()); err != nil {
			d.Fatal(err)
		}
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM gtx_branch WHERE xid=?", xid.String()); err != nil {
		d.Fatal(err)
	}
	return "", tx.Commit()
}

func restore(d *database, tx *sql.Tx, tables map[string]*undo.Table, r *undo.Row) error {
	d.Helper()
	ctx, dialect := d.Context(), Dialect{}
	var table *undo.Table
	q := func(ctx context.Context, text string, args ...any) (out [][]string, err error) {
		rows, err := tx.QueryContext(ctx, text, args...)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		names, _ := rows.Columns()
		for rows.Next() {
			line, dest := make([]sql.NullString, len(names)), make([]any, len(names))
			for i := range line {
				dest[i] = &line[i]
			}
			if err := rows.Scan(dest...); err != nil {
				return nil, err
			}
			text := make([]string, len(names))
			for i := range line {
				text[i] = line[i].String
			}
			out = append(out, text)
		}
		return out, rows.Err()
	}
	if tables[r.Table] == nil {
		table, err := dialect.Table(ctx, q, r.Table)
		if err != nil {
			return err
		}
		tables[r.Table] = table
	}
	table = tables[r.Table]
	if table.Fingerprint != r.Fingerprint {
		return errFingerprint
	}
	for _, s := range dialect.Lock(table, r) {
		if _, err := q(ctx, s.Text, s.Args...); err != nil {
			d.Fatalf("%s: %v", s.Text, err)
		}
	}
	isBefore := func() bool {
		s := dialect.IsBefore(table, r)
		var n int
		if err := tx.QueryRowContext(ctx, s.Text, s.Args...).Scan(&n); err != nil {
			d.Fatalf("%s: %v", s.Text, err)
		}
		return n == 1
	}
	if isBefore() {
		return nil
	}
	s := dialect.Restore(table, r)
	res, err := tx.ExecContext(ctx, s.Text, s.Args...)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Text, err)
	}
	if n, _ := res.RowsAffected(); n != 1 {
		return fmt.Errorf("restored %d rows of %s: %w", n, r.Table, gtx.ErrDirty)
	}
	if !isBefore() {
		return errors.New("the restored row is not the before image")
	}
	return nil
}

// errFingerprint is what makes a transaction stuck: the table has changed.
var errFingerprint = errors.New("the table has changed")

func undoRows(d *database, tx *sql.Tx, xid gtx.XID) (out []*undo.Row) {
	d.Helper()
	rows, err := tx.QueryContext(d.Context(), "SELECT tbl,keyh,branch,seq,op,schema_fp FROM gtx_undo WHERE xid=? ORDER BY branch DESC, seq DESC", xid.String())
	if err != nil {
		d.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		r := &undo.Row{XID: xid}
		if err := rows.Scan(&r.Table, &r.KeyHash, &r.Branch, &r.Seq, &r.Op, &r.Fingerprint); err != nil {
			d.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func (d *database) mustAbort(xid gtx.XID) {
	d.Helper()
	if err := d.abort(xid); err != nil {
		d.Fatal(err)
	}
	if n := d.one("SELECT (SELECT COUNT(*) FROM gtx_undo WHERE xid=?) + (SELECT COUNT(*) FROM gtx_branch WHERE xid=?)", xid.String(), xid.String()); n != "0" {
		d.Fatalf("%s rows left", n)
	}
}
