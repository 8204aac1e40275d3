package sim

import (
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestRandomSchedules runs a share of what `make sim` runs: nothing may break a
// property, and everything interesting must have happened.
func TestRandomSchedules(t *testing.T) {
	sum := RunSeeds(0, 2*EnoughSeeds, runtime.GOMAXPROCS(0), 20*time.Second)
	if sum.Err != nil {
		t.Fatalf("seed %d: %v\n%s", sum.Seed, sum.Err, Run(sum.Seed, true).Trace)
	}
	t.Logf("%d schedules, %d steps\n%s", sum.Schedules, sum.Steps, sum.Table())
	if never := sum.Never(); len(never) > 0 && sum.Schedules >= EnoughSeeds {
		t.Errorf("never happened: %q", never)
	}
}

// TestSeedReproduces runs seeds twice: a failure that is found can be looked at.
func TestSeedReproduces(t *testing.T) {
	for seed := range uint64(100) {
		first, second := Run(seed, true), Run(seed, true)
		if diff := cmp.Diff(first.Trace, second.Trace); diff != "" {
			t.Fatalf("seed %d runs in two ways:\n%s", seed, diff)
		}
		if quiet := Run(seed, false); quiet.Steps != first.Steps {
			t.Fatalf("seed %d takes %d steps with a trace and %d without", seed, first.Steps, quiet.Steps)
		}
	}
}
