package conformance

// mysqlSuites are the tests of go-sql-driver/mysql, on MySQL and on MariaDB.
func mysqlSuites() []Suite {
	src := &Source{
		Modules: []Module{{
			Path: "github.com/go-sql-driver/mysql", Version: "v1.10.1",
			Hook: []string{"*_test.go"},
			// The dialer of TestConnectorObeysDialTimeouts would panic, and end all tests,
			// where it is called with a context that is not the test's: our connections of
			// phase two have one of their own. Now it gives its error.
			Edits: []Edit{{
				"driver_test.go",
				"if !ctx.Value(dialCtxKey{}).(bool) {", "if ok, _ := ctx.Value(dialCtxKey{}).(bool); !ok {",
			}},
		}},
		Drivers: []string{"mysql"},
	}
	env := func(d Database) []string {
		return []string{
			"MYSQL_TEST_USER=" + d.User, "MYSQL_TEST_PASS=" + d.Pass, "MYSQL_TEST_PROT=tcp",
			"MYSQL_TEST_ADDR=" + d.Addr, "MYSQL_TEST_DBNAME=" + d.Name,
		}
	}
	// It connects to an address of the Internet and wants no answer.
	const skip = "^TestConnectorReturnsTimeout$"
	return []Suite{
		{Name: "mysql/mysql", Source: src, Server: "mysql", Env: env, Skip: skip, Modes: allModes},
		{Name: "mysql/mariadb", Source: src, Server: "mariadb", Env: env, Skip: skip, Modes: allModes},
	}
}
