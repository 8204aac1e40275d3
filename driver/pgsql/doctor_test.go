package pgsql

import (
	"database/sql"
	"net/url"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/undo"
)

// onBoth runs a test on a fresh database of each server.
func onBoth(t *testing.T, test func(b *bench)) {
	for _, server := range []string{testserver.NamePostgres15, testserver.NamePostgres18} {
		t.Run(server, func(t *testing.T) {
			b := &bench{T: t, dsn: testserver.Open(t, server).DSN}
			b.db = b.pool(b.dsn)
			b.run(Dialect{}.Schema()...)
			test(b)
		})
	}
}

func (b *bench) pool(dsn string) *sql.DB {
	b.Helper()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	return db
}

// user makes one without rights, and a way to ask as that user.
func (b *bench) user() (name string, q undo.Query) {
	b.Helper()
	in := b.read("SELECT current_database()")
	name = "u_" + in[len(in)-12:]
	b.run("CREATE ROLE " + name + " LOGIN PASSWORD 'secret'")
	b.Cleanup(func() { b.run("DROP OWNED BY "+name, "DROP ROLE "+name) })
	u, err := url.Parse(b.dsn)
	if err != nil {
		b.Fatal(err)
	}
	u.User = url.UserPassword(name, "secret")
	return name, queryDB(b.pool(u.String()))
}

// with gives a way to ask over a DSN with one more parameter.
func (b *bench) with(name, value string) undo.Query {
	b.Helper()
	u, err := url.Parse(b.dsn)
	if err != nil {
		b.Fatal(err)
	}
	params := u.Query()
	params.Set(name, value)
	u.RawQuery = params.Encode()
	return queryDB(b.pool(u.String()))
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

func TestExamineReadsPrivileges(t *testing.T) {
	cases := map[string]struct{ table, grants, want string }{
		"all":                     {"t", "SELECT, INSERT, UPDATE, DELETE", "-"},
		"only SELECT":             {"t", "SELECT", "read-only"},
		"none":                    {"t", "", "read-only"},
		"UPDATE":                  {"t", "SELECT, UPDATE", "-"},
		"UPDATE of one column":    {"t", "SELECT, UPDATE (note)", "UPDATE on every column"},
		"UPDATE of every column":  {"t", "SELECT, UPDATE (id, note)", "-"},
		"INSERT":                  {"t", "SELECT, INSERT", "DELETE, UPDATE"},
		"INSERT, DELETE":          {"t", "SELECT, INSERT, DELETE", "UPDATE"},
		"INSERT of some columns":  {"t", "SELECT, INSERT (id), UPDATE, DELETE", "INSERT on every column"},
		"DELETE":                  {"t", "SELECT, DELETE", "INSERT on every column, UPDATE"},
		"SELECT of some columns":  {"t", "SELECT (id), INSERT, UPDATE, DELETE", "SELECT on every column"},
		"UPDATE beside identity":  {"ident", "SELECT, UPDATE", "INSERT on every column, DELETE"},
		"identity, all":           {"ident", "SELECT, INSERT, UPDATE, DELETE", "-"},
		"writing without reading": {"t", "INSERT, UPDATE, DELETE", "SELECT on every column"},
	}
	onBoth(t, func(b *bench) {
		b.run("CREATE TABLE t (id int PRIMARY KEY, note text, twice int GENERATED ALWAYS AS (id + id) STORED)",
			"CREATE TABLE ident (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, note text)")
		name, q := b.user()
		for what, tc := range cases {
			b.Run(what, func(t *testing.T) {
				if tc.grants != "" {
					b.run("GRANT " + tc.grants + " ON " + tc.table + " TO " + name)
					defer b.run("DROP OWNED BY " + name)
				}
				table, err := Dialect{}.Table(t.Context(), q, ident("public")+"."+ident(tc.table))
				if err != nil {
					t.Fatal(err)
				}
				found, err := Dialect{}.Examine(t.Context(), q, table, undo.Relation{})
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

func TestDiagnose(t *testing.T) {
	onBoth(t, func(b *bench) {
		diagnose := func(q undo.Query, name string) string {
			b.Helper()
			found, err := Dialect{}.Diagnose(b.Context(), q)
			if err != nil {
				b.Fatal(err)
			}
			for _, f := range found {
				if f.Name == name {
					return string(f.Level) + " " + f.Value
				}
			}
			return ""
		}
		for _, tc := range []struct{ param, value, check, want string }{
			{"lock_timeout", "0", "lock_timeout", "info none"},
			{"lock_timeout", "5000", "lock_timeout", "info 5000 ms"},
			{"lock_timeout", "30000", "lock_timeout", "warn 30000 ms"},
			{"default_transaction_read_only", "on", "read_only", "fail on"},
			{"default_transaction_read_only", "off", "read_only", "info off"},
			{"default_transaction_isolation", "serializable", "default_transaction_isolation", "info serializable"},
			{"lock_timeout", "0", "gtx_tables", "info there"},
		} {
			if got := diagnose(b.with(tc.param, tc.value), tc.check); got != tc.want {
				b.Errorf("%s=%s: got %q, want %q", tc.param, tc.value, got, tc.want)
			}
		}
		if got := diagnose(queryDB(b.db), "server"); !strings.HasPrefix(got, "info PostgreSQL 1") {
			b.Errorf("server: %q", got)
		}
		name, q := b.user()
		b.run("REVOKE CREATE ON SCHEMA public FROM PUBLIC",
			"GRANT SELECT ON gtx_resource TO "+name, "GRANT SELECT, INSERT, UPDATE, DELETE ON gtx_branch, gtx_undo TO "+name)
		if got := diagnose(q, "gtx_tables"); got != "fail no access" { // the identity is still to be written
			b.Errorf("no identity: %q", got)
		}
		b.run("INSERT INTO gtx_resource VALUES (1, 'x', 1)")
		if got := diagnose(q, "gtx_tables"); got != "info there" {
			b.Errorf("granted: %q", got)
		}
		b.run("REVOKE EXECUTE ON FUNCTION gtx_image(anyelement) FROM PUBLIC")
		if got := diagnose(q, "gtx_tables"); got != "fail no access" {
			b.Errorf("function revoked: %q", got)
		}
		b.run("DROP FUNCTION gtx_image(anyelement)")
		if got := diagnose(q, "gtx_tables"); got != "fail missing" {
			b.Errorf("function dropped: %q", got)
		}
		b.run("REVOKE USAGE ON SCHEMA public FROM PUBLIC")
		if got := diagnose(q, "gtx_tables"); got != "fail missing" {
			b.Errorf("schema closed: %q", got)
		}
		b.run("DROP SCHEMA public CASCADE")
		if got := diagnose(q, "gtx_tables"); got != "fail missing" {
			b.Errorf("schema dropped: %q", got)
		}
	})
}

func TestRelations(t *testing.T) {
	onBoth(t, func(b *bench) {
		b.run("CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY LIST (id)", "CREATE TABLE part PARTITION OF parts DEFAULT",
			"CREATE VIEW seen AS SELECT 1", "CREATE MATERIALIZED VIEW kept AS SELECT 1",
			"CREATE SCHEMA closed", "CREATE TABLE closed.t (id int PRIMARY KEY)",
			`CREATE TABLE "a.b" (id int PRIMARY KEY, note text)`, "INSERT INTO \"a.b\" SELECT i, repeat('x', 100) FROM generate_series(1, 200) AS i", `ANALYZE "a.b"`)
		list := func(q undo.Query) (names []string, all map[string]undo.Relation) {
			b.Helper()
			rels, err := Dialect{}.Relations(b.Context(), q)
			if err != nil {
				b.Fatal(err)
			}
			all = map[string]undo.Relation{}
			for _, r := range rels {
				names = append(names, r.Name)
				all[r.Name] = r
			}
			return names, all
		}
		// A temporary table of another session is nobody else's.
		other, err := b.db.Conn(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { other.Close() })
		if _, err := other.ExecContext(b.Context(), "CREATE TEMPORARY TABLE fleeting (id int PRIMARY KEY)"); err != nil {
			b.Fatal(err)
		}
		names, all := list(queryDB(b.db))
		if got, want := strings.Join(names, " "), `closed.t public."a.b" public.kept public.part public.parts public.seen`; got != want {
			b.Errorf("got %s, want %s", got, want)
		}
		if r := all[`public."a.b"`]; r.Count != 200 || r.Width < 100 || r.Width > 1000 || r.ID != `"public"."a.b"` || !r.Rows {
			b.Errorf("got %+v", r)
		}
		if all["public.seen"].Rows || all["public.kept"].Rows || !all["public.parts"].Rows || all["closed.t"].Count != undo.Unknown {
			b.Errorf("got %+v", all)
		}
		_, q := b.user()
		if names, _ := list(q); strings.Contains(strings.Join(names, " "), "closed.t") {
			b.Errorf("got %s", names)
		}
		if _, err := (Dialect{}).Table(b.Context(), q, `"closed"."t"`); (Dialect{}).Classify(err) != undo.Denied {
			b.Errorf("a table of a closed schema: %v", err)
		}
	})
}

// The questions draw no transaction id: nothing was written.
func TestDoctorOnlyReads(t *testing.T) {
	onBoth(t, func(b *bench) {
		b.run("CREATE TABLE t (id int PRIMARY KEY)")
		tx, err := b.db.BeginTx(b.Context(), nil)
		if err != nil {
			b.Fatal(err)
		}
		defer tx.Rollback()
		q := queryDB(tx)
		if _, err := (Dialect{}).Diagnose(b.Context(), q); err != nil {
			b.Fatal(err)
		}
		rels, err := Dialect{}.Relations(b.Context(), q)
		if err != nil || len(rels) != 1 {
			b.Fatal(rels, err)
		}
		table, err := Dialect{}.Table(b.Context(), q, rels[0].ID)
		if err != nil {
			b.Fatal(err)
		}
		if found, err := (Dialect{}).Examine(b.Context(), q, table, rels[0]); err != nil || len(found) != 0 {
			b.Errorf("got %v, %v", found, err)
		}
		rows, err := q(b.Context(), "SELECT pg_current_xact_id_if_assigned() IS NULL")
		if err != nil || !isTrue(rows[0][0]) {
			b.Errorf("a transaction id was drawn: %v, %v", rows, err)
		}
	})
}
