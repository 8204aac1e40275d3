package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Summary adds up many schedules.
type Summary struct {
	Schedules int
	Steps     int
	Counts    map[string]int
	Seed      uint64 // of Err
	Err       error  // of the lowest seed that failed among those that ran
}

// EnoughSeeds is how many schedules make everything in Interesting happen.
const EnoughSeeds = 2000

// Interesting is what a run must have met to be worth anything.
var Interesting = []string{
	"COMMIT late", "COMMIT lost", "COMMIT settled as dead", "COMMIT settled as done", "Trim appended",
	"Close appended", "PREPARE late", "PREPARE lost", "PREPARE not settled", "PREPARE refused", "PREPARE settled as done",
	"answer to PREPARE lost", "claim came too late", "claim committed", "end of a branch that is gone",
	"end of a prepared branch late", "end of a prepared branch lost", "pre-committed told", "prepared branch was attached", "prepared branch was busy",
	"prepared mode met an undo row", "prepared mode only read", "scan committed a prepared branch",
	"scan rolled a prepared branch back", "voted no",
	"aborted told", "active transactions handed over", "adopted transaction committed", "ambiguous append",
	"ambiguous append landed late", "answer to COMMIT lost", "answer to an append lost", "append lost",
	"application crashed", "branch kept", "branch undone", "call to another service timed out",
	"candidate yielded", "committed told", "connection refused", "coordinator crashed", "coordinator stopped for a while", "database crashed",
	"deposed before it knew that it leads", "deposed leader answered", "expired answered",
	"first epoch of another log let in by the server",
	"gave up waiting for a holder", "guard or claim waited for a header", "handed over",
	"hole found in place of an append", "holder ended", "leader deposed", "leader found a hole",
	"lock wait timed out", "log trimmed", "log trimmed while it was read", "message delivered twice",
	"message lost", "network cut", "plain write", "push for nobody", "row met twice", "scan found something",
	"stale append let in by the server", "stale read", "took the lead",
	"two coordinators thought they lead", "unfinished commit kept over a trim", "unknown outcome resolved",
	"unknown told", "waited for a holder", "waited for a lock", "worker crashed",
}

// RunSeeds runs the schedules of n seeds, so many at a time, until one fails or
// limit has passed (0: never).
func RunSeeds(from, n uint64, atOnce int, limit time.Duration) Summary {
	sum := Summary{Counts: map[string]int{}}
	var next atomic.Uint64
	var stop atomic.Bool
	var mu sync.Mutex
	var wait sync.WaitGroup
	begin := time.Now()
	for range max(1, atOnce) {
		wait.Go(func() {
			for !stop.Load() {
				i := next.Add(1) - 1
				if i >= n || limit > 0 && time.Since(begin) > limit {
					return
				}
				r := Run(from+i, false)
				mu.Lock()
				sum.add(from+i, r)
				if sum.Err != nil {
					stop.Store(true)
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	return sum
}

func (s *Summary) add(seed uint64, r Result) {
	s.Schedules++
	s.Steps += r.Steps
	for k, v := range r.Counts {
		s.Counts[k] += v
	}
	if r.Err != nil && (s.Err == nil || seed < s.Seed) {
		s.Err, s.Seed = r.Err, seed
	}
}

// Never gives what of Interesting has not happened.
func (s *Summary) Never() []string {
	return slices.DeleteFunc(slices.Clone(Interesting), func(k string) bool { return s.Counts[k] > 0 })
}

// Table lists what happened how often.
func (s *Summary) Table() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(s.Counts)) {
		fmt.Fprintf(&b, "%10d %s\n", s.Counts[k], k)
	}
	return b.String()
}
