// Package postgres puts gtx-postgres in the place of postgres.
package postgres

import (
	"database/sql/driver"

	"github.com/lib/pq"

	"github.com/globaltx/globaltx/driver/postgres"
	"github.com/globaltx/globaltx/internal/conformance/shim"
)

func init() {
	shim.Add(shim.Driver{Base: "postgres", Ours: "gtx-postgres", Dialect: postgres.Dialect(), Is: func(d driver.Driver) bool {
		switch d.(type) {
		case pq.Driver, *pq.Driver:
			return true
		}
		return false
	}})
}
