package integration

import (
	"context"
	"database/sql"
	"testing"

	"github.com/globaltx/globaltx/internal/testserver/testdb"
	"github.com/globaltx/globaltx/natsbus"
)

// server is a kind of database that the tests run on.
type server struct {
	name   string
	driver string
	dsn    func(t testing.TB) string // a fresh database
}

// servers are those of testdb.
func servers() (all []server) {
	for _, s := range testdb.Servers() {
		all = append(all, server{s.Name, s.Driver, s.DSN})
	}
	return all
}

func (s server) public() testdb.Server {
	return testdb.Server{Name: s.name, Driver: s.driver, DSN: s.dsn}
}

// family is the driver, and gtx-postgres for gtx-pgx too: what tells SQL apart.
func (s server) family() string { return s.public().Family() }

// holder gives the n-th placeholder of the server.
func (s server) holder(n int) string { return s.public().Holder(n) }

// onEach runs a test on every kind of server.
func onEach(t *testing.T, test func(t *testing.T, s server)) {
	for _, s := range servers() {
		t.Run(s.name, func(t *testing.T) { test(t, s) })
	}
}

func embedded(t testing.TB) *natsbus.Bus {
	t.Helper()
	return testdb.Embedded(t)
}

// open opens a database and checks at the end that nothing was left in it.
func open(t testing.TB, s server, dsn string) *sql.DB {
	t.Helper()
	return testdb.Open(t, s.public(), dsn)
}

func clean(t testing.TB, db *sql.DB) {
	t.Helper()
	testdb.Clean(t, db)
}

func leftovers(ctx context.Context, db *sql.DB) (int, error) { return testdb.Leftovers(ctx, db) }

func mustExec(t testing.TB, db *sql.DB, text string, args ...any) {
	t.Helper()
	testdb.MustExec(t, db, text, args...)
}

func sqliteDSN(t testing.TB) string { return testdb.SQLiteDSN(t) }

func noTable(err error) bool { return testdb.NoTable(err) }
