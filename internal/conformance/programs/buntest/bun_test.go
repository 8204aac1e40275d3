// Package buntest plays programs that use bun.
package buntest

import (
	"database/sql"
	"testing"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/mysqldialect"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"github.com/uptrace/bun/schema"

	"github.com/globaltx/globaltx/internal/conformance/programs/stage"
)

func TestBun(t *testing.T) {
	stage.Suite[*bun.DB]{Open: open, Programs: programs()}.Play(t)
}

func open(db *sql.DB, k stage.Kind) (*bun.DB, error) {
	var d schema.Dialect
	switch k.Dialect {
	case "mysql":
		d = mysqldialect.New()
	case "postgres":
		d = pgdialect.New()
	default:
		d = sqlitedialect.New()
	}
	return bun.NewDB(db, d), nil
}

func programs() []stage.Program[*bun.DB] {
	return []stage.Program[*bun.DB]{
		{Name: "insert", Setup: shop, Run: insert},
		{Name: "update", Setup: shop, Run: update},
		{Name: "delete", Setup: shop, Run: remove},
		{Name: "upsert", Setup: shop, Run: upsert, Only: []string{"postgres", "sqlite"}},
		{Name: "on duplicate", Setup: shop, Run: onDuplicate, Only: []string{"mysql"}},
		// bun adds RETURNING on MariaDB.
		{
			Name: "replace", Setup: shop, Run: replace, Only: []string{"mysql", "sqlite"},
			Refused: map[string]string{"mariadb": "returning"},
		},
		{Name: "bulk", Setup: shop, Run: bulk, Only: []string{"postgres"}},
		{Name: "relations", Setup: shop, Run: relations},
		{Name: "transaction", Setup: shop, Run: transaction},
		{Name: "raw", Setup: shop, Run: raw},
		{Name: "types", Setup: types, Run: hardValues},
		{Name: "hooks", Setup: shop, Run: hooks},
		{Name: "prepared", Setup: shop, Run: prepared},
	}
}
