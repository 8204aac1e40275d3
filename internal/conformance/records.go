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
	var segments, statements, tables, rows, conflicts int
	for _, rec := range all {
		switch rec.Event {
		case "segment":
			segments++
			ends[rec.End]++
			statements, tables, rows = statements+rec.Writes, tables+rec.Tables, rows+rec.Rows
		case "refused":
			codes[rec.Code]++
		case "conflict":
			conflicts++
		}
	}
	out := []string{fmt.Sprintf("%d global transactions (%s) with %d statements that may write", segments, counts(ends), statements)}
	if tables > 0 {
		out = append(out, fmt.Sprintf("compared after an abort: %d tables, %d rows", tables, rows))
	}
	if len(codes) > 0 {
		out = append(out, "refused: "+counts(codes))
	}
	if conflicts > 0 {
		out = append(out, fmt.Sprintf("conflicts: %d", conflicts))
	}
	return out
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
