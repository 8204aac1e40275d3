package conformance

// gormSuites are the tests of GORM v1, which its module publishes whole, and of
// datatypes, which run on GORM v2.
func gormSuites() []Suite {
	v1 := &Source{
		Modules: []Module{{
			Path: "github.com/jinzhu/gorm", Version: "v1.9.16",
			Hook: []string{"main.go", "*_test.go"},
			Edits: []Edit{
				// Drivers of databases that are not tested here, or need a C compiler.
				{"main_test.go", "\t_ \"github.com/jinzhu/gorm/dialects/mssql\"\n", ""},
				{"main_test.go", "\t_ \"github.com/jinzhu/gorm/dialects/sqlite\"\n", ""},
				// An address and a time are no names to compare.
				{"main_test.go", `t.Run(fmt.Sprintf("%v", tc)`, `t.Run(fmt.Sprintf("%T", tc)`},
				{
					"main_test.go", `gorm.Open("sqlite3", filepath.Join(os.TempDir(), "gorm.db"))`,
					`gorm.Open("sqlite3", "sqlite", filepath.Join(os.Getenv("` + DirEnv + `"), "gorm.db"))`,
				},
			},
		}},
		Drivers: []string{"mysql", "postgres", "sqlite"},
	}
	types := &Source{
		Modules: []Module{
			{
				Path: "gorm.io/datatypes", Version: "v1.2.7",
				Hook: []string{"*_test.go"},
				Edits: []Edit{
					{"main_test.go", "\t\"gorm.io/driver/sqlserver\"\n", ""},
					{"main_test.go", "sqlserver.Open(dbDSN)", "nil"},
					{"main_test.go", "postgres.Open(dbDSN)", `postgres.New(postgres.Config{DriverName: "pgx", DSN: dbDSN})`},
					{
						"main_test.go", `sqlite.Open(filepath.Join(os.TempDir(), "gorm.db"))`,
						`sqlite.New(sqlite.Config{DriverName: "sqlite", DSN: filepath.Join(os.Getenv("` + DirEnv + `"), "gorm.db")})`,
					},
				},
			},
			{Path: "gorm.io/driver/mysql", Version: "v1.6.0", Hook: []string{"mysql.go"}},
			{Path: "gorm.io/driver/postgres", Version: "v1.6.3", Hook: []string{"postgres.go"}},
			{
				Path: "gorm.io/driver/sqlite", Version: "v1.6.0", Hook: []string{"sqlite.go"},
				// It needs a C compiler; the driver is given by its name.
				Edits: []Edit{{"sqlite.go", "\t_ \"github.com/mattn/go-sqlite3\"\n", ""}},
			},
		},
		Drivers: []string{"mysql", "pgx", "sqlite"},
	}
	env := func(dialect string, dsn func(Database) string) func(Database) []string {
		return func(d Database) []string { return []string{"GORM_DIALECT=" + dialect, "GORM_DSN=" + dsn(d)} }
	}
	my, lite := env("mysql", timeDSN), env("sqlite", timeDSN)
	pg := env("postgres", func(d Database) string { return d.DSN })
	return []Suite{
		{Name: "gorm1/mysql", Source: v1, Server: "mysql", Env: my, Modes: allModes},
		{Name: "gorm1/mariadb", Source: v1, Server: "mariadb", Env: my, Modes: allModes},
		{Name: "gorm1/postgres18", Source: v1, Server: "postgres18", Env: pg, Modes: allModes},
		{Name: "gorm1/sqlite", Source: v1, Env: lite, Modes: allModes},
		{Name: "datatypes/mysql", Source: types, Server: "mysql", Env: my, Modes: allModes},
		{Name: "datatypes/pgx", Source: types, Server: "postgres18", Env: pg, Modes: allModes},
		{Name: "datatypes/sqlite", Source: types, Env: lite, Modes: allModes},
	}
}
