// Package shim opens what a suite opens through our drivers. The packages below it name
// them; a test binary imports those that it needs, and the mode says whether they are
// used.
package shim

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"os"

	gtxdriver "github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/internal/conformance/hook"
	"github.com/globaltx/globaltx/proxy"
)

// Driver says which of our drivers stands for a base driver.
type Driver struct {
	Base string // the name of the base driver for sql.Open
	Ours string // the name of ours
	// Is tells whether a driver is the base driver, or another of its type: whoever
	// calls sql.Register or sql.OpenDB may have made one of his own.
	Is func(driver.Driver) bool
	// Dialect is what such a driver, or its connector, is wrapped with.
	Dialect proxy.Dialect
}

// Ready is a connector that is one of ours already.
type Ready struct{ Bare, Ours driver.Connector }

// Connect is not called: openDB takes Ready apart.
func (r Ready) Connect(ctx context.Context) (driver.Conn, error) { return r.Ours.Connect(ctx) }

func (r Ready) Driver() driver.Driver { return r.Ours.Driver() }

// byDSN is the connector of a driver that has none.
type byDSN struct {
	drv driver.Driver
	dsn string
}

func (c byDSN) Connect(context.Context) (driver.Conn, error) { return c.drv.Open(c.dsn) }
func (c byDSN) Driver() driver.Driver                        { return c.drv }

// Mode is what the runner asks for: "bare", "outside", "commit" or "abort"; empty is
// "bare".
func Mode() string { return os.Getenv("GTX_CONFORMANCE_MODE") }

// Through, if set, wraps each connector of ours. base is the name of the base driver;
// bare is the connector that a suite brought itself, else nil, and dsn is then empty.
// Package inside sets it in its init.
var Through func(base, dsn string, bare, ours driver.Connector) driver.Connector

var drivers []Driver

// Add makes a driver known. Call it from init.
func Add(d Driver) { drivers = append(drivers, d) }

func init() {
	switch Mode() {
	case "", "bare":
		return
	}
	hook.OpenFunc = open
	hook.OpenDBFunc = openDB
	hook.UnwrapFunc = unwrap
}

func open(name, dsn string) (*sql.DB, error) {
	for _, d := range drivers {
		if d.Base != name {
			continue
		}
		c, err := connector(d.Ours, dsn)
		if err != nil {
			return nil, err
		}
		return ours(name, dsn, nil, c), nil
	}
	db, err := sql.Open(name, dsn)
	if err != nil {
		return nil, err
	}
	for _, d := range drivers {
		if !d.Is(db.Driver()) {
			continue
		}
		drv := db.Driver()
		if err := db.Close(); err != nil {
			return nil, err
		}
		c, err := gtxdriver.Wrap(drv, d.Dialect, gtxdriver.Config{}).(driver.DriverContext).OpenConnector(dsn)
		if err != nil {
			return nil, err
		}
		return ours(d.Base, "", byDSN{drv, dsn}, c), nil
	}
	return db, nil
}

// ours opens a database whose connections are counted; what it gets are the arguments
// of Through.
func ours(base, dsn string, bare, c driver.Connector) *sql.DB {
	c = counted{c}
	if Through != nil {
		c = Through(base, dsn, bare, c)
	}
	return sql.OpenDB(c)
}

// connector is what sql.Open has under its pool.
func connector(name, dsn string) (driver.Connector, error) {
	db, err := sql.Open(name, dsn)
	if err != nil {
		return nil, err
	}
	drv := db.Driver()
	if err := db.Close(); err != nil {
		return nil, err
	}
	return drv.(driver.DriverContext).OpenConnector(dsn)
}

func openDB(c driver.Connector) *sql.DB {
	ready, ok := c.(Ready)
	for _, d := range drivers {
		switch {
		case ok:
			return ours(d.Base, "", ready.Bare, ready.Ours)
		case d.Is(c.Driver()):
			return ours(d.Base, "", c, gtxdriver.WrapConnector(c, d.Dialect, gtxdriver.Config{}))
		}
	}
	return sql.OpenDB(c)
}

func unwrap(c any) (any, error) { return gtxdriver.Unwrap(c) }
