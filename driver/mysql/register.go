// Package mysql registers "gtx-mysql": go-sql-driver/mysql with global
// transactions, for MySQL and MariaDB.
//
//	import _ "github.com/globaltx/globaltx/driver/mysql"
//
//	db, err := sql.Open("gtx-mysql", "app:pw@tcp(127.0.0.1:3306)/orders?gtx_lock_wait=2s")
//
// DSNs are those of go-sql-driver/mysql. Parameters that begin with gtx_ stay
// here:
//
//	gtx_guard          on: writes outside global transactions respect their locks, default off
//	gtx_lock_wait      how long a statement waits for another global transaction's row, default 5s
//	gtx_scan_interval  how often leftovers are looked for, default 2s
//
// Capture sends several statements in one packet, so connections are opened with
// multiStatements and interpolateParams. Neither is visible: where the DSN does
// not ask for them, statements with arguments are prepared as the base driver
// would, and texts with a semicolon are prepared, too, which the server refuses
// for more than one statement. The price: what cannot be prepared and holds a
// semicolon (CREATE PROCEDURE) needs multiStatements=true in the DSN.
package mysql

import (
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/driver"
)

func init() { driver.Register("gtx-mysql", Open) }

// Open makes the base of a go-sql-driver DSN for driver.Wrap. Its errors show no
// password.
func Open(dsn string) (driver.Base, error) {
	user, params, err := SplitDSN(dsn)
	if err != nil {
		return driver.Base{}, err
	}
	wire := user.Clone()
	wire.MultiStatements, wire.InterpolateParams = true, true
	c, err := mysql.NewConnector(wire)
	if err != nil {
		return driver.Base{}, fmt.Errorf("open %s: %w", Redact(dsn), err)
	}
	found := wire.Clone()
	found.ClientFoundRows = true
	rc, err := mysql.NewConnector(found)
	if err != nil {
		return driver.Base{}, fmt.Errorf("open %s: %w", Redact(dsn), err)
	}
	multi, interpolate := user.MultiStatements, user.InterpolateParams
	return driver.Base{
		Dialect:   Dialect{},
		Connector: c,
		Resolver:  rc,
		Params:    params,
		Skip: func(query string, args int) bool {
			return args > 0 && !interpolate || !multi && strings.IndexByte(query, ';') >= 0
		},
	}, nil
}
