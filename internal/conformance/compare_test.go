package conformance

import (
	"bytes"
	"slices"
	"testing"
)

func result(states map[string]State) *Result {
	r := &Result{Suite: "s", Mode: Outside, Tests: map[string]Outcome{}}
	for name, s := range states {
		r.Tests[name] = Outcome{State: s}
	}
	return r
}

func differing(found []Difference) (out []string) {
	for _, d := range found {
		out = append(out, d.Test+": "+string(d.Bare)+" "+string(d.Ours))
	}
	return out
}

func TestCompare(t *testing.T) {
	for name, k := range map[string]struct {
		bare, ours map[string]State
		want       []string
	}{
		"same":                 {map[string]State{"A": Passed, "B": Failed}, map[string]State{"A": Passed, "B": Failed}, nil},
		"worse and better":     {map[string]State{"A": Passed, "B": Failed}, map[string]State{"A": Skipped, "B": Passed}, []string{"A: pass skip", "B: fail pass"}},
		"a subtest says it":    {map[string]State{"A": Passed, "A/x": Passed, "A/y": Passed}, map[string]State{"A": Failed, "A/x": Passed, "A/y": Failed}, []string{"A/y: pass fail"}},
		"ended early":          {map[string]State{"A": Passed, "A/x": Passed}, map[string]State{"A": Failed}, []string{"A: pass fail"}},
		"a subtest less":       {map[string]State{"A": Failed, "A/x": Failed}, map[string]State{"A": Failed}, []string{"A/x: fail missing"}},
		"a test less":          {map[string]State{"A": Passed, "B": Passed}, map[string]State{"A": Passed}, []string{"B: pass missing"}},
		"a test more":          {map[string]State{}, map[string]State{"A": Passed}, []string{"A: missing pass"}},
		"died":                 {map[string]State{"A": Passed}, map[string]State{"A": Died}, []string{"A: pass died"}},
		"a name within a name": {map[string]State{"A": Passed, "AB/x": Passed}, map[string]State{"A": Failed, "AB/x": Failed}, []string{"A: pass fail", "AB/x: pass fail"}},
	} {
		if got := differing(Compare(result(k.bare), result(k.ours))); !slices.Equal(got, k.want) {
			t.Errorf("%s: got %q, want %q", name, got, k.want)
		}
	}
}

func TestCompareTraces(t *testing.T) {
	bare, ours := result(nil), result(nil)
	bare.Tests["A"] = Outcome{State: Passed, Trace: []string{"1", "2"}}
	ours.Tests["A"] = Outcome{State: Passed, Trace: []string{"1", "3"}}
	found := Compare(bare, ours)
	if len(found) != 1 || found[0].Detail != `line 2 of the trace: bare "2", ours "3"` {
		t.Errorf("got %v", found)
	}
	ours.Tests["A"] = Outcome{State: Passed, Trace: []string{"1"}}
	if found := Compare(bare, ours); len(found) != 1 {
		t.Errorf("a shorter trace: got %v", found)
	}
}

func TestReadEvents(t *testing.T) {
	const events = `{"Action":"run","Test":"A"}
{"Action":"output","Test":"A","Output":"    a_test.go:1: trace: one\n"}
{"Action":"output","Test":"A","Output":"    a_test.go:2: other\n"}
{"Action":"run","Test":"A/x"}
{"Action":"skip","Test":"A/x"}
{"Action":"pass","Test":"A"}
{"Action":"run","Test":"B"}
{"Action":"output","Output":"FAIL\n"}
{"Action":"fail"}
`
	tests := map[string]Outcome{}
	rest, err := readEvents(bytes.NewBufferString(events), tests)
	if err != nil {
		t.Fatal(err)
	}
	if rest != "FAIL\n" {
		t.Errorf("outside of tests: %q", rest)
	}
	if got := tests["A"]; got.State != Passed || !slices.Equal(got.Trace, []string{"one"}) {
		t.Errorf("A: %+v", got)
	}
	if tests["A/x"].State != Skipped || tests["B"].State != Died {
		t.Errorf("A/x: %s, B: %s", tests["A/x"].State, tests["B"].State)
	}
	if _, err := readEvents(bytes.NewBufferString("panic\n"), tests); err == nil {
		t.Error("what is no event was read")
	}
}
