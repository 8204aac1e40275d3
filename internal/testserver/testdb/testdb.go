// Package testdb opens databases and coordinators for tests against real servers, and checks
// that nothing is left in them.
package testdb

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/globaltx/globaltx/driver/mysql"
	"github.com/globaltx/globaltx/driver/pgsql"
	"github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
	"github.com/globaltx/globaltx/internal/bank"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/natsbus"
	"github.com/globaltx/globaltx/undo"
)

// Server is a kind of database that the tests run on.
type Server struct {
	Name   string
	Driver string
	DSN    func(t testing.TB) string // of a fresh database
}

// Servers are MySQL's, with SQLite, and PostgreSQL's: the older one behind lib/pq, the
// newer one behind pgx, and the other way round too where GTX_TEST_DRIVERS is "all".
func Servers() []Server {
	all := []Server{
		{"sqlite", "gtx-sqlite", SQLiteDSN},
		{"mysql", "gtx-mysql", testserver.MySQL},
		{"mariadb", "gtx-mysql", testserver.MariaDB},
		{"postgres15", "gtx-postgres", testserver.Postgres15},
		{"postgres18", "gtx-pgx", testserver.Postgres18},
	}
	if os.Getenv("GTX_TEST_DRIVERS") == "all" {
		all = append(all, Server{"postgres15", "gtx-pgx", testserver.Postgres15}, Server{"postgres18", "gtx-postgres", testserver.Postgres18})
	}
	return all
}

// Family is the driver, and gtx-postgres for gtx-pgx too: what tells SQL apart.
func (s Server) Family() string {
	if s.Driver == "gtx-pgx" {
		return "gtx-postgres"
	}
	return s.Driver
}

// SQLiteDSN is that of a new file.
func SQLiteDSN(t testing.TB) string {
	return "file:" + filepath.Join(t.TempDir(), "db.sqlite") + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)"
}

// Steady has a coordinator wait where it would refuse work: the disk of a machine that
// runs tests may stall for seconds.
var Steady = coordinator.Config{StallAfter: time.Minute}

// Embedded gives a coordinator that ends with the test.
func Embedded(t testing.TB) *natsbus.Bus {
	t.Helper()
	bus, err := natsbus.Embedded(t.Context(), t.TempDir(), natsbus.WithCoordinator(Steady))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bus.Close(); err != nil {
			t.Errorf("close bus: %v", err)
		}
	})
	return bus
}

// Open opens a database and checks at the end that nothing was left in it.
func Open(t testing.TB, s Server, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(s.Driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			Clean(t, db)
		}
		if n := db.Stats().InUse; n != 0 {
			t.Errorf("%d connections leaked", n)
		}
		if err := db.Close(); err != nil {
			t.Errorf("close database: %v", err)
		}
	})
	return db
}

// Clean waits until phase two has removed every header and undo row, and ended every
// prepared branch.
func Clean(t testing.TB, db *sql.DB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(gtx.Detach(context.Background()), 30*time.Second)
	defer cancel()
	for {
		n, err := Leftovers(ctx, db)
		if err == nil && n == 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Errorf("%d rows left in gtx_undo, gtx_branch and gtx_tcc, or branches prepared (%v)", n, err)
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Leftovers counts what phase two has to remove. A table that is not there, or
// not yet because a crash interrupted its making, has none.
func Leftovers(ctx context.Context, db *sql.DB) (int, error) {
	n := 0
	for _, table := range []string{"gtx_undo", "gtx_branch", "gtx_tcc"} {
		var k int
		err := db.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&k)
		if err != nil && !NoTable(err) {
			return n, err
		}
		n += k
	}
	side := bank.Side{DB: db, Dialect: mysql.Dialect{}}
	var version string
	if err := db.QueryRowContext(ctx, "SELECT version()").Scan(&version); err != nil {
		side.Dialect = sqlite.Dialect{} // alone has no such function; else what follows fails, too
	} else if strings.HasPrefix(version, "PostgreSQL") {
		side.Dialect = pgsql.Dialect{}
	}
	names, err := bank.Prepared(ctx, side)
	if errors.Is(err, gtx.ErrUnsupported) || err != nil && strings.Contains(err.Error(), "XAER_RMERR") {
		err = nil // gtx_guard=on, or a user who may not: another handle on the database tells
	}
	return n + len(names), err
}

// NoTable tells that err is about a table that does not exist, on any server.
func NoTable(err error) bool {
	return sqlite.Dialect{}.Classify(err) == undo.NoTable || mysql.Dialect{}.Classify(err) == undo.NoTable ||
		pgsql.Dialect{}.Classify(err) == undo.NoTable
}

// MustExec runs a statement outside global transactions.
func MustExec(t testing.TB, db *sql.DB, text string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(context.Background(), text, args...); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// Holder gives the n-th placeholder of the server.
func (s Server) Holder(n int) string {
	if s.Family() == "gtx-postgres" {
		return "$" + string(rune('0'+n))
	}
	return "?"
}
