package messages

import (
	"database/sql"
	"errors"
	"strings"
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

// preparing are the servers that have mode XA.
func preparing() (all []server) {
	for _, s := range servers() {
		if s.driver != "gtx-sqlite" {
			all = append(all, s)
		}
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

func mustExec(t testing.TB, db *sql.DB, text string, args ...any) {
	t.Helper()
	testdb.MustExec(t, db, text, args...)
}

func sqliteDSN(t testing.TB) string { return testdb.SQLiteDSN(t) }

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testdb.Eventually(t, what, ok)
}

// item is what some tests write to: three rows, n = 100.
func itemTable(t testing.TB, db *sql.DB) {
	t.Helper()
	mustExec(t, db, "CREATE TABLE item (id bigint PRIMARY KEY, n bigint NOT NULL)")
	mustExec(t, db, "INSERT INTO item (id, n) VALUES (1, 100), (2, 100), (3, 100)")
}

var (
	errNo       = errors.New("the function says no")
	errUndo     = errors.New("undo, please")
	errInjected = testdb.ErrInjected
)

type hook = testdb.Hook

func openHooked(t testing.TB, s server, dsn string, program, phase2 *hook) *sql.DB {
	t.Helper()
	return testdb.OpenHooked(t, s.public(), dsn, program, phase2)
}

func withParam(dsn, param string) string {
	if strings.Contains(dsn, "?") {
		return dsn + "&" + param
	}
	return dsn + "?" + param
}

// guarded opens a database whose writes outside global transactions respect global locks.
func guarded(t *testing.T, s server, dsn string) *sql.DB {
	return open(t, s, withParam(dsn, "gtx_guard=on"))
}
