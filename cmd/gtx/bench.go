package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/globaltx/globaltx/driver"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/bank"
	"github.com/globaltx/globaltx/internal/bench"
	"github.com/globaltx/globaltx/internal/wire"
	"github.com/globaltx/globaltx/natsbus"
)

const benchHelp = `Measures what a global transaction adds to a local one (BEGIN, one statement,
COMMIT), against the base driver on the same table of the same server, interleaved
in random order. The coordinator is embedded, its log in a temporary directory. The
table has a random name and is dropped at the end; the tables of the undo log
(gtx_*) stay. One connection, so it shows times, not throughput.

  plain   p50 of the local transaction with the base driver
  local   the same inside a global transaction, as a multiple of plain
  whole   the call of gtx.Run around it, decision included, as a multiple of plain
  trips   round trips to the database, plain and local
  forced  forced writes of the database per transaction, plain and whole with phase
          two; the coordinator forces one more for each decision

With -outside: operations per second of a program that uses no global transaction,
with each number of -workers, one connection each. The drivers take turns of 200 ms;
ratio is the median of ours to the base driver's over neighbouring turns.

With -mode and two DSNs: a transfer between two databases, one local transaction with
two statements in each, in each of the modes, in mode AT, and plain: without any global
transaction. Committed, and given up when the work at both was done.

  p50, p99  from begin to the answer, one worker; ratios of the p50
  trips     round trips to both databases, with phase two
  forced    forced writes of both databases, with phase two; of the MySQL family those
            of InnoDB, not those of the binary log
  N workers transfers per second, and the ratio to plain: medians over turns of 500 ms

Usage: gtx bench [flags] DSN
       gtx bench -mode at|xa|3pc[,...] [flags] DSN DSN

`

func runBench(ctx context.Context, args []string, std stdio) (err error) {
	flags := flag.NewFlagSet("gtx bench", flag.ContinueOnError)
	flags.SetOutput(std.err)
	rounds := flags.Int("rounds", 200, "how often each statement is timed")
	seed := flags.Uint64("seed", 0, "of the random order (default: random)")
	markdown := flags.Bool("markdown", false, "write the table for a Markdown page")
	outside := flags.Bool("outside", false, "measure throughput outside global transactions")
	workers := flags.String("workers", "1,8,32", "how many work at once, with -outside and -mode")
	inModes := flags.String("mode", "", "compare `modes` of a transfer between two databases: at, xa, 3pc")
	flags.Usage = func() {
		fmt.Fprint(std.err, benchHelp)
		flags.PrintDefaults()
		fmt.Fprint(std.err, "\n", targetHelp)
	}
	words, err := parseAnywhere(flags, args)
	if errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return errUsage
	}
	databases := 1
	if *inModes != "" {
		databases = 2
	}
	if len(words) != databases || *rounds < 1 || *outside && *inModes != "" {
		flags.Usage()
		return errUsage
	}
	counts, err := parseCounts(*workers)
	var compared []gtx.Mode
	if err == nil && *inModes != "" {
		compared, err = parseModes(*inModes)
	}
	if err != nil {
		fmt.Fprintln(std.err, err)
		return errUsage
	}
	targets := make([]target, len(words))
	for i, word := range words {
		if targets[i], err = parseTarget(word); err != nil {
			return err
		}
		if err := prepares(targets[i], compared); err != nil {
			return err
		}
	}
	t := targets[0]
	var random [12]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	if *seed == 0 {
		*seed = binary.LittleEndian.Uint64(random[4:])
	}
	dir, err := os.MkdirTemp("", "gtx-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bus, err := natsbus.Embedded(ctx, dir)
	if err != nil {
		return err
	}
	defer bus.Close()
	var relays relays
	defer relays.close()
	table := fmt.Sprintf("gtx_bench_%x", random[:4])
	if *inModes != "" {
		return benchModes(ctx, std, bench.ModesConfig{
			Open: func(side int, global, relayed bool, conns int) (bank.Side, bench.Counter, error) {
				return relays.open(targets[side], global, relayed, conns)
			},
			Participant: driver.Participant, Coordinator: bus, Modes: compared, Rounds: *rounds, Workers: counts, Seed: *seed, Name: table,
		}, targets, *markdown)
	}
	cfg := bench.Config{
		Open: func(global, relayed bool) (*sql.DB, bench.Counter, error) {
			side, counter, err := relays.open(t, global, relayed, 1)
			return side.DB, counter, err
		},
		Dialect: t.dialect, Coordinator: bus, Rounds: *rounds, Seed: *seed, Table: table,
	}
	var rows [][]string
	if *outside {
		rows, err = outsideRows(ctx, cfg, counts)
	} else {
		rows, err = insideRows(ctx, cfg)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", t.show, err)
	}
	fmt.Fprintf(std.out, "%s, %d rounds, seed %d\n\n", t.show, *rounds, *seed)
	return writeBench(std.out, rows, *markdown)
}

// relays count round trips until they are closed.
type relays []*wire.Relay

// open opens a database, through a relay of its own where it has connections.
func (r *relays) open(t target, global, relayed bool, conns int) (side bank.Side, counter bench.Counter, err error) {
	if relayed && t.driver != "sqlite" {
		var relay *wire.Relay
		if t.plain, relay, err = wire.Through(t.driver, t.plain); err != nil {
			return bank.Side{}, nil, err
		}
		t.dsn, counter, *r = t.plain, relay, append(*r, relay)
	}
	side, err = t.open(global, conns)
	return side, counter, err
}

func (r *relays) close() {
	for _, relay := range *r {
		relay.Close()
	}
}

// parseCounts reads positive numbers with commas between them.
func parseCounts(text string) ([]int, error) {
	var counts []int
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-workers %q: want positive numbers such as 1,8,32", text)
		}
		counts = append(counts, n)
	}
	return counts, nil
}

func outsideRows(ctx context.Context, cfg bench.Config, workers []int) ([][]string, error) {
	lines, err := bench.Outside(ctx, cfg, workers)
	rows := [][]string{{"work", "workers", "plain/s", "ratio", "quartiles"}}
	for _, l := range lines {
		rows = append(rows, []string{
			l.Work, strconv.Itoa(l.Workers), strconv.FormatFloat(l.Plain, 'f', 0, 64),
			strconv.FormatFloat(l.Ratio, 'f', 3, 64), fmt.Sprintf("%.3f to %.3f", l.Low, l.High),
		})
	}
	return rows, err
}

func insideRows(ctx context.Context, cfg bench.Config) ([][]string, error) {
	lines, err := bench.Run(ctx, cfg)

	rows := [][]string{{"statement", "plain", "local", "p90", "whole", "trips", "forced"}}
	for _, l := range lines {
		rows = append(rows, []string{
			l.Work, l.Plain.P(0.5).Round(time.Microsecond).String(),
			ratio(l.Local.P(0.5), l.Plain.P(0.5)), ratio(l.Local.P(0.9), l.Plain.P(0.9)), ratio(l.Whole.P(0.5), l.Plain.P(0.5)),
			number(float64(l.PlainTrips)) + " → " + number(float64(l.LocalTrips)),
			number(l.PlainForced) + " → " + number(l.WholeForced),
		})
	}
	return rows, err
}

func writeBench(w io.Writer, rows [][]string, markdown bool) error {
	if markdown {
		for i, r := range rows {
			for _, cell := range r {
				fmt.Fprintf(w, "| %s ", cell)
			}
			fmt.Fprintln(w, "|")
			if i == 0 {
				fmt.Fprintln(w, strings.Repeat("|---", len(r))+"|")
			}
		}
		return nil
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		for _, cell := range r {
			fmt.Fprint(tw, cell, "\t")
		}
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}

func ratio(a, b time.Duration) string { return strconv.FormatFloat(float64(a)/float64(b), 'f', 2, 64) }

// number is "-" for what was not counted.
func number(v float64) string {
	if v < 0 {
		return "-"
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
