package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	base "github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/proxy"
	"github.com/globaltx/globaltx/undo"
)

// patient is a database for gtx doctor.
type patient struct {
	*testing.T
	dsn     string // as on the command line
	db      *sql.DB
	dialect string
}

func newPatient(t *testing.T, server string) *patient {
	t.Helper()
	p := &patient{T: t, dialect: "sqlite"}
	plain := filepath.Join(t.TempDir(), "t.db")
	p.dsn = "sqlite:" + plain + "?_pragma=foreign_keys(1)"
	if server != "sqlite" {
		db := testserver.Open(t, server)
		p.dialect, plain, p.dsn = db.Dialect, db.DSN, db.DSN
		switch {
		case db.Dialect == "mysql":
			p.dsn = "mysql:" + db.DSN
		case server == testserver.NamePostgres18: // the older one with lib/pq
			p.dsn = "pgx:" + db.DSN
		}
	}
	db, err := sql.Open(p.dialect, plain)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	p.db = db
	p.exec("CREATE TABLE good (id INTEGER PRIMARY KEY, note VARCHAR(40))")
	return p
}

func onEachServer(t *testing.T, test func(p *patient)) {
	for _, server := range append(testserver.Names(), "sqlite") {
		t.Run(server, func(t *testing.T) { test(newPatient(t, server)) })
	}
}

func (p *patient) exec(texts ...string) {
	p.Helper()
	for _, text := range texts {
		if _, err := p.db.Exec(text); err != nil { // also in a clean-up, when the test's context has ended
			p.Fatalf("%.200s: %v", text, err)
		}
	}
}

// look runs gtx doctor --json. It checks that nothing but the report is written to
// the standard output and that the exit code says what the report says.
func (p *patient) look(dsn string, tables ...string) doctorReport {
	p.Helper()
	var out, errs bytes.Buffer
	code := run(p.Context(), append([]string{"doctor", "--json", dsn}, tables...), stdio{nil, &out, &errs})
	var r doctorReport
	d := json.NewDecoder(&out)
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		p.Fatalf("exit code %d, read report: %v\n%s", code, err, errs.String())
	}
	want := exitOK
	if !r.OK {
		want = exitError
	}
	if code != want || d.More() {
		p.Errorf("exit code %d, want %d\n%s", code, want, errs.String())
	}
	return r
}

// check gives the one check of a name.
func (p *patient) check(r doctorReport, name string) undo.Finding {
	p.Helper()
	var found []undo.Finding
	for _, f := range r.Checks {
		if f.Name == name {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		p.Fatalf("%d checks %s in %+v", len(found), name, r.Checks)
	}
	return found[0]
}

// reasons maps each table to "" when it is protected, else to the names of what failed.
func reasons(r doctorReport) map[string]string {
	out := map[string]string{}
	for _, t := range r.Tables {
		var names []string
		for _, f := range t.Findings {
			if f.Level == undo.Fail {
				names = append(names, f.Name)
			}
		}
		out[t.Name] = strings.Join(names, " ")
		if t.Protected != (len(names) == 0) {
			out[t.Name] += " but protected=" + fmt.Sprint(t.Protected)
		}
	}
	return out
}

// asCaptured stands for whatever Dialect.Table says.
const asCaptured = "as captured"

// captured is what Dialect.Table says of a table, as capture asks it.
func (p *patient) captured(name string) string {
	p.Helper()
	t, err := parseTarget(p.dsn)
	if err != nil {
		p.Fatal(err)
	}
	parsed, err := parseNames([]string{name})
	if err != nil {
		p.Fatal(err)
	}
	conn, err := p.db.Conn(p.Context())
	if err != nil {
		p.Fatal(err)
	}
	defer conn.Close()
	if p.dialect == "sqlite" {
		if _, err := conn.ExecContext(p.Context(), "PRAGMA foreign_keys = 1"); err != nil {
			p.Fatal(err)
		}
	}
	d := t.dialect.(proxy.Dialect)
	id, err := d.Resolve(p.Context(), undo.QueryDB(conn), parsed[0])
	if err == nil {
		_, err = d.Table(p.Context(), undo.QueryDB(conn), id)
	}
	var u *gtx.UnsupportedError
	if err != nil && !errors.As(err, &u) {
		p.Fatal(err)
	}
	if u == nil {
		return ""
	}
	return u.Code
}

// sick is the DDL of one table per reason, by dialect, and what is said of it.
var sick = map[string]struct {
	ddl  []string
	want map[string]string
}{
	"mysql": {
		[]string{
			"CREATE TABLE `order` (id INT PRIMARY KEY)",
			"CREATE TABLE `a.b` (id INT PRIMARY KEY)",
			"CREATE TABLE keyless (n INT)",
			"CREATE TABLE prefixed (k TEXT, PRIMARY KEY (k(10)))",
			"CREATE TABLE floating (k DOUBLE PRIMARY KEY)",
			"CREATE TABLE watched (id INT PRIMARY KEY)",
			"CREATE TRIGGER watch AFTER INSERT ON watched FOR EACH ROW DELETE FROM keyless",
			"CREATE TABLE parent (id INT PRIMARY KEY)",
			"CREATE TABLE child (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES parent (id) ON DELETE CASCADE)",
			"CREATE TABLE memory (id INT PRIMARY KEY) ENGINE=MEMORY",
			"CREATE VIEW seen AS SELECT * FROM good",
			"CREATE TABLE wide (id INT PRIMARY KEY, doc LONGTEXT)",
		},
		map[string]string{
			"good": "", "order": "", `"a.b"`: "", "keyless": "no-key", "prefixed": "key-prefix", "floating": "key-type", "watched": "trigger",
			"parent": "cascade", "child": "", "memory": "engine", "seen": "view", "wide": "",
		},
	},
	"postgres": {
		[]string{
			`CREATE TABLE "order" (id int PRIMARY KEY)`,
			`CREATE SCHEMA "My.Shop"`,
			`CREATE TABLE "My.Shop".stock (id int PRIMARY KEY)`,
			"CREATE TABLE keyless (n int)",
			"CREATE TABLE keyed (k jsonb, b bit(3) PRIMARY KEY)",
			"CREATE TABLE typed (id int PRIMARY KEY, x aclitem)",
			"CREATE TABLE watched (id int PRIMARY KEY)",
			"CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
			"CREATE TRIGGER watch AFTER INSERT ON watched FOR EACH ROW EXECUTE FUNCTION nothing()",
			"CREATE TABLE ruled (id int PRIMARY KEY)",
			"CREATE RULE also AS ON INSERT TO ruled DO ALSO DELETE FROM keyless",
			"CREATE TABLE parent (id int PRIMARY KEY)",
			"CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE SET NULL)",
			"CREATE TABLE unsafe (id int PRIMARY KEY)", "ALTER TABLE unsafe SET UNLOGGED",
			"CREATE TABLE secret (id int PRIMARY KEY)", "ALTER TABLE secret ENABLE ROW LEVEL SECURITY", // not for a superuser
			"CREATE TABLE heirs (id int PRIMARY KEY)", "CREATE TABLE heir () INHERITS (heirs)",
			"CREATE VIEW seen AS SELECT * FROM good",
			"CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY LIST (id)", "CREATE TABLE part PARTITION OF parts DEFAULT",
			"CREATE EXTENSION pg_stat_statements", // whose views are not the user's
		},
		map[string]string{
			"public.good": "", "public.order": "", `"My.Shop".stock`: "", "public.keyless": "no-key", "public.keyed": "key-type", "public.typed": "column-type",
			"public.watched": "trigger", "public.ruled": "rule", "public.parent": "cascade", "public.child": "", "public.unsafe": "unlogged",
			"public.secret": "", "public.heirs": "inherited", "public.heir": "no-key", "public.seen": "view",
			"public.parts": asCaptured, "public.part": asCaptured,
		},
	},
	"sqlite": {
		[]string{
			`CREATE TABLE "order" (id INTEGER PRIMARY KEY)`,
			`CREATE TABLE "a.b" (id INTEGER PRIMARY KEY)`,
			"CREATE TABLE keyless (n INT)",
			"CREATE TABLE watched (id INTEGER PRIMARY KEY)",
			"CREATE TRIGGER watch AFTER INSERT ON watched BEGIN DELETE FROM keyless; END",
			"CREATE TABLE parent (id INTEGER PRIMARY KEY)",
			"CREATE TABLE child (id INTEGER PRIMARY KEY, parent INT REFERENCES parent ON DELETE CASCADE)",
			"CREATE VIRTUAL TABLE search USING fts5(body)",
			"CREATE VIEW seen AS SELECT * FROM good",
		},
		map[string]string{
			"good": "", "order": "", `"a.b"`: "", "keyless": "no-key", "watched": "trigger", "parent": "cascade", "child": "",
			"search": "virtual", "seen": "view",
		},
	},
}

const userPassword = "hunter2-never-shown"

// user makes one without rights, and gives its name for GRANT and its DSN.
func (p *patient) user() (name, dsn string) {
	p.Helper()
	var in string
	if p.dialect == "postgres" {
		p.one("SELECT current_database()", &in)
		name = "u_" + in[len(in)-12:]
		p.exec("CREATE ROLE "+name+" LOGIN PASSWORD '"+userPassword+"'", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
		p.Cleanup(func() { p.exec("DROP OWNED BY "+name, "DROP ROLE "+name) })
		kind, text := "", p.dsn
		if rest, ok := strings.CutPrefix(text, "pgx:"); ok {
			kind, text = "pgx:", rest
		}
		u, err := url.Parse(text)
		if err != nil {
			p.Fatal(err)
		}
		u.User = url.UserPassword(name, userPassword)
		return name, kind + u.String()
	}
	p.one("SELECT DATABASE()", &in)
	cfg, err := base.ParseDSN(strings.TrimPrefix(p.dsn, "mysql:"))
	if err != nil {
		p.Fatal(err)
	}
	cfg.User, cfg.Passwd = "u_"+in[len(in)-12:], userPassword
	name = cfg.User + "@'%'"
	p.exec("CREATE USER " + name + " IDENTIFIED BY '" + userPassword + "'")
	p.Cleanup(func() { p.exec("DROP USER " + name) })
	return name, "mysql:" + cfg.FormatDSN()
}

func (p *patient) one(text string, dest *string) {
	p.Helper()
	if err := p.db.QueryRowContext(p.Context(), text).Scan(dest); err != nil {
		p.Fatalf("%s: %v", text, err)
	}
}

// relations is every table, index and view that there is.
func (p *patient) relations() string {
	p.Helper()
	text := map[string]string{
		"sqlite":   "SELECT group_concat(name || rootpage) FROM sqlite_schema",
		"postgres": "SELECT string_agg(oid || relname || relfilenode, ',' ORDER BY oid) FROM pg_class",
		"mysql":    "SELECT GROUP_CONCAT(TABLE_NAME ORDER BY TABLE_NAME) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()",
	}[p.dialect]
	var all string
	p.one(text, &all)
	return all
}
