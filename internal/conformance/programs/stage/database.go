package stage

import (
	"context"
	"database/sql"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	base "github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver"

	// The drivers under test.
	_ "github.com/globaltx/globaltx/driver/mysql"
	_ "github.com/globaltx/globaltx/driver/pgx"
	_ "github.com/globaltx/globaltx/driver/postgres"
	_ "github.com/globaltx/globaltx/driver/sqlite"
)

// Kind is a database and the driver that opens it.
type Kind struct {
	Name    string // of the subtest
	Dialect string // mysql, postgres or sqlite
	Driver  string // the base driver; ours has gtx- before it
	dsn     func(t testing.TB) string
}

// Kinds lists the databases that every program is played on.
func Kinds() []Kind {
	return []Kind{
		{"sqlite", "sqlite", "sqlite", sqliteDSN},
		{"mysql", "mysql", "mysql", mysqlDSN(testserver.MySQL)},
		{"mariadb", "mysql", "mysql", mysqlDSN(testserver.MariaDB)},
		{"pq", "postgres", "postgres", testserver.Postgres15},
		{"pgx", "postgres", "pgx", testserver.Postgres18},
	}
}

func sqliteDSN(t testing.TB) string {
	return "file:" + filepath.Join(t.TempDir(), "db.sqlite") +
		"?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)&_pragma=foreign_keys(1)"
}

// mysqlDSN has the parameters that every ORM asks for.
func mysqlDSN(fresh func(testing.TB) string) func(testing.TB) string {
	return func(t testing.TB) string {
		cfg, err := base.ParseDSN(fresh(t))
		if err != nil {
			t.Fatal(err)
		}
		cfg.ParseTime, cfg.Loc = true, time.UTC
		return cfg.FormatDSN()
	}
}

// database is one fresh database.
type database struct {
	kind Kind
	name string
	db   *sql.DB // what the program uses
	bare *sql.DB // what the stage looks with
	ours bool
}

func (k Kind) open(t testing.TB, ours bool) *database {
	t.Helper()
	dsn := k.dsn(t)
	d := &database{kind: k, ours: ours, bare: connect(t, k.Driver, dsn)}
	d.db = d.bare
	if ours {
		d.db = connect(t, "gtx-"+k.Driver, dsn)
		if err := d.db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		record{Event: "connected"}.write(t)
	}
	switch k.Dialect {
	case "mysql":
		cfg, err := base.ParseDSN(dsn)
		if err != nil {
			t.Fatal(err)
		}
		d.name = cfg.DBName
	case "postgres":
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		d.name = u.Path[1:]
	}
	return d
}

func connect(t testing.TB, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := db.Stats().InUse; n != 0 {
			t.Errorf("%s: %d connections leaked", driver, n)
		}
		if err := db.Close(); err != nil {
			t.Errorf("close %s: %v", driver, err)
		}
	})
	return db
}

// empty drops every table but our own, as the program would: through its driver.
func (d *database) empty(ctx context.Context, t testing.TB) {
	t.Helper()
	tables, err := d.tables(ctx)
	if err != nil {
		t.Fatalf("list tables: %v", err)
	}
	c, err := d.db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	off, on, quote, cascade := "SELECT 1", "SELECT 1", `"`, ""
	switch d.kind.Dialect {
	case "mysql":
		off, on, quote = "SET foreign_key_checks = 0", "SET foreign_key_checks = 1", "`"
	case "sqlite":
		off, on = "PRAGMA foreign_keys = 0", "PRAGMA foreign_keys = 1"
	default:
		cascade = " CASCADE"
	}
	statements := []string{off}
	for _, table := range tables {
		if !strings.HasPrefix(table, "gtx_") {
			statements = append(statements, "DROP TABLE "+quote+table+quote+cascade)
		}
	}
	for _, s := range append(statements, on) {
		if _, err := c.ExecContext(ctx, s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// settle waits until phase two has removed every undo row and header.
func (d *database) settle(ctx context.Context, t testing.TB) {
	t.Helper()
	if !d.ours {
		return
	}
	ctx, cancel := context.WithTimeout(gtx.Detach(ctx), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		left, err := d.leftovers(ctx)
		if err != nil {
			t.Fatalf("count undo rows: %v", err)
		}
		if left == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%d undo rows and headers left after 30 s", left)
		}
	}
}

// leftovers counts what phase two has still to remove.
func (d *database) leftovers(ctx context.Context) (int, error) {
	tables, err := d.tables(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, table := range tables {
		if table != "gtx_undo" && table != "gtx_branch" {
			continue
		}
		var rows int
		if err := d.bare.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&rows); err != nil {
			return 0, err
		}
		n += rows
	}
	return n, nil
}
