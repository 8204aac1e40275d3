package driver

import (
	"database/sql"
	"database/sql/driver"
	"fmt"

	"github.com/globaltx/globaltx/undo"
)

// counted is the driver of one sql.DB. It is one of its own, because it is the only
// thing that a sql.DB shows, and Stats must find the phase two of this one.
type counted struct {
	driver.Driver
	phase2 *service
}

var _ driver.DriverContext = (*counted)(nil)

// OpenConnector opens another database with the same driver.
func (c *counted) OpenConnector(dsn string) (driver.Connector, error) {
	d, ok := c.Driver.(driver.DriverContext)
	if !ok {
		return nil, fmt.Errorf("open connector: %T is not a driver.DriverContext", c.Driver)
	}
	return d.OpenConnector(dsn)
}

// Stats tells what phase two has done on behalf of db, and how many transactions it
// has found that wait for an operator: a number to watch. It asks nobody and is
// cheap. ok is false when db was not opened by a driver of this package, or has no
// part in global transactions (a database in memory).
func Stats(db *sql.DB) (s undo.Stats, ok bool) {
	d, ok := db.Driver().(*counted)
	if !ok || d.phase2.resolver == nil {
		return undo.Stats{}, false
	}
	return d.phase2.resolver.Stats(), true
}
