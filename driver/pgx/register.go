// Package pgx registers "gtx-pgx": jackc/pgx, through its package stdlib, with
// global transactions.
//
//	import _ "github.com/globaltx/globaltx/driver/pgx"
//
//	db, err := sql.Open("gtx-pgx", "postgres://app:pw@127.0.0.1/stock?gtx_lock_wait=2s")
//
// DSNs are those of pgx, URL or key=value; a name that stdlib.RegisterConnConfig gave
// is one too. The parameters that begin with gtx_ are those of package
// [github.com/globaltx/globaltx/driver/postgres]. For a *pgx.ConnConfig or a
// *pgxpool.Pool see [NewConnector] and [NewPoolConnector].
//
// # Modes of execution
//
// Every default_query_exec_mode works. A captured statement is sent in the mode of
// the user's: its arguments are encoded as in the bare statement, and it costs no
// round trip more inside a local transaction, once it is in the cache:
//
//	cache_statement  pgx prepares it and keeps it in its cache, in the place of the user's; a
//	                 statement has two texts, one for the first in a transaction, one for the others
//	cache_describe   the same with a description
//	describe_exec    nothing is kept
//	exec             nothing is kept
//	simple_protocol  nothing is kept, arguments become literals of the text
//
// Texts with literals that the server reads by the clock or by a setting are never
// kept. Query takes one statement of a text, as in pgx, and Exec takes several.
//
// A pgx.QueryExecMode may be the first argument of a statement as usual. Inside a global
// transaction a pgx.QueryRewriter such as pgx.NamedArgs is refused with code "rewriter"
// for a statement that writes, and so are formats for the columns of its result.
//
// # Contexts
//
// pgx closes a connection when the context of a statement ends before its answer is
// there, and so it does here; the local transaction is rolled back by the server.
package pgx

import (
	"errors"
	"fmt"
	"regexp"

	sqldriver "database/sql/driver"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/driver/internal/pgxbase"
	"github.com/globaltx/globaltx/driver/pgsql"
)

func init() { driver.Register("gtx-pgx", Open) }

// registered is what stdlib.RegisterConnConfig gives.
var registered = regexp.MustCompile(`^registeredConnConfig[0-9]+$`)

// Open makes the base of a DSN of pgx. Its errors show no password.
func Open(dsn string) (driver.Base, error) {
	base, params := dsn, map[string]string{}
	mode := &pgxbase.Mode{}
	if !registered.MatchString(dsn) {
		var err error
		if base, params, err = pgsql.SplitDSN(dsn); err != nil {
			return driver.Base{}, err
		}
		cfg, err := pgx.ParseConfig(base)
		if err != nil {
			return driver.Base{}, openError(dsn, err)
		}
		mode.Set(cfg)
	}
	dialect, err := pgsql.New(params, mode.Base())
	if err != nil {
		return driver.Base{}, err
	}
	// As sql.Open("pgx", dsn) has it: read anew for each connection, with the password file.
	c, err := stdlib.GetDefaultDriver().(sqldriver.DriverContext).OpenConnector(base)
	if err != nil {
		return driver.Base{}, openError(dsn, err)
	}
	return driver.Base{Dialect: dialect, Connector: &connector{Connector: c, mode: mode}, Params: params}, nil
}

// openError leaves out the DSN that pgx puts into its error, and the whole of a text
// that may hold a password in an unexpected place.
func openError(dsn string, err error) error {
	shown := pgsql.Redact(dsn)
	if shown == pgsql.Unreadable {
		return fmt.Errorf("open %s: not a connection string of pgx", shown)
	}
	if cause := errors.Unwrap(err); cause != nil {
		return fmt.Errorf("open %s: %v", shown, cause) //nolint:errorlint // the whole error has the DSN in it
	}
	return fmt.Errorf("open %s: not a connection string of pgx", shown)
}
