// Package hook is what the copied suites call in place of sql.Open and sql.OpenDB. It
// imports the standard library only: a driver's own package can import it.
package hook

import (
	"database/sql"
	"database/sql/driver"
)

// T is the part of *testing.T that a mode may need.
type T interface {
	Name() string
	Cleanup(func())
	Helper()
	Errorf(format string, args ...any)
	Logf(format string, args ...any)
}

// The hooks, as they are for the bare driver. Package shim replaces them in its init,
// before any test runs; they are not changed later.
var (
	OpenFunc   = sql.Open
	OpenDBFunc = sql.OpenDB
	TestFunc   = func(T) {}
	// ConnectorFunc may give another connector made of the same parts.
	ConnectorFunc = func(c driver.Connector, parts ...any) driver.Connector { return c }
	UnwrapFunc    = func(c any) (any, error) { return c, nil }
	// ParallelFunc is replaced where one global transaction spans a whole test.
	ParallelFunc = func(t interface{ Parallel() }) { t.Parallel() }
)

// Open is sql.Open.
func Open(name, dsn string) (*sql.DB, error) { return OpenFunc(name, dsn) }

// OpenDB is sql.OpenDB.
func OpenDB(c driver.Connector) *sql.DB { return OpenDBFunc(c) }

// Test is called at the beginning of every test function, not of subtests.
func Test(t T) { TestFunc(t) }

// Unwrap gives the base driver's connection of what sql.Conn.Raw gives. It is called at
// the beginning of every function that a suite gives to Raw, as programs do that look
// into the connection and use our driver.
func Unwrap(c any) (any, error) { return UnwrapFunc(c) }

// Parallel is called in place of t.Parallel.
func Parallel(t interface{ Parallel() }) { ParallelFunc(t) }

// Connector is put around a function that makes a connector of what the connector would
// not give back; parts are its arguments.
func Connector(c driver.Connector, parts ...any) driver.Connector {
	return ConnectorFunc(c, parts...)
}
