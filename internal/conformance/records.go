package conformance

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/globaltx/globaltx/internal/conformance/inside"
)

// records are what a run in mode commit or abort wrote to its record.
type records []inside.Record

func readRecords(text string) (records, error) {
	var all records
	for line := range strings.Lines(text) {
		var rec inside.Record
		if err := json.Unmarshal([]byte(line), &rec); err != nil {
			return nil, fmt.Errorf("read record %q: %w", line, err)
		}
		all = append(all, rec)
	}
	return all, nil
}

// summary tells in a few lines what ran inside.
func (all records) summary() []string {
	ends, codes := map[string]int{}, map[string]int{}
	n := all.totals()
	conflicts := 0
	for _, rec := range all {
		switch rec.Event {
		case "segment":
			ends[rec.End]++
		case "refused":
			codes[rec.Code]++
		case "conflict":
			conflicts++
		}
	}
	if n.segments == 0 {
		return nil
	}
	out := []string{fmt.Sprintf("%d global transactions (%s), of which %d wrote: %d undo rows", n.segments, counts(ends), n.wrote, n.undo)}
	if n.tables > 0 {
		out = append(out, fmt.Sprintf("compared after an abort: %d rows of %d tables", n.rows, n.tables))
	}
	if len(codes) > 0 {
		out = append(out, "refused: "+counts(codes))
	}
	if conflicts > 0 {
		out = append(out, fmt.Sprintf("conflicts: %d", conflicts))
	}
	return out
}

// totals are sums over the records of a run.
type totals struct{ connections, segments, wrote, undo, tables, rows int }

func (all records) totals() (n totals) {
	for _, rec := range all {
		switch rec.Event {
		case "connected":
			n.connections++
		case "segment":
			n.segments++
			if rec.Undo > 0 {
				n.wrote++
			}
			n.undo, n.tables, n.rows = n.undo+rec.Undo, n.tables+rec.Tables, n.rows+rec.Rows
		}
	}
	return n
}

// idle says what a run in a mode has not done, so that its tests have shown nothing of
// ours, whatever became of them. Empty: it has done all.
func (all records) idle(mode string) string {
	n := all.totals()
	switch {
	case mode == Bare:
	case n.connections == 0:
		return "our driver has made no connection"
	case mode == Outside:
	case n.wrote == 0:
		return "no global transaction wrote"
	case mode == Abort && n.tables == 0: // rows may be none: the tables were empty, and must be again
		return "no table was compared after an abort"
	}
	return ""
}

// codes lists the codes of what was refused in a test.
func (all records) codes(test string) (codes []string) {
	top, _, _ := strings.Cut(test, "/")
	for _, rec := range all {
		if rec.Event == "refused" && rec.Test == top && !slices.Contains(codes, rec.Code) {
			codes = append(codes, rec.Code)
		}
	}
	return codes
}

// counts lists the most frequent first.
func counts(n map[string]int) string {
	names := slices.SortedFunc(maps.Keys(n), func(a, b string) int {
		if n[a] != n[b] {
			return n[b] - n[a]
		}
		return strings.Compare(a, b)
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%d %s", n[name], name)
	}
	return strings.Join(names, ", ")
}

// wrong lists what must never be, whatever became of the tests: rows that an abort has
// not brought back, leftovers, commits that were lost.
func (all records) wrong() []string {
	var out []string
	for _, rec := range all {
		for _, d := range rec.Differences {
			out = append(out, rec.Test+": "+d)
		}
		if rec.Event == "lost" {
			out = append(out, fmt.Sprintf("%s: %s: %s", rec.Test, rec.Code, rec.Reason))
		}
	}
	return out
}

// why lists what was refused in a test, each code once with its first statement.
func (all records) why(test string) []string {
	top, _, _ := strings.Cut(test, "/")
	var out []string
	seen := map[string]bool{}
	for _, rec := range all {
		if rec.Test != top || rec.Event == "segment" || seen[rec.Event+rec.Code] {
			continue
		}
		seen[rec.Event+rec.Code] = true
		out = append(out, fmt.Sprintf("%s %s: %s (%s)", rec.Event, rec.Code, rec.Text, rec.Reason))
	}
	return out
}
