package conformance

import (
	"slices"
	"testing"
)

const recorded = `{"event":"segment","test":"TestA","end":"abort","writes":3,"undo":4,"tables":2,"rows":10}
{"event":"refused","test":"TestA","code":"no-key","text":"INSERT","reason":"no key"}
{"event":"refused","test":"TestA","code":"no-key","text":"UPDATE","reason":"no key"}
{"event":"refused","test":"TestB","code":"ddl","text":"CREATE","reason":"no way back"}
{"event":"segment","test":"TestB","end":"abort","tables":1,"rows":1,"differences":["table t is gone"]}
{"event":"segment","test":"TestC","end":"cut","writes":1}
{"event":"lost","test":"TestC","code":"commit","reason":"gone"}
{"event":"conflict","test":"TestC"}
{"event":"connected"}
`

func TestRecords(t *testing.T) {
	all, err := readRecords(recorded)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name      string
		got, want []string
	}{
		{"summary", all.summary(), []string{
			"3 global transactions (2 abort, 1 cut), of which 1 wrote: 4 undo rows",
			"compared after an abort: 11 rows of 3 tables",
			"refused: 2 no-key, 1 ddl",
			"conflicts: 1",
		}},
		{"wrong", all.wrong(), []string{"TestB: table t is gone", "TestC: commit: gone"}},
		{"why", all.why("TestA/sub"), []string{"refused no-key: INSERT (no key)"}},
	} {
		if !slices.Equal(tt.got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, tt.got, tt.want)
		}
	}
	if _, err := readRecords("{"); err == nil {
		t.Error("half a record was read")
	}
}

// TestIdle: a run that did not do what its mode is for shows nothing.
func TestIdle(t *testing.T) {
	const connected, wrote, nothing = `{"event":"connected"}` + "\n", `{"event":"segment","undo":1}` + "\n", `{"event":"segment"}` + "\n"
	const compared = `{"event":"segment","undo":1,"tables":1}` + "\n"
	for _, tt := range []struct {
		mode, text string
		idle       bool
	}{
		{Bare, "", false},
		{Outside, "", true},
		{Outside, connected, false},
		{Commit, wrote, true},
		{Commit, connected + nothing, true},
		{Commit, connected + wrote, false},
		{Abort, connected + wrote, true},
		{Abort, connected + compared, false},
	} {
		all, err := readRecords(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := all.idle(tt.mode); (got != "") != tt.idle {
			t.Errorf("mode %s, record %q: got %q", tt.mode, tt.text, got)
		}
	}
}
