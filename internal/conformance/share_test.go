package conformance

import (
	"os"
	"path/filepath"
	"testing"
)

// share is what runs with every `make test`: one suite of each base driver, two mappers, in
// all their modes. `make conformance` runs all. The programs of our own are tests by
// themselves and run there.
var share = []string{"mysql/mariadb", "pq/postgres18", "pgx/postgres18", "sqlx/mysql", "gorm1/mysql", "gorm1/sqlite"}

// TestShare needs the servers that testservers starts, and the go command to download the
// suites.
func TestShare(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	cache := os.Getenv("GTX_TEST_CACHE")
	if cache == "" {
		cache = t.TempDir()
	}
	ok, err := Run(t.Context(), Options{
		Root: root, Cache: filepath.Join(cache, "conformance-share"), Out: t.Output(),
		// Beside other packages' tests, on a machine that may be slow.
		Suites: share, Patience: 5, Repeat: true, Verbose: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		t.Error("a suite ended otherwise than with the bare driver, see above; docs/conformance.md lists what may differ")
	}
}

// TestShareIsOfSuites: each name is that of a suite.
func TestShareIsOfSuites(t *testing.T) {
	names := map[string]bool{}
	for _, s := range Suites() {
		if names[s.Name] {
			t.Errorf("two suites are named %s", s.Name)
		}
		names[s.Name] = true
	}
	for _, name := range share {
		if !names[name] {
			t.Errorf("no suite is named %s", name)
		}
	}
}
