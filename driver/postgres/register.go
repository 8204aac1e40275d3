// Package postgres registers "gtx-postgres": lib/pq with global transactions.
//
//	import _ "github.com/globaltx/globaltx/driver/postgres"
//
//	db, err := sql.Open("gtx-postgres", "postgres://app:pw@127.0.0.1/stock?gtx_lock_wait=2s")
//
// DSNs are those of lib/pq. Parameters that begin with gtx_ stay here:
//
//	gtx_lock_wait      how long a statement waits for another global transaction's row, default 5s
//	gtx_scan_interval  how often leftovers are looked for, default 2s
package postgres

import (
	"fmt"

	"github.com/lib/pq"

	"github.com/globaltx/globaltx/driver"
)

func init() { driver.Register("gtx-postgres", Open) }

// Open makes the base of a lib/pq DSN for driver.Wrap. Its errors show no
// password.
func Open(dsn string) (driver.Base, error) {
	base, params, err := SplitDSN(dsn)
	if err != nil {
		return driver.Base{}, err
	}
	c, err := pq.NewConnector(base)
	if err != nil {
		return driver.Base{}, fmt.Errorf("open %s: %w", Redact(dsn), err)
	}
	return driver.Base{Dialect: Dialect{}, Connector: c, Params: params}, nil
}
