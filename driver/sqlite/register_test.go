package sqlite_test

import (
	"database/sql"
	sqldriver "database/sql/driver"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	base "modernc.org/sqlite"

	_ "github.com/globaltx/globaltx/driver/sqlite"
)

// TestRegistered: what a program registers with package sqlite is on the connections of
// gtx-sqlite as on those of sqlite: functions, collations, hooks.
func TestRegistered(t *testing.T) {
	base.MustRegisterScalarFunction("twice", 1, func(_ *base.FunctionContext, args []sqldriver.Value) (sqldriver.Value, error) {
		return strings.Repeat(args[0].(string), 2), nil
	})
	base.MustRegisterCollationUtf8("backwards", func(a, b string) int { return strings.Compare(b, a) })
	var hooked atomic.Int32
	file := filepath.Join(t.TempDir(), "registered.db")
	base.RegisterConnectionHook(func(_ base.ExecQuerierContext, dsn string) error {
		if strings.Contains(dsn, file) {
			hooked.Add(1)
		}
		return nil
	})
	db, err := sql.Open("gtx-sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if hooked.Load() == 0 {
		t.Error("the connection hook did not run")
	}
	var got string
	if err := c.QueryRowContext(t.Context(), "SELECT twice('ab')").Scan(&got); err != nil || got != "abab" {
		t.Errorf("function: %q, %v", got, err)
	}
	if err := c.QueryRowContext(t.Context(), "SELECT x FROM (SELECT 'a' AS x UNION ALL SELECT 'b') ORDER BY x COLLATE backwards LIMIT 1").Scan(&got); err != nil || got != "b" {
		t.Errorf("collation: %q, %v", got, err)
	}
}
