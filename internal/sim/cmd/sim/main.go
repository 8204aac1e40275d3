// Command sim runs schedules of the deterministic simulator, all cores at a
// time, and tells the first seed that breaks a property.
//
//	sim -seeds 200000          schedules of the seeds 0 to 199999
//	sim -from 1000 -seeds 500  of 1000 to 1499
//	sim -seed 4711             one schedule, with its trace
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/globaltx/globaltx/internal/sim"
)

func main() {
	seeds := flag.Uint64("seeds", 10_000, "number of schedules")
	from := flag.Uint64("from", 0, "first seed")
	one := flag.Int64("seed", -1, "run this seed alone, with its trace")
	jobs := flag.Int("jobs", runtime.GOMAXPROCS(0), "schedules at a time")
	limit := flag.Duration("time", 0, "stop after this time, 0 for never")
	flag.Parse()
	if *one >= 0 {
		r := sim.Run(uint64(*one), true)
		fmt.Print(r.Trace)
		if r.Err != nil {
			fmt.Println(r.Err)
			os.Exit(1)
		}
		return
	}
	start := time.Now()
	sum := sim.RunSeeds(*from, *seeds, *jobs, *limit)
	took := time.Since(start)
	fmt.Printf("%d schedules, %d steps, %s, %s each on %d at a time\n",
		sum.Schedules, sum.Steps, took.Round(time.Millisecond), (took / time.Duration(max(1, sum.Schedules))).Round(time.Microsecond), *jobs)
	fmt.Print(sum.Table())
	if sum.Err != nil {
		fmt.Printf("\nseed %d: %v\nreplay: go run ./internal/sim/cmd/sim -seed %d\n", sum.Seed, sum.Err, sum.Seed)
		os.Exit(1)
	}
	if never := sum.Never(); len(never) > 0 && sum.Schedules >= sim.EnoughSeeds {
		fmt.Printf("\nnever happened: %q\n", never)
		os.Exit(1)
	}
}
