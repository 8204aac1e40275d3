package conformance

// sqliteSuites are the tests of modernc.org/sqlite, those of its root package. Not
// inside: their databases are in memory or their tables without keys, and both is refused.
func sqliteSuites() []Suite {
	src := &Source{
		Modules: []Module{{
			Path: "modernc.org/sqlite", Version: "v1.61.1",
			Hook: []string{"*_test.go"},
			// 90 MB of tests in Tcl, for a program that is not built here.
			Omit: []string{"testdata"},
			Edits: []Edit{
				// Only the test that is left out needs it.
				{"all_test.go", `"github.com/google/pprof/profile"`, `"modernc.org/sqlite/internal/profile"`},
				// Each turn takes 200 ms.
				{"func_test.go", "try < 1000", "try < 20"},
			},
			Files: map[string]string{"internal/profile/profile.go": noProfile},
		}},
		Drivers: []string{"sqlite"},
	}
	return []Suite{{
		Name: "sqlite", Source: src,
		// The first opens 10,000 databases to look for them in a profile of the memory.
		// The second writes for a minute.
		Skip: "^(TestIssue118|TestIssue51)$",
	}}
}

// noProfile are the names of github.com/google/pprof/profile that the tests mention.
const noProfile = `package profile

import (
	"errors"
	"io"
)

type Profile struct {
	SampleType []*ValueType
	Sample     []*Sample
}

type ValueType struct{ Type string }

type Sample struct {
	Value    []int64
	Location []*Location
}

type Location struct{ Line []Line }

type Line struct {
	Function *Function
	Line     int64
}

type Function struct{ Name, Filename string }

func Parse(io.Reader) (*Profile, error) { return nil, errors.New("there are no profiles here") }
`
