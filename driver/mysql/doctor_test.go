package mysql

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/undo"
)

// user makes one without rights and gives its name for GRANT, and a pool that
// connects anew, with all the rights granted so far.
func (d *database) user() (name string, open func() undo.Query) {
	d.Helper()
	cfg := d.cfg.Clone()
	in := d.one("SELECT DATABASE()")
	cfg.User, cfg.Passwd = "u_"+in[len(in)-12:], "secret"
	name = cfg.User + "@'%'"
	d.exec("CREATE USER " + name + " IDENTIFIED BY 'secret'")
	d.Cleanup(func() {
		if _, err := d.db.Exec("DROP USER " + name); err != nil {
			d.Error(err)
		}
	})
	return name, func() undo.Query { return undo.QueryDB(pool(d.T, cfg)) }
}

func TestExamineAsksForPrivileges(t *testing.T) {
	cases := map[string]struct {
		grants []string // before "ON t"
		want   string   // "-" nothing, "read-only", or what is lacking
	}{
		"all":                     {[]string{"SELECT, INSERT, UPDATE, DELETE"}, "-"},
		"only SELECT":             {[]string{"SELECT"}, "read-only"},
		"UPDATE":                  {[]string{"SELECT, UPDATE"}, "-"},
		"UPDATE of one column":    {[]string{"SELECT, UPDATE (note)"}, "UPDATE on every column"},
		"UPDATE of every column":  {[]string{"SELECT, UPDATE (id, note, must)"}, "-"},
		"INSERT without DELETE":   {[]string{"SELECT, INSERT"}, "DELETE"},
		"INSERT of some columns":  {[]string{"SELECT, INSERT (id), DELETE"}, "INSERT on every column"},
		"DELETE without INSERT":   {[]string{"SELECT, DELETE"}, "INSERT on every column"},
		"SELECT of some columns":  {[]string{"SELECT (id), INSERT, UPDATE, DELETE"}, "SELECT on every column"},
		"writing without reading": {[]string{"INSERT, DELETE"}, "SELECT on every column"},
	}
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE t (id INT PRIMARY KEY, note VARCHAR(20), must INT NOT NULL, twice INT AS (must + must), hidden INT AS (1))")
		table, err := Dialect{}.Table(t.Context(), undo.QueryDB(d.db), ident(d.one("SELECT DATABASE()"))+".`t`")
		if err != nil {
			t.Fatal(err)
		}
		name, open := d.user()
		for what, tc := range cases {
			t.Run(what, func(t *testing.T) {
				for _, g := range tc.grants {
					d.exec("GRANT " + g + " ON t TO " + name)
				}
				defer d.exec("REVOKE ALL PRIVILEGES, GRANT OPTION FROM " + name)
				found, err := Dialect{}.Examine(t.Context(), open(), table, undo.Relation{Widest: undo.Unknown})
				if err != nil {
					t.Fatal(err)
				}
				if got := lacking(found); got != tc.want {
					t.Errorf("got %q, want %q", got, tc.want)
				}
			})
		}
	})
}

func lacking(found []undo.Finding) string {
	got := "-"
	for _, f := range found {
		got = f.Name
		if f.Level == undo.Fail {
			_, got, _ = strings.Cut(f.Reason, " and lacks ")
			got, _, _ = strings.Cut(got, ", so what")
		}
	}
	return got
}

func find(found []undo.Finding, name string) string {
	for _, f := range found {
		if f.Name == name {
			return string(f.Level) + " " + f.Value
		}
	}
	return ""
}

func TestDiagnose(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		name, open := d.user()
		d.exec("GRANT SELECT ON gtx_resource TO " + name)
		diagnose := func(q undo.Query) []undo.Finding {
			t.Helper()
			found, err := Dialect{}.Diagnose(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		if got := find(diagnose(open()), "triggers"); got != "fail hidden" {
			t.Errorf("without TRIGGER: %q", got)
		}
		d.exec("GRANT TRIGGER ON " + ident(d.one("SELECT DATABASE()")) + ".* TO " + name)
		if got := find(diagnose(open()), "triggers"); got != "" {
			t.Errorf("with TRIGGER: %q", got)
		}
		found := diagnose(undo.QueryDB(d.db))
		if got := find(found, "gtx_tables"); got != "info there" {
			t.Errorf("tables: %q", got)
		}
		if got := find(found, "max_allowed_packet"); got != "info "+d.one("SELECT @@max_allowed_packet")+" bytes" {
			t.Errorf("packet: %q", got)
		}
		for params, want := range map[string]string{
			"innodb_lock_wait_timeout=5":  "info 5 s",
			"innodb_lock_wait_timeout=30": "warn 30 s",
		} {
			cfg := d.cfg.Clone()
			name, value, _ := strings.Cut(params, "=")
			cfg.Params = map[string]string{name: value}
			if got := find(diagnose(undo.QueryDB(pool(t, cfg))), name); got != want {
				t.Errorf("%s: got %q, want %q", params, got, want)
			}
		}
		cfg := d.cfg.Clone()
		cfg.Params = map[string]string{map[bool]string{true: "tx_read_only", false: "transaction_read_only"}[strings.Contains(d.one("SELECT @@version"), "MariaDB")]: "1"}
		if got := find(diagnose(undo.QueryDB(pool(t, cfg))), "read_only"); got != "fail ON" {
			t.Errorf("read-only session: %q", got)
		}
		cfg = d.cfg.Clone()
		cfg.DBName = ""
		if got := find(diagnose(undo.QueryDB(pool(t, cfg))), "database"); got != "fail " {
			t.Errorf("no database: %q", got)
		}
	})
}

// A privilege can come from a role.
func TestDiagnoseReadsRoles(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		name, open := d.user()
		role := strings.Replace(strings.TrimSuffix(name, "@'%'"), "u_", "r_", 1)
		d.exec("CREATE ROLE " + role)
		t.Cleanup(func() {
			if _, err := d.db.Exec("DROP ROLE " + role); err != nil {
				t.Error(err)
			}
		})
		d.exec("GRANT ALL ON " + ident(d.one("SELECT DATABASE()")) + ".* TO " + role)
		d.exec("GRANT " + role + " TO " + name)
		if strings.Contains(d.one("SELECT @@version"), "MariaDB") {
			d.exec("SET DEFAULT ROLE " + role + " FOR " + name)
		} else {
			d.exec("SET DEFAULT ROLE " + role + " TO " + name)
		}
		found, err := Dialect{}.Diagnose(t.Context(), open())
		if err != nil {
			t.Fatal(err)
		}
		if got := find(found, "triggers") + find(found, "gtx_tables"); got != "info there" {
			t.Errorf("got %q in %+v", got, found)
		}
	})
}

func TestRelationsEstimate(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE small (id INT PRIMARY KEY, note VARCHAR(10) CHARACTER SET utf8mb4, more VARCHAR(10) AS (note))")
		d.exec("CREATE TABLE large (id INT PRIMARY KEY, doc LONGBLOB, js JSON)")
		d.exec("CREATE TABLE filled (id INT PRIMARY KEY, note CHAR(100))")
		for i := range 50 {
			d.exec("INSERT INTO filled VALUES (?, REPEAT('x', 100))", i)
		}
		var n1, n2, n3, n4 sql.NullString
		if err := d.db.QueryRow("ANALYZE TABLE filled").Scan(&n1, &n2, &n3, &n4); err != nil {
			t.Fatal(err)
		}
		q := undo.QueryDB(d.db)
		all, err := Dialect{}.Relations(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]undo.Relation{}
		for _, r := range all {
			got[r.Name] = r
		}
		if len(all) != 3 || got["small"].Widest != 8+40 || got["large"].Widest < 1<<32 || got["small"].Width != undo.Unknown && got["small"].Count != 0 {
			t.Errorf("got %+v", all)
		}
		if f := got["filled"]; f.Count < 10 || f.Count > 500 || f.Width < 100 {
			t.Errorf("got %+v", f)
		}
		for table, want := range map[string]string{"small": "-", "large": "row-size"} {
			desc, err := Dialect{}.Table(t.Context(), q, got[table].ID)
			if err != nil {
				t.Fatal(err)
			}
			found, err := Dialect{}.Examine(t.Context(), q, desc, got[table])
			if err != nil {
				t.Fatal(err)
			}
			if got := lacking(found); got != want {
				t.Errorf("%s: got %q, want %q", table, got, want)
			}
		}
	})
}

func TestSeesTriggers(t *testing.T) {
	cases := []struct {
		grant string
		want  bool
	}{
		{"GRANT ALL PRIVILEGES ON *.* TO `root`@`%` WITH GRANT OPTION", true},
		{"GRANT SELECT, TRIGGER ON *.* TO `u`@`%`", true},
		{"GRANT SELECT, TRIGGER ON `my_shop`.* TO `u`@`%`", true},
		{`GRANT TRIGGER ON ` + "`my\\_shop`" + `.* TO u`, true},
		{"GRANT TRIGGER ON `my%`.* TO u", true},
		{"GRANT TRIGGER ON `%p`.* TO u", true},
		{"GRANT TRIGGER ON `my_sho`.* TO u", false},
		{`GRANT TRIGGER ON ` + "`my\\%`" + `.* TO u`, false},
		{"GRANT TRIGGER ON `other`.* TO u", false},
		{"GRANT TRIGGER ON `my_shop`.`t` TO u", false},
		{"GRANT SELECT ON `my_shop`.* TO u", false},
		{"GRANT `r`@`%` TO `u`@`%`", false},
		{"REVOKE TRIGGER ON `my_shop`.* FROM u", false},
		{"", false},
	}
	for _, tc := range cases {
		if got := seesTriggers(tc.grant, "my_shop"); got != tc.want {
			t.Errorf("%s: got %t", tc.grant, got)
		}
	}
}

// dryRun must not run.
func TestDryRunChangesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE t (id INT PRIMARY KEY, note VARCHAR(20))")
		d.exec("INSERT INTO t VALUES (1, 'a')")
		before := d.checksum("t")
		for _, p := range []string{"SELECT", "INSERT", "UPDATE", "DELETE"} {
			ok, err := Dialect{}.may(t.Context(), undo.QueryDB(d.db), dryRun(p, "t", []string{"id", "note"}))
			if !ok || err != nil {
				t.Errorf("%s: %t, %v", p, ok, err)
			}
		}
		if _, err := (Dialect{}).may(t.Context(), undo.QueryDB(d.db), "EXPLAIN SELECT nothing FROM t"); err == nil {
			t.Error("an error that is no denial is lost")
		}
		if got := fmt.Sprint(d.checksum("t")); got != before {
			t.Errorf("checksum %s, before %s", got, before)
		}
	})
}
