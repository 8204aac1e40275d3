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

// TestBenchModes compares the modes, every server in one of two pairs.
func TestBenchModes(t *testing.T) {
	rounds, workers := os.Getenv("GTX_BENCH_ROUNDS"), "8,32"
	if rounds == "" {
		rounds, workers = "1", "2"
	}
	for _, pair := range []struct {
		name string
		dsns func(t *testing.T) [2]string
	}{
		{"mysql to postgres18", func(t *testing.T) [2]string {
			return [2]string{"mysql:" + testserver.MySQL(t), testserver.Postgres18(t)}
		}},
		{"mariadb to pgx", func(t *testing.T) [2]string {
			return [2]string{"mariadb:" + testserver.MariaDB(t), "pgx:" + testserver.Postgres15(t)}
		}},
	} {
		t.Run(pair.name, func(t *testing.T) {
			dsns := pair.dsns(t)
			var out, errs bytes.Buffer
			code := run(t.Context(), []string{"bench", "-markdown", "-mode", "xa,3pc", "-workers", workers, "-rounds", rounds, dsns[0], dsns[1]}, stdio{nil, &out, &errs})
			if code != exitOK {
				t.Fatalf("exit code %d: %s", code, errs.String())
			}
			t.Log(out.String())
			for _, what := range []string{"commit", "abort"} {
				for _, mode := range []string{"plain", "AT", "XA", "3PC"} {
					if n := strings.Count(out.String(), "\n| "+what+" | "+mode+" |"); n != 2 {
						t.Errorf("%d lines for %s in mode %s, want 2", n, what, mode)
					}
				}
			}
		})
	}
}

func TestBenchModesRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no such mode": {[]string{"-mode", "2pc", "sqlite:a", "sqlite:b"}, exitUsage, "want at, xa or 3pc"},
		"one database": {[]string{"-mode", "xa", "sqlite:a"}, exitUsage, "DSN DSN"},
		"SQLite":       {[]string{"-mode", "xa", "sqlite:a", "sqlite:b"}, exitError, "SQLite cannot prepare"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if code := run(t.Context(), append([]string{"bench"}, tc.args...), stdio{nil, &out, &errs}); code != tc.code || !strings.Contains(errs.String(), tc.want) {
				t.Errorf("exit code %d, %q", code, errs.String())
			}
		})
	}
}
