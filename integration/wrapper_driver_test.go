package integration

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"strings"
	"testing"

	base "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/lib/pq"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/driver/mysql"
	gtxpgx "github.com/globaltx/globaltx/driver/pgx"
	"github.com/globaltx/globaltx/driver/postgres"
	"github.com/globaltx/globaltx/gtx"
)

// connectorOf is what a program makes that has a configuration in place of a DSN.
func connectorOf(s server, dsn string) (sqldriver.Connector, error) {
	switch s.driver {
	case "gtx-mysql":
		cfg, err := base.ParseDSN(dsn)
		if err != nil {
			return nil, err
		}
		return mysql.NewConnector(cfg, driver.Config{})
	case "gtx-pgx":
		cfg, err := pgx.ParseConfig(dsn)
		if err != nil {
			return nil, err
		}
		return gtxpgx.NewConnector(*cfg, driver.Config{}), nil
	}
	cfg, err := pq.NewConfig(dsn)
	if err != nil {
		return nil, err
	}
	return postgres.NewConnector(cfg, driver.Config{})
}

// TestDriverOfConnector: a DSN that is opened by the driver of a database which was
// made from a configuration is one of the driver's own name, and takes part in global
// transactions.
func TestDriverOfConnector(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		if s.driver == "gtx-sqlite" { // it has no configuration
			return
		}
		bus, dsn := embedded(t), s.dsn(t)
		c, err := connectorOf(s, dsn)
		if err != nil {
			t.Fatal(err)
		}
		first := sql.OpenDB(c)
		defer first.Close()
		dsn += map[bool]string{true: "&", false: "?"}[strings.Contains(dsn, "?")] + "gtx_lock_wait=1s"
		again, err := first.Driver().(sqldriver.DriverContext).OpenConnector(dsn)
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(again)
		defer db.Close()
		mustExec(t, db, "CREATE TABLE thing (id bigint PRIMARY KEY, n bigint)")
		mustExec(t, db, "INSERT INTO thing VALUES (1, 1)")
		if _, err := db.Exec("SELECT 1; SELECT "+s.holder(1), 2); err == nil {
			t.Error("several statements with an argument were run")
		}
		for _, fate := range []error{errUndo, nil} {
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				if _, err := db.ExecContext(ctx, "UPDATE thing SET n = n + "+s.holder(1)+" WHERE id = 1", 5); err != nil {
					return err
				}
				return fate
			}, gtx.WithCoordinator(bus))
			if !errors.Is(err, fate) {
				t.Fatal(err)
			}
			clean(t, db)
		}
		var n int
		if err := db.QueryRow("SELECT n FROM thing").Scan(&n); err != nil || n != 6 {
			t.Errorf("n is %d, %v, want 6", n, err)
		}
	})
}
