package driver

import (
	"context"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"time"

	"github.com/globaltx/globaltx/proxy"
)

// Config is what Wrap and WrapConnector may be told. The zero value is sane; a
// Config is copied.
type Config struct {
	// LockWait bounds how long a statement waits for a row that another global
	// transaction holds. Zero: 5 s. The DSN's gtx_lock_wait is stronger.
	LockWait time.Duration
	// ScanInterval is how often leftovers are looked for. Zero: 2 s. The DSN's
	// gtx_scan_interval is stronger.
	ScanInterval time.Duration
	// Guard makes writes outside global transactions respect their locks, at the
	// price of capture. The DSN's gtx_guard is stronger.
	Guard bool
	// Logger, nil: slog.Default.
	Logger *slog.Logger

	// Skip tells that the base driver, as the user has configured it, would answer
	// driver.ErrSkip to a query with that many arguments, or ought to: then database/sql
	// prepares it. Needed where connections accept more than the user has asked for,
	// because capture does. Nil: never.
	Skip func(query string, args int) bool
	// Alone stands before Exec and Query of a text with a semicolon. Needed where
	// connections take several statements in one text, and the user has not asked for
	// that. Nil: nothing does.
	Alone proxy.Alone
	// Split takes the parameters that begin with gtx_ out of a DSN, for Wrap. Nil: the
	// base driver gets the DSN untouched. Its errors must not show a password.
	Split func(dsn string) (base string, params map[string]string, err error)
	// Resolver opens the connections of phase two, for WrapConnector: to the same
	// database, as the same user, with affected rows that count matched rows. Nil: the
	// connector itself. Where it is an io.Closer it is closed with the sql.DB.
	Resolver driver.Connector
	// Open makes the base of a DSN that is opened through sql.DB.Driver, for
	// WrapConnector. It brings its own Skip, Alone and Resolver. Nil: by base's driver,
	// as Wrap does.
	Open Opener
}

// settings fills the defaults.
func (cfg *Config) settings() (settings, error) {
	if cfg.LockWait < 0 || cfg.ScanInterval < 0 {
		return settings{}, fmt.Errorf("open database: LockWait %s, ScanInterval %s: want none below zero", cfg.LockWait, cfg.ScanInterval)
	}
	s := settings{lockWait: 5 * time.Second, scanInterval: 2 * time.Second, guard: cfg.Guard, logger: slog.Default()}
	if cfg.LockWait > 0 {
		s.lockWait = cfg.LockWait
	}
	if cfg.ScanInterval > 0 {
		s.scanInterval = cfg.ScanInterval
	}
	if cfg.Logger != nil {
		s.logger = cfg.Logger
	}
	return s, nil
}

// Wrap puts global transactions before any base driver whose SQL d knows. Outside a
// global transaction the result behaves as base does; register it under a name of
// its own:
//
//	sql.Register("gtx-traced", driver.Wrap(traced, dialect, driver.Config{}))
//
// Capture needs connections that can do what d sends: for driver/mysql several
// statements in one packet, with arguments put in by the client
// (multiStatements=true&interpolateParams=true); for driver/sqlite the function that its
// Open adds, so wrap the Connector of that. Phase two opens connections by the same
// DSN, so with driver/mysql it must have clientFoundRows=true; where the program does
// not want that use WrapConnector, which takes two.
//
// Where base is a driver.DriverContext its errors come from sql.Open, else from the
// first connection, as without Wrap. Config.Resolver and Config.Open are ignored.
func Wrap(base driver.Driver, d proxy.Dialect, cfg Config) driver.Driver {
	return &wrapped{cfg: cfg, open: func(dsn string) (Base, error) {
		var params map[string]string
		if cfg.Split != nil {
			var err error
			if dsn, params, err = cfg.Split(dsn); err != nil {
				return Base{}, err
			}
		}
		c, err := openConnector(base, dsn)
		return Base{Dialect: d, Connector: c, Skip: cfg.Skip, Alone: cfg.Alone, Params: params}, err
	}}
}

// openConnector is what sql.Open does.
func openConnector(base driver.Driver, dsn string) (driver.Connector, error) {
	if d, ok := base.(driver.DriverContext); ok {
		return d.OpenConnector(dsn)
	}
	return dsnConnector{base, dsn}, nil
}

// dsnConnector is for a driver that has none of its own.
type dsnConnector struct {
	drv driver.Driver
	dsn string
}

func (c dsnConnector) Connect(context.Context) (driver.Conn, error) { return c.drv.Open(c.dsn) }
func (c dsnConnector) Driver() driver.Driver                        { return c.drv }

// WrapConnector is Wrap for sql.OpenDB. The connector of the result is the
// database's for one sql.DB: close that, and base is closed where it is an
// io.Closer. A Config that cannot be is told by the first Connect. Config.Open and
// Config.Split are for DSNs that are opened through sql.DB.Driver.
func WrapConnector(base driver.Connector, d proxy.Dialect, cfg Config) driver.Connector {
	s, err := cfg.settings()
	if err != nil {
		return failed{base, cfg.Resolver, err}
	}
	return newConnector(
		&byConnector{base: base, dialect: d, cfg: cfg},
		Base{Dialect: d, Connector: base, Resolver: cfg.Resolver, Skip: cfg.Skip, Alone: cfg.Alone}, s,
	)
}

// byConnector is the driver of a wrapped connector.
type byConnector struct {
	base    driver.Connector
	dialect proxy.Dialect
	cfg     Config
}

var _ driver.DriverContext = (*byConnector)(nil)

func (b *byConnector) Open(dsn string) (driver.Conn, error) { return b.driver().Open(dsn) }

func (b *byConnector) OpenConnector(dsn string) (driver.Connector, error) {
	return b.driver().(driver.DriverContext).OpenConnector(dsn) //nolint:errcheck // it is one
}

func (b *byConnector) driver() driver.Driver {
	if b.cfg.Open != nil {
		return &wrapped{cfg: b.cfg, open: b.cfg.Open}
	}
	return Wrap(b.base.Driver(), b.dialect, b.cfg)
}

// failed tells what is wrong with a Config as soon as somebody can hear it.
type failed struct {
	driver.Connector
	resolver driver.Connector
	err      error
}

func (f failed) Connect(context.Context) (driver.Conn, error) { return nil, f.err }

func (f failed) Close() error { return joined(closeAll(f.Connector, f.resolver)) }

// Unwrap gives the base driver's connection to a function of sql.Conn.Raw, for what
// database/sql has no words for: COPY of lib/pq, the methods of a pgx connection, all
// results of a MySQL packet. It sees through wrappers with a method Raw()
// driver.Conn, such as otelsql's, on either side; a connection of no driver here is
// given back as it is, so that a program need not know which driver it has.
//
//	err := conn.Raw(func(c any) error {
//		base, err := driver.Unwrap(c)
//		if err != nil {
//			return err
//		}
//		return base.(*stdlib.Conn).Conn().Ping(ctx)
//	})
//
// What is done on it belongs to no global transaction and respects no lock of one.
// While a local transaction of a global one is open on the connection the error is a
// *gtx.UnsupportedError with code "raw", since that could not be undone; it is
// driver.ErrBadConn when the connection was given up. Do not keep the result.
func Unwrap(driverConn any) (driver.Conn, error) { return proxy.Unwrap(driverConn) }
