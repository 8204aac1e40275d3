package compare

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Contestant is one way to do a piece of work.
type Contestant struct {
	Name string
	// Prepare makes a turn of n messages ready; Work is what is measured; Check refuses a
	// turn in which not exactly what was promised has happened.
	Prepare, Work, Check func(ctx context.Context, n int) error
}

// Turn is what one turn of a contestant has taken, for each message.
type Turn struct {
	Clock time.Duration
	// CPU is what this process has computed, user and system: neither the database server
	// nor the NATS server is in it, but SQLite is.
	CPU time.Duration
}

// Result is what a contestant has taken in each round.
type Result struct {
	Name  string
	Turns []Turn
}

// Measure gives every contestant a turn of n messages in each round, in random order. The
// first round warms up and is left out, unless there is one only.
func Measure(ctx context.Context, all []Contestant, n, rounds int) ([]Result, error) {
	results := make([]Result, len(all))
	for i, c := range all {
		results[i].Name = c.Name
	}
	for round := range rounds {
		for _, i := range rand.Perm(len(all)) {
			t, err := turn(ctx, all[i], n)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", all[i].Name, err)
			}
			if round > 0 || rounds == 1 {
				results[i].Turns = append(results[i].Turns, t)
			}
		}
	}
	return results, nil
}

func turn(ctx context.Context, c Contestant, n int) (Turn, error) {
	if err := c.Prepare(ctx, n); err != nil {
		return Turn{}, fmt.Errorf("prepare: %w", err)
	}
	runtime.GC() // nobody pays for what another has left
	cpu, clock := cpuTime(), time.Now()
	if err := c.Work(ctx, n); err != nil {
		return Turn{}, err
	}
	t := Turn{Clock: time.Since(clock) / time.Duration(n), CPU: (cpuTime() - cpu) / time.Duration(n)}
	if err := c.Check(ctx, n); err != nil {
		return Turn{}, fmt.Errorf("check: %w", err)
	}
	return t, nil
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Markdown makes a table of results. Ratios are medians of the ratios of each round to the
// first contestant.
func Markdown(results []Result) string {
	var b strings.Builder
	b.WriteString("| | messages/s | to the first | CPU µs per message | to the first | messages per CPU second |\n|---|---|---|---|---|---|\n")
	for _, r := range results {
		clock, cpu, clockRatio, cpuRatio := make([]float64, 0, len(r.Turns)), []float64{}, []float64{}, []float64{}
		for i, t := range r.Turns {
			first := results[0].Turns[i]
			clock, cpu = append(clock, t.Clock.Seconds()), append(cpu, t.CPU.Seconds())
			clockRatio = append(clockRatio, first.Clock.Seconds()/t.Clock.Seconds())
			cpuRatio = append(cpuRatio, t.CPU.Seconds()/first.CPU.Seconds())
		}
		fmt.Fprintf(&b, "| %s | %.0f | %.2f | %.0f | %.2f | %.0f |\n", r.Name,
			1/median(clock), median(clockRatio), 1e6*median(cpu), median(cpuRatio), 1/median(cpu))
	}
	return b.String()
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}
