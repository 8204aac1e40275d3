package conformance

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Expected is a difference that docs/conformance.md gives a reason for.
type Expected struct {
	Suite  string // a pattern of path.Match
	Modes  []string
	Test   string
	Reason string
	Line   int
}

// matches tells that the entry is about this run.
func (e Expected) matches(suite, mode string) bool {
	ok, err := path.Match(e.Suite, suite)
	return err == nil && ok && slices.Contains(e.Modes, mode)
}

// code gives the code where the entry is about all tests that a refusal with it made fail.
// Else it is empty.
func (e Expected) code() string {
	if code, ok := strings.CutPrefix(e.Test, "code "); ok {
		return code
	}
	return ""
}

// ParseExpected reads the table of expected differences in the text of a Markdown
// file. It is the one that begins with
//
//	| suite | mode | test | reason |
//
// suite may be a pattern ("mysql/*"), mode and test several, with commas between them;
// each combination stands for one difference, which must occur. Names may be in
// backquotes, and \| stands for a bar. A test "code no-key" stands for all tests that passed bare
// and failed after a refusal with that code: the run's record has to say so.
func ParseExpected(text string) ([]Expected, error) {
	var all []Expected
	inside := false
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			inside = false
			continue
		}
		cells := strings.Split(strings.ReplaceAll(strings.Trim(line, "|"), `\|`, "\x00"), "|")
		for i := range cells {
			cells[i] = strings.ReplaceAll(strings.TrimSpace(cells[i]), "\x00", "|")
		}
		if slices.Equal(cells, []string{"suite", "mode", "test", "reason"}) {
			inside = true
			continue
		}
		if !inside || strings.Trim(line, "|-: ") == "" {
			continue
		}
		if len(cells) != 4 || slices.Contains(cells, "") {
			return nil, fmt.Errorf("line %d: want suite, mode, test and reason", n)
		}
		suite := names(cells[0])
		if len(suite) != 1 {
			return nil, fmt.Errorf("line %d: want one suite or pattern", n)
		}
		if _, err := path.Match(suite[0], ""); err != nil {
			return nil, fmt.Errorf("line %d: suite %q: %w", n, suite[0], err)
		}
		modes := names(cells[1])
		for _, m := range modes {
			if !slices.Contains([]string{Outside, Commit, Abort}, m) {
				return nil, fmt.Errorf("line %d: unknown mode %q", n, m)
			}
		}
		for _, t := range names(cells[2]) {
			all = append(all, Expected{suite[0], modes, t, cells[3], n})
		}
	}
	return all, nil
}

// names splits a cell.
func names(cell string) []string {
	out := strings.Split(cell, ",")
	for i := range out {
		out[i] = strings.Trim(strings.TrimSpace(out[i]), "`")
	}
	return out
}

// sometimes begins the reason of a difference that need not occur in every run, since it
// depends on what happens beside the test.
const sometimes = "Sometimes."

// Judge parts the differences of one run into those that are not expected and those that
// are, and gives the entries about this run whose difference did not occur although its
// test was asked for. An entry for a code is about every test in which the record of the
// run has a refusal with that code, and which then failed.
func Judge(found []Difference, expected []Expected, run *Result, asked func(test string) bool) (news, known []Difference, stale []Expected) {
	expected = slices.DeleteFunc(slices.Clone(expected), func(e Expected) bool { return !e.matches(run.Suite, run.Mode) })
	met := map[string]bool{}
	for _, d := range found {
		i := slices.IndexFunc(expected, func(e Expected) bool { return e.Test == d.Test })
		if i < 0 {
			codes := run.records.codes(d.Test)
			i = slices.IndexFunc(expected, func(e Expected) bool {
				return e.code() != "" && slices.Contains(codes, e.code()) && d.Ours == Failed && d.Bare == Passed
			})
		}
		if i < 0 {
			news = append(news, d)
			continue
		}
		d.Code = expected[i].code()
		known = append(known, d)
		met[expected[i].Test] = true
	}
	for _, e := range expected {
		if !met[e.Test] && asked(e.Test) && !strings.HasPrefix(e.Reason, sometimes) {
			stale = append(stale, e)
		}
	}
	return news, known, stale
}
