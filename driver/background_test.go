package driver_test

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/gtx"
)

// counting counts the connections that are made.
type counting struct {
	sqldriver.Connector
	made *atomic.Int32
}

func (c counting) Connect(ctx context.Context) (sqldriver.Conn, error) {
	c.made.Add(1)
	return c.Connector.Connect(ctx)
}

// idle is a coordinator that nobody asks anything.
type idle struct{ gtx.Coordinator }

// TestLooksWithCoordinator: a program that has no coordinator has no connection
// but its own, and leftovers are looked for once it has one.
func TestLooksWithCoordinator(t *testing.T) {
	base, err := sqlite.Open(filepath.Join(t.TempDir(), "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var made atomic.Int32
		db := sql.OpenDB(driver.WrapConnector(counting{base.Connector, &made}, base.Dialect, driver.Config{}))
		defer db.Close()
		if err := db.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // of the bubble
		if n := made.Load(); n != 1 {
			t.Errorf("%d connections without a coordinator", n)
		}
		gtx.SetDefault(idle{})
		defer gtx.SetDefault(nil)
		time.Sleep(2 * time.Second)
		if n := made.Load(); n != 2 {
			t.Errorf("%d connections with a coordinator", n)
		}
	})
}
