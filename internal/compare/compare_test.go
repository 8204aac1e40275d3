package compare

import (
	"os"
	"strconv"
	"testing"
)

// TestCompare gives every contestant its turns. `make compare` sets GTX_COMPARE_ROUNDS,
// and prints the tables; else one small round each shows that all of them deliver.
func TestCompare(t *testing.T) {
	full, err := strconv.Atoi(os.Getenv("GTX_COMPARE_ROUNDS"))
	if err != nil && os.Getenv("GTX_COMPARE_ROUNDS") != "" {
		t.Fatal(err)
	}
	size := func(n int) int {
		if full == 0 {
			return n / 50
		}
		return n
	}
	nc, js := broker(t)
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			run := func(what string, all []Contestant, err error, n, rounds int) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				if full == 0 {
					rounds = 0
				}
				results, err := Measure(t.Context(), all, size(n), rounds+1)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if full > 0 {
					t.Logf("%s, %s\n\n%s", p.name, what, Markdown(results))
				}
			}
			r := p.rig(t, nc, js)
			all, err := Senders(t.Context(), r, 1)
			run("sending, 1 worker", all, err, 500, 2*full|1)
			workers := 1
			if p.family != "sqlite" { // whose writers wait for each other
				workers = 8
				all, err = Senders(t.Context(), r, workers)
				run("sending, 8 workers", all, err, 2000, 2*full|1)
			}
			if p.sending {
				return
			}
			all, err = Relays(t.Context(), r)
			run("relaying", all, err, 20_000, full/2|1)
			all, err = Receivers(t.Context(), r, workers)
			run("receiving, "+strconv.Itoa(workers)+" at a time", all, err, 2000, full|1)
		})
	}
}
