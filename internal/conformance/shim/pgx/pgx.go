// Package pgx puts gtx-pgx in the place of pgx.
package pgx

import (
	"database/sql/driver"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	gtxdriver "github.com/globaltx/globaltx/driver"
	gtxpgx "github.com/globaltx/globaltx/driver/pgx"
	"github.com/globaltx/globaltx/internal/conformance/hook"
	"github.com/globaltx/globaltx/internal/conformance/shim"
)

func init() {
	none := func(driver.Driver) bool { return false } // connectors are made by connector
	shim.Add(shim.Driver{Base: "pgx", Ours: "gtx-pgx", Is: none})
	shim.Add(shim.Driver{Base: "pgx/v5", Ours: "gtx-pgx", Is: none})
	if m := shim.Mode(); m != "" && m != "bare" {
		hook.ConnectorFunc = connector
	}
}

// connector makes one of ours of what stdlib.OpenDB and stdlib.OpenDBFromPool get.
func connector(c driver.Connector, parts ...any) driver.Connector {
	opts := parts[1].([]stdlib.OptionOpenDB)
	switch p := parts[0].(type) {
	case pgx.ConnConfig:
		return shim.Ready{Bare: c, Ours: gtxpgx.NewConnector(p, gtxdriver.Config{}, opts...)}
	case *pgxpool.Pool:
		return shim.Ready{Bare: c, Ours: gtxpgx.NewPoolConnector(p, gtxdriver.Config{}, opts...)}
	}
	return c
}
