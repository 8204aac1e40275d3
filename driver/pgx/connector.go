package pgx

import (
	"context"
	"database/sql"
	"io"

	sqldriver "database/sql/driver"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/driver/internal/pgxbase"
	"github.com/globaltx/globaltx/driver/pgsql"
)

// NewConnector is stdlib.GetConnector with global transactions, for sql.OpenDB. cfg
// must come from pgx.ParseConfig, of a string without gtx_ parameters. Phase two opens
// its connections with the same options.
func NewConnector(cfg pgx.ConnConfig, config driver.Config, opts ...stdlib.OptionOpenDB) sqldriver.Connector {
	return wrap(&cfg, config, stdlib.GetConnector(cfg, opts...), stdlib.GetConnector(cfg, opts...))
}

// NewPoolConnector is stdlib.GetPoolConnector with global transactions. As there, the
// sql.DB should keep no idle connections, and closing it leaves the pool open; see
// [OpenDBFromPool]. Phase two does not take its connections from the pool, which may
// be exhausted by who waits for it: it opens up to six by the pool's ConnConfig,
// BeforeConnect and AfterConnect.
func NewPoolConnector(pool *pgxpool.Pool, config driver.Config, opts ...stdlib.OptionOpenDB) sqldriver.Connector {
	cfg := pool.Config()
	var hooks []stdlib.OptionOpenDB
	if cfg.BeforeConnect != nil {
		hooks = append(hooks, stdlib.OptionBeforeConnect(cfg.BeforeConnect))
	}
	if cfg.AfterConnect != nil {
		hooks = append(hooks, stdlib.OptionAfterConnect(cfg.AfterConnect))
	}
	return wrap(cfg.ConnConfig, config, stdlib.GetPoolConnector(pool, opts...), stdlib.GetConnector(*cfg.ConnConfig, hooks...))
}

// OpenDBFromPool is stdlib.OpenDBFromPool with global transactions.
func OpenDBFromPool(pool *pgxpool.Pool, config driver.Config, opts ...stdlib.OptionOpenDB) *sql.DB {
	db := sql.OpenDB(NewPoolConnector(pool, config, opts...))
	db.SetMaxIdleConns(0)
	return db
}

// Dialect gives the dialect for connections of stdlib that are wrapped by somebody
// else, otelsql for one, before driver.WrapConnector gets them. cfg tells the mode of
// execution; hooks must not change that.
func Dialect(cfg *pgx.ConnConfig) pgsql.Dialect {
	return dialect(newMode(cfg))
}

func wrap(cfg *pgx.ConnConfig, config driver.Config, base, phase2 sqldriver.Connector) sqldriver.Connector {
	mode := newMode(cfg)
	if config.Resolver == nil {
		config.Resolver = phase2
	}
	if config.Open == nil {
		config.Open = Open
	}
	return driver.WrapConnector(&connector{Connector: base, mode: mode}, dialect(mode), config)
}

func newMode(cfg *pgx.ConnConfig) *pgxbase.Mode {
	mode := &pgxbase.Mode{}
	mode.Set(cfg)
	return mode
}

func dialect(mode *pgxbase.Mode) pgsql.Dialect {
	d, err := pgsql.New(nil, mode.Base())
	if err != nil {
		panic(err) // only parameters can be wrong
	}
	return d
}

var _ io.Closer = (*connector)(nil)

// connector learns the mode of execution from the connections that it opens: hooks
// may change it.
type connector struct {
	sqldriver.Connector
	mode *pgxbase.Mode
}

func (c *connector) Connect(ctx context.Context) (sqldriver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if p := pgxbase.Conn(conn); p != nil {
		c.mode.Set(p.Config())
	}
	return conn, nil
}

// Close closes the base where it can be.
func (c *connector) Close() error {
	if cl, ok := c.Connector.(io.Closer); ok {
		return cl.Close()
	}
	return nil
}
