// Command difftest holds sqltext against the reference parsers and the live
// servers and prints what it counted. The servers come from GTX_TEST_MYSQL,
// GTX_TEST_MARIADB, GTX_TEST_POSTGRES and GTX_TEST_POSTGRES18, so run it under
// testservers:
//
//	testservers go run ./cmd/difftest -mutants 1000000 -sweep
//
// It exits with 1 when anything was misread.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/globaltx/globaltx/internal/difftest/run"
)

// dsns are the variables that hold a server's DSN.
var dsns = map[string]string{
	run.MySQL:      "GTX_TEST_MYSQL",
	run.MariaDB:    "GTX_TEST_MARIADB",
	run.Postgres15: "GTX_TEST_POSTGRES",
	run.Postgres18: "GTX_TEST_POSTGRES18",
}

// errMisread is returned when a run found a misread.
var errMisread = errors.New("statements were misread")

type options struct {
	dialects string
	mutants  int
	seed     uint64
	generate int
	sweep    bool
	mode     string
	json     string
	workers  int
	sample   int
}

func main() {
	var o options
	flag.StringVar(&o.dialects, "dialect", strings.Join(run.Names, ","), "servers, with commas between")
	flag.IntVar(&o.mutants, "mutants", 1_000_000, "how many mutants that the server accepts to compare, for each server")
	flag.IntVar(&o.generate, "generated", 100_000, "how many generated statements to compare, for each server")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "seed of the mutants")
	flag.BoolVar(&o.sweep, "sweep", false, "also put every keyword into every template")
	flag.StringVar(&o.mode, "mode", "", "session: ansi, nobackslash (MySQL family), nonstd (Postgres)")
	flag.StringVar(&o.json, "json", "", "file for the reports as JSON")
	flag.IntVar(&o.workers, "workers", runtime.NumCPU(), "how many work at once")
	flag.IntVar(&o.sample, "sample", 20, "ask the server about every n-th refused text of a code, 0 for none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := o.run(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "difftest:", err)
		os.Exit(1)
	}
}

// timed is a report with what it took.
type timed struct {
	*run.Report
	Seed    uint64  `json:"seed"`
	Workers int     `json:"workers"`
	Mode    string  `json:"mode,omitempty"`
	Seconds float64 `json:"seconds"`
}

func (o *options) run(ctx context.Context, out io.Writer) error {
	mode, ok := run.Modes[o.mode]
	if !ok {
		return fmt.Errorf("no mode is called %q", o.mode)
	}
	var reports []timed
	var wrong error
	for name := range strings.SplitSeq(o.dialects, ",") {
		if !slices.Contains(run.Names, name) {
			return fmt.Errorf("no server is called %q", name)
		}
		if !run.Has(name, o.mode) {
			fmt.Fprintf(out, "%s has no mode %s\n\n", name, o.mode)
			continue
		}
		dsn := os.Getenv(dsns[name])
		if dsns[name] != "" && dsn == "" {
			return fmt.Errorf("%s is not set: run under testservers", dsns[name])
		}
		c, err := run.Target(ctx, name, dsn, mode)
		if err != nil {
			return fmt.Errorf("prepare %s: %w", name, err)
		}
		c.Workers, c.SampleRefused = o.workers, o.sample
		for _, c := range o.runs(c) {
			start := time.Now()
			report, err := run.Run(ctx, c)
			seconds := time.Since(start).Seconds()
			fmt.Fprintf(out, "%s  seed %d, %d workers, %.1f s, %.0f texts/s, %.0f compared/s\n\n", report, o.seed, o.workers, seconds,
				float64(report.Texts)/seconds, float64(report.Compared())/seconds)
			reports = append(reports, timed{report, o.seed, o.workers, o.mode, seconds})
			if report.Misread > 0 {
				wrong = errMisread
			}
			if err != nil {
				return errors.Join(err, o.write(reports))
			}
		}
	}
	return errors.Join(wrong, o.write(reports))
}

// runs are the runs against one server.
func (o *options) runs(c run.Config) []run.Config {
	name := c.Name
	corpus := c.Corpus()
	corpus.Name, corpus.SampleRefused = name+" corpus", 1
	runs := []run.Config{corpus}
	if o.sweep {
		sweep := c.Sweep()
		sweep.Name, sweep.SampleRefused = name+" sweep", 1
		runs = append(runs, sweep)
	}
	if o.generate > 0 {
		generated := c.Generated(o.seed, o.generate)
		generated.Name = name + " generated"
		runs = append(runs, generated)
	}
	if o.mutants > 0 {
		mutants := c.Mutants(o.seed, o.mutants)
		mutants.Name = name + " mutants"
		runs = append(runs, mutants)
	}
	return runs
}

func (o *options) write(reports []timed) error {
	if o.json == "" {
		return nil
	}
	b, err := json.MarshalIndent(reports, "", "  ")
	if err != nil {
		return fmt.Errorf("encode reports: %w", err)
	}
	if err := os.WriteFile(o.json, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write reports: %w", err)
	}
	return nil
}
