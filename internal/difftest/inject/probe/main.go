// Command probe puts a fixed set of texts through proxy/sqltext, judges what it
// says without any server, and prints an inject.Report as JSON. Package inject
// builds it with and without a bug in proxy/sqltext.
package main

import (
	"encoding/json"
	"flag"
	"log"
	"os"

	"github.com/globaltx/globaltx/internal/difftest/inject"
)

func main() {
	log.SetFlags(0)
	var n counts
	flag.IntVar(&n.generated, "generated", 1000, "generated statements per target")
	flag.IntVar(&n.mutants, "mutants", 2000, "mutants per target")
	flag.IntVar(&n.sweep, "sweep", 32, "take one of so many texts of the keyword sweep")
	flag.Parse()
	r := inject.NewReport()
	labels(r)
	for _, t := range targets {
		t.judge(r, n)
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		log.Fatal(err)
	}
}
