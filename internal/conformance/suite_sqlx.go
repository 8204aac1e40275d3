package conformance

import "github.com/go-sql-driver/mysql"

// sqlxSuites are the tests of jmoiron/sqlx, one server at a time. Their tables have no
// primary keys. MySQL and MariaDB can be given some that a test does not see (package
// inside); on the others the first refusal makes sqlx panic, which ends all tests.
func sqlxSuites() []Suite {
	src := &Source{
		Modules: []Module{{
			Path: "github.com/jmoiron/sqlx", Version: "v1.4.0",
			Hook: []string{"sqlx.go", "*_test.go"},
			Edits: []Edit{
				// The init of package sqlx would come before ours.
				{"sqlx_test.go", "func init() {\n\tConnectAll()\n}", "func TestMain(m *testing.M) {\n\tConnectAll()\n\tos.Exit(m.Run())\n}"},
				// SQLite without a C compiler.
				{"sqlx_test.go", "\t_ \"github.com/mattn/go-sqlite3\"\n", ""},
				{"sqlx_test.go", `Connect("sqlite3", sqdsn)`, `Connect("sqlite", os.ExpandEnv(sqdsn))`},
				{"bind.go", `"sqlite3", `, `"sqlite3", "sqlite", `},
			},
		}},
		Drivers: []string{"mysql", "postgres", "sqlite"},
	}
	env := func(name string, dsn func(Database) string) func(Database) []string {
		return func(d Database) []string {
			return []string{
				"SQLX_MYSQL_DSN=skip", "SQLX_POSTGRES_DSN=skip", "SQLX_SQLITE_DSN=skip",
				"SQLX_" + name + "_DSN=" + dsn(d),
			}
		}
	}
	my := env("MYSQL", timeDSN)
	pg := env("POSTGRES", func(d Database) string { return d.DSN })
	lite := env("SQLITE", func(Database) string { return "$" + DirEnv + "/sqlx.db" })
	return []Suite{
		{Name: "sqlx/mysql", Source: src, Server: "mysql", Env: my, Modes: allModes},
		{Name: "sqlx/mariadb", Source: src, Server: "mariadb", Env: my, Modes: allModes},
		{Name: "sqlx/postgres18", Source: src, Server: "postgres18", Env: pg},
		{Name: "sqlx/sqlite", Source: src, Env: lite},
	}
}

// allModes are the modes of suites that write much.
var allModes = []string{Outside, Commit, Abort}

// timeDSN is the DSN of a server of MySQL's family with the parameters that mappers ask
// their users for.
func timeDSN(d Database) string {
	cfg, err := mysql.ParseDSN(d.DSN)
	if err != nil {
		return d.DSN // of newDatabase, so it was read before
	}
	cfg.ParseTime = true
	if cfg.Params == nil {
		cfg.Params = map[string]string{}
	}
	return cfg.FormatDSN()
}
