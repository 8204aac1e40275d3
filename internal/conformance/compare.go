package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Difference is a test that ended otherwise than through the bare driver.
type Difference struct {
	Suite, Mode, Test string
	Bare, Ours        State
	// Detail says more where the states are the same.
	Detail string
	// Output is what the test printed in the run through our driver.
	Output string
	// Code is that of the refusal which explains it, where Judge found one.
	Code string
}

func (d Difference) String() string {
	s := fmt.Sprintf("%s %s %s: bare %s, ours %s", d.Suite, d.Mode, d.Test, d.Bare, d.Ours)
	if d.Detail != "" {
		s += ": " + d.Detail
	}
	if d.Code != "" {
		s += " (code " + d.Code + ")"
	}
	return s
}

// Compare lists the tests that differ, in the order of their names. Where a test differs
// only because a subtest does, or a subtest is missing because its test ended early, the
// one that says more is listed.
func Compare(bare, ours *Result) []Difference {
	differ := map[string]Difference{}
	for name := range union(bare.Tests, ours.Tests) {
		b, o := outcome(bare, name), outcome(ours, name)
		detail := ""
		if b.State == o.State {
			if detail = traces(b.Trace, o.Trace); detail == "" {
				continue
			}
		}
		differ[name] = Difference{
			Suite: ours.Suite, Mode: ours.Mode, Test: name, Bare: b.State, Ours: o.State, Detail: detail, Output: o.Output,
		}
	}
	var found []Difference
	for _, name := range slices.Sorted(maps.Keys(differ)) {
		d := differ[name]
		if d.Bare == Missing || d.Ours == Missing {
			if p, ok := differ[parent(name)]; ok && p.Bare != p.Ours {
				continue
			}
		} else if d.Detail == "" && saidBelow(differ, name) {
			continue
		}
		found = append(found, d)
	}
	return found
}

// saidBelow tells that a subtest that ran in both differs.
func saidBelow(differ map[string]Difference, name string) bool {
	for sub, d := range differ {
		if strings.HasPrefix(sub, name+"/") && d.Bare != Missing && d.Ours != Missing {
			return true
		}
	}
	return false
}

func parent(name string) string {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return ""
	}
	return name[:i]
}

func union(a, b map[string]Outcome) map[string]bool {
	all := map[string]bool{}
	for name := range a {
		all[name] = true
	}
	for name := range b {
		all[name] = true
	}
	return all
}

func outcome(r *Result, name string) Outcome {
	if o, ok := r.Tests[name]; ok {
		return o
	}
	return Outcome{State: Missing}
}

// traces says where two traces part, if they do.
func traces(bare, ours []string) string {
	for i := range max(len(bare), len(ours)) {
		b, o := "nothing", "nothing"
		if i < len(bare) {
			b = fmt.Sprintf("%q", bare[i])
		}
		if i < len(ours) {
			o = fmt.Sprintf("%q", ours[i])
		}
		if b != o {
			return fmt.Sprintf("line %d of the trace: bare %s, ours %s", i+1, b, o)
		}
	}
	return ""
}
