package conformance

// xormSuites are the tests of xorm: many writes on many shapes of tables. They are run
// for their own sake and for mappers that do not publish their tests on servers. They
// drop and make tables in local transactions and count the tables that are there, so
// inside a global transaction they would tell of that and little else.
func xormSuites() []Suite {
	src := &Source{
		Modules: []Module{{
			Path: "xorm.io/xorm", Version: "v1.4.3",
			Hook: []string{"core/db.go", "tests/tests.go", "tests/*_test.go"},
			Omit: []string{"*_test.go", "dialects/*_test.go", "core/*_test.go"},
			Edits: []Edit{
				// Drivers of databases that are not tested here. The first is not to be had.
				{"go.mod", "\tgitee.com/travelliu/dm v1.8.11192\n", ""},
				{"tests/engine_test.go", "\t_ \"gitee.com/travelliu/dm\"\n", ""},
				{"tests/engine_test.go", "\t_ \"github.com/mattn/go-sqlite3\"\n", ""},
				{"tests/engine_test.go", "\t_ \"github.com/microsoft/go-mssqldb\"\n", ""},
				{"tests/engine_test.go", "\t_ \"github.com/ziutek/mymysql/godrv\"\n", ""},
				// The runner makes the database.
				{"tests/tests.go", "if !rows.Next() {", "if false {"},
				{"tests/tests.go", "CREATE DATABASE IF NOT EXISTS xorm_test", "SELECT 1"},
				{"tests/tests.go", "u, err := url.Parse(connStr)", "u, err := url.Parse(os.ExpandEnv(connStr))"},
			},
		}},
		Dir:     "tests",
		Drivers: []string{"mysql", "postgres", "pgx", "sqlite"},
	}
	args := func(db string, dsn func(Database) string) func(Database) []string {
		return func(d Database) []string { return []string{"-db=" + db, "-conn_str=" + dsn(d), "-show_sql=false"} }
	}
	own := func(d Database) string { return d.DSN }
	lite := func(Database) string { return "$" + DirEnv + "/xorm.db?cache=shared&mode=rwc" }
	return []Suite{
		{Name: "xorm/mysql", Source: src, Server: "mysql", Args: args("mysql", own)},
		{Name: "xorm/mariadb", Source: src, Server: "mariadb", Args: args("mysql", own)},
		{Name: "xorm/postgres18", Source: src, Server: "postgres18", Args: args("postgres", own)},
		{Name: "xorm/pgx", Source: src, Server: "postgres18", Args: args("pgx", own)},
		{Name: "xorm/sqlite", Source: src, Args: args("sqlite", lite)},
	}
}
