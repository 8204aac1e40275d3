package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/undo"
)

func TestDoctorTellsEveryReason(t *testing.T) {
	onEachServer(t, func(p *patient) {
		r := p.look(p.dsn)
		if !r.OK {
			p.Fatalf("a good table is not protected: %+v", r)
		}
		s := sick[r.Dialect]
		p.exec(s.ddl...)
		expect := map[string]string{}
		for table, want := range s.want {
			captured := p.captured(table)
			if expect[table] = want; want == asCaptured {
				expect[table] = captured
			} else if captured != want {
				p.Errorf("%s: capture says %q", table, captured)
			}
		}
		r = p.look(p.dsn)
		got := reasons(r)
		for table, want := range expect {
			if why, ok := got[table]; !ok || why != want {
				p.Errorf("%s: got %q (listed: %t), want %q", table, why, ok, want)
			}
		}
		if len(got) != len(s.want) || r.OK {
			p.Errorf("ok=%t, tables %v", r.OK, slices.Sorted(maps.Keys(got)))
		}
		for _, table := range slices.Sorted(maps.Keys(s.want)) { // each name can be given back
			r := p.look(p.dsn, table)
			if got := reasons(r); got[table] != expect[table] || len(got) != 1 || r.OK != (expect[table] == "") {
				p.Errorf("%s alone: ok=%t, %v, want %q", table, r.OK, got, expect[table])
			}
		}
		var out, errs bytes.Buffer
		if code := run(p.Context(), []string{"doctor", p.dsn}, stdio{nil, &out, &errs}); code != exitError || !strings.Contains(errs.String(), "not protected") {
			p.Errorf("exit code %d, %s", code, errs.String())
		}
		for _, line := range strings.Split(out.String(), "\n") {
			switch {
			case strings.Contains(line, "keyless "):
				if !strings.HasPrefix(line, "fail  ") || !strings.Contains(line, "not protected; no-key: ") {
					p.Errorf("got %q", line)
				}
			case strings.Contains(line, "good "):
				if !strings.HasPrefix(line, "ok ") || !strings.HasSuffix(line, " protected") {
					p.Errorf("got %q", line)
				}
			}
		}
	})
}

func TestDoctorNamesWhatIsMissing(t *testing.T) {
	onEachServer(t, func(p *patient) {
		r := p.look(p.dsn, "good", "GOODS")
		if len(r.Tables) != 2 || !r.Tables[0].Protected || r.OK || r.Tables[1].Findings[0].Name != "no-table" {
			p.Errorf("got %+v", r)
		}
		if r.Dialect == "postgres" { // elsewhere the case does not matter, or may not
			r := p.look(p.dsn, "GOOD")
			if f := r.Tables[0].Findings; len(f) != 1 || f[0].Name != "no-table" || f[0].Hint != "there is public.good" {
				p.Errorf("got %+v", r.Tables)
			}
		}
	})
}

// Programs read these names.
func TestDoctorJSON(t *testing.T) {
	p := newPatient(t, "sqlite")
	p.exec("CREATE TABLE keyless (n INT)")
	var out bytes.Buffer
	if code := run(t.Context(), []string{"doctor", p.dsn, "--json", "keyless"}, stdio{nil, &out, new(bytes.Buffer)}); code != exitError {
		t.Errorf("exit code %d", code)
	}
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if checks := got["checks"].([]any); len(checks) < 3 || checks[0].(map[string]any)["name"] != "session" || checks[0].(map[string]any)["level"] != "info" {
		t.Errorf("checks: %v", checks)
	}
	delete(got, "checks")
	want := map[string]any{
		"database": "sqlite:" + strings.TrimSuffix(strings.TrimPrefix(p.dsn, "sqlite:"), "_pragma=foreign_keys(1)") + "...",
		"dialect":  "sqlite", "ok": false,
		"tables": []any{map[string]any{
			"name": "keyless", "kind": "table", "protected": false, "rows": nil, "row_bytes": nil, "max_row_bytes": nil,
			"findings": []any{map[string]any{
				"name": "no-key", "level": "fail", "reason": "table keyless has no primary key", "hint": "declare one: the rowid alone may change in VACUUM",
			}},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What this user may not look at is not protected, and no error.
func TestDoctorForHiddenTables(t *testing.T) {
	for _, server := range []string{testserver.NamePostgres15, testserver.NamePostgres18} {
		t.Run(server, func(t *testing.T) {
			p := newPatient(t, server)
			p.exec("CREATE SCHEMA closed", "CREATE TABLE closed.t (id int PRIMARY KEY)")
			_, dsn := p.user()
			r := p.look(dsn, "closed.t")
			if got := reasons(r)["closed.t"]; got != "privilege" || r.OK {
				t.Errorf("got %q", got)
			}
			if got := reasons(p.look(dsn)); len(got) != 1 { // good
				t.Errorf("got %v", got)
			}
			conn, err := p.db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			var schema string
			if _, err := conn.ExecContext(t.Context(), "CREATE TEMPORARY TABLE fleeting (id int PRIMARY KEY)"); err != nil {
				t.Fatal(err)
			}
			if err := conn.QueryRowContext(t.Context(), "SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()").Scan(&schema); err != nil {
				t.Fatal(err)
			}
			if got := reasons(p.look(p.dsn, schema+".fleeting"))[schema+".fleeting"]; got != "temporary" {
				t.Errorf("got %q", got)
			}
		})
	}
	for _, server := range []string{testserver.NameMySQL, testserver.NameMariaDB} {
		t.Run(server, func(t *testing.T) {
			p := newPatient(t, server)
			name, dsn := p.user()
			p.exec("CREATE TABLE other (id INT PRIMARY KEY)", "GRANT SELECT ON good TO "+name)
			if got := reasons(p.look(dsn, "other"))["other"]; got != "no-table" {
				t.Errorf("got %q", got)
			}
			if got := reasons(p.look(p.dsn, "mysql.user"))["mysql.user"]; got != "other-schema" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// A view counts only when it is named.
func TestDoctorShowsViews(t *testing.T) {
	onEachServer(t, func(p *patient) {
		p.exec("CREATE VIEW seen AS SELECT * FROM good")
		if r := p.look(p.dsn); !r.OK || len(r.Tables) != 2 {
			p.Errorf("got %+v", r)
		}
		if r := p.look(p.dsn, "seen"); r.OK || len(r.Tables) != 1 || r.Tables[0].Findings[0].Name != "view" {
			p.Errorf("got %+v", r)
		}
	})
}

func TestDoctorChangesNothing(t *testing.T) {
	onEachServer(t, func(p *patient) {
		p.exec(sick[p.dialect].ddl...)
		before := p.relations()
		p.look(p.dsn)
		p.look(p.dsn, "good")
		if after := p.relations(); after != before {
			p.Errorf("got  %s\nwant %s", after, before)
		}
	})
}

// Parameters of the DSN that change the file are left out.
func TestDoctorChangesNoFile(t *testing.T) {
	p := newPatient(t, "sqlite")
	p.db.Close()
	file, _, _ := strings.Cut(strings.TrimPrefix(p.dsn, "sqlite:"), "?")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p.look(p.dsn + "&_pragma=journal_mode(WAL)&_pragma=user_version(7)&_journal_mode=WAL")
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(after, before) {
		t.Errorf("%d bytes, %d before: %v", len(after), len(before), err)
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Errorf("beside it: %v, %v", entries, err)
	}
}

func TestDoctorSeesTheTablesOfThisModule(t *testing.T) {
	onEachServer(t, func(p *patient) {
		if f := p.check(p.look(p.dsn), "gtx_tables"); f.Value != "not there yet" || f.Level != undo.Info {
			p.Errorf("got %+v", f)
		}
		if code := run(p.Context(), []string{"migrate", p.dsn}, stdio{nil, new(bytes.Buffer), new(bytes.Buffer)}); code != exitOK {
			p.Fatalf("migrate: exit code %d", code)
		}
		r := p.look(p.dsn)
		if f := p.check(r, "gtx_tables"); f.Value != "there" || f.Level != undo.Info || len(r.Tables) != 1 {
			p.Errorf("got %+v, tables %+v", f, r.Tables)
		}
		p.exec("ALTER TABLE gtx_undo DROP COLUMN schema_fp")
		if f := p.check(p.look(p.dsn), "gtx_tables"); f.Level != undo.Fail || !strings.Contains(f.Reason, "gtx_undo.schema_fp") {
			p.Errorf("got %+v", f)
		}
		p.exec("DROP TABLE gtx_branch", "DROP TABLE gtx_undo")
		if f := p.check(p.look(p.dsn), "gtx_tables"); f.Level != undo.Info || f.Value != "incomplete" {
			p.Errorf("got %+v", f)
		}
	})
}

func TestDoctorForAUserWithoutCreate(t *testing.T) {
	testserver.All(t, func(t *testing.T, db testserver.Database) {
		p := newPatient(t, db.Server)
		name, dsn := p.user()
		p.exec("GRANT SELECT, INSERT, UPDATE, DELETE ON good TO " + name)
		if p.dialect == "mysql" {
			if f := p.check(p.look(dsn), "triggers"); f.Level != undo.Fail {
				p.Errorf("got %+v", f)
			}
			var in string
			p.one("SELECT DATABASE()", &in)
			p.exec("GRANT TRIGGER ON `" + in + "`.* TO " + name)
		}
		r := p.look(dsn)
		if f := p.check(r, "gtx_tables"); f.Level != undo.Fail || f.Value != "missing" || !strings.Contains(f.Hint, "gtx migrate") {
			p.Errorf("got %+v", f)
		}
		if len(r.Tables) != 1 || !r.Tables[0].Protected || r.OK {
			p.Errorf("ok=%t, %+v", r.OK, r.Tables)
		}
		if code := run(p.Context(), []string{"migrate", p.dsn}, stdio{nil, new(bytes.Buffer), new(bytes.Buffer)}); code != exitOK {
			p.Fatalf("migrate: exit code %d", code)
		}
		p.exec("GRANT SELECT ON gtx_resource TO "+name, "GRANT SELECT, INSERT, UPDATE, DELETE ON gtx_branch TO "+name, "GRANT SELECT, INSERT ON gtx_undo TO "+name)
		if f := p.check(p.look(dsn), "gtx_tables"); f.Level != undo.Fail || f.Value != "no access" || !strings.Contains(f.Reason, "UPDATE, DELETE on gtx_undo") {
			p.Errorf("got %+v", f)
		}
		p.exec("GRANT UPDATE, DELETE ON gtx_undo TO " + name)
		r = p.look(dsn) // the tables for operators stay out of this user's sight
		if f := p.check(r, "gtx_tables"); f.Level != undo.Info || f.Value != "there" || !r.OK {
			p.Errorf("ok=%t, got %+v", r.OK, f)
		}
		p.exec("REVOKE DELETE ON good FROM " + name)
		r = p.look(dsn)
		if f := r.Tables[0].Findings; len(f) != 1 || f[0].Name != "privilege" || r.Tables[0].Protected || r.OK || !strings.Contains(f[0].Reason, "lacks DELETE") {
			p.Errorf("ok=%t, %+v", r.OK, r.Tables)
		}
		for _, args := range [][]string{{"doctor", dsn}, {"doctor", "--json", dsn}, {"doctor", strings.Replace(dsn, "u_", "x_", 1)}} {
			var out, errs bytes.Buffer
			code := run(p.Context(), args, stdio{nil, &out, &errs})
			if all := out.String() + errs.String(); strings.Contains(all, userPassword) || code == exitOK {
				p.Errorf("exit code %d:\n%s", code, all)
			}
		}
	})
}

func TestDoctorRefusesTheSession(t *testing.T) {
	for server, params := range map[string][2]string{
		testserver.NameMySQL:      {"sql_mode=''", "non-strict"},
		testserver.NameMariaDB:    {"sql_mode=''", "non-strict"},
		testserver.NamePostgres15: {"standard_conforming_strings=off", "session"},
		testserver.NamePostgres18: {"standard_conforming_strings=off", "session"},
	} {
		t.Run(server, func(t *testing.T) {
			p := newPatient(t, server)
			joint := "?"
			if strings.Contains(p.dsn, "?") {
				joint = "&"
			}
			r := p.look(p.dsn + joint + strings.ReplaceAll(params[0], "'", "%27"))
			if f := r.Checks[0]; f.Level != undo.Fail || f.Name != params[1] || r.OK || len(r.Tables) != 1 || !r.Tables[0].Protected {
				t.Errorf("got %+v", r)
			}
			if r := p.look(p.dsn); r.Checks[0].Name != "session" || r.Checks[0].Level != undo.Info {
				t.Errorf("got %+v", r.Checks)
			}
		})
	}
}

func TestDoctorCannotLook(t *testing.T) {
	dir := t.TempDir()
	cases := map[string]struct {
		args []string
		want string
	}{
		"no DSN":        {nil, "Usage: gtx doctor"},
		"unknown flag":  {[]string{"sqlite:x", "-x"}, "-x"},
		"unknown kind":  {[]string{"oracle:x"}, "does not begin with mysql:"},
		"unknown param": {[]string{"sqlite:" + dir + "/x.db?gtx_nonsense=1"}, "gtx_nonsense"},
		"no file":       {[]string{"sqlite:" + dir + "/x.db"}, "connect to sqlite:"},
		"no server":     {[]string{"mysql:u:hunter2@tcp(127.0.0.1:1)/x"}, "connect to mysql:u:***@"},
		"no server 2":   {[]string{"postgres://u:hunter2@127.0.0.1:1/x"}, "connect to postgres://u:"},
		"no server 3":   {[]string{"pgx:postgres://u:hunter2@127.0.0.1:1/x"}, "connect to pgx:postgres://u:"},
		"no server 4":   {[]string{"pgx:host=127.0.0.1 port=1 user=u password=hunter2"}, "connect to pgx:host="},
		"bad DSN":       {[]string{"mysql:u:hunter2@tcp(x"}, "gtx doctor:"},
		"bad DSN 2":     {[]string{"pgx:postgres://u:hunter2@h:port/x"}, "gtx doctor:"},
		"no DSN of pgx": {[]string{"pgx:registeredConnConfig0"}, "gtx doctor:"},
		"bad name":      {[]string{"sqlite:" + dir + "/y.db", "a.b.c"}, `table name "a.b.c"`},
		"no quote":      {[]string{"sqlite:" + dir + "/y.db", `"a`}, "want [schema.]table"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run(t.Context(), append([]string{"doctor"}, tc.args...), stdio{nil, &out, &errs})
			if code != exitUsage || !strings.Contains(errs.String(), tc.want) || strings.Contains(errs.String(), "hunter2") || out.Len() > 0 {
				t.Errorf("exit code %d, want %d with %q:\n%s%s", code, exitUsage, tc.want, out.String(), errs.String())
			}
		})
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("made %v", left)
	}
	t.Run("in memory", func(t *testing.T) {
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{"doctor", "sqlite::memory:"}, stdio{nil, &out, &errs}); code != exitError || !strings.Contains(out.String(), "memory") {
			t.Errorf("exit code %d\n%s%s", code, out.String(), errs.String())
		}
	})
}

func TestSplitName(t *testing.T) {
	for word, want := range map[string]string{
		`order`: "order", `shop.order`: "shop|order", `"a.b"`: "a.b", "`a`.\"b\"\"c\"": `a|b"c`, `""""`: `"`, `"a".b`: "a|b", "a b": "a b",
		`a"b`: `a"b`,
	} {
		if parts, err := splitName(word); err != nil || strings.Join(parts, "|") != want {
			t.Errorf("%s: got %q, %v", word, parts, err)
		}
	}
	for _, word := range []string{"", ".", "a.", ".a", "a.b.c", `"a`, `"a"b`, `""`, "`a"} {
		if parts, err := splitName(word); err == nil {
			t.Errorf("%s: got %q", word, parts)
		}
	}
}
