// Package driver opens databases for global transactions. It wraps a base
// database/sql driver: its connections go through package proxy, and as long as
// the sql.DB is open the database's share of phase two is served from here.
//
// Programs import driver/mysql, driver/postgres, driver/pgx or driver/sqlite for their
// names. This package is for base drivers beyond those (Wrap, WrapConnector), and for
// reaching the base connection (Unwrap).
package driver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/globaltx/globaltx/proxy"
)

// Base is a base driver made ready for one DSN.
type Base struct {
	Dialect proxy.Dialect
	// Connector opens the connections that the program uses.
	Connector driver.Connector
	// Resolver opens the connections for phase two: the same database and user,
	// affected rows counting matched rows. Nil: as Connector.
	Resolver driver.Connector
	// Skip and Alone: see proxy.Config.
	Skip  func(query string, args int) bool
	Alone proxy.Alone
	// Refuse, if not nil, is why this DSN cannot take part in a global transaction
	// (a database in memory, say). Outside one it works.
	Refuse error
	// Params are the gtx_ parameters of the DSN.
	Params map[string]string
}

// Opener makes a Base from a DSN. Its errors must not show a password.
type Opener func(dsn string) (Base, error)

// Register makes a driver known to sql.Open under name. Call it from init.
func Register(name string, open Opener) { sql.Register(name, New(open)) }

// New gives the driver that Register registers, a driver.DriverContext. With it a
// program changes what an Opener of driver/mysql and the others makes, for a hook
// on each connection say:
//
//	d := driver.New(func(dsn string) (driver.Base, error) {
//		b, err := mysql.Open(dsn)
//		b.Connector = traced{b.Connector}
//		return b, err
//	})
func New(open Opener) driver.Driver { return &wrapped{open: open} }

type wrapped struct {
	open Opener
	cfg  Config
}

var _ driver.DriverContext = (*wrapped)(nil)

// Open is for callers that know nothing of connectors: the connection's database
// is served until the connection closes. Each has a phase two of its own, so
// OpenConnector is cheaper.
func (w *wrapped) Open(dsn string) (driver.Conn, error) {
	c, err := w.connector(dsn)
	if err != nil {
		return nil, err
	}
	c.res.Closed = c.Close
	conn, err := c.Connect(context.Background())
	if err != nil {
		_ = c.Close() // the caller hears of the connection
		return nil, err
	}
	return conn, nil
}

func (w *wrapped) OpenConnector(dsn string) (driver.Connector, error) {
	c, err := w.connector(dsn)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (w *wrapped) connector(dsn string) (*connector, error) {
	s, err := w.cfg.settings()
	if err != nil {
		return nil, err
	}
	base, err := w.open(dsn)
	if err != nil {
		return nil, err
	}
	if err := s.parse(base.Params); err != nil {
		_ = joined(closeAll(base.Connector, base.Resolver)) // the caller hears of the parameter
		return nil, err
	}
	return newConnector(w, base, s), nil
}

// settings are those of Config, and over them the gtx_ parameters of the DSN.
type settings struct {
	lockWait     time.Duration // gtx_lock_wait
	scanInterval time.Duration // gtx_scan_interval
	guard        bool          // gtx_guard
	logger       *slog.Logger
}

var known = []string{"gtx_guard", "gtx_lock_wait", "gtx_scan_interval"}

func (s *settings) parse(params map[string]string) error {
	for name, text := range params {
		if !slices.Contains(known, name) {
			return fmt.Errorf("open database: unknown DSN parameter %q: known are %s", name, strings.Join(known, ", "))
		}
		if name == "gtx_guard" {
			if text != "on" && text != "off" {
				return fmt.Errorf("open database: DSN parameter gtx_guard=%q: want on or off", text)
			}
			s.guard = text == "on"
			continue
		}
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return fmt.Errorf("open database: DSN parameter %s=%q: want a positive duration such as 500ms", name, text)
		}
		switch name {
		case "gtx_lock_wait":
			s.lockWait = d
		case "gtx_scan_interval":
			s.scanInterval = d
		}
	}
	return nil
}
