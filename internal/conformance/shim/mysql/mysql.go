// Package mysql puts gtx-mysql in the place of mysql.
package mysql

import (
	"database/sql/driver"

	base "github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/driver/mysql"
	"github.com/globaltx/globaltx/internal/conformance/shim"
)

func init() {
	shim.Add(shim.Driver{Base: "mysql", Ours: "gtx-mysql", Dialect: mysql.Dialect{}, Is: func(d driver.Driver) bool {
		switch d.(type) {
		case base.MySQLDriver, *base.MySQLDriver:
			return true
		}
		return false
	}})
}
