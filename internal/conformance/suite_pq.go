package conformance

import (
	"strings"
)

// pqSuites are the tests of lib/pq. What they want of a server with TLS, PgBouncer or
// Kerberos fails without it through either driver.
func pqSuites() []Suite {
	src := &Source{
		Modules: []Module{{
			Path: "github.com/lib/pq", Version: "v1.12.3",
			Hook: []string{"*_test.go", "internal/pqtest/*.go"},
			// Close cancels our look for leftovers, which sends a CancelRequest where it was
			// waiting for an answer. The fake server takes that for a login and panics.
			Edits: []Edit{{
				"internal/pqtest/fake.go",
				"\t_, msg, ok := f.read(cn, true)", "\t_, msg, ok := f.read(cn, true); if !ok || len(msg) > 4 && len(msg) <= 12 { return 0, nil, false }",
			}, {
				// The look itself makes this one panic.
				"conn_test.go",
				"panic(fmt.Sprintf(\"unexpected query: %q\", q))", "cn.Close(); return; panic(fmt.Sprintf(\"unexpected query: %q\", q))",
			}},
		}},
		Drivers: []string{"postgres"},
	}
	// Listeners have nothing to do with database/sql. Their tests wait 100 ms for a
	// notification and panic, which ends all tests, where a busy machine takes longer.
	const skip = "^Test(Listener|Listerner)"
	// Not inside: what they write to are temporary tables, most of them made in the same
	// local transaction. All of that is refused, and nothing would be shown.
	return []Suite{
		{Name: "pq/postgres18", Source: src, Server: "postgres18", Env: pqEnv, Skip: skip},
		{Name: "pq/postgres15", Source: src, Server: "postgres15", Env: pqEnv, Skip: skip},
	}
}

// pqEnv are the variables that lib/pq and pgx share with libpq.
func pqEnv(d Database) []string {
	host, port, _ := strings.Cut(d.Addr, ":")
	return []string{
		"PGHOST=" + host, "PGPORT=" + port, "PGUSER=" + d.User, "PGPASSWORD=" + d.Pass,
		"PGDATABASE=" + d.Name, "PGSSLMODE=disable",
	}
}

// pgxSuites are the tests of pgx's driver for database/sql. Its OpenDB is a function of
// the package, not of its tests.
func pgxSuites() []Suite {
	src := &Source{
		Modules: []Module{{
			Path: "github.com/jackc/pgx/v5", Version: "v5.12.0",
			Hook: []string{"stdlib/*_test.go", "stdlib/sql.go"},
			Edits: []Edit{
				{"stdlib/sql.go", "c := GetConnector(config, opts...)", "c := gtxhook.Connector(GetConnector(config, opts...), config, opts)"},
				{"stdlib/sql.go", "c := GetPoolConnector(pool, opts...)", "c := gtxhook.Connector(GetPoolConnector(pool, opts...), pool, opts)"},
			},
		}},
		Dir:     "stdlib",
		Drivers: []string{"pgx"},
	}
	env := func(d Database) []string { return []string{"PGX_TEST_DATABASE=" + d.DSN} }
	return []Suite{
		{Name: "pgx/postgres18", Source: src, Server: "postgres18", Env: env, Modes: allModes},
		{Name: "pgx/postgres15", Source: src, Server: "postgres15", Env: env, Modes: allModes},
	}
}
