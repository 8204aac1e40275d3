package pgsql

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

func TestTable(t *testing.T) {
	b := setup(t, "CREATE SCHEMA app", `CREATE TABLE app."It""em" (gone int, b text, id bigserial, "A" numeric(6,2) GENERATED ALWAYS AS (1) STORED, w int GENERATED ALWAYS AS IDENTITY, x xml, PRIMARY KEY (b, id))`,
		`ALTER TABLE app."It""em" DROP COLUMN gone`)
	id, err := Dialect{}.Resolve(t.Context(), queryDB(b.db), sqltext.Name{Schema: "app", Table: `It"em`})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Dialect{}.Table(t.Context(), queryDB(b.db), id)
	if err != nil {
		t.Fatal(err)
	}
	want := &undo.Table{
		ID: `"app"."It""em"`, Name: `"app"."It""em"`, Key: []int{0, 1}, Fingerprint: got.Fingerprint, Attr: got.Attr,
		Columns: []undo.Column{
			{Name: "b", Type: "text"},
			{Name: "id", Type: "bigint", Auto: true},
			{Name: "A", Type: "numeric(6,2)", Generated: true},
			{Name: "w", Type: "integer", Auto: true, Attr: attrAlways},
			{Name: "x", Type: "xml", Attr: attrXML},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if v := version(got); v/10000 != 15 {
		t.Errorf("server version %d, want 15", v)
	}
	seen := map[string]string{got.Fingerprint: "at first"}
	for _, ddl := range []string{
		`ALTER TABLE app."It""em" ADD COLUMN y int`, `ALTER TABLE app."It""em" ALTER COLUMN y TYPE bigint`, `ALTER TABLE app."It""em" RENAME COLUMN y TO z`,
		`ALTER TABLE app."It""em" DROP CONSTRAINT "It""em_pkey", ADD PRIMARY KEY (id)`,
	} {
		b.run(ddl)
		got, err := Dialect{}.Table(t.Context(), queryDB(b.db), id)
		if err != nil {
			t.Fatal(err)
		}
		if before, ok := seen[got.Fingerprint]; ok {
			t.Errorf("fingerprint after %s is that of %s", ddl, before)
		}
		seen[got.Fingerprint] = ddl
	}
}

func TestResolveFollowsTheSearchPath(t *testing.T) {
	b := setup(t, "CREATE SCHEMA app", "CREATE TABLE app.item (id int)", "CREATE TABLE item (id int)")
	conn, err := b.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for path, want := range map[string]string{"app, public": `"app"."item"`, "public, app": `"public"."item"`} {
		if _, err := conn.ExecContext(t.Context(), "SET search_path = "+path); err != nil {
			t.Fatal(err)
		}
		if got, err := (Dialect{}).Resolve(t.Context(), queryDB(conn), sqltext.Name{Table: "item"}); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", path, got, err, want)
		}
	}
	if _, err := (Dialect{}).Resolve(t.Context(), queryDB(conn), sqltext.Name{Table: "Item"}); !errors.Is(err, gtx.ErrUnsupported) {
		t.Errorf("missing table: got %v", err)
	}
}

func TestTableRefuses(t *testing.T) {
	b := setup(t,
		"CREATE TABLE no_key (a int)", "CREATE TABLE late_key (a int PRIMARY KEY DEFERRABLE)", "CREATE TABLE ok (a int PRIMARY KEY, b int UNIQUE)",
		"CREATE VIEW v AS SELECT * FROM ok", "CREATE MATERIALIZED VIEW mv AS SELECT * FROM ok",
		"CREATE TABLE parent (a int PRIMARY KEY)", "CREATE TABLE child () INHERITS (parent)",
		"CREATE UNLOGGED TABLE forgetful (a int PRIMARY KEY)",
		"CREATE TABLE triggered (a int PRIMARY KEY)", "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
		"CREATE TRIGGER t AFTER INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION nothing()",
		"CREATE TABLE ruled (a int PRIMARY KEY)", "CREATE RULE r AS ON INSERT TO ruled DO ALSO DELETE FROM ok",
		"CREATE TABLE top (a int PRIMARY KEY)", "CREATE TABLE below (a int PRIMARY KEY, t int REFERENCES top ON DELETE SET NULL)",
		"CREATE TABLE top2 (a int PRIMARY KEY)", "CREATE TABLE below2 (a int PRIMARY KEY REFERENCES top2 ON UPDATE CASCADE)",
		"CREATE TABLE top3 (a int PRIMARY KEY)", "CREATE TABLE below3 (a int PRIMARY KEY REFERENCES top3)",
		"CREATE TABLE sendless (a int PRIMARY KEY, b aclitem[])", "CREATE TABLE xmls (a int PRIMARY KEY, b xml[])", "CREATE TABLE bitkey (a bit(3) PRIMARY KEY)",
		"CREATE TABLE genkey (a int, b int GENERATED ALWAYS AS (a) STORED PRIMARY KEY)", "CREATE SEQUENCE seq",
		"CREATE DOMAIN dom AS varchar(9)", "CREATE TYPE en AS ENUM ('a')",
		"CREATE TABLE keys (a dom, b en, c uuid, d cidr, e int[], f timestamptz, g int4range, h numeric, PRIMARY KEY (a, b, c, d, e, f, g, h))")
	for name, code := range map[string]string{
		"no_key": "no-key", "late_key": "no-key", "v": "view", "mv": "view", "parent": "inherited", "forgetful": "unlogged",
		"triggered": "trigger", "ruled": "rule", "top": "cascade", "top2": "cascade", "sendless": "column-type", "xmls": "column-type",
		"bitkey": "key-type", "genkey": "key-type", "seq": "relation", "nowhere": "no-table",
		"ok": "", "below": "", "below2": "", "top3": "", "keys": "", "child": "no-key",
	} {
		_, err := Dialect{}.Table(t.Context(), queryDB(b.db), ident("public")+"."+ident(name))
		var un *gtx.UnsupportedError
		switch {
		case code == "" && err != nil, code != "" && (!errors.As(err, &un) || un.Code != code):
			t.Errorf("%s: got %v, want code %q", name, err, code)
		}
	}
	b.begin(1).exec(1, "INSERT INTO keys VALUES ('a', 'a', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '10.0.0.0/8', '{1}', now(), '[1,2)', 1.5)").commit()
	b.undone(1)
}

// A table made only for one session cannot be restored by another.
func TestTemporaryTableIsRefused(t *testing.T) {
	b := setup(t)
	conn, err := b.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "CREATE TEMP TABLE tmp (a int PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []sqltext.Name{{Table: "tmp"}, {Schema: "pg_temp", Table: "tmp"}} {
		id, err := Dialect{}.Resolve(t.Context(), queryDB(conn), name)
		if err == nil {
			_, err = Dialect{}.Table(t.Context(), queryDB(conn), id)
		}
		var un *gtx.UnsupportedError
		if !errors.As(err, &un) || un.Code != "temporary" {
			t.Errorf("%+v: got %v", name, err)
		}
	}
}

func TestSchemaConcurrently(t *testing.T) {
	db, err := sql.Open("postgres", testserver.Postgres15(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 3 {
				for _, ddl := range (Dialect{}).Schema() {
					if _, err := db.ExecContext(t.Context(), ddl); err != nil {
						t.Errorf("%v: %s", err, ddl)
					}
				}
			}
		})
	}
	all.Wait()
}

// Session may run any number of times on one connection.
func TestSessionIsIdempotent(t *testing.T) {
	b := setup(t, "CREATE SCHEMA app")
	conn, err := b.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for set, want := range map[string]string{`'app'`: "app, public", `''`: "public", `'app,public'`: "app,public"} {
		if _, err := conn.ExecContext(t.Context(), "SELECT set_config('search_path', "+set+", false)"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for _, s := range (Dialect{}).Session() {
				if _, err := conn.ExecContext(t.Context(), s); err != nil {
					t.Fatal(err)
				}
			}
		}
		var path, zone string
		if err := conn.QueryRowContext(t.Context(), "SELECT current_setting('search_path'), current_setting('timezone')").Scan(&path, &zone); err != nil {
			t.Fatal(err)
		}
		if zone != "UTC" || path != want {
			t.Errorf("from %s: path %q, zone %q", set, path, zone)
		}
	}
}

func TestInspect(t *testing.T) {
	b := setup(t)
	conn := b.connect()
	for _, tt := range []struct {
		set string
		ok  bool
	}{
		{"SET standard_conforming_strings = off", false},
		{"SET standard_conforming_strings = on", true},
		{"SET client_encoding = 'LATIN1'", false},
		{"SET client_encoding = 'UTF8'", true},
	} {
		if _, err := query(t.Context(), conn, tt.set, nil); err != nil {
			t.Fatal(err)
		}
		dialect, _, err := Dialect{}.Inspect(t.Context(), conn)
		if dialect != sqltext.Postgres || (err == nil) != tt.ok || err != nil && !errors.Is(err, gtx.ErrUnsupported) {
			t.Errorf("%s: got %v, %v", tt.set, dialect, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := (Dialect{}).Inspect(ctx, conn); err == nil {
		t.Error("no error for a cancelled context")
	}
}
