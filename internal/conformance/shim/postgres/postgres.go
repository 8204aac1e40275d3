// Package postgres puts gtx-postgres in the place of postgres.
package postgres

import (
	"database/sql/driver"

	"github.com/lib/pq"

	"github.com/globaltx/globaltx/driver/pgsql"
	_ "github.com/globaltx/globaltx/driver/postgres" // registers it
	"github.com/globaltx/globaltx/internal/conformance/shim"
)

func init() {
	dialect, err := pgsql.New(nil, pgsql.Base{})
	if err != nil {
		panic(err) // without parameters there is nothing that could be wrong
	}
	shim.Add(shim.Driver{Base: "postgres", Ours: "gtx-postgres", Dialect: dialect, Is: func(d driver.Driver) bool {
		switch d.(type) {
		case pq.Driver, *pq.Driver:
			return true
		}
		return false
	}})
}
