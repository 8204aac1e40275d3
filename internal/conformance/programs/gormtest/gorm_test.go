// Package gormtest plays programs that use GORM v2.
package gormtest

import (
	"database/sql"
	"testing"
	"time"

	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/globaltx/globaltx/internal/conformance/programs/stage"
)

// The time that every program lives at: two performances write the same rows.
var now = time.Date(2026, 3, 1, 12, 30, 45, 123000000, time.UTC)

// some is one database of each dialect: the variants of GORM are about its own code.
var some = []string{"sqlite", "mysql", "pgx"}

func TestGORM(t *testing.T) {
	stage.Suite[*gorm.DB]{Open: opener(gorm.Config{}), Programs: programs()}.Play(t)
}

// TestGORMPrepared plays them with GORM's cache of prepared statements.
func TestGORMPrepared(t *testing.T) {
	stage.Suite[*gorm.DB]{Open: opener(gorm.Config{PrepareStmt: true}), Programs: programs(), Kinds: some}.Play(t)
}

// TestGORMAutocommit plays them without the local transaction that GORM puts
// around every write.
func TestGORMAutocommit(t *testing.T) {
	stage.Suite[*gorm.DB]{Open: opener(gorm.Config{SkipDefaultTransaction: true, QueryFields: true}), Programs: programs(), Kinds: some}.Play(t)
}

func opener(cfg gorm.Config) func(*sql.DB, stage.Kind) (*gorm.DB, error) {
	return func(db *sql.DB, k stage.Kind) (*gorm.DB, error) {
		cfg := cfg
		cfg.Logger = logger.Discard
		cfg.NowFunc = func() time.Time { return now }
		cfg.TranslateError = true
		var d gorm.Dialector
		switch k.Dialect {
		case "mysql":
			d = mysql.New(mysql.Config{Conn: db, DriverName: k.Driver})
		case "postgres":
			d = postgres.New(postgres.Config{Conn: db, DriverName: k.Driver})
		default:
			d = sqlite.New(sqlite.Config{Conn: db, DriverName: k.Driver})
		}
		return gorm.Open(d, &cfg)
	}
}

func programs() []stage.Program[*gorm.DB] {
	var all []stage.Program[*gorm.DB]
	all = append(all, writes()...)
	all = append(all, associations()...)
	all = append(all, transactions()...)
	all = append(all, reads()...)
	all = append(all, kinds()...)
	return all
}
