// Package sqlite registers "gtx-sqlite": modernc.org/sqlite with global
// transactions, for tests, tools and demonstrations without a server.
//
//	import _ "github.com/globaltx/globaltx/driver/sqlite"
//
//	db, err := sql.Open("gtx-sqlite", "file:bank.db?gtx_lock_wait=2s")
//
// DSNs are those of modernc.org/sqlite. Parameters that begin with gtx_ stay
// here:
//
//	gtx_guard          on: writes outside global transactions respect their locks, default off
//	gtx_lock_wait      how long a statement waits for another global transaction's row, default 5s
//	gtx_scan_interval  how often leftovers are looked for, default 2s
//
// A database in memory is seen by one connection only, so it cannot take part in
// global transactions.
package sqlite

import (
	"context"
	sqldriver "database/sql/driver"
	"strings"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/gtx"
)

func init() { driver.Register("gtx-sqlite", Open) }

// Open makes the base of a modernc.org/sqlite DSN for driver.New.
func Open(dsn string) (driver.Base, error) {
	rest, params, err := SplitDSN(dsn)
	if err != nil {
		return driver.Base{}, err
	}
	b := driver.Base{Dialect: Dialect{}, Connector: connector{rest}, Params: params}
	if rest == "" || strings.Contains(rest, ":memory:") || strings.Contains(rest, "mode=memory") {
		b.Refuse = &gtx.UnsupportedError{
			Code:   "memory",
			Reason: "a SQLite database in memory is private to one connection, so its leftovers could not be found",
			Hint:   "use a file",
		}
	}
	return b, nil
}

// connector opens by DSN. That of package sqlite would reject some DSNs earlier than
// sql.Open does with the base driver.
type connector struct{ dsn string }

func (c connector) Connect(context.Context) (sqldriver.Conn, error) {
	return base.Open(c.dsn)
}

func (c connector) Driver() sqldriver.Driver { return base }
