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
// would, and of a text with a semicolon it is made sure that it is one statement,
// else the answer is the server's error of syntax. Whether it is one is mostly seen
// in the text; where it is not (the body of a procedure, a versioned comment) the
// server is asked, which costs a round trip.
package mysql

import (
	sqldriver "database/sql/driver"
	"fmt"

	"github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/driver"
)

func init() { driver.Register("gtx-mysql", Open) }

// Open makes the base of a go-sql-driver DSN for driver.New. Its errors show no
// password.
func Open(dsn string) (driver.Base, error) {
	user, params, err := SplitDSN(dsn)
	if err != nil {
		return driver.Base{}, err
	}
	b, err := baseOf(user)
	if err != nil {
		return driver.Base{}, fmt.Errorf("open %s: %w", Redact(dsn), err)
	}
	b.Params = params
	return b, nil
}

// NewConnector is mysql.NewConnector with global transactions, for sql.OpenDB:
//
//	c, err := mysql.NewConnector(cfg, driver.Config{LockWait: time.Second})
//	db := sql.OpenDB(c)
//
// cfg is copied. Whether statements are prepared, and how many a text may hold, is
// as cfg says; a BeforeConnect option must leave MultiStatements and
// InterpolateParams of the Config that it is given as they are. Of opts, Skip,
// Alone, Split, Resolver and Open are made here and ignored.
func NewConnector(cfg *mysql.Config, opts driver.Config) (sqldriver.Connector, error) {
	b, err := baseOf(cfg)
	if err != nil {
		return nil, fmt.Errorf("make mysql connector: %w", err)
	}
	opts.Skip, opts.Alone, opts.Split, opts.Resolver, opts.Open = b.Skip, b.Alone, nil, b.Resolver, Open
	return driver.WrapConnector(b.Connector, b.Dialect, opts), nil
}

// baseOf makes the base of what the program has configured. Its connections take
// more than the program's would, which Skip and Alone hide.
func baseOf(user *mysql.Config) (driver.Base, error) {
	wire := user.Clone()
	wire.MultiStatements, wire.InterpolateParams = true, true
	c, err := mysql.NewConnector(wire)
	if err != nil {
		// Some collations cannot be interpolated with. Capture refuses them when it
		// sees them; everything else works.
		wire.InterpolateParams = user.InterpolateParams
		if c, err = mysql.NewConnector(wire); err != nil {
			return driver.Base{}, err
		}
	}
	found := user.Clone()
	found.MultiStatements, found.InterpolateParams, found.ClientFoundRows = true, wire.InterpolateParams, true
	rc, err := mysql.NewConnector(found)
	if err != nil {
		return driver.Base{}, err
	}
	b := driver.Base{Dialect: Dialect{}, Connector: c, Resolver: rc}
	if !user.InterpolateParams {
		b.Skip = func(_ string, args int) bool { return args > 0 }
	}
	if !user.MultiStatements {
		b.Alone = alone{}
	}
	return b, nil
}
