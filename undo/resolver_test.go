package undo_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	moderncsqlite "modernc.org/sqlite"

	"github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// house is one database file. Each resolver that it opens stands for a process.
type house struct {
	t   *testing.T
	dsn string
	db  *sql.DB
	res *undo.Resolver
	seq uint64
}

func setup(t *testing.T, ddl ...string) *house {
	t.Helper()
	base, _, err := sqlite.SplitDSN("file:" + filepath.Join(t.TempDir(), "u.db") + "?_pragma=foreign_keys(1)")
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, dsn: base}
	h.db, h.res = h.open(func() gtx.Coordinator { return nil })
	for _, text := range ddl {
		h.plain(text)
	}
	if _, err := h.res.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) open(c func() gtx.Coordinator) (*sql.DB, *undo.Resolver) {
	h.t.Helper()
	db, err := sql.Open("sqlite", h.dsn)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { db.Close() })
	res, err := undo.NewResolver(undo.Config{
		DB: db, Dialect: sqlite.Dialect{}, Coordinator: c, ScanInterval: time.Millisecond,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(res.Stop)
	return db, res
}

func (h *house) xid() gtx.XID {
	h.seq++
	return gtx.XID{Log: 1, Epoch: 1, Seq: h.seq}
}

func (h *house) plain(text string, args ...any) {
	h.t.Helper()
	if _, err := h.db.ExecContext(h.t.Context(), text, args...); err != nil {
		h.t.Fatalf("%s: %v", text, err)
	}
}

func (h *house) rows(query string) string {
	h.t.Helper()
	lines, err := undo.QueryDB(h.db)(h.t.Context(), query)
	if err != nil {
		h.t.Fatal(err)
	}
	return fmt.Sprint(lines)
}

func (h *house) nothingLeft() {
	h.t.Helper()
	if got := h.rows("SELECT xid FROM gtx_branch UNION ALL SELECT xid FROM gtx_undo"); got != "[]" {
		h.t.Fatalf("left: %s", got)
	}
}

// local runs captured statements in a local transaction that stays open.
func (h *house) local(xid gtx.XID, texts ...string) (driver.Conn, gtx.BranchID) {
	h.t.Helper()
	ctx := h.t.Context()
	c, err := new(moderncsqlite.Driver).Open(h.dsn)
	if err != nil {
		h.t.Fatal(err)
	}
	d, branch := sqlite.Dialect{}, gtx.NewBranchID()
	for i, text := range texts {
		stmt, err := sqltext.Parse(text, sqltext.SQLite, sqltext.Mode{})
		if err != nil {
			h.t.Fatal(err)
		}
		table, err := d.Table(ctx, undo.QueryDB(h.db), stmt.Target().Name.Table)
		if err != nil {
			h.t.Fatal(err)
		}
		r := &proxy.Capture{XID: xid, Branch: branch, Header: i == 0, Seq: int64(i + 1), Table: table, Stmt: stmt}
		if i == 0 {
			r.Begin = "BEGIN IMMEDIATE"
		}
		if _, err := d.Capture(ctx, c, r); err != nil {
			h.t.Fatalf("%s: %v", text, err)
		}
	}
	return c, branch
}

func end(t *testing.T, c driver.Conn, how string) {
	t.Helper()
	if _, err := c.(driver.ExecerContext).ExecContext(context.Background(), how, nil); err != nil {
		t.Error(err)
	}
	c.Close()
}

// branch runs captured statements and commits them.
func (h *house) branch(xid gtx.XID, texts ...string) gtx.BranchID {
	h.t.Helper()
	c, b := h.local(xid, texts...)
	end(h.t, c, "COMMIT")
	return b
}

func (h *house) resolve(xid gtx.XID, s gtx.Status, branches ...gtx.BranchID) error {
	return h.res.Resolve(h.t.Context(), gtx.Resolution{XID: xid, Status: s, Branches: branches})
}

const account = "CREATE TABLE account (id INTEGER PRIMARY KEY, n INTEGER)"

func TestResolveCommittedKeepsTheEffect(t *testing.T) {
	h := setup(t, account, "INSERT INTO account VALUES (1, 10), (2, 20)")
	one, two := h.xid(), h.xid()
	h.branch(one, "UPDATE account SET n = 11 WHERE id = 1", "INSERT INTO account VALUES (3, 30)")
	h.branch(two, "UPDATE account SET n = 22 WHERE id = 2")
	for range 2 { // idempotent
		if err := h.resolve(one, gtx.Committed); err != nil {
			t.Fatal(err)
		}
	}
	// A late "aborted" after that finds nothing (rule P5).
	if err := h.resolve(one, gtx.Aborted); err != nil {
		t.Fatal(err)
	}
	if got := h.rows("SELECT DISTINCT xid FROM gtx_undo"); got != "[["+two.String()+"]]" {
		t.Errorf("undo rows of %s", got)
	}
	if err := h.resolve(two, gtx.Committed); err != nil {
		t.Fatal(err)
	}
	h.nothingLeft()
	if got := h.rows("SELECT * FROM account"); got != "[[1 11] [2 22] [3 30]]" {
		t.Error(got)
	}
}

func TestResolveAbortedRestoresAllBranches(t *testing.T) {
	h := setup(t, account, "INSERT INTO account VALUES (1, 10), (2, 20)")
	xid := h.xid()
	a := h.branch(xid, "UPDATE account SET n = n + 1", "INSERT INTO account VALUES (3, 30)")
	b := h.branch(xid, "DELETE FROM account WHERE id = 2", "UPDATE account SET n = 0")
	for range 2 {
		if err := h.resolve(xid, gtx.Aborted, a, b, 12345); err != nil {
			t.Fatal(err)
		}
	}
	h.nothingLeft()
	if got := h.rows("SELECT * FROM account"); got != "[[1 10] [2 20]]" {
		t.Error(got)
	}
	if err := h.resolve(xid, gtx.Pending); err == nil {
		t.Error("resolved without a decision")
	}
}

func TestResolveByManyAtOnce(t *testing.T) {
	h := setup(t, account, "INSERT INTO account VALUES (1, 10)")
	xid := h.xid()
	b := h.branch(xid, "UPDATE account SET n = 11")
	var wg sync.WaitGroup
	for range 4 {
		_, res := h.open(func() gtx.Coordinator { return nil })
		wg.Go(func() {
			if err := res.Resolve(t.Context(), gtx.Resolution{XID: xid, Status: gtx.Aborted, Branches: []gtx.BranchID{b}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	h.nothingLeft()
	if got := h.rows("SELECT * FROM account"); got != "[[1 10]]" {
		t.Error(got)
	}
}

func TestDirtyRowStopsTheWholeDatabase(t *testing.T) {
	h := setup(t, account, "INSERT INTO account VALUES (1, 10), (2, 20)")
	xid := h.xid()
	h.branch(xid, "UPDATE account SET n = 0 WHERE id = 1", "UPDATE account SET n = 0 WHERE id = 2")
	h.plain("UPDATE account SET n = 99 WHERE id = 1")
	err := h.resolve(xid, gtx.Aborted)
	if !errors.Is(err, gtx.ErrDirty) || !strings.Contains(err.Error(), "account") || !strings.Contains(err.Error(), xid.String()) {
		t.Fatal(err)
	}
	if got := h.rows("SELECT * FROM account"); got != "[[1 99] [2 0]]" {
		t.Error(got)
	}
	if got := h.rows("SELECT count(*) FROM gtx_undo"); got != "[[2]]" {
		t.Errorf("locks: %s", got)
	}
	// Already what it was before: nothing to write (rule P3.4).
	h.plain("UPDATE account SET n = 10 WHERE id = 1")
	if err := h.resolve(xid, gtx.Aborted); err != nil {
		t.Fatal(err)
	}
	h.nothingLeft()
	if got := h.rows("SELECT * FROM account"); got != "[[1 10] [2 20]]" {
		t.Error(got)
	}
}

// TestUniqueKeysAreFreedFirst needs an order that seq does not tell: row 1 wants
// its value back while row 2, whose undo row is older, still has it.
func TestUniqueKeysAreFreedFirst(t *testing.T) {
	h := setup(t, "CREATE TABLE u (id INTEGER PRIMARY KEY, v UNIQUE)", "INSERT INTO u VALUES (1, 'a')")
	xid := h.xid()
	h.branch(xid, "INSERT INTO u VALUES (2, 'z')", "UPDATE u SET v = 'b' WHERE id = 1", "UPDATE u SET v = 'a' WHERE id = 2")
	if err := h.resolve(xid, gtx.Aborted); err != nil {
		t.Fatal(err)
	}
	h.nothingLeft()
	if got := h.rows("SELECT * FROM u"); got != "[[1 a]]" {
		t.Error(got)
	}
}

func TestForeignKeysAreCheckedAtTheEnd(t *testing.T) {
	h := setup(t, "CREATE TABLE p (id INTEGER PRIMARY KEY)", "CREATE TABLE c (id INTEGER PRIMARY KEY, p REFERENCES p (id))",
		"INSERT INTO p VALUES (1)", "INSERT INTO c VALUES (1, 1)")
	xid := h.xid()
	h.branch(xid, "UPDATE c SET p = NULL", "DELETE FROM p", "INSERT INTO p VALUES (2)", "UPDATE c SET p = 2")
	if err := h.resolve(xid, gtx.Aborted); err != nil {
		t.Fatal(err)
	}
	h.nothingLeft()
	if got := h.rows("SELECT * FROM p") + h.rows("SELECT * FROM c"); got != "[[1]][[1 1]]" {
		t.Error(got)
	}
}

// TestAbortWaitsForAnOpenBranch is the barrier of rule P3.1: however the two race,
// a branch that commits is undone before the answer. TestLockWaitIsBounded shows
// that there is no answer as long as it is open.
func TestAbortWaitsForAnOpenBranch(t *testing.T) {
	h := setup(t, account, "INSERT INTO account VALUES (1, 10)")
	xid := h.xid()
	c, b := h.local(xid, "UPDATE account SET n = 11")
	answer := make(chan error)
	go func() { answer <- h.resolve(xid, gtx.Aborted, b) }()
	end(t, c, "COMMIT")
	if err := <-answer; err != nil {
		t.Fatal(err)
	}
	h.nothingLeft()
	if got := h.rows("SELECT * FROM account"); got != "[[1 10]]" {
		t.Error(got)
	}
}

func TestLockWaitIsBounded(t *testing.T) {
	h := setup(t, account)
	db, _ := h.open(func() gtx.Coordinator { return nil })
	res, err := undo.NewResolver(undo.Config{DB: db, Dialect: sqlite.Dialect{}, Coordinator: func() gtx.Coordinator { return nil }, LockWait: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	xid := h.xid()
	c, b := h.local(xid, "INSERT INTO account VALUES (1, 1)")
	defer end(t, c, "ROLLBACK")
	if err := res.Resolve(t.Context(), gtx.Resolution{XID: xid, Status: gtx.Aborted, Branches: []gtx.BranchID{b}}); (sqlite.Dialect{}).Classify(err) != undo.Conflict {
		t.Errorf("resolve: %v", err)
	}
	if _, err := res.Settle(t.Context(), xid, b); err == nil {
		t.Error("settled a branch that is open")
	}
}

func TestSettle(t *testing.T) {
	h := setup(t, account)
	xid := h.xid()
	c, dead := h.local(xid, "INSERT INTO account VALUES (1, 1)")
	end(t, c, "ROLLBACK")
	live := h.branch(xid, "INSERT INTO account VALUES (2, 2)")
	for branch, want := range map[gtx.BranchID]bool{dead: false, live: true} {
		for range 2 {
			if got, err := h.res.Settle(t.Context(), xid, branch); err != nil || got != want {
				t.Errorf("got %t, %v, want %t", got, err, want)
			}
		}
	}
	if got := h.rows("SELECT count(*) FROM gtx_branch"); got != "[[1]]" {
		t.Errorf("headers %s", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.res.Settle(ctx, xid, live); err == nil {
		t.Error("settled with a cancelled context")
	}
}
