package testserver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The names of the servers.
const (
	NameMySQL      = "mysql"
	NameMariaDB    = "mariadb"
	NamePostgres15 = "postgres15"
	NamePostgres18 = "postgres18"
)

// Names lists the servers, in the order in which All visits them.
func Names() []string {
	return []string{NameMySQL, NameMariaDB, NamePostgres15, NamePostgres18}
}

// Environment variables beside those of the servers, see kind.env.
const (
	// ShortEnv is set by `make test SHORT=1`: tests that need a server are skipped.
	ShortEnv = "GTX_TEST_SHORT"
	// DurableEnv makes private servers wait for the disk as in production.
	DurableEnv = "GTX_TEST_DURABLE"
	// CacheEnv is the directory with unpacked servers, by default .cache in the
	// checkout. scripts/servers.sh fills it.
	CacheEnv = "GTX_TEST_CACHE"
)

// kind is what is known of a server before it runs.
type kind struct {
	name    string
	title   string
	dialect string // as undo.Dialect.Name
	env     string // variable with the DSN of a running one
	program string // path below a root ("/" or an unpacked tree)
	host    string // root/program of the host's own package, which is preferred
}

var kinds = map[string]kind{
	NameMySQL: {NameMySQL, "MySQL 9", "mysql", "GTX_TEST_MYSQL", "usr/sbin/mysqld", ""},
	NameMariaDB: {
		NameMariaDB, "MariaDB 10.11", "mysql", "GTX_TEST_MARIADB",
		"usr/bin/mariadb-install-db", "/usr/bin/mariadb-install-db",
	},
	NamePostgres15: {
		NamePostgres15, "Postgres 15", "postgres", "GTX_TEST_POSTGRES",
		"usr/lib/postgresql/15/bin/initdb", "/usr/lib/postgresql/15/bin/initdb",
	},
	NamePostgres18: {
		NamePostgres18, "Postgres 18", "postgres", "GTX_TEST_POSTGRES18",
		"usr/lib/postgresql/18/bin/initdb", "/usr/lib/postgresql/18/bin/initdb",
	},
}

func kindOf(name string) (kind, error) {
	k, ok := kinds[name]
	if !ok {
		return kind{}, fmt.Errorf("unknown test server %q, there are %s", name, strings.Join(Names(), ", "))
	}
	return k, nil
}

// root gives the directory below which the server's files are: an unpacked tree
// in the cache, or "/" for the host's own package.
func (k kind) root() (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	// A link may lead out of a private home, see scripts/servers.sh.
	if real, err := filepath.EvalSymlinks(cache); err == nil {
		cache = real
	}
	tree := filepath.Join(cache, "servers", k.name)
	if _, err := os.Stat(filepath.Join(tree, k.program)); err == nil {
		return tree, nil
	}
	if k.host != "" {
		if _, err := os.Stat(k.host); err == nil {
			return "/", nil
		}
	}
	return "", fmt.Errorf("%s is missing: get it with `scripts/servers.sh %s` (`make servers` gets all), "+
		"or name a running one in %s, or leave server tests out with %s=1", k.title, k.name, k.env, ShortEnv)
}

// cacheDir is CacheEnv or .cache beside go.mod, looked for from the working
// directory upwards: tests run in their package's directory.
func cacheDir() (string, error) {
	if dir := os.Getenv(CacheEnv); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the checkout: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".cache"), nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("find the checkout: no go.mod above the working directory; set %s", CacheEnv)
		}
		dir = up
	}
}
