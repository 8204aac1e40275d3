package postgres

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/lib/pq"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/natsbus"
)

func TestMain(m *testing.M) { testserver.Main(m) }

// TestNewConnector: a Config behaves through sql.OpenDB as a DSN through sql.Open, and
// what becomes of the caller's Config does not matter.
func TestNewConnector(t *testing.T) {
	bus, err := natsbus.Embedded(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	gtx.SetDefault(bus)
	defer func() {
		gtx.SetDefault(nil)
		if err := bus.Close(); err != nil {
			t.Error(err)
		}
	}()
	dsn := testserver.Postgres15(t)
	look, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close()
	if _, err := look.Exec("CREATE TABLE stock (id int PRIMARY KEY, n int); INSERT INTO stock VALUES (1, 0)"); err != nil {
		t.Fatal(err)
	}
	cfg, err := pq.NewConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Runtime = map[string]string{"statement_timeout": "12345ms"}
	c, err := NewConnector(cfg, driver.Config{ScanInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Runtime["statement_timeout"] = "no time"
	if _, ok := c.Driver().(*pq.Driver); ok {
		t.Error("the connector shows the driver of the base, whose connections know no global transactions")
	}
	db := sql.OpenDB(c)
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	var timeout string
	if err := db.QueryRow("SHOW statement_timeout").Scan(&timeout); err != nil || timeout != "12345ms" {
		t.Errorf("statement_timeout %q, %v", timeout, err)
	}
	undo := errors.New("undo")
	for i, fate := range []error{nil, undo, nil} {
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			if _, err := db.ExecContext(ctx, "UPDATE stock SET n = n + $1 WHERE id = $2", 1, 1); err != nil {
				return err
			}
			return fate
		})
		if !errors.Is(err, fate) {
			t.Fatalf("run %d: got %v, want %v", i, err, fate)
		}
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		var n, left int
		err := look.QueryRow("SELECT n, (SELECT count(*) FROM gtx_undo) + (SELECT count(*) FROM gtx_branch) FROM stock").Scan(&n, &left)
		if err == nil && n == 2 && left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("n = %d, want 2, %d rows are left: %v", n, left, err)
		}
	}
}
