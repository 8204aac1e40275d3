package mutate

import (
	_ "embed"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// The lists are what the servers say of themselves: information_schema.keywords
// of MySQL 9.7 and MariaDB 10.11, pg_get_keywords() of Postgres 15 and 18, and
// the 147 words of SQLite.
var (
	//go:embed keywords/mysql.txt
	mysqlWords string
	//go:embed keywords/mariadb.txt
	mariadbWords string
	//go:embed keywords/postgres.txt
	postgresWords string
	//go:embed keywords/sqlite.txt
	sqliteWords string
)

// Keywords are the words of a dialect, reserved and not, in lower case.
func Keywords(d sqltext.Dialect) []string {
	switch d {
	case sqltext.MySQL:
		return strings.Fields(mysqlWords)
	case sqltext.MariaDB:
		return strings.Fields(mariadbWords)
	case sqltext.Postgres:
		return strings.Fields(postgresWords)
	}
	return strings.Fields(sqliteWords)
}
