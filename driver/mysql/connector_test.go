package mysql

import (
	"database/sql"
	"fmt"
	"testing"

	base "github.com/go-sql-driver/mysql"

	"github.com/globaltx/globaltx/driver"
)

// TestNewConnector: a Config behaves through sql.OpenDB as a DSN through sql.Open,
// and is not changed.
func TestNewConnector(t *testing.T) {
	onEach(t, func(t *testing.T, d *database) {
		d.exec("CREATE TABLE r (id int PRIMARY KEY)")
		cfg, err := base.ParseDSN(d.dsn(""))
		if err != nil {
			t.Fatal(err)
		}
		before := cfg.FormatDSN()
		c, err := NewConnector(cfg, driver.Config{})
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(c)
		t.Cleanup(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		if after := cfg.FormatDSN(); after != before || cfg.MultiStatements {
			t.Errorf("the caller's Config is now %s", Redact(after))
		}
		if _, err := db.ExecContext(t.Context(), "INSERT INTO r VALUES (1); INSERT INTO r VALUES (2)"); !is(err, errSyntax) {
			t.Errorf("two statements: got %v, want an error of syntax", err)
		}
		var text, binary any
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM r;").Scan(&text); err != nil {
			t.Fatal(err)
		}
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM r WHERE id > ?;", 0).Scan(&binary); err != nil {
			t.Fatal(err)
		}
		bare := pool(t, cfg)
		var want any
		if err := bare.QueryRowContext(t.Context(), "SELECT count(*) FROM r;").Scan(&want); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprintf("%T %v", text, text) != fmt.Sprintf("%T %v", want, want) || binary != int64(0) {
			t.Errorf("got %T %v and %T %v, want %T %v and int64 0", text, text, binary, binary, want, want)
		}
	})
}

// TestNewConnectorRefuses: what go-sql-driver refuses is refused.
func TestNewConnectorRefuses(t *testing.T) {
	cfg := base.NewConfig()
	cfg.Net = "nowhere"
	if c, err := NewConnector(cfg, driver.Config{}); err == nil {
		t.Errorf("got %T, want an error", c)
	}
}
