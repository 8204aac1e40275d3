package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/internal/testserver"
)

// TestBench measures on every kind of server, with every driver: a few rounds, or as many as
// GTX_BENCH_ROUNDS says. Nobody holds the times against anything; the round trips
// are counted elsewhere.
func TestBench(t *testing.T) {
	rounds := os.Getenv("GTX_BENCH_ROUNDS")
	outsideWorkers := "1,2,8,32"
	if rounds == "" {
		rounds, outsideWorkers = "2", "2"
	}
	for name, dsn := range map[string]func(t *testing.T) string{
		"sqlite": func(t *testing.T) string {
			return "sqlite:file:" + t.TempDir() + "/bench.db?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)"
		},
		"mysql":      func(t *testing.T) string { return "mysql:" + testserver.MySQL(t) },
		"mariadb":    func(t *testing.T) string { return "mariadb:" + testserver.MariaDB(t) },
		"postgres15": func(t *testing.T) string { return testserver.Postgres15(t) },
		"postgres18": func(t *testing.T) string { return testserver.Postgres18(t) },
		"pgx":        func(t *testing.T) string { return "pgx:" + testserver.Postgres18(t) },
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run(t.Context(), []string{"bench", "-markdown", "-rounds", rounds, dsn(t)}, stdio{nil, &out, &errs})
			if code != exitOK {
				t.Fatalf("exit code %d: %s", code, errs.String())
			}
			t.Log(out.String())
			for _, w := range []string{"update 1", "update 100", "delete 1", "insert 1", "insert 100", "upsert 1"} {
				if !strings.Contains(out.String(), "\n| "+w+" |") {
					t.Errorf("no line for %s", w)
				}
			}
			out.Reset()
			code = run(t.Context(), []string{"bench", "-markdown", "-outside", "-workers", outsideWorkers, "-rounds", rounds, dsn(t)}, stdio{nil, &out, &errs})
			if code != exitOK {
				t.Fatalf("outside: exit code %d: %s", code, errs.String())
			}
			t.Log(out.String())
			for _, w := range []string{"query", "prepared query", "exec", "transaction"} {
				if !strings.Contains(out.String(), "\n| "+w+" | 2 |") {
					t.Errorf("outside: no line for %s", w)
				}
			}
		})
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"bench"}, stdio{nil, &out, &errs}); code != exitUsage || !strings.Contains(errs.String(), "Usage: gtx bench") {
		t.Errorf("without DSN: exit code %d, %q", code, errs.String())
	}
	if code := run(t.Context(), []string{"bench", "-workers", "1,0", "sqlite:x"}, stdio{nil, &out, &errs}); code != exitUsage || !strings.Contains(errs.String(), "want positive numbers") {
		t.Errorf("no workers: exit code %d, %q", code, errs.String())
	}
}
