package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"modernc.org/sqlite"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// house is one database file with its resolver.
type house struct {
	t        *testing.T
	dsn      string
	db       *sql.DB // the bare driver
	resolver *undo.Resolver
	seq      uint64
}

func setup(t *testing.T, ddl ...string) *house {
	t.Helper()
	base, _, err := SplitDSN("file:" + filepath.Join(t.TempDir(), "t.db"))
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, dsn: base}
	h.open()
	for _, text := range ddl {
		h.plain(text)
	}
	return h
}

// open opens the file and makes the tables of the module.
func (h *house) open() {
	h.t.Helper()
	var err error
	if h.db, err = sql.Open("sqlite", h.dsn); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { h.db.Close() })
	h.resolver, err = undo.NewResolver(undo.Config{
		DB: h.db, Dialect: Dialect{}, Coordinator: func() gtx.Coordinator { return nil },
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.resolver.Migrate(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) xid() gtx.XID {
	h.seq++
	return gtx.XID{Log: 1, Epoch: 1, Seq: h.seq}
}

// plain runs a statement that no global transaction knows of.
func (h *house) plain(text string, args ...any) {
	h.t.Helper()
	if _, err := h.db.ExecContext(h.t.Context(), text, args...); err != nil {
		h.t.Fatalf("%s: %v", text, err)
	}
}

// dump gives every value of a table in a form that tells types and bytes apart.
func (h *house) dump(table string) string {
	h.t.Helper()
	lines, err := undo.QueryDB(h.db)(h.t.Context(), h.dumpText(table))
	if err != nil {
		h.t.Fatal(err)
	}
	return fmt.Sprint(lines)
}

func (h *house) dumpText(table string) string {
	h.t.Helper()
	columns, err := undo.QueryDB(h.db)(h.t.Context(), "SELECT name FROM pragma_table_info(?)", table)
	if err != nil {
		h.t.Fatal(err)
	}
	exprs := make([]string, len(columns))
	for i, c := range columns {
		n := name(c[0])
		exprs[i] = "typeof(" + n + ") || ':' || CASE WHEN typeof(" + n + ") = 'real' AND atan2(" + n + ", -1) < 0 THEN '-' ELSE '' END || " +
			"CASE WHEN typeof(" + n + ") = 'text' THEN hex(CAST(" + n + " AS BLOB)) ELSE quote(" + n + ") END"
	}
	return "SELECT " + strings.Join(exprs, ", ") + " FROM " + name(table) + " ORDER BY 1, 2"
}

// count of rows of a table.
func (h *house) count(table string) int {
	h.t.Helper()
	var n int
	if err := h.db.QueryRowContext(h.t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		h.t.Fatal(err)
	}
	return n
}

// do is one statement of a branch.
type do struct {
	text string
	args []any
	rows bool
}

// branch runs statements in one local transaction and commits it, or rolls it
// back at the first error.
func (h *house) branch(xid gtx.XID, stmts ...do) ([]*proxy.Captured, error) {
	h.t.Helper()
	l := h.begin(xid)
	defer l.c.Close()
	var out []*proxy.Captured
	for _, s := range stmts {
		c, err := l.capture(s)
		if err != nil {
			l.exec("ROLLBACK")
			return out, err
		}
		out = append(out, c)
	}
	l.exec("COMMIT")
	return out, nil
}

func (h *house) must(xid gtx.XID, stmts ...do) []*proxy.Captured {
	h.t.Helper()
	out, err := h.branch(xid, stmts...)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// local is a connection in a branch.
type local struct {
	h      *house
	c      driver.Conn
	xid    gtx.XID
	branch gtx.BranchID
	seq    int64

	ctx                context.Context // of the captures
	begun, wroteHeader bool
	kept, wrote        bool // what the last capture said about its error
}

func (h *house) begin(xid gtx.XID) *local {
	h.t.Helper()
	c, err := new(sqlite.Driver).Open(h.dsn)
	if err != nil {
		h.t.Fatal(err)
	}
	return &local{h: h, c: c, ctx: h.t.Context(), xid: xid, branch: gtx.NewBranchID()}
}

func (l *local) exec(text string) {
	l.h.t.Helper()
	if _, err := l.c.(driver.ExecerContext).ExecContext(context.Background(), text, nil); err != nil && text != "ROLLBACK" {
		l.h.t.Fatalf("%s: %v", text, err)
	}
}

// lines runs a query.
func (l *local) lines(text string, args ...any) [][]string {
	l.h.t.Helper()
	rows, err := l.c.(driver.QueryerContext).QueryContext(context.Background(), text, l.h.values(args))
	if err != nil {
		l.h.t.Fatalf("%s: %v", text, err)
	}
	defer rows.Close()
	out, err := readTexts(rows)
	if err != nil {
		l.h.t.Fatalf("%s: %v", text, err)
	}
	return out
}

func (l *local) capture(s do) (*proxy.Captured, error) {
	l.h.t.Helper()
	ctx := l.h.t.Context()
	stmt, err := sqltext.Parse(s.text, sqltext.SQLite, sqltext.Mode{})
	if err != nil {
		return nil, err
	}
	if err := proxy.Supported(stmt); err != nil {
		return nil, err
	}
	d := Dialect{}
	q := undo.QueryDB(l.h.db)
	l.seq++
	r := &proxy.Capture{XID: l.xid, Branch: l.branch, Seq: l.seq, Stmt: stmt, WantRows: s.rows}
	if len(stmt.Targets) > 0 {
		id, err := d.Resolve(ctx, q, stmt.Target().Name)
		if err != nil {
			return nil, err
		}
		if r.Table, err = d.Table(ctx, q, id); err != nil {
			return nil, err
		}
	}
	if !l.wroteHeader {
		r.Header = true
	}
	if !l.begun {
		if r.Begin, err = d.Begin(driver.TxOptions{}); err != nil {
			return nil, err
		}
	}
	r.Args = l.h.values(s.args)
	out, err := d.Capture(l.ctx, l.c, r)
	l.begun = true
	l.kept, l.wrote = r.Kept, r.Wrote
	l.wroteHeader = l.wroteHeader || err == nil || r.Wrote
	return out, err
}

// values are arguments as database/sql hands them to a driver.
func (h *house) values(args []any) []driver.NamedValue {
	h.t.Helper()
	out := make([]driver.NamedValue, len(args))
	for i, a := range args {
		nv := driver.NamedValue{Ordinal: i + 1, Value: a}
		if n, ok := a.(sql.NamedArg); ok {
			nv.Name, nv.Value = n.Name, n.Value
		}
		var err error
		if nv.Value, err = driver.DefaultParameterConverter.ConvertValue(nv.Value); err != nil {
			h.t.Fatal(err)
		}
		out[i] = nv
	}
	return out
}

func (h *house) abort(xid gtx.XID) error {
	return h.resolver.Resolve(h.t.Context(), gtx.Resolution{XID: xid, Status: gtx.Aborted})
}

// undone aborts xid and checks that the table is as before and nothing is left.
func (h *house) undone(xid gtx.XID, table, before string) {
	h.t.Helper()
	if err := h.abort(xid); err != nil {
		h.t.Fatal(err)
	}
	if after := h.dump(table); after != before {
		h.t.Fatalf("after the abort\n got %s\nwant %s", after, before)
	}
	h.nothingLeft()
}

func (h *house) nothingLeft() {
	h.t.Helper()
	if u, b := h.count("gtx_undo"), h.count("gtx_branch"); u != 0 || b != 0 {
		h.t.Fatalf("left: %d undo rows, %d headers", u, b)
	}
}
