// Package sqlite puts gtx-sqlite in the place of sqlite.
package sqlite

import (
	"database/sql/driver"

	base "modernc.org/sqlite"

	"github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/internal/conformance/shim"
)

func init() {
	shim.Add(shim.Driver{Base: "sqlite", Ours: "gtx-sqlite", Dialect: sqlite.Dialect{}, Is: func(d driver.Driver) bool {
		_, ok := d.(*base.Driver)
		return ok
	}})
}
