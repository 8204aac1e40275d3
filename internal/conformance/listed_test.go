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
	run := &Result{Suite: "mysql/mariadb", Mode: Outside}
	all := func(string) bool { return true }
	news, known, stale := Judge(found, expected, run, all)
	if len(news) != 1 || news[0].Test != "TestZ" {
		t.Errorf("new: %v", news)
	}
	if len(known) != 1 || known[0].Test != "TestA" || known[0].Code != "" {
		t.Errorf("known: %v", known)
	}
	if len(stale) != 1 || stale[0].Test != "TestB/x |y" {
		t.Errorf("stale: %v", stale)
	}
	expected[1].Reason = "Sometimes. Two goroutines race."
	if _, _, stale := Judge(found, expected, run, all); len(stale) != 0 {
		t.Errorf("stale, though it does not always occur: %v", stale)
	}
	expected[1].Reason = "because"
	only, err := asked("TestA$/sub")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, stale := Judge(found, expected, run, only); len(stale) != 0 {
		t.Errorf("stale, though it was not to run: %v", stale)
	}
	if news, known, stale := Judge(nil, expected, &Result{Suite: "mysql/mariadb", Mode: Commit}, all); len(news)+len(known)+len(stale) != 0 {
		t.Errorf("another mode: %v, %v, %v", news, known, stale)
	}
}

// TestJudgeByCode: an entry for a code is about tests that the record shows refused with
// it, and about no others.
func TestJudgeByCode(t *testing.T) {
	expected := []Expected{{Suite: "pq", Modes: []string{Commit}, Test: "code no-key", Reason: "no keys", Line: 1}}
	recs, err := readRecords(recorded)
	if err != nil {
		t.Fatal(err)
	}
	run := &Result{Suite: "pq", Mode: Commit, records: recs}
	all := func(string) bool { return true }
	news, known, stale := Judge([]Difference{
		{Test: "TestA/sub", Bare: Passed, Ours: Failed}, // refused with no-key
		{Test: "TestA/not", Bare: Failed, Ours: Passed}, // a refusal makes nothing pass
		{Test: "TestB", Bare: Passed, Ours: Failed},     // refused with ddl
		{Test: "TestC", Bare: Passed, Ours: Failed},     // not refused
	}, expected, run, all)
	if got := differing(news); !slices.Equal(got, []string{"TestA/not: fail pass", "TestB: pass fail", "TestC: pass fail"}) {
		t.Errorf("new: %q", got)
	}
	if len(known) != 1 || known[0].Code != "no-key" || len(stale) != 0 {
		t.Errorf("known: %v, stale: %v", known, stale)
	}
	if _, _, stale := Judge(nil, expected, run, all); len(stale) != 1 {
		t.Errorf("stale: %v", stale)
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

// TestBoth: what a busy machine has made differ once is left out, what differs twice
// stays.
func TestBoth(t *testing.T) {
	first := verdict{
		news:  []Difference{{Test: "TestA"}, {Test: "TestB"}},
		stale: []Expected{{Test: "TestC", Line: 1}, {Test: "TestD", Line: 1}},
	}
	second := verdict{
		news:  []Difference{{Test: "TestB"}, {Test: "TestE"}},
		stale: []Expected{{Test: "TestD", Line: 1}, {Test: "TestC", Line: 2}},
	}
	got, once := first.both(second)
	if len(got.news) != 1 || got.news[0].Test != "TestB" || len(got.stale) != 1 || got.stale[0].Test != "TestD" || got.fine() {
		t.Errorf("stays: %+v", got)
	}
	if len(once) != 1 || once[0].Test != "TestA" {
		t.Errorf("once: %+v", once)
	}
	if got, _ := first.both(verdict{}); !got.fine() {
		t.Errorf("stays: %+v", got)
	}
}
