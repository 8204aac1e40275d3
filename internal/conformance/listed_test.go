package conformance

import (
	"slices"
	"strings"
	"testing"
)

const doc = `# Title

| other | table |
|---|---|
| a | b |

| suite | mode | test | reason |
|---|---|---|---|
| ` + "`mysql/*` | outside | `TestA`, `TestB/x \\|y`" + ` | because |
| pq | commit, abort | TestC | for that reason |

text
`

func TestParseExpected(t *testing.T) {
	got, err := ParseExpected(doc)
	if err != nil {
		t.Fatal(err)
	}
	want := []Expected{
		{"mysql/*", []string{"outside"}, "TestA", "because", 9},
		{"mysql/*", []string{"outside"}, "TestB/x |y", "because", 9},
		{"pq", []string{"commit", "abort"}, "TestC", "for that reason", 10},
	}
	if !slices.EqualFunc(got, want, func(a, b Expected) bool {
		return a.Suite == b.Suite && slices.Equal(a.Modes, b.Modes) && a.Test == b.Test && a.Reason == b.Reason && a.Line == b.Line
	}) {
		t.Errorf("got %+v", got)
	}
}

func TestParseExpectedRefuses(t *testing.T) {
	for _, row := range []string{
		"| pq | outside | TestA | |", "| pq | outside | TestA |", "| pq | sometimes | TestA | x |", "| [ | outside | TestA | x |", "| a, b | outside | TestA | x |",
	} {
		if got, err := ParseExpected("| suite | mode | test | reason |\n|---|---|---|---|\n" + row + "\n"); err == nil {
			t.Errorf("%s: got %+v", row, got)
		}
	}
}

func TestJudge(t *testing.T) {
	expected, err := ParseExpected(doc)
	if err != nil {
		t.Fatal(err)
	}
	found := []Difference{{Suite: "mysql/mariadb", Mode: Outside, Test: "TestA"}, {Suite: "mysql/mariadb", Mode: Outside, Test: "TestZ"}}
	all := func(string) bool { return true }
	news, known, stale := Judge(found, expected, "mysql/mariadb", Outside, all)
	if len(news) != 1 || news[0].Test != "TestZ" {
		t.Errorf("new: %v", news)
	}
	if len(known) != 1 || known[0].Test != "TestA" {
		t.Errorf("known: %v", known)
	}
	if len(stale) != 1 || stale[0].Test != "TestB/x |y" {
		t.Errorf("stale: %v", stale)
	}
	expected[1].Reason = "Sometimes. Two goroutines race."
	if _, _, stale := Judge(found, expected, "mysql/mariadb", Outside, all); len(stale) != 0 {
		t.Errorf("stale, though it does not always occur: %v", stale)
	}
	expected[1].Reason = "because"
	only, err := asked("TestA$/sub")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, stale := Judge(found, expected, "mysql/mariadb", Outside, only); len(stale) != 0 {
		t.Errorf("stale, though it was not to run: %v", stale)
	}
	if news, known, stale := Judge(nil, expected, "mysql/mariadb", Commit, all); len(news)+len(known)+len(stale) != 0 {
		t.Errorf("another mode: %v, %v, %v", news, known, stale)
	}
}

// TestDocument: the table that a run reads is well formed, and each of its rows is about
// a suite that there is, in a mode that the suite has.
func TestDocument(t *testing.T) {
	text := readDocument(t)
	expected, err := ParseExpected(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range expected {
		for _, mode := range e.Modes {
			if !slices.ContainsFunc(Suites(), func(s Suite) bool { return e.matches(s.Name, mode) && slices.Contains(s.modes(), mode) }) {
				t.Errorf("line %d: no suite %s has mode %s", e.Line, e.Suite, mode)
			}
		}
	}
	if !strings.Contains(text, "| suite | mode | test | reason |") {
		t.Error("there is no table")
	}
}
