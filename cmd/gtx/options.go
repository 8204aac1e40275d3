package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// demoOptions are the flags of gtx demo.
type demoOptions struct {
	from, to  string
	transfers int
	workers   int
	accounts  int
	fail      share
	crash     bool
	rounds    int
	dir       string
	seed      uint64
}

// share is a flag between 0 and 1, also as "10%".
type share float64

func (s *share) String() string { return strconv.FormatFloat(float64(*s)*100, 'g', 4, 64) + "%" }

func (s *share) Set(text string) error {
	number, percent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v >= 0 && v <= 1) {
		return errors.New("want a share such as 10% or 0.1")
	}
	*s = share(v)
	return nil
}

const demoHelp = `gtx demo moves money between accounts of two banks in two databases, each
transfer in a global transaction. Some transfers fail after the first bank has
committed locally and are undone from the undo log. At the end every transfer
must stand in both banks or in none, and no undo row may be left.

Without -from and -to the banks are SQLite files, and the coordinator is embedded:
nothing needs to be installed. The demo's tables have a random name and are
dropped at the end; the tables of the undo log (gtx_*) stay.

Usage: gtx demo [flags]

`

// parseDemo reads args; it explains itself on w.
func parseDemo(args []string, w io.Writer) (demoOptions, error) {
	o := demoOptions{fail: 0.1}
	fs := flag.NewFlagSet("gtx demo", flag.ContinueOnError)
	fs.SetOutput(w)
	fs.Usage = func() {
		fmt.Fprint(w, demoHelp)
		fs.PrintDefaults()
		fmt.Fprint(w, "\n", targetHelp)
	}
	fs.StringVar(&o.from, "from", "", "`DSN` of the bank that pays (default: a SQLite file)")
	fs.StringVar(&o.to, "to", "", "`DSN` of the bank that receives (default: a SQLite file)")
	fs.IntVar(&o.transfers, "transfers", 500, "how many transfers to run; not with -crash")
	fs.IntVar(&o.workers, "workers", 8, "how many run at the same time")
	fs.IntVar(&o.accounts, "accounts", 100, "accounts in each bank")
	fs.Var(&o.fail, "fail", "`share` of the transfers that fail between the two local commits")
	fs.BoolVar(&o.crash, "crash", false, "kill the working process between the two local commits, again and again")
	fs.IntVar(&o.rounds, "rounds", 10, "how often -crash kills")
	fs.StringVar(&o.dir, "dir", "", "`directory` for the decision log and the SQLite files; it is kept (default: a temporary one)")
	fs.Uint64Var(&o.seed, "seed", 0, "of the random choices (default: random)")
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		return o, err
	} else if err != nil {
		return o, errUsage
	}
	complain := func(text string) (demoOptions, error) {
		fmt.Fprintf(w, "gtx demo: %s; gtx demo -h explains\n", text)
		return o, errUsage
	}
	switch {
	case fs.NArg() > 0:
		return complain(fmt.Sprintf("unexpected argument %q", fs.Arg(0)))
	case o.transfers < 1 || o.workers < 1 || o.accounts < 1 || o.rounds < 1:
		return complain("-transfers, -workers, -accounts and -rounds begin at 1")
	case o.accounts > 100_000 || o.workers > 1000:
		return complain("at most 100000 accounts and 1000 workers")
	}
	return o, nil
}
