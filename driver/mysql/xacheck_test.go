package mysql

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/undo"
	"github.com/globaltx/globaltx/xa"
)

func TestXACheck(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		maria := !d.isMySQL()
		check := func(q undo.Query, want string) {
			t.Helper()
			for _, full := range []bool{false, true} {
				a, err := XA{}.Check(t.Context(), q, full)
				var no *gtx.UnsupportedError
				switch {
				case a.Tied != maria:
					t.Errorf("tied: %t", a.Tied)
				case want == "" && err != nil, want != "" && !errors.As(err, &no):
					t.Errorf("got %v, want %q", err, want)
				case want != "" && (no.Code != "prepare" || no.Hint == "" || !strings.Contains(no.Reason+no.Hint, want)):
					t.Errorf("got %+v, want %q", no, want)
				}
			}
			found, err := prepareFinding(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if want == "" && (found.Level != undo.Info || strings.Contains(found.Reason, "keeps its connection") != maria) ||
				want != "" && (found.Level != undo.Warn || !strings.Contains(found.Reason+found.Hint, want)) {
				t.Errorf("finding %+v, want %q", found, want)
			}
		}
		check(undo.QueryDB(d.db), "")

		privilege := map[bool]string{true: "PROCESS", false: "XA_RECOVER_ADMIN"}[maria]
		name, open := d.user()
		d.exec("GRANT ALL ON " + ident(d.one("SELECT DATABASE()")) + ".* TO " + name)
		check(open(), privilege)
		found, err := Dialect{}.Diagnose(t.Context(), open())
		if got := find(found, "prepare"); err != nil || got != "warn refused" {
			t.Errorf("doctor: %q, %v", got, err)
		}
		d.exec("GRANT " + privilege + " ON *.* TO " + name)
		check(open(), "")
		found, err = Dialect{}.Diagnose(t.Context(), open())
		if got := find(found, "prepare"); err != nil || got != "info works" {
			t.Errorf("doctor: %q, %v", got, err)
		}

		session := func(set string) undo.Query {
			c, err := d.db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { hangUp(c) })
			if _, err := c.ExecContext(t.Context(), set); err != nil {
				t.Fatal(err)
			}
			return undo.QueryDB(c)
		}
		check(session("SET SESSION TRANSACTION READ ONLY"), "read_only")
		if !maria {
			check(session("SET SESSION xa_detach_on_prepare = OFF"), "xa_detach_on_prepare=ON")
		}
	})
}

// Servers that are crashed and stopped with prepared branches list them afterwards, and
// hold their rows. Nobody loses what was decided while FLUSH TABLES WITH READ LOCK is
// held, which must not happen on a server that other tests use.
func TestXARestart(t *testing.T) {
	for _, name := range []string{testserver.NameMariaDB, testserver.NameMySQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testserver.Private(t, name)
			d := setup(t, server.DSN())
			p := prepares(t, d)
			p.readLock()

			crashed, stopped, idle := p.prepare(p.session(), 0), p.prepare(p.session(), 1), p.session()
			unprepared := p.begin(idle, 2)
			p.run(idle, p.Rollback(unprepared)[0])
			server.Kill()
			server.Start()
			p.reopen()
			p.listed(crashed, stopped)
			if !p.locked(0) || !p.locked(1) || p.locked(2) {
				t.Error("after the crash: other rows than those prepared are locked")
			}
			p.free()
			for _, text := range []string{p.End(crashed, true), p.End(unprepared, true)} {
				if _, err := p.two.ExecContext(t.Context(), text); err != nil && !p.Again(err) {
					t.Errorf("%s: %v", text, err)
				}
			}
			p.listed(stopped)
			server.Stop()
			server.Start()
			p.reopen()
			p.listed(stopped)
			if _, err := p.two.ExecContext(t.Context(), p.End(stopped, true)); err != nil {
				t.Error(err)
			}
			p.listed()
			for row, want := range []int{1, 1, 0} {
				p.row(row, want)
			}
		})
	}
}

// reopen drops connections to the server's former life.
func (p *preparing) reopen() {
	for _, db := range []*sql.DB{p.db, p.two} {
		db.SetMaxIdleConns(0)
		db.SetMaxIdleConns(2)
	}
}

// readLock shows who has ended what, where commits must wait.
func (p *preparing) readLock() {
	p.Helper()
	c, backup := p.session(), p.session()
	const soon = "SET SESSION lock_wait_timeout = 1"
	p.run(c, soon)
	n := p.prepare(c, 5)
	p.run(backup, "FLUSH TABLES WITH READ LOCK")
	if err := p.fails(c, p.End(n, true)); p.Again(err) || numberOf(err) != errLockTimeout {
		p.Errorf("end under a read lock: %v", err)
	}
	p.listed(n)
	p.run(backup, "UNLOCK TABLES")
	p.run(c, p.End(n, true))
	p.row(5, 1)

	n = p.begin(c, 6)
	p.run(backup, "FLUSH TABLES WITH READ LOCK")
	if err := p.fails(c, p.Prepare(n, "")); !p.RolledBack(err) {
		p.Errorf("prepare under a read lock: %v, want RolledBack", err)
	}
	p.run(backup, "UNLOCK TABLES")
	p.listed()
	p.row(6, 0)
	if p.locked(6) {
		p.Error("the branch that could not be prepared holds its row")
	}
}

func TestAttached(t *testing.T) {
	const list = "TRANSACTIONS\n------------\nLIST OF TRANSACTIONS FOR EACH SESSION:\n"
	cases := map[string]struct {
		status string
		want   []string
	}{
		"none":      {list, nil},
		"not begun": {list + "---TRANSACTION (0x7ff5640f6680), not started\n0 lock struct(s)\n", nil},
		"not prepared": {
			list + "---TRANSACTION 24, ACTIVE 0 sec\nMariaDB thread id 10, OS thread handle 1\nUPDATE t SET n = '(PREPARED)'\n", nil,
		},
		"two, one of them alone": {list + "---TRANSACTION 23, ACTIVE (PREPARED) 0 sec\nMariaDB thread id 9, OS\n" +
			"---TRANSACTION 22, ACTIVE (PREPARED) 3 sec recovered trx\n2 lock struct(s)\n---TRANSACTION 7, ACTIVE (PREPARED) 1 sec\n", []string{"23", "7"}},
		"a statement that looks like it": {list + "---TRANSACTION 23, ACTIVE (PREPARED) 0 sec\nMariaDB thread id 9\nSELECT '\n---TRANSACTION 23, ACTIVE (PREPARED) 0 sec recovered trx\n'\n", []string{"23"}},
	}
	for name, tc := range cases {
		got, err := attached(tc.status)
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	for _, bad := range []string{"", "LIST OF NOTHING\n", list + "---TRANSACTION 23, ACTIVE (PRE\n... truncated...\n"} {
		if got, err := attached(bad); err == nil {
			t.Errorf("%q: got %q", bad, got)
		}
	}
}

// recovered gives a name only for exactly what that name writes.
func FuzzRecovered(f *testing.F) {
	n := xa.Name{XID: gtx.XID{Log: 1, Epoch: 1, Seq: 16}, Database: "a-b", Branch: 7}
	line := []string{fmt.Sprint(xa.FormatID), fmt.Sprint(len(n.Global())), fmt.Sprint(len(n.Qualifier())), n.Global() + n.Qualifier()}
	if got, ok := recovered(line); !ok || got != n {
		f.Fatalf("%q: got %v, %t", line, got, ok)
	}
	f.Add(line[0], line[1], line[2], line[3])
	f.Add(fmt.Sprint(xa.FormatID), "-1", "6", "\x00\xff'")
	f.Add("1", "3", "0", "abc")
	f.Fuzz(func(t *testing.T, format, global, qualifier, data string) {
		n, ok := recovered([]string{format, global, qualifier, data})
		if ok && (n.Global()+n.Qualifier() != data || n.Check() != nil || format != fmt.Sprint(xa.FormatID)) {
			t.Errorf("%q, %q, %q, %q: got %v", format, global, qualifier, data, n)
		}
	})
}
