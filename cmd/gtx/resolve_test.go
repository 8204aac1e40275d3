package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/natsbus"
	"github.com/globaltx/globaltx/undo"
)

// mess is a database in which an aborted transaction is stuck. Row 1 was updated
// by it and overwritten from outside, row 2 deleted and made again, row 3 updated
// and left alone.
type mess struct {
	*testing.T
	dsn string // as on the command line
	bus *natsbus.Bus
	dir string // of the coordinator
	db  *sql.DB
	xid gtx.XID
}

// messKinds gives the command line DSN of a fresh database on every server, through
// every driver.
func messKinds() map[string]func(testing.TB) string {
	return map[string]func(testing.TB) string{
		"sqlite":     sqliteMess,
		"mysql":      func(t testing.TB) string { return "mysql:" + testserver.MySQL(t) },
		"mariadb":    func(t testing.TB) string { return "mariadb:" + testserver.MariaDB(t) },
		"postgres15": func(t testing.TB) string { return testserver.Postgres15(t) },
		"postgres18": func(t testing.TB) string { return "pgx:" + testserver.Postgres18(t) },
	}
}

func sqliteMess(t testing.TB) string { return "sqlite:" + filepath.Join(t.TempDir(), "mess.db") }

func newMess(t *testing.T, dsn string) *mess {
	t.Helper()
	m := &mess{T: t, dsn: dsn, dir: t.TempDir()}
	var err error
	if m.bus, err = natsbus.Embedded(t.Context(), m.dir, natsbus.Listen("127.0.0.1:0")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.bus.Close() })
	o, err := openOperator(dsn, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.close)
	m.db = o.db
	m.exec("CREATE TABLE parcel (id bigint PRIMARY KEY, weight bigint, owner varchar(40))",
		"INSERT INTO parcel VALUES (1, 918273, 'Ada'), (2, 5, 'Grace'), (3, 6, 'Alan')")
	wrapped, err := o.target.open(true, 2)
	if err != nil {
		t.Fatal(err)
	}
	no := errors.New("no")
	err = m.bus.Run(t.Context(), func(ctx context.Context) error {
		tx, _ := gtx.FromContext(ctx)
		m.xid = tx.XID()
		for _, text := range []string{"UPDATE parcel SET weight = 4 WHERE id = 1", "DELETE FROM parcel WHERE id = 2", "UPDATE parcel SET weight = 7 WHERE id = 3"} {
			if _, err := wrapped.DB.ExecContext(ctx, text); err != nil {
				return err
			}
		}
		m.exec("UPDATE parcel SET weight = 645372 WHERE id = 1", "INSERT INTO parcel VALUES (2, 8, 'Linus')")
		return no
	})
	if !errors.Is(err, no) {
		t.Fatal(err)
	}
	if err := wrapped.DB.Close(); err != nil { // from here on nobody resolves but the test
		t.Fatal(err)
	}
	r, err := openOperator(dsn, m.bus)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if left, err := r.res.Scan(t.Context()); left != 1 || !errors.Is(err, gtx.ErrDirty) {
		t.Fatalf("scan: %d left, %v", left, err)
	}
	return m
}

func (m *mess) exec(texts ...string) {
	m.Helper()
	for _, text := range texts {
		if _, err := m.db.ExecContext(m.Context(), text); err != nil {
			m.Fatalf("%s: %v", text, err)
		}
	}
}

func (m *mess) want(query, want string) {
	m.Helper()
	lines, err := undo.QueryDB(m.db)(m.Context(), query)
	if err != nil {
		m.Fatal(err)
	}
	if got := fmt.Sprint(lines); got != want {
		m.Errorf("%s:\ngot  %s\nwant %s", query, got, want)
	}
}

// gtx runs a command and checks its exit code and that both outputs together
// match each of the expressions.
func (m *mess) gtx(code int, args []string, want ...string) string {
	m.Helper()
	got, out, errs := runGTX(m.T, args...)
	if got != code {
		m.Fatalf("gtx %v: exit code %d, want %d\n%s%s", args, got, code, out, errs)
	}
	for _, w := range want {
		if !regexp.MustCompile(w).MatchString(out + errs) {
			m.Errorf("gtx %v: %q is not in\n%s%s", args, w, out, errs)
		}
	}
	return out + errs
}

const parcels = "SELECT id, weight, owner FROM parcel ORDER BY id"

func TestOperatorCommands(t *testing.T) {
	for name, dsn := range messKinds() {
		t.Run(name, func(t *testing.T) {
			m := newMess(t, dsn(t))
			xid := m.xid.String()
			m.gtx(exitOK, []string{"ls", m.dsn, "--stuck"}, xid+` +\S+ +3 +3 +20\d\d-.*Z .*parcel.*not what the transaction left`)
			m.gtx(exitOK, []string{"ls", m.dsn}, xid)

			out := m.gtx(exitOK, []string{"show", m.dsn, xid}, `stuck since 20`, `parcel\S* id=1\n  updated in branch \d+, seq \d+, key \S+\n  DIRTY`,
				`\* weight +918273 +645372`, `    owner +'?Ada'? +'?Ada'?`, `\* owner +'?Grace'? +'?Linus'?`, `id=3\n.*\n  clean: .* left\n`, `\* weight +6 +7`)
			hidden := m.gtx(exitOK, []string{"show", "--redact", m.dsn, xid}, `id=<\d+ bytes, [0-9a-f]{8}>`, `weight +<6 bytes, \w+> +<6 bytes`)
			for _, value := range []string{"918273", "645372", "Ada", "Grace", "Linus", "Alan"} {
				if strings.Contains(hidden, value) {
					t.Errorf("%s is not redacted in\n%s", value, hidden)
				}
			}
			if again := m.gtx(exitOK, []string{"show", "--redact", m.dsn, xid}); again == hidden {
				t.Error("digests are the same in every run, so that they can be looked up")
			}
			if owner := regexp.MustCompile(`    owner +(<.*>) +(<.*>)`).FindStringSubmatch(hidden); len(owner) != 3 || owner[1] != owner[2] {
				t.Errorf("equal values are not seen to be equal: %q", owner)
			}

			key := regexp.MustCompile(`id=1\n.* key (\S+)\n`).FindStringSubmatch(out)
			if len(key) != 2 {
				t.Fatal("no key")
			}
			m.gtx(exitError, []string{"resolve", m.dsn, xid, "--force-before", "--table", "parcel", "--key", key[1][:12], "--nats", m.bus.URL(), "--reason", "a typo", "--yes"},
				`dirty: \S*parcel\S* key \S+ \(updated\)\n1 row written back, recorded for`, `the transaction is still there:`)
			m.want(parcels, "[[1 918273 Ada] [2 8 Linus] [3 7 Alan]]")
			m.gtx(exitError, []string{"resolve", m.dsn, xid, "--retry", "--nats", m.bus.URL(), "--reason", "hope", "--yes"}, `resolve: settle .*retry.*writer outside`)
			m.gtx(exitOK, []string{"resolve", m.dsn, xid, "--keep-current", "--nats", m.bus.URL(), "--reason", "Linus is right", "--yes"},
				`dirty: \S*parcel\S* key \S+ \(deleted\)\n1 row left as now`, `nothing of `+xid+` is left in`)
			m.want(parcels, "[[1 918273 Ada] [2 8 Linus] [3 6 Alan]]")
			m.want("SELECT action, reason FROM gtx_operator ORDER BY at", "[[force-before a typo] [keep-current Linus is right]]")
			u, err := user.Current()
			if err != nil {
				t.Fatal(err)
			}
			m.want("SELECT COUNT(*) FROM gtx_operator WHERE who LIKE '"+u.Username+"@%'", "[[2]]")
			m.gtx(exitOK, []string{"ls", "--stuck", m.dsn}, "no global transaction is stuck in")
			m.gtx(exitOK, []string{"ls", m.dsn}, "no global transaction has anything left in")
			m.gtx(exitError, []string{"show", m.dsn, xid}, "no undo row of "+xid)
			m.gtx(exitError, []string{"resolve", m.dsn, xid, "--keep-current", "--nats", m.bus.URL(), "--reason", "again", "--yes"}, "nothing waits for an operator")
		})
	}
}

func TestResolveUsage(t *testing.T) {
	const xid = "0000000000000001-0-1-1"
	missing := filepath.Join(t.TempDir(), "no-such-directory")
	m := &mess{T: t, dsn: sqliteMess(t)}
	base := []string{"resolve", m.dsn, xid}
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"nothing":          {nil, exitUsage, "one of --retry"},
		"two actions":      {[]string{"--retry", "--force-before", "--reason", "x", "--nats", "x"}, exitUsage, "one of --retry"},
		"no reason":        {[]string{"--retry", "--nats", "x"}, exitUsage, "--reason"},
		"blank reason":     {[]string{"--retry", "--nats", "x", "--reason", " "}, exitUsage, "--reason"},
		"no coordinator":   {[]string{"--retry", "--reason", "x"}, exitUsage, "--nats or --dir"},
		"two coordinators": {[]string{"--retry", "--reason", "x", "--nats", "x", "--dir", "x"}, exitUsage, "not both"},
		"retry of a row":   {[]string{"--retry", "--reason", "x", "--nats", "x", "--key", "x"}, exitUsage, "whole transaction"},
		"a word too many":  {[]string{"--retry", "word"}, exitUsage, "Usage: gtx resolve"},
		"no terminal":      {[]string{"--retry", "--reason", "x", "--nats", "x"}, exitError, "--yes"},
		"no such log":      {[]string{"--retry", "--reason", "x", "--yes", "--dir", missing}, exitError, "no-such-directory"},
		"no server":        {[]string{"--retry", "--reason", "x", "--yes", "--nats", "nats://u:hunter2@127.0.0.1:1"}, exitError, "unavailable"},
		"not migrated":     {[]string{"--retry", "--reason", "x", "--yes", "--assume-aborted"}, exitError, "gtx migrate"},
		"no server either": {[]string{"--retry", "--reason", "x", "--yes", "--assume-aborted", "--nats", "nats://u:hunter2@127.0.0.1:1"}, exitError, "gtx migrate"},
	} {
		t.Run(name, func(t *testing.T) {
			m := &mess{T: t}
			if out := m.gtx(tc.code, append(base[:3:3], tc.args...), tc.want); strings.Contains(out, "hunter2") {
				t.Errorf("a password in\n%s", out)
			}
		})
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("a new decision log was made")
	}
	m.gtx(exitError, []string{"resolve", m.dsn, "x", "--retry", "--reason", "x", "--yes", "--assume-aborted"}, "parse xid")
	m.gtx(exitError, []string{"show", m.dsn, xid}, "gtx migrate")
	m.gtx(exitError, []string{"ls", m.dsn}, "gtx migrate")
	m.gtx(exitUsage, []string{"ls"}, "Usage: gtx ls")
	m.gtx(exitUsage, []string{"show", m.dsn, xid, "--nonsense"}, "nonsense")
	m.gtx(exitOK, []string{"show", "-h"}, "Usage: gtx show")
	for _, name := range []string{"ls", "show"} {
		if out := m.gtx(exitError, []string{name, "mysql:u:hunter2@tcp(x", xid}[:map[string]int{"ls": 2, "show": 3}[name]]); strings.Contains(out, "hunter2") {
			t.Errorf("a password in\n%s", out)
		}
	}
}

// TestResolveAsksTheCoordinator in both ways that it can be reached, and goes on
// without one only by the operator's word.
func TestResolveAsksTheCoordinator(t *testing.T) {
	m := newMess(t, sqliteMess(t))
	resolve := func(more ...string) []string {
		return append([]string{"resolve", m.dsn, m.xid.String(), "--force-before", "--reason", "test", "--yes"}, more...)
	}
	m.gtx(exitError, resolve("--dir", m.dir), "in use", "--nats")
	m.gtx(exitError, resolve("--nats", m.bus.URL(), "--table", "letter"), "no undo row")
	foreign := t.TempDir()
	other, err := natsbus.Embedded(t.Context(), foreign)
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
	m.gtx(exitError, resolve("--dir", foreign, "--assume-aborted"), "ask for the outcome")
	m.want(parcels, "[[1 645372 Ada] [2 8 Linus] [3 7 Alan]]")
	m.bus.Close()
	m.gtx(exitOK, resolve("--dir", m.dir), "2 rows written back")
	m.want(parcels, "[[1 918273 Ada] [2 5 Grace] [3 6 Alan]]")

	m = newMess(t, sqliteMess(t))
	m.gtx(exitOK, resolve("--assume-aborted"), "warning: no coordinator is asked", "2 rows written back")
	m.want(parcels, "[[1 918273 Ada] [2 5 Grace] [3 6 Alan]]")

	m = newMess(t, sqliteMess(t))
	if err := m.bus.Run(t.Context(), func(ctx context.Context) error {
		tx, _ := gtx.FromContext(ctx)
		m.xid = tx.XID()
		m.gtx(exitError, resolve("--nats", m.bus.URL()), "says pending")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestChooseRows(t *testing.T) {
	row := func(table, key string) undo.ShownRow {
		return undo.ShownRow{Row: undo.Row{Table: table, KeyHash: key}}
	}
	rows := []undo.ShownRow{row(`"a"."t"`, "12"), row(`"a"."t"`, "13"), row(`"b"."t"`, "2"), row("`s`.`u`", "13")}
	for _, tc := range []struct{ table, key, id, hash, err string }{
		{"", "", "", "", ""},
		{"a.t", "", `"a"."t"`, "", ""},
		{`"b"."t"`, "", `"b"."t"`, "", ""},
		{"u", "", "`s`.`u`", "", ""},
		{"u", "13", "`s`.`u`", "13", ""},
		{"", "2", `"b"."t"`, "2", ""},
		{"a.t", "12", `"a"."t"`, "12", ""},
		{"t", "", "", "", "2 tables"},
		{"", "13", "", "", "2 tables"},
		{"a.t", "1", "", "", "2 keys"},
		{"x", "", "", "", "no undo row"},
		{"u", "2", "", "", "no undo row"},
	} {
		id, hash, err := choose(rows, tc.table, tc.key)
		if id != tc.id || hash != tc.hash || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%q %q: got %q %q %v", tc.table, tc.key, id, hash, err)
		}
	}
}
