package capture

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

func TestMain(m *testing.M) { testserver.Main(m) }

// statements is how many each engine runs; wholeEnv asks for another number.
const (
	statements = 1000
	wholeEnv   = "GTX_DIFFTEST_CAPTURE"
	seedEnv    = "GTX_DIFFTEST_SEED"
)

func number(t *testing.T, env string, otherwise int) int {
	t.Helper()
	s := os.Getenv(env)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", env, err)
	}
	return n
}

// share is how many of n statements an engine runs. The race detector slows
// SQLite down a lot, which is part of the test's own process.
func share(d sqltext.Dialect, n int) int {
	if raceDetector && d == sqltext.SQLite {
		return n / 10
	}
	return n
}

// engines are those of the test, by name.
var engines = []struct {
	name string
	dsn  func(testing.TB) string
	d    sqltext.Dialect
	m    sqltext.Mode
}{
	{"mysql", testserver.MySQL, sqltext.MySQL, sqltext.Mode{}},
	{"mysql-modes", testserver.MySQL, sqltext.MySQL, sqltext.Mode{ANSIQuotes: true, NoBackslashEscapes: true}},
	{"mariadb", testserver.MariaDB, sqltext.MariaDB, sqltext.Mode{}},
	{"mariadb-modes", testserver.MariaDB, sqltext.MariaDB, sqltext.Mode{ANSIQuotes: true, NoBackslashEscapes: true}},
	{"postgres15", testserver.Postgres15, sqltext.Postgres, sqltext.Mode{}},
	{"postgres18", testserver.Postgres18, sqltext.Postgres, sqltext.Mode{}},
	{"sqlite", sqliteFile, sqltext.SQLite, sqltext.Mode{}},
}

func sqliteFile(t testing.TB) string {
	return "file:" + filepath.Join(t.TempDir(), "capture.db") + "?_pragma=synchronous(0)&_pragma=journal_mode(memory)"
}

func TestEquivalence(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			n := number(t, wholeEnv, share(e.d, statements))
			seed := uint64(number(t, seedEnv, 1))
			rep, err := Run(context.Background(), Engine{Name: e.name, Dialect: e.d, Mode: e.m, DSN: e.dsn(t)}, seed, n)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("seed %d: %d statements, %d equal, %d of them some rows, %d fewer, %d errors, refused %v, %.0f a second\nforms %v",
				seed, rep.Statements, rep.Equal, rep.Proper, rep.Fewer, rep.Errors, rep.Refused,
				float64(n)/rep.Elapsed.Seconds(), rep.Forms)
			for _, f := range rep.Failures {
				t.Errorf("unequal: %s", f)
			}
			for _, f := range rep.Samples {
				t.Logf("server: %s\ntext: %s\nargs: %v", f.Detail, f.Text, f.Args)
			}
			if rep.Unequal > 0 {
				t.Errorf("%d unequal", rep.Unequal)
			}
			if rep.Fewer*100 > n {
				t.Errorf("the server left out rows in %d of %d statements", rep.Fewer, n)
			}
			if refused := n - rep.Equal - rep.Fewer - rep.Unequal - rep.Errors; refused*100 > n {
				t.Errorf("%d of %d statements are refused", refused, n)
			}
			if rep.Proper*100 < n*40 {
				t.Errorf("only %d of %d statements changed some rows and not all", rep.Proper, n)
			}
			if rep.Errors*100 > n {
				t.Errorf("the server did not accept %d of %d statements", rep.Errors, n)
			}
		})
	}
}
