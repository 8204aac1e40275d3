// Package postgres registers "gtx-postgres": lib/pq with global transactions.
//
//	import _ "github.com/globaltx/globaltx/driver/postgres"
//
//	db, err := sql.Open("gtx-postgres", "postgres://app:pw@127.0.0.1/stock?gtx_lock_wait=2s")
//
// DSNs are those of lib/pq. Parameters that begin with gtx_ stay here:
//
//	gtx_guard          on: writes outside global transactions respect their locks, default off
//	gtx_lock_wait      how long a statement waits for another global transaction's row, default 5s
//	gtx_scan_interval  how often leftovers are looked for, default 2s
//	gtx_counters       on: compare the server's count of changed rows with what was captured
//
// gtx_counters=on finds what writes in the shadow of a statement and what no
// catalogue tells: a function called by a SELECT, a trigger that was made in the
// seconds for which the catalogue is remembered. The COMMIT is then refused with
// code "hidden-write". It is off by default, for it costs a round trip when a local
// transaction begins and another when it commits, each with a look at every table
// of the database; a savepoint costs one more.
package postgres

import (
	"fmt"

	"github.com/lib/pq"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/driver/pgsql"
)

func init() { driver.Register("gtx-postgres", Open) }

// Open makes the base of a lib/pq DSN for driver.Wrap. Its errors show no
// password.
func Open(dsn string) (driver.Base, error) {
	base, params, err := pgsql.SplitDSN(dsn)
	if err != nil {
		return driver.Base{}, err
	}
	dialect, err := pgsql.New(params, nil)
	if err != nil {
		return driver.Base{}, err
	}
	c, err := pq.NewConnector(base)
	if err != nil {
		return driver.Base{}, fmt.Errorf("open %s: %w", pgsql.Redact(dsn), err)
	}
	phase2, err := pq.NewConnector(base)
	if err != nil {
		return driver.Base{}, fmt.Errorf("open %s: %w", pgsql.Redact(dsn), err)
	}
	phase2.Dialer(dialer{patience: patience})
	return driver.Base{Dialect: dialect, Connector: c, Resolver: phase2, Params: params}, nil
}
