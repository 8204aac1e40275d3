package testserver

import (
	"os"
	"testing"
)

// Database is a fresh database on a real server.
type Database struct {
	Server  string // NameMySQL…
	Dialect string // "mysql" or "postgres", as undo.Dialect.Name
	DSN     string
}

// MySQL gives the DSN, in go-sql-driver form, of a new, empty database on MySQL.
// It is dropped when the test ends.
func MySQL(t testing.TB) string { t.Helper(); return Open(t, NameMySQL).DSN }

// MariaDB is MySQL for MariaDB 10.11.
func MariaDB(t testing.TB) string { t.Helper(); return Open(t, NameMariaDB).DSN }

// Postgres15 gives the URL, for lib/pq and pgx, of a new, empty database on
// Postgres 15. It is dropped when the test ends.
func Postgres15(t testing.TB) string { t.Helper(); return Open(t, NamePostgres15).DSN }

// Postgres18 is Postgres15 for Postgres 18.
func Postgres18(t testing.TB) string { t.Helper(); return Open(t, NamePostgres18).DSN }

// Open gives a new, empty database on the named server. It is dropped when the
// test ends, after the test's own clean-ups; connections still open then are cut.
func Open(t testing.TB, server string) Database {
	t.Helper()
	k, admin := need(t, server)
	return fresh(t, k, admin)
}

// All runs fn as a subtest on a fresh database of every server, the subtest
// named after the server.
func All(t *testing.T, fn func(t *testing.T, db Database)) {
	t.Helper()
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) { fn(t, Open(t, name)) })
	}
}

// Need makes sure that the named servers run. A server that cannot be had fails
// the test with what is missing and how to get it. Only where server tests are
// left out on request, by ShortEnv, is the test skipped.
func Need(t testing.TB, servers ...string) {
	t.Helper()
	for _, name := range servers {
		need(t, name)
	}
}

// Admin gives the DSN of a user of the named server that may do everything, with
// no database in it, or the default one: for tests that make users or watch
// the server. Such a test removes what it made.
func Admin(t testing.TB, server string) string {
	t.Helper()
	_, admin := need(t, server)
	return admin
}

// Main runs the tests and waits until servers that they started are gone. Call
// it from TestMain where the end of the test binary must be the end of its
// servers; without it they end a moment later.
func Main(m *testing.M) {
	code := m.Run()
	shared.stop()
	os.Exit(code)
}

func need(t testing.TB, server string) (kind, string) {
	t.Helper()
	k, err := kindOf(server)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv(ShortEnv) != "" {
		t.Skipf("%s is set: tests on %s are left out", ShortEnv, k.title)
	}
	admin, err := shared.dsn(k)
	if err != nil {
		t.Fatal(err)
	}
	return k, admin
}
