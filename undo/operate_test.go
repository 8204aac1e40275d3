package undo_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/driver/mysql"
	"github.com/globaltx/globaltx/driver/postgres"
	"github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/natsbus"
	"github.com/globaltx/globaltx/undo"
)

// stage is a fresh database with a coordinator, and a writer outside of both.
type stage struct {
	*testing.T
	open func(dsn string) (driver.Base, error)
	name string // of the driver, without gtx-
	dsn  string
	bus  *natsbus.Bus
	out  *sql.DB
	res  *undo.Resolver // an operator's; nothing runs on its own
}

// onStages runs a test on every kind of server.
func onStages(t *testing.T, test func(s *stage)) {
	file := func(t testing.TB) string {
		return "file:" + filepath.Join(t.TempDir(), "s.db") + "?_pragma=journal_mode(wal)&_pragma=foreign_keys(1)"
	}
	for _, k := range []struct {
		server, name string
		dsn          func(testing.TB) string
		open         func(string) (driver.Base, error)
	}{
		{"sqlite", "sqlite", file, sqlite.Open},
		{"mysql", "mysql", testserver.MySQL, mysql.Open},
		{"mariadb", "mysql", testserver.MariaDB, mysql.Open},
		{"postgres15", "postgres", testserver.Postgres15, postgres.Open},
		{"postgres18", "postgres", testserver.Postgres18, postgres.Open},
	} {
		t.Run(k.server, func(t *testing.T) {
			s := &stage{T: t, open: k.open, name: k.name, dsn: k.dsn(t)}
			var err error
			if s.bus, err = natsbus.Embedded(t.Context(), t.TempDir()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.bus.Close() })
			s.res, s.out = s.operator()
			s.exec("CREATE TABLE thing (id bigint PRIMARY KEY, n bigint, s varchar(100))")
			s.exec("INSERT INTO thing VALUES (1, 10, 'one'), (2, 20, NULL), (3, 30, ''), (4, 40, 'four')")
			test(s)
		})
	}
}

// operator opens the database as gtx resolve does.
func (s *stage) operator() (*undo.Resolver, *sql.DB) {
	s.Helper()
	base, err := s.open(s.dsn)
	if err != nil {
		s.Fatal(err)
	}
	if base.Resolver == nil {
		base.Resolver = base.Connector
	}
	db := sql.OpenDB(base.Resolver)
	s.Cleanup(func() { db.Close() })
	res, err := undo.NewResolver(undo.Config{
		DB: db, Dialect: base.Dialect, Coordinator: func() gtx.Coordinator { return s.bus }, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		s.Fatal(err)
	}
	return res, db
}

func (s *stage) exec(texts ...string) {
	s.Helper()
	for _, text := range texts {
		if _, err := s.out.ExecContext(s.Context(), text); err != nil {
			s.Fatalf("%s: %v", text, err)
		}
	}
}

func (s *stage) rows(query string) string {
	s.Helper()
	lines, err := undo.QueryDB(s.out)(s.Context(), query)
	if err != nil {
		s.Fatalf("%s: %v", query, err)
	}
	return fmt.Sprint(lines)
}

const (
	things       = "SELECT id, n, COALESCE(s, 'null') FROM thing ORDER BY id"
	thingsBefore = "[[1 10 one] [2 20 null] [3 30 ] [4 40 four]]"
)

func (s *stage) wantThings(want string) {
	s.Helper()
	if got := s.rows(things); got != want {
		s.Errorf("got  %s\nwant %s", got, want)
	}
}

// aborted runs inside in a global transaction, outside beside it, and aborts it.
func (s *stage) aborted(inside, outside []string) gtx.XID {
	s.Helper()
	db, err := sql.Open("gtx-"+s.name, s.dsn)
	if err != nil {
		s.Fatal(err)
	}
	no := errors.New("no")
	var xid gtx.XID
	err = s.bus.Run(s.Context(), func(ctx context.Context) error {
		tx, _ := gtx.FromContext(ctx)
		xid = tx.XID()
		for _, text := range inside { // each commits locally at once
			if _, err := db.ExecContext(ctx, text); err != nil {
				return fmt.Errorf("%s: %w", text, err)
			}
		}
		s.exec(outside...)
		return no
	})
	if !errors.Is(err, no) {
		s.Fatal(err)
	}
	if err := db.Close(); err != nil { // from here on nobody resolves but the test
		s.Fatal(err)
	}
	return xid
}

// stuck has a row of each kind that only an operator can end: an update that was
// overwritten (1) or deleted (2), a delete that was inserted again (3), an insert
// that was overwritten (6). 4 and 7 are for phase two alone.
func (s *stage) stuck() gtx.XID {
	s.Helper()
	xid := s.aborted(
		[]string{
			"UPDATE thing SET n = n + 1 WHERE id = 1", "UPDATE thing SET n = 21 WHERE id = 2", "DELETE FROM thing WHERE id = 3",
			"INSERT INTO thing (id, n, s) VALUES (6, 60, 'six')", "UPDATE thing SET n = 41 WHERE id = 4", "INSERT INTO thing (id, n, s) VALUES (7, 70, NULL)",
		},
		[]string{
			"UPDATE thing SET n = 99 WHERE id = 1", "DELETE FROM thing WHERE id = 2", "INSERT INTO thing (id, n, s) VALUES (3, 33, 'secret')",
			"UPDATE thing SET n = 66 WHERE id = 6", "DELETE FROM thing WHERE id = 7",
		})
	if left, err := s.res.Scan(s.Context()); left != 1 || !errors.Is(err, gtx.ErrDirty) {
		s.Fatalf("scan: %d left, %v", left, err)
	}
	s.wantThings("[[1 99 one] [3 33 secret] [4 41 four] [6 66 six]]")
	return xid
}

func (s *stage) operation(xid gtx.XID, a undo.Action) undo.Operation {
	return undo.Operation{XID: xid, Action: a, Who: "ops", Reason: "it's ✓ known"}
}

// settled checks that nothing is left but the record of n rows.
func (s *stage) settled(n int, action undo.Action) {
	s.Helper()
	if got := s.rows("SELECT xid FROM gtx_branch UNION ALL SELECT xid FROM gtx_undo"); got != "[]" {
		s.Errorf("left: %s", got)
	}
	if stuck, err := s.res.Stuck(s.Context()); err != nil || len(stuck) != 0 {
		s.Errorf("stuck: %v, %v", stuck, err)
	}
	if got, want := s.rows("SELECT who, action, reason, COUNT(*) FROM gtx_operator GROUP BY who, action, reason"),
		fmt.Sprintf("[[ops %s it's ✓ known %d]]", action, n); got != want {
		s.Errorf("recorded %s, want %s", got, want)
	}
}

func TestShowTellsWhatIsDirty(t *testing.T) {
	onStages(t, func(s *stage) {
		xid := s.stuck()
		stuck, err := s.res.Stuck(t.Context())
		if err != nil || len(stuck) != 1 || stuck[0].XID != xid || stuck[0].Since.IsZero() || stuck[0].Reason == "" || !strings.Contains(stuck[0].Table, "thing") {
			s.Fatalf("stuck: %+v, %v", stuck, err)
		}
		left, err := s.res.Left(t.Context())
		if err != nil || len(left) != 1 || left[0].XID != xid.String() || left[0].Branches != 6 || left[0].UndoRows != 6 || left[0].Stuck == nil || left[0].Created.IsZero() {
			s.Fatalf("left: %+v, %v", left, err)
		}
		rows, err := s.res.Show(t.Context(), xid)
		if err != nil {
			s.Fatal(err)
		}
		var got []string
		for _, r := range rows {
			line := fmt.Sprintf("%s %s %t %t %t %t %t", r.Op, text(r.Key[0].Value), r.HadBefore, r.Exists, r.Left, r.Restored, r.Dirty)
			for _, c := range r.Columns {
				line += fmt.Sprintf(" %s:%s>%s", c.Column, text(c.Before), text(c.Now))
			}
			got = append(got, strings.ReplaceAll(line, "'", "")) // SQLite prints literals
		}
		want := []string{ // newest first
			"I 7 false false false true false id:->- n:->- s:->-",
			"U 4 true true true false false id:4>4 n:40>41 s:four>four",
			"I 6 false true false false true id:->6 n:->66 s:->six",
			"D 3 true true false false true id:3>3 n:30>33 s:>secret",
			"U 2 true false false false true id:2>- n:20>- s:->-",
			"U 1 true true false false true id:1>1 n:10>99 s:one>one",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			s.Error(diff)
		}
	})
}

func text(v *string) string {
	if v == nil {
		return "-"
	}
	return *v
}

func TestForceBefore(t *testing.T) {
	onStages(t, func(s *stage) {
		xid := s.stuck()
		done, err := s.res.Operate(t.Context(), s.operation(xid, undo.ForceBefore))
		if err != nil || done.Left != nil || len(done.Rows) != 4 {
			s.Fatalf("%+v, %v", done, err)
		}
		s.wantThings(thingsBefore)
		s.settled(4, undo.ForceBefore)
		if got := s.rows("SELECT COUNT(DISTINCT keyh), COUNT(DISTINCT tbl), COUNT(DISTINCT xid), COUNT(DISTINCT at) FROM gtx_operator"); got != "[[4 1 1 1]]" {
			s.Error(got)
		}
	})
}

func TestKeepCurrent(t *testing.T) {
	onStages(t, func(s *stage) {
		xid := s.stuck()
		done, err := s.res.Operate(t.Context(), s.operation(xid, undo.KeepCurrent))
		if err != nil || done.Left != nil || len(done.Rows) != 4 {
			s.Fatalf("%+v, %v", done, err)
		}
		s.wantThings("[[1 99 one] [3 33 secret] [4 40 four] [6 66 six]]")
		s.settled(4, undo.KeepCurrent)
	})
}

// TestRetry also finds a database that was migrated before gtx_operator was.
func TestRetry(t *testing.T) {
	onStages(t, func(s *stage) {
		xid := s.stuck()
		s.exec("DROP TABLE gtx_operator")
		if _, err := s.res.Operate(t.Context(), s.operation(xid, undo.Retry)); !errors.Is(err, gtx.ErrDirty) {
			s.Fatal(err)
		}
		if got := s.rows("SELECT * FROM gtx_operator"); got != "[]" {
			s.Errorf("recorded what was not done: %s", got)
		}
		// Put right by hand: as the transaction left it (1, 6), or as it was (2, 3).
		s.exec("UPDATE thing SET n = 11 WHERE id = 1", "UPDATE thing SET n = 60 WHERE id = 6",
			"INSERT INTO thing VALUES (2, 20, NULL)", "UPDATE thing SET n = 30, s = '' WHERE id = 3")
		if done, err := s.res.Operate(t.Context(), s.operation(xid, undo.Retry)); err != nil || done.Left != nil {
			s.Fatalf("%+v, %v", done, err)
		}
		s.wantThings(thingsBefore)
		s.settled(1, undo.Retry)
		for _, a := range []undo.Action{undo.Retry, undo.ForceBefore, undo.KeepCurrent} {
			if _, err := s.res.Operate(t.Context(), s.operation(xid, a)); !errors.Is(err, undo.ErrNothing) {
				s.Errorf("%s once more: %v", a, err)
			}
		}
		s.settled(1, undo.Retry)
	})
}

func TestOneRowOnly(t *testing.T) {
	onStages(t, func(s *stage) {
		xid := s.stuck()
		rows, err := s.res.Show(t.Context(), xid)
		if err != nil {
			s.Fatal(err)
		}
		o := s.operation(xid, undo.ForceBefore)
		o.Table = rows[0].Table
		for _, clean := range rows[:2] { // 7 and 4 are not dirty
			o.KeyHash = clean.KeyHash
			if _, err := s.res.Operate(t.Context(), o); !errors.Is(err, undo.ErrNothing) {
				s.Errorf("a clean row: %v", err)
			}
		}
		since := s.since(xid)
		marked := rows[2] // row 6, the newest dirty one, is the one in the mark
		o.KeyHash = marked.KeyHash
		done, err := s.res.Operate(t.Context(), o)
		if err != nil || !errors.Is(done.Left, gtx.ErrDirty) || len(done.Rows) != 1 {
			s.Fatalf("%+v, %v", done, err)
		}
		s.wantThings("[[1 99 one] [3 33 secret] [4 41 four]]")
		stuck, err := s.res.Stuck(t.Context())
		if err != nil || len(stuck) != 1 || stuck[0].KeyHash != rows[3].KeyHash || !stuck[0].Since.Equal(since.Since) {
			s.Errorf("stuck: %+v, %v; want the next dirty row since %s", stuck, err, since.Since)
		}
		o = s.operation(xid, undo.KeepCurrent)
		o.Table = "another"
		if _, err := s.res.Operate(t.Context(), o); !errors.Is(err, undo.ErrNothing) {
			s.Errorf("another table: %v", err)
		}
		o.Table = rows[0].Table
		if done, err := s.res.Operate(t.Context(), o); err != nil || done.Left != nil || len(done.Rows) != 3 {
			s.Fatalf("%+v, %v", done, err)
		}
		s.wantThings("[[1 99 one] [3 33 secret] [4 40 four]]")
		if got := s.rows("SELECT xid FROM gtx_branch UNION ALL SELECT xid FROM gtx_undo"); got != "[]" {
			s.Errorf("left: %s", got)
		}
	})
}

func (s *stage) since(xid gtx.XID) undo.StuckTx {
	s.Helper()
	stuck, err := s.res.Stuck(s.Context())
	if err != nil || len(stuck) != 1 || stuck[0].XID != xid {
		s.Fatalf("stuck: %+v, %v", stuck, err)
	}
	return stuck[0]
}

// TestOperatorsAtOnce: two operators decide differently, two resolvers scan. Each
// row is settled once, and recorded once.
func TestOperatorsAtOnce(t *testing.T) {
	onStages(t, func(s *stage) {
		xid := s.stuck()
		var wg sync.WaitGroup
		var done [4]undo.Operated
		var errs [4]error
		for i := range done {
			res, _ := s.operator()
			wg.Go(func() {
				action := undo.ForceBefore
				if i%2 == 1 {
					action = undo.KeepCurrent
				}
				o := s.operation(xid, action)
				for {
					if done[i], errs[i] = res.Operate(t.Context(), o); !errors.Is(errs[i], gtx.ErrConflict) {
						return // a deadlock or a wait that took too long says: again
					}
				}
			})
			wg.Go(func() { _, _ = res.Scan(t.Context()) })
		}
		wg.Wait()
		winner := -1
		for i := range done {
			switch {
			case errs[i] == nil && winner < 0 && len(done[i].Rows) == 4:
				winner = i
			case !errors.Is(errs[i], undo.ErrNothing):
				s.Errorf("operator %d: %+v, %v", i, done[i], errs[i])
			}
		}
		if _, err := s.res.Scan(t.Context()); err != nil { // where the winner's own phase two was in another's way
			s.Error(err)
		}
		if winner%2 == 0 {
			s.wantThings(thingsBefore)
			s.settled(4, undo.ForceBefore)
		} else {
			s.wantThings("[[1 99 one] [3 33 secret] [4 40 four] [6 66 six]]")
			s.settled(4, undo.KeepCurrent)
		}
	})
}

// TestChangedTable: nothing can be written to a table that has changed since, only
// the image can be given up.
func TestChangedTable(t *testing.T) {
	onStages(t, func(s *stage) {
		s.exec("CREATE TABLE gone (id bigint PRIMARY KEY, n bigint)", "INSERT INTO gone VALUES (1, 1)")
		xid := s.aborted([]string{"UPDATE thing SET n = 0 WHERE id = 1", "UPDATE gone SET n = 2", "UPDATE thing SET n = 0 WHERE id = 2"},
			[]string{"ALTER TABLE thing ADD COLUMN more bigint", "DROP TABLE gone"})
		if _, err := s.res.Scan(t.Context()); !errors.Is(err, gtx.ErrDirty) {
			s.Fatal(err)
		}
		rows, err := s.res.Show(t.Context(), xid)
		if err != nil || len(rows) != 3 {
			s.Fatalf("%+v, %v", rows, err)
		}
		for _, r := range rows {
			if !r.Dirty || r.Problem == "" || r.Columns != nil {
				s.Errorf("%+v", r)
			}
		}
		if _, err := s.res.Operate(t.Context(), s.operation(xid, undo.ForceBefore)); !errors.Is(err, gtx.ErrDirty) {
			s.Errorf("force: %v", err)
		}
		if done, err := s.res.Operate(t.Context(), s.operation(xid, undo.KeepCurrent)); err != nil || done.Left != nil || len(done.Rows) != 3 {
			s.Fatalf("%+v, %v", done, err)
		}
		s.wantThings("[[1 0 one] [2 0 null] [3 30 ] [4 40 four]]")
		s.settled(3, undo.KeepCurrent)
	})
}
