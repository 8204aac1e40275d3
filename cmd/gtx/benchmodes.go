package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/bench"
)

// modeNames are the values of -mode.
var modeNames = map[string]gtx.Mode{"at": gtx.AT, "xa": gtx.XA, "3pc": gtx.ThreePhase}

// parseModes reads names with commas between them. AT is always compared.
func parseModes(text string) ([]gtx.Mode, error) {
	all := []gtx.Mode{gtx.AT}
	for word := range strings.SplitSeq(text, ",") {
		m, ok := modeNames[strings.ToLower(strings.TrimSpace(word))]
		if !ok {
			return nil, fmt.Errorf("-mode %q: want at, xa or 3pc, or some of them with commas", text)
		}
		all = append(all, m)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// prepares refuses a database that cannot do what the modes are built on.
func prepares(t target, modes []gtx.Mode) error {
	if t.driver == "sqlite" && slices.ContainsFunc(modes, func(m gtx.Mode) bool { return m != gtx.AT }) {
		return fmt.Errorf("%s: SQLite cannot prepare a transaction, which modes xa and 3pc are built on; -mode at works", t.show)
	}
	return nil
}

// benchModes measures and writes two tables: one worker, and many.
func benchModes(ctx context.Context, std stdio, cfg bench.ModesConfig, targets []target, markdown bool) error {
	lines, err := bench.Modes(ctx, cfg)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", targets[0].show, targets[1].show, err)
	}
	fmt.Fprintf(std.out, "%s to %s, %d rounds, seed %d\n\n", targets[0].show, targets[1].show, cfg.Rounds, cfg.Seed)
	one, many := modeRows(lines, cfg.Workers)
	if err := writeBench(std.out, one, markdown); err != nil {
		return err
	}
	fmt.Fprintln(std.out)
	return writeBench(std.out, many, markdown)
}

// modeRows make the two tables. In each half, committed and given up, plain comes first
// and AT second.
func modeRows(lines []bench.ModeLine, workers []int) (one, many [][]string) {
	one = [][]string{{"transfer", "mode", "p50", "to plain", "to AT", "p99", "trips", "forced"}}
	head := []string{"transfer", "mode"}
	for _, n := range workers {
		head = append(head, fmt.Sprintf("%d workers", n), "to plain")
	}
	many = [][]string{head}
	half := len(lines) / 2
	for i, l := range lines {
		what := "commit"
		if l.Abort {
			what = "abort"
		}
		first := i - i%half
		row := []string{
			what, l.Way, l.Times.P(0.5).Round(10 * time.Microsecond).String(),
			ratio(l.Times.P(0.5), lines[first].Times.P(0.5)), ratio(l.Times.P(0.5), lines[first+1].Times.P(0.5)),
			l.Times.P(0.99).Round(10 * time.Microsecond).String(), number(l.Trips), number(l.Forced),
		}
		one = append(one, row)
		row = []string{what, l.Way}
		for k := range workers {
			row = append(row, strconv.FormatFloat(l.PerSecond[k], 'f', 0, 64)+"/s", strconv.FormatFloat(l.Ratio[k], 'f', 2, 64))
		}
		many = append(many, row)
	}
	return one, many
}
