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
	"context"

	sqldriver "database/sql/driver"

	"github.com/lib/pq"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/driver/internal/pqbase"
	"github.com/globaltx/globaltx/driver/pgsql"
)

func init() { driver.Register("gtx-postgres", Open) }

// Open makes the base of a lib/pq DSN for driver.New. Its errors show no
// password.
func Open(dsn string) (driver.Base, error) {
	base, params, err := pgsql.SplitDSN(dsn)
	if err != nil {
		return driver.Base{}, err
	}
	dialect, err := pgsql.New(params, pqbase.Base())
	if err != nil {
		return driver.Base{}, err
	}
	return driver.Base{Dialect: dialect, Connector: lazy{dsn: base}, Resolver: lazy{base, true}, Params: params}, nil
}

// lazy opens by DSN. As with sql.Open("postgres", dsn) the DSN, the environment and the
// password file are read anew for each connection, which is also where an error in them
// is told.
type lazy struct {
	dsn      string
	resolver bool // for phase two
}

func (l lazy) Connect(ctx context.Context) (sqldriver.Conn, error) {
	if !l.resolver {
		// As sql.Open("postgres", dsn) connects: without the context. Where that has ended,
		// the first statement says so.
		return pq.Open(l.dsn)
	}
	cfg, err := pq.NewConfig(l.dsn)
	if err != nil {
		return nil, err
	}
	_, phase2, err := connectors(cfg)
	if err != nil {
		return nil, err
	}
	return phase2.Connect(ctx)
}

func (lazy) Driver() sqldriver.Driver { return &pq.Driver{} }

// NewConnector is pq.NewConnectorConfig with global transactions, for sql.OpenDB. It
// keeps a copy of cfg. A dialer for phase two is config.Resolver's business; without
// one its connections are dialled over the network as cfg tells.
func NewConnector(cfg pq.Config, config driver.Config) (sqldriver.Connector, error) {
	c, phase2, err := connectors(cfg.Clone()) // phase two reads its map at any time
	if err != nil {
		return nil, err
	}
	if config.Resolver == nil {
		config.Resolver = phase2
	}
	if config.Open == nil {
		config.Open = Open
	}
	return driver.WrapConnector(c, Dialect(), config), nil
}

// Dialect gives the dialect for connections of lib/pq that are wrapped by somebody
// else, otelsql for one, before driver.Wrap or driver.WrapConnector gets them.
func Dialect() pgsql.Dialect {
	d, err := pgsql.New(nil, pqbase.Base())
	if err != nil {
		panic(err) // only parameters can be wrong
	}
	return d
}

// connectors are one for the program and one for phase two.
func connectors(cfg pq.Config) (program, phase2 *pq.Connector, err error) {
	if program, err = pq.NewConnectorConfig(cfg); err != nil {
		return nil, nil, err
	}
	// Phase two writes. And with this setting lib/pq tries for ever, whatever becomes of
	// the context, to reach a server that is gone: Close would wait for it.
	if cfg.TargetSessionAttrs == pq.TargetSessionAttrsPreferStandby {
		cfg.TargetSessionAttrs = pq.TargetSessionAttrsAny
	}
	if phase2, err = pq.NewConnectorConfig(cfg); err != nil {
		return nil, nil, err
	}
	phase2.Dialer(dialer{patience: patience})
	return program, phase2, nil
}
