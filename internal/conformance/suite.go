// Package conformance runs the public test suites of drivers, mappers and tools
// through our drivers, and compares what comes out with the bare driver, test by test.
//
// A suite is not part of this repository. Its module is downloaded by the go command at
// the version named here, copied to a directory of its own, and edited there:
//
//   - Every call of sql.Open and sql.OpenDB in the files that Module.Hook names becomes
//     hook.Open and hook.OpenDB. Package hook imports the standard library only, so that
//     even a driver's own package can call it.
//   - Every test begins with hook.Test(t), and t.Parallel() becomes hook.Parallel(t); both
//     are changed in the modes commit and abort only, where tests run one by one.
//   - Every function literal that is given to sql.Conn.Raw begins with hook.Unwrap, which is
//     driver.Unwrap through our drivers: what a program that looks into the connection of
//     its base driver has to add.
//   - The package under test gets one more file, of its external test package, which
//     imports our drivers (package shim). Their init functions take over the hooks, if
//     the variable GTX_CONFORMANCE_MODE says so.
//
// Packages hook, shim and inside are copied too, into a module of the workspace: an
// internal package of ours cannot be imported from elsewhere. So each binary is built
// once, and run once for every mode, each time on a new database.
//
// To add a suite, write a function that gives it in a file suite_NAME.go and name it in
// Suites. To add programs of our own, see Source.Own.
package conformance

import (
	"context"
	"time"
)

// The modes of a run.
const (
	Bare    = "bare"    // the base driver
	Outside = "outside" // our driver, no global transaction
	Commit  = "commit"  // our driver, in global transactions that commit
	Abort   = "abort"   // our driver, in global transactions that abort
)

// Variables of the environment that a test binary gets, beside those of its suite.
const (
	ModeEnv   = "GTX_CONFORMANCE_MODE"   // the mode
	RecordEnv = "GTX_CONFORMANCE_RECORD" // a file for what the mode wants to report, one inside.Record a line
	DirEnv    = "GTX_CONFORMANCE_DIR"    // an empty directory for the length of the run
)

// Suite is the tests of one package on one server.
type Suite struct {
	// Name is unique and what -suite and the table in docs/conformance.md say: the
	// project, then the server, as in "mysql/mariadb".
	Name   string
	Source *Source
	// Server is where the database is made: "mysql", "mariadb", "postgres15",
	// "postgres18", or empty for a suite that makes its own (SQLite).
	Server string
	// Env gives variables of the environment ("NAME=value"), Args what follows the test
	// binary's name. Either may be nil.
	Env  func(Database) []string
	Args func(Database) []string
	// Prepare makes what the suite expects in its database, once for each run. It may
	// be nil.
	Prepare func(context.Context, Database) error
	// Run and Skip are -test.run and -test.skip. What is skipped here, for all modes,
	// has its reason in a comment.
	Run, Skip string
	// Modes are those beside Bare. Nil: Outside.
	Modes []string
	// Timeout bounds one run. Zero: two minutes.
	Timeout time.Duration
}

// Source is a package with tests. Suites that share one share its test binary.
type Source struct {
	// Own is a directory of this module with programs of our own, as
	// "programs/gormtest". Modules, Edits and Files are then not used: such programs
	// call package hook themselves, and import shim and inside in a test file.
	Own string
	// Modules are copied; the tests are those of the first. The others are those whose
	// openings are to be hooked as well.
	Modules []Module
	// Dir is the package's directory in the first module, with slashes; empty: its root.
	Dir string
	// Drivers are the packages below shim that are needed: "mysql", "postgres", "pgx",
	// "sqlite".
	Drivers []string
	// Tags are build tags.
	Tags []string
}

// Module is a module of somebody else's.
type Module struct {
	Path, Version string
	// Hook are patterns (path.Match, of names below the module's root) of the files
	// whose openings are replaced. Each must match a file, and one file at least must
	// have something to replace.
	Hook []string
	// Edits are changes of the text beyond that.
	Edits []Edit
	// Files are written in addition: name below the module's root, content.
	Files map[string]string
	// Omit are patterns (path.Match) of names below the root that are not copied: what
	// is large and not needed, or would not compile.
	Omit []string
}

// Edit replaces Old by New everywhere in a file. A file without Old is an error: the
// edit has lost its purpose.
type Edit struct{ File, Old, New string }

// Database is a new, empty database on a server.
type Database struct {
	Server string // as Suite.Server
	// DSN is what the base driver of the server takes: go-sql-driver's form, or a URL
	// that lib/pq and pgx read. Its user may do everything.
	DSN  string
	User string
	Pass string
	Addr string // host:port
	Name string
}

// Suites lists all suites, in the order in which they run.
func Suites() []Suite {
	var all []Suite
	for _, f := range []func() []Suite{
		mysqlSuites, pqSuites, pgxSuites, sqliteSuites,
		sqlxSuites,
		gormSuites,
		xormSuites,
		gooseSuites,
		programSuites,
	} {
		all = append(all, f()...)
	}
	return all
}
