// Package testserver gives tests a fresh database on a real MySQL, MariaDB or
// Postgres. It is for tests only and never links into a user's binary.
//
//	dsn := testserver.MySQL(t)            // go-sql-driver form
//	dsn := testserver.Postgres18(t)       // URL for lib/pq and pgx
//	testserver.All(t, func(t *testing.T, db testserver.Database) { … })
//
// The server is the one that GTX_TEST_MYSQL, GTX_TEST_MARIADB, GTX_TEST_POSTGRES
// or GTX_TEST_POSTGRES18 names with a DSN of a user that may do everything. Where
// the variable is not set, a server of the test binary's own is started at first
// use, on a free loopback port with its data in a temporary directory. `make
// test` starts each server once for all packages and sets the variables.
//
// Servers are children of a supervisor, which is the test binary run again. It
// holds the read end of a pipe whose write end is in the test binary: when that
// ends, in whatever way, the supervisor stops its servers and removes their
// directory. A supervisor that is killed takes its servers with it, and the next
// one removes the directory.
//
// A private server forgives a crash of its process, not of the machine: it does
// not wait for the disk, unless GTX_TEST_DURABLE=1.
//
// All functions are safe for concurrent use.
package testserver
