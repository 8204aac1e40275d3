package conformance

// gooseSuites are the tests of goose that need no container: its provider, its store
// and its Go migrations, on SQLite. They are not run inside: a migration is DDL, which
// cannot be undone and is refused there.
func gooseSuites() []Suite {
	module := Module{
		Path: "github.com/pressly/goose/v3", Version: "v3.29.0",
		Hook: []string{"*_test.go", "database/*_test.go", "tests/gomigrations/*/*_test.go"},
	}
	at := func(dir string) *Source {
		return &Source{Modules: []Module{module}, Dir: dir, Drivers: []string{"sqlite"}}
	}
	return []Suite{
		// TestGooseInit and others build the command with all its drivers.
		{Name: "goose/provider", Source: at(""), Skip: "TestDefaultBinary|TestIssue532|TestIssue293|TestLiteBinary|TestCustomBinary|TestVersioning|TestGooseInit"},
		{Name: "goose/store", Source: at("database")},
		{Name: "goose/gomigrations", Source: at("tests/gomigrations/success")},
	}
}
