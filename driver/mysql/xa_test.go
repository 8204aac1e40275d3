package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
	"github.com/globaltx/globaltx/xa"
)

// preparing is a database with a table acct of ten rows and prepared branches. Names are
// the server's, so they are unlike those of any other test.
type preparing struct {
	*database
	XA
	xid   gtx.XID
	id    gtx.ResourceID
	maria bool
}

func prepares(t *testing.T, d *database) *preparing {
	t.Helper()
	p := &preparing{
		database: d, xid: gtx.XID{Log: rand.Uint64(), Epoch: 1}, maria: !d.isMySQL(),
		id: gtx.ResourceID(fmt.Sprintf("%08x-0000-4000-8000-%012x", rand.Uint32(), rand.Uint64()>>16)),
	}
	d.exec("CREATE TABLE acct (id INT PRIMARY KEY, n INT)")
	for i := range 10 {
		d.exec("INSERT INTO acct VALUES (?, 0)", i)
	}
	t.Cleanup(p.clean)
	return p
}

// clean demands that nothing is left prepared: the database could not be dropped.
func (p *preparing) clean() {
	ctx := context.Background()
	names, err := p.List(ctx, undo.QueryDB(p.two), p.id)
	if err != nil || len(names) > 0 {
		p.Errorf("left prepared: %v, %v", names, err)
	}
	for _, n := range names {
		if _, err := p.two.ExecContext(ctx, p.End(n, false)); err != nil {
			p.Errorf("roll back %s: %v", n, err)
		}
	}
}

// next gives a new name.
func (p *preparing) next() xa.Name {
	p.xid.Seq++
	return xa.Name{XID: p.xid, Database: p.id, Branch: gtx.NewBranchID()}
}

// session is one connection. Closing it ends the server's session.
func (p *preparing) session() *sql.Conn {
	p.Helper()
	c, err := p.db.Conn(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { hangUp(c) })
	return c
}

// hangUp closes the connection itself; it may be called again.
func hangUp(c *sql.Conn) {
	_ = c.Raw(func(any) error { return driver.ErrBadConn }) // database/sql closes it then
	_ = c.Close()
}

func (p *preparing) run(c *sql.Conn, texts ...string) {
	p.Helper()
	for _, text := range texts {
		if _, err := c.ExecContext(p.Context(), text); err != nil {
			p.Fatalf("%s: %v", text, err)
		}
	}
}

func (p *preparing) fails(c *sql.Conn, text string) error {
	p.Helper()
	_, err := c.ExecContext(p.Context(), text)
	if err == nil {
		p.Fatalf("%s: no error", text)
	}
	return err
}

// begin starts a branch that has changed the row.
func (p *preparing) begin(c *sql.Conn, row int) xa.Name {
	p.Helper()
	n := p.next()
	texts, err := p.Begin(n, driver.TxOptions{})
	if err != nil {
		p.Fatal(err)
	}
	p.run(c, append(texts, fmt.Sprintf("UPDATE acct SET n = n + 1 WHERE id = %d", row))...)
	return n
}

func (p *preparing) prepare(c *sql.Conn, row int) xa.Name {
	p.Helper()
	n := p.begin(c, row)
	p.run(c, p.Prepare(n, ""))
	return n
}

// listed looks from a session of its own.
func (p *preparing) listed(want ...xa.Name) {
	p.Helper()
	got, err := p.List(p.Context(), undo.QueryDB(p.two), p.id)
	if err != nil {
		p.Fatal(err)
	}
	same := len(got) == len(want)
	for _, n := range want {
		same = same && strings.Contains(fmt.Sprint(got), fmt.Sprint(n))
	}
	if !same {
		p.Errorf("listed %v, want %v", got, want)
	}
}

func (p *preparing) row(row, want int) {
	p.Helper()
	if got := p.one("SELECT n FROM acct WHERE id = ?", row); got != fmt.Sprint(want) {
		p.Errorf("row %d holds %s, want %d", row, got, want)
	}
}

// locked asks whether a writer outside would wait for the row.
func (p *preparing) locked(row int) bool {
	p.Helper()
	_, err := p.two.ExecContext(p.Context(), fmt.Sprintf("SELECT n FROM acct WHERE id = %d FOR UPDATE NOWAIT", row))
	if err != nil && (Dialect{}).Classify(err) != undo.Conflict {
		p.Fatal(err)
	}
	return err != nil
}

// free waits until the server has let go of every session that has a prepared branch
// now: what ending by name relies on.
func (p *preparing) free() {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), 10*time.Second)
	defer cancel()
	attached := func() []string {
		ids, err := p.Attached(ctx, undo.QueryDB(p.two))
		if err != nil {
			p.Fatal(err)
		}
		return ids
	}
	for before := attached(); len(before) > 0; {
		now := attached()
		before = slices.DeleteFunc(before, func(id string) bool { return !slices.Contains(now, id) })
	}
}

// A prepared branch is listed at once, holds its locks, and ends as it is told, on MySQL
// from any session and on MariaDB on its own.
func TestXAEnds(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		p := prepares(t, d)
		other := p.session()
		for row, commit := range []bool{true, false} {
			c := p.session()
			n := p.prepare(c, row)
			p.listed(n)
			if got, err := p.List(t.Context(), undo.QueryDB(p.two), "another"); err != nil || len(got) != 0 {
				t.Errorf("listed for another database: %v, %v", got, err)
			}
			if !p.locked(row) || p.locked(5) {
				t.Error("a prepared branch must hold the row that it changed, and no other")
			}
			ending := other
			if p.maria {
				if err := p.fails(other, p.End(n, commit)); !p.Again(err) {
					t.Errorf("from another session: %v, want Again", err)
				}
				p.listed(n)
				if ids, err := p.Attached(t.Context(), undo.QueryDB(p.two)); err != nil || len(ids) == 0 {
					t.Errorf("attached: %v, %v", ids, err)
				}
				ending = c
			} else {
				second := p.begin(c, 7) // the session is free
				if err := p.fails(c, p.End(n, commit)); !p.Again(err) {
					t.Errorf("in a session with work of its own: %v, want Again", err)
				}
				p.run(c, p.Rollback(second)...)
			}
			p.run(ending, p.End(n, commit))
			p.listed()
			for _, s := range []*sql.Conn{c, other} {
				if err := p.fails(s, p.End(n, commit)); !p.Again(err) {
					t.Errorf("ended twice: %v, want Again", err)
				}
			}
			p.row(row, map[bool]int{true: 1}[commit])
			if p.locked(row) {
				t.Error("the row is still locked")
			}
		}
	})
}

// A session that is closed or killed leaves its branch, and the branch ends by its name
// once the server has let go of the session: never before (see Attached).
func TestXASessionLost(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		p := prepares(t, d)
		want := 0
		for i := range 120 {
			c := p.session()
			id := p.read(c, "SELECT CONNECTION_ID()")
			n := p.prepare(c, 0)
			if i%4 == 0 {
				d.exec("KILL " + id)
			}
			hangUp(c)
			p.listed(n)
			p.free()
			if _, err := p.two.ExecContext(t.Context(), p.End(n, i%2 == 0)); err != nil {
				t.Fatalf("round %d: %v", i, err)
			}
			if i%2 == 0 {
				want++
			}
			if p.locked(0) {
				t.Fatalf("round %d: the branch has left the list, and its row is locked", i)
			}
		}
		p.row(0, want)
	})
}

// Of several who end a branch at once one succeeds, the others are told to look.
func TestXAEndedByMany(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		p := prepares(t, d)
		others := []*sql.Conn{p.session(), p.session(), p.session()}
		for range 50 {
			c := p.session()
			n := p.prepare(c, 0)
			hangUp(c)
			p.free()
			answers := make(chan error)
			for _, o := range others {
				go func() {
					_, err := o.ExecContext(t.Context(), p.End(n, true))
					answers <- err
				}()
			}
			good := 0
			for range others {
				if err := <-answers; err == nil {
					good++
				} else if !p.Again(err) {
					t.Errorf("got %v, want Again", err)
				}
			}
			if good != 1 || p.locked(0) {
				t.Fatalf("%d have ended it, and its row is locked: %t", good, p.locked(0))
			}
		}
		p.row(0, 50)
	})
}

func (p *preparing) read(c *sql.Conn, text string) string {
	p.Helper()
	var s string
	if err := c.QueryRowContext(p.Context(), text).Scan(&s); err != nil {
		p.Fatalf("%s: %v", text, err)
	}
	return s
}

// What has changed nothing is gone with its session on MariaDB, and says so when asked.
func TestXANothingToEnd(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		p := prepares(t, d)
		for _, text := range []string{"SELECT n FROM acct WHERE id = 1 FOR UPDATE", "UPDATE acct SET n = 1 WHERE id = 77"} {
			c, n := p.session(), p.next()
			texts, err := p.Begin(n, driver.TxOptions{})
			if err != nil {
				t.Fatal(err)
			}
			p.run(c, append(texts, text, p.Prepare(n, ""))...)
			p.listed(n)
			hangUp(c)
			p.free()
			if _, err := p.two.ExecContext(t.Context(), p.End(n, true)); err != nil && !p.Again(err) {
				t.Errorf("%s: %v", text, err)
			}
			p.listed()
		}
	})
}

func TestXARollback(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		p := prepares(t, d)
		c, other := p.session(), p.session()
		back := func(n xa.Name) {
			t.Helper()
			texts := p.Rollback(n)
			for i, text := range texts {
				if _, err := c.ExecContext(t.Context(), text); err != nil && i == len(texts)-1 {
					t.Errorf("%s: %v", text, err)
				}
			}
			if got := p.read(c, "SELECT 42"); got != "42" { // in step, and fit for another
				t.Errorf("got %s", got)
			}
			p.run(c, "START TRANSACTION", "ROLLBACK")
		}
		back(p.begin(c, 0))
		n := p.begin(c, 0)
		p.run(c, p.Rollback(n)[0]) // XA END
		back(n)

		// The server goes on behind a statement that waited too long, as without XA.
		p.run(other, "START TRANSACTION", "UPDATE acct SET n = 9 WHERE id = 1")
		n = p.begin(c, 0)
		p.run(c, "SET SESSION innodb_lock_wait_timeout = 1")
		if err := p.fails(c, "UPDATE acct SET n = 8 WHERE id = 1"); (Dialect{}).Classify(err) != undo.Conflict {
			t.Errorf("lock wait: %v", err)
		}
		p.run(other, "ROLLBACK")
		p.run(c, "SAVEPOINT s", "UPDATE acct SET n = 7 WHERE id = 2", "ROLLBACK TO SAVEPOINT s", "RELEASE SAVEPOINT s")
		p.run(c, p.Prepare(n, ""), p.End(n, true))
		p.row(0, 1)
		p.row(2, 0)

		n = p.deadlocked(c, other)
		back(n)
		n = p.deadlocked(c, other)
		err := p.fails(c, p.Prepare(n, ""))
		if !p.RolledBack(err) || p.Held(err) {
			t.Errorf("prepare after a deadlock: %v, want RolledBack", err)
		}
		p.listed()
		back(n)
		p.row(1, 0)

		// A text that fails in its middle is no answer about a branch that goes on.
		n = p.begin(c, 3)
		if err := p.fails(c, p.Prepare(p.next(), "")); p.RolledBack(err) {
			t.Errorf("prepare of another name: %v", err)
		}
		back(n)
		p.row(3, 0)
	})
}

// deadlocked gives a branch that the server has rolled back.
func (p *preparing) deadlocked(c, other *sql.Conn) xa.Name {
	p.Helper()
	n := p.begin(c, 3)
	p.run(other, "START TRANSACTION", "UPDATE acct SET n = 9 WHERE id > 3")
	done := make(chan error, 1)
	go func() {
		_, err := other.ExecContext(p.Context(), "UPDATE acct SET n = 9 WHERE id = 3")
		done <- err
	}()
	p.awaitLockWait("UPDATE acct SET n = 9 WHERE id = 3")
	if err := p.fails(c, "UPDATE acct SET n = 8 WHERE id = 4"); (Dialect{}).Classify(err) != undo.Conflict {
		p.Errorf("deadlock: %v", err)
	}
	if err := <-done; err != nil {
		p.Errorf("the other: %v", err)
	}
	p.run(other, "ROLLBACK")
	err := p.fails(c, "UPDATE acct SET n = 8 WHERE id = 4")
	if want := map[bool]undo.ErrorClass{true: undo.Other, false: undo.Conflict}[p.maria]; (Dialect{}).Classify(err) != want {
		p.Errorf("after the deadlock: %v", err)
	}
	return n
}

func TestXAOnePhase(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		p := prepares(t, d)
		c := p.session()
		n := p.begin(c, 0)
		p.run(c, p.Commit(n))
		p.row(0, 1)
		p.listed()
		if err := p.fails(c, p.Commit(n)); p.read(c, "SELECT 42") != "42" {
			t.Errorf("committed twice: %v", err)
		}
	})
}

func TestXABegin(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		p := prepares(t, d)
		c := p.session()
		cases := []struct {
			level  sql.IsolationLevel
			repeat bool // a second reading gives the same
			locks  bool // a reading locks
		}{
			{sql.LevelDefault, true, false},
			{sql.LevelReadUncommitted, false, false},
			{sql.LevelReadCommitted, false, false},
			{sql.LevelRepeatableRead, true, false},
			{sql.LevelSerializable, true, true},
			{sql.LevelDefault, true, false}, // nothing is left in the session
		}
		for i, tc := range cases {
			n := p.next()
			texts, err := p.Begin(n, driver.TxOptions{Isolation: driver.IsolationLevel(tc.level)})
			if err != nil {
				t.Fatal(err)
			}
			p.run(c, texts...)
			before := p.read(c, "SELECT n FROM acct WHERE id = 1")
			if got := p.locked(1); got != tc.locks {
				t.Errorf("%d %s: locked %t", i, tc.level, got)
			}
			if !tc.locks {
				d.exec("UPDATE acct SET n = n + 1 WHERE id = 1")
				if got := p.read(c, "SELECT n FROM acct WHERE id = 1") == before; got != tc.repeat {
					t.Errorf("%d %s: repeats %t", i, tc.level, got)
				}
			}
			p.run(c, p.Rollback(n)...)
		}
		n := p.next()
		texts, err := p.Begin(n, driver.TxOptions{ReadOnly: true, Isolation: driver.IsolationLevel(sql.LevelReadCommitted)})
		if err != nil {
			t.Fatal(err)
		}
		p.run(c, texts...)
		if err := p.fails(c, "UPDATE acct SET n = 5 WHERE id = 1"); numberOf(err) != errReadOnlyTx {
			t.Errorf("write in a read-only branch: %v", err)
		}
		p.run(c, p.Commit(n))
		p.run(c, "UPDATE acct SET n = 5 WHERE id = 1")
		for _, bad := range []driver.TxOptions{{Isolation: driver.IsolationLevel(sql.LevelSnapshot)}, {Isolation: 99}} {
			if texts, err := p.Begin(n, bad); err == nil {
				t.Errorf("%+v: got %q", bad, texts)
			}
		}
		n.Database = "it's"
		if texts, err := p.Begin(n, driver.TxOptions{}); err == nil {
			t.Errorf("a name with a quote: %q", texts)
		}
	})
}

func TestXAHeld(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		p := prepares(t, d)
		c := p.session()
		n := p.begin(c, 0)
		err := p.fails(c, p.Prepare(n, "SELECT 1 FROM acct WHERE id = 9"))
		if !p.Held(err) || !p.RolledBack(err) || p.Again(err) {
			t.Errorf("got %v, want Held", err)
		}
		p.listed()
		p.run(c, p.Rollback(n)...)
		n = p.begin(c, 0)
		p.run(c, p.Prepare(n, "SELECT 1 FROM acct WHERE id = 99"), p.End(n, true))
		p.row(0, 1)
	})
}

// Branches of other programs, whatever their names hold, are neither listed nor in the way.
func TestXAForeign(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		p := prepares(t, d)
		n := p.next()
		foreign := []string{
			fmt.Sprintf("X'%016x0027ff5c',X'00ff',1", p.xid.Log),
			fmt.Sprintf("X'%016x0027ff5c',X'',%d", p.xid.Log, xa.FormatID),
			fmt.Sprintf("'%s','%s-',%d", n.Global(), p.id, xa.FormatID),
			fmt.Sprintf("'%s','%s',%d", n.Global(), n.Qualifier(), xa.FormatID+1),
			fmt.Sprintf("'%s','%s',%d", strings.Repeat("g", 64), fmt.Sprintf("%064x", p.xid.Log), xa.FormatID),
		}
		var open []*sql.Conn
		for i, f := range foreign {
			c := p.session()
			p.run(c, "XA START "+f, fmt.Sprintf("UPDATE acct SET n = 4 WHERE id = %d", i), "XA END "+f, "XA PREPARE "+f)
			open = append(open, c)
		}
		c := p.session()
		n = p.prepare(c, 9)
		p.listed(n)
		p.run(c, p.End(n, false))
		for i, f := range foreign {
			p.run(open[i], "XA ROLLBACK "+f)
		}
	})
}
