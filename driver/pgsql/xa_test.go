package pgsql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/undo"
	"github.com/globaltx/globaltx/xa"
)

// preparing is a database with a table acct of ten rows and prepared branches. Names are
// the server's, so they are unlike those of any other test.
type preparing struct {
	*bench
	XA
	xid gtx.XID
	id  gtx.ResourceID
}

func prepares(b *bench) *preparing {
	b.Helper()
	p := &preparing{
		bench: b, xid: gtx.XID{Log: rand.Uint64(), Epoch: 1},
		id: gtx.ResourceID(fmt.Sprintf("%08x-0000-4000-8000-%012x", rand.Uint32(), rand.Uint64()>>16)),
	}
	b.run("CREATE TABLE acct (id int PRIMARY KEY, n int)", "INSERT INTO acct SELECT i, 0 FROM generate_series(0, 9) AS i")
	b.Cleanup(func() {
		if names, err := p.List(context.Background(), queryDB(b.db), p.id); err != nil || len(names) > 0 {
			b.Errorf("left prepared: %v, %v", names, err) // dropping the database ends them
		}
	})
	return p
}

// next gives a new name.
func (p *preparing) next() xa.Name {
	p.xid.Seq++
	return xa.Name{XID: p.xid, Database: p.id, Branch: gtx.NewBranchID()}
}

// session is one connection.
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

func (p *preparing) do(c *sql.Conn, texts ...string) {
	p.Helper()
	for _, text := range texts {
		if _, err := c.ExecContext(p.Context(), text); err != nil {
			p.Fatalf("%s: %v", text, err)
		}
	}
}

func (p *preparing) fails(c *sql.Conn, text, state string) error {
	p.Helper()
	_, err := c.ExecContext(p.Context(), text)
	if stateOf(err) != state {
		p.Fatalf("%s: got %v, want %s", text, err, state)
	}
	return err
}

// start begins a branch that has changed the row.
func (p *preparing) start(c *sql.Conn, row int) xa.Name {
	p.Helper()
	n := p.next()
	texts, err := p.XA.Begin(n, driver.TxOptions{})
	if err != nil {
		p.Fatal(err)
	}
	p.do(c, append(texts, fmt.Sprintf("UPDATE acct SET n = n + 1 WHERE id = %d", row))...)
	return n
}

func (p *preparing) prepare(c *sql.Conn, row int) xa.Name {
	p.Helper()
	n := p.start(c, row)
	p.do(c, p.Prepare(n, ""))
	return n
}

func (p *preparing) listed(want ...xa.Name) {
	p.Helper()
	got, err := p.List(p.Context(), queryDB(p.db), p.id)
	for _, n := range want {
		if !slices.Contains(got, n) {
			err = errors.Join(err, fmt.Errorf("%s is not listed", n))
		}
	}
	if err != nil || len(got) != len(want) {
		p.Errorf("listed %v, want %v: %v", got, want, err)
	}
}

// locked asks whether a writer outside would wait for the row.
func (p *preparing) locked(row int) bool {
	p.Helper()
	_, err := p.db.Exec(fmt.Sprintf("SELECT n FROM acct WHERE id = %d FOR UPDATE NOWAIT", row))
	if err != nil && stateOf(err) != "55P03" {
		p.Fatal(err)
	}
	return err != nil
}

// A prepared branch is listed at once, holds its locks, leaves its session to others,
// survives it, and ends from any session as it is told.
func TestXAEnds(t *testing.T) {
	onAll(t, func(t *testing.T) {
		p := prepares(setup(t))
		for row := range 4 {
			commit := row%2 == 0
			c, other := p.session(), p.session()
			n := p.prepare(c, row)
			p.listed(n)
			if got, err := p.List(t.Context(), queryDB(p.db), "another"); err != nil || len(got) != 0 {
				t.Errorf("listed for another identity: %v, %v", got, err)
			}
			if !p.locked(row) || p.locked(9) {
				t.Error("a prepared branch must hold the row that it changed, and no other")
			}
			if row < 2 {
				p.do(c, "BEGIN", "UPDATE acct SET n = 5 WHERE id = 8", "ROLLBACK")
			} else {
				hangUp(c)
			}
			p.do(other, "BEGIN")
			if err := p.fails(other, p.End(n, commit), "25001"); p.Again(err) {
				t.Errorf("in a transaction: %v", err)
			}
			p.do(other, "ROLLBACK", p.End(n, commit))
			p.listed()
			for _, again := range []bool{true, false} {
				if err := p.fails(other, p.End(n, again), "42704"); !p.Again(err) {
					t.Errorf("ended twice: %v, want Again", err)
				}
			}
			p.want(fmt.Sprintf("SELECT n FROM acct WHERE id = %d", row), map[bool]string{true: "1", false: "0"}[commit])
			if p.locked(row) {
				t.Error("the row is still locked")
			}
		}
	})
}

// Of several who end a branch at once one succeeds, the others are told to look.
func TestXAEndedByMany(t *testing.T) {
	onEach(t, func(t *testing.T) {
		p := prepares(setup(t))
		c, others := p.session(), []*sql.Conn{p.session(), p.session(), p.session()}
		for range 50 {
			n := p.prepare(c, 0)
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
			if good != 1 {
				t.Errorf("%d have ended it", good)
			}
		}
		p.want("SELECT n FROM acct WHERE id = 0", "50")
	})
}

// The server rolls back without an error where PREPARE TRANSACTION or COMMIT comes to
// nothing: the texts must fail.
func TestXAFailed(t *testing.T) {
	onAll(t, func(t *testing.T) {
		p := prepares(setup(t))
		c := p.session()
		for _, end := range []func(xa.Name) string{func(n xa.Name) string { return p.Prepare(n, "") }, p.XA.Commit} {
			n := p.start(c, 0)
			_ = p.fails(c, "SELECT 1/0", "22012")
			if err := p.fails(c, end(n), "25P02"); !p.RolledBack(err) || p.Held(err) {
				t.Errorf("in a failed transaction: %v, want RolledBack", err)
			}
			p.do(c, p.Rollback(n)...)
			if err := p.fails(c, end(n), "25P01"); !p.RolledBack(err) {
				t.Errorf("outside a transaction: %v, want RolledBack", err)
			}
			p.do(c, p.Rollback(n)...)
		}
		p.listed()
		p.want("SELECT n FROM acct WHERE id = 0", "0")
	})
}

// What PREPARE TRANSACTION refuses has been rolled back.
func TestXARefused(t *testing.T) {
	onEach(t, func(t *testing.T) {
		p := prepares(setup(t,
			"CREATE TABLE owner (id int PRIMARY KEY)", "CREATE TABLE ref (o int REFERENCES owner DEFERRABLE INITIALLY DEFERRED)",
			"CREATE FUNCTION zero() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM 1 / (TG_NARGS - TG_NARGS); RETURN NULL; END $$",
			"CREATE TABLE late (id int)", "CREATE CONSTRAINT TRIGGER zero AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION zero()"))
		for text, state := range map[string]string{
			"CREATE TEMP TABLE tmp (id int)":                        "0A000",
			"NOTIFY somebody":                                       "0A000",
			"DECLARE cur CURSOR WITH HOLD FOR SELECT 1":             "0A000",
			"INSERT INTO ref VALUES (1)":                            "23503",
			"INSERT INTO late VALUES (1)":                           "22012",
			"SELECT pg_export_snapshot()":                           "0A000",
			"UPDATE acct SET n = 3; CREATE TEMP VIEW v AS SELECT 1": "0A000",
		} {
			c := p.session()
			n := p.start(c, 0)
			p.do(c, text)
			if err := p.fails(c, p.Prepare(n, "SELECT 1 FROM acct WHERE id = 99"), state); !p.RolledBack(err) || p.Held(err) || p.Again(err) {
				t.Errorf("%s: %v, want RolledBack", text, err)
			}
			p.do(c, p.Rollback(n)...)
			if p.locked(0) {
				t.Errorf("%s: the row is still locked", text)
			}
		}
		// The name is another's: this branch has been rolled back, that one is listed.
		c := p.session()
		n := p.prepare(c, 0)
		p.do(c, "BEGIN", "UPDATE acct SET n = 3 WHERE id = 1")
		if err := p.fails(c, p.Prepare(n, ""), "42710"); !p.RolledBack(err) {
			t.Errorf("same name: %v, want RolledBack", err)
		}
		p.listed(n)
		p.do(c, "ROLLBACK", p.End(n, true))
		p.want("SELECT n FROM acct WHERE id IN (0, 1) ORDER BY id", "1\n0")
	})
}

func TestXAHeld(t *testing.T) {
	onAll(t, func(t *testing.T) {
		p := prepares(setup(t))
		c := p.session()
		n := p.start(c, 0)
		if err := p.fails(c, p.Prepare(n, "SELECT 1 FROM acct WHERE id = 9"), "22P02"); !p.Held(err) || !p.RolledBack(err) {
			t.Errorf("got %v, want Held", err)
		}
		p.do(c, p.Rollback(n)...)
		n = p.start(c, 0)
		p.do(c, p.Prepare(n, "SELECT 1 FROM acct WHERE id = 99"), p.End(n, true))

		// A snapshot from before cannot show what has been locked since.
		texts, err := p.XA.Begin(n, driver.TxOptions{Isolation: driver.IsolationLevel(sql.LevelRepeatableRead)})
		if err != nil {
			t.Fatal(err)
		}
		p.do(c, texts...)
		if err := p.fails(c, p.Prepare(n, "SELECT 1 FROM acct WHERE id = 99"), "22P02"); !p.Held(err) || !p.RolledBack(err) {
			t.Errorf("repeatable read: %v", err)
		}
		p.do(c, p.Rollback(n)...)
		p.listed()
		p.want("SELECT n FROM acct WHERE id = 0", "1")
	})
}

func TestXABegin(t *testing.T) {
	onEach(t, func(t *testing.T) {
		p := prepares(setup(t))
		c := p.session()
		p.do(c, "SET default_transaction_read_only = on") // as the base driver, the mode is said
		for level, want := range map[sql.IsolationLevel]string{
			sql.LevelDefault: "read committed", sql.LevelReadUncommitted: "read uncommitted", sql.LevelReadCommitted: "read committed",
			sql.LevelRepeatableRead: "repeatable read", sql.LevelSerializable: "serializable",
		} {
			for _, readOnly := range []bool{false, true} {
				texts, err := p.XA.Begin(p.next(), driver.TxOptions{Isolation: driver.IsolationLevel(level), ReadOnly: readOnly})
				if err != nil {
					t.Fatal(err)
				}
				p.do(c, texts...)
				var gotLevel, gotOnly string
				if err := c.QueryRowContext(t.Context(), "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')").Scan(&gotLevel, &gotOnly); err != nil {
					t.Fatal(err)
				}
				if gotLevel != want || gotOnly != map[bool]string{true: "on", false: "off"}[readOnly] {
					t.Errorf("%s, read only %t: got %s, %s", level, readOnly, gotLevel, gotOnly)
				}
				p.do(c, p.XA.Commit(xa.Name{}))
			}
		}
		for _, bad := range []driver.TxOptions{{Isolation: driver.IsolationLevel(sql.LevelSnapshot)}, {Isolation: 99}} {
			if texts, err := p.XA.Begin(p.next(), bad); err == nil {
				t.Errorf("%+v: got %q", bad, texts)
			}
		}
		if texts, err := p.XA.Begin(xa.Name{XID: p.xid, Database: "it's", Branch: 1}, driver.TxOptions{}); err == nil {
			t.Errorf("a name with a quote: %q", texts)
		}
	})
}

// Branches of other programs and of other databases are neither listed nor ended.
func TestXAForeign(t *testing.T) {
	onEach(t, func(t *testing.T) {
		p := prepares(setup(t))
		c := p.session()
		n := p.next()
		foreign := []string{
			fmt.Sprintf("gtx:%x:\u00e9'", p.xid.Log), "GTX" + n.String()[3:], n.String() + "-0", n.String() + " ", n.Global() + strings.Repeat("x", 150),
		}
		for i, gid := range foreign {
			p.do(c, "BEGIN", fmt.Sprintf("UPDATE acct SET n = 4 WHERE id = %d", i), "PREPARE TRANSACTION "+literal(gid))
		}
		p.listed()
		elsewhere := setup(t)
		o := &preparing{bench: elsewhere, XA: p.XA, id: p.id}
		n = p.prepare(c, 9)
		o.listed()
		if _, err := elsewhere.db.Exec(p.End(n, true)); err == nil || p.Again(err) {
			t.Errorf("from another database: %v", err)
		}
		p.listed(n)
		p.do(c, p.End(n, false))
		for _, gid := range foreign {
			p.do(c, "ROLLBACK PREPARED "+literal(gid))
		}
	})
}

// A server that crashes or stops lists afterwards what was prepared. Without room nothing
// is prepared, and Check and doctor say so.
func TestXARestart(t *testing.T) {
	for _, name := range []string{testserver.NamePostgres15, testserver.NamePostgres18} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testserver.Private(t, name)
			b := &bench{T: t, dsn: server.DSN()}
			b.db = b.pool(b.dsn)
			b.db.SetMaxIdleConns(0) // none outlives the server
			p := prepares(b)
			c := p.session()
			crashed, stopped := p.prepare(c, 0), p.prepare(c, 1)
			server.Kill()
			server.Start()
			p.listed(crashed, stopped)
			if !p.locked(0) || !p.locked(1) || p.locked(2) {
				t.Error("after the crash: other rows than those prepared are locked")
			}
			b.run(p.End(crashed, true))
			server.Stop()
			server.Start()
			p.listed(stopped)
			b.run(p.End(stopped, true))
			p.listed()
			b.want("SELECT n FROM acct WHERE id < 3 ORDER BY id", "1\n1\n0")

			b.run("ALTER SYSTEM SET max_prepared_transactions = 1")
			server.Stop()
			server.Start()
			p.checked(false, "")
			p.checked(true, "")
			n := p.prepare(p.session(), 0)
			p.checked(false, "")
			p.checked(true, "taken")
			c = p.session()
			if err := p.fails(c, p.Prepare(p.start(c, 1), ""), "53200"); !p.RolledBack(err) {
				t.Errorf("without room: %v, want RolledBack", err)
			}
			b.run(p.End(n, false))

			b.run("ALTER SYSTEM SET max_prepared_transactions = 0")
			server.Stop()
			server.Start()
			p.checked(false, "max_prepared_transactions")
			p.checked(true, "max_prepared_transactions")
			c = p.session()
			if err := p.fails(c, p.Prepare(p.start(c, 1), ""), "55000"); !p.RolledBack(err) {
				t.Errorf("where nothing can be prepared: %v, want RolledBack", err)
			}
			found, err := Dialect{}.Diagnose(t.Context(), queryDB(b.db))
			if err != nil || !slices.ContainsFunc(found, func(f undo.Finding) bool {
				return f.Name == "prepare" && f.Level == undo.Warn && strings.Contains(f.Hint, "restart")
			}) {
				t.Errorf("doctor: %+v, %v", found, err)
			}
		})
	}
}

func (p *preparing) checked(full bool, want string) {
	p.Helper()
	a, err := p.Check(p.Context(), queryDB(p.db), full)
	var no *gtx.UnsupportedError
	switch {
	case a != xa.Ability{}:
		p.Errorf("ability %+v", a)
	case want == "" && err != nil, want != "" && !errors.As(err, &no):
		p.Errorf("got %v, want %q", err, want)
	case want != "" && (no.Code != "prepare" || no.Hint == "" || !strings.Contains(no.Reason, want)):
		p.Errorf("got %+v, want %q", no, want)
	}
}

func TestXACheck(t *testing.T) {
	onBoth(t, func(b *bench) {
		p := prepares(b)
		p.checked(true, "")
		found, err := Dialect{}.Diagnose(b.Context(), queryDB(b.db))
		i := slices.IndexFunc(found, func(f undo.Finding) bool { return f.Name == "prepare" })
		if err != nil || i < 0 || found[i].Level != undo.Info || !strings.HasSuffix(found[i].Value, " free") {
			b.Errorf("doctor: %+v, %v", found, err)
		}
		_, err = p.Check(b.Context(), b.with("default_transaction_read_only", "on"), false)
		var no *gtx.UnsupportedError
		if !errors.As(err, &no) || no.Code != "prepare" || !strings.Contains(no.Reason, "read_only") {
			b.Errorf("read-only session: %v", err)
		}
		if err := unprepared(256, 0, true, false); !errors.As(err, &no) || !strings.Contains(no.Reason, "standby") {
			b.Errorf("standby: %v", err)
		}
	})
}
