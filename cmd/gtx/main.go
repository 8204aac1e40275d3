// Command gtx is the tool around global transactions. "gtx help" lists what it
// can do.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1 // the command ran and something is wrong
	exitUsage = 2 // the command line was not understood; nothing was done
)

// command is one word after gtx.
type command struct {
	name, summary string
	hidden        bool
	// run gets the arguments after the name. errUsage means that the explanation
	// has been printed.
	run func(ctx context.Context, args []string, std stdio) error
}

// stdio is what a command reads and writes.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// errUsage ends a command whose flags were not understood.
var errUsage = errors.New("usage")

func commands() []command {
	return []command{
		{name: "demo", summary: "move money between two databases, and prove that none is lost", run: runDemo},
		{name: "bench", summary: "measure what global transactions cost in a database", run: runBench},
		{name: "coordinator", summary: "run a node of the coordinator, or list the nodes", run: runCoordinator},
		{name: "doctor", summary: "tell what will not work in a database, and change nothing", run: runDoctor},
		{name: "ls", summary: "list the global transactions that have something left in a database", run: runLs},
		{name: "show", summary: "show what a global transaction has changed, before and now", run: runShow},
		{name: "resolve", summary: "end a global transaction that is stuck", run: runResolve},
		{name: "outbox", summary: "list the messages that wait or are dead, and replay them", run: runOutbox},
		{name: "guard", summary: "let a database refuse other writers on rows of a global transaction", run: runGuard},
		{name: "migrate", summary: "make the tables of globaltx in a database", run: runMigrate},
		{name: "version", summary: "print the version", run: runVersion},
		{name: workerCommand, hidden: true, run: runWorker},
	}
}

func main() {
	os.Exit(run(context.Background(), os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr}))
}

func run(ctx context.Context, args []string, std stdio) int {
	if len(args) == 0 {
		help(std.err)
		return exitUsage
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		help(std.out)
		return exitOK
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		switch err := c.run(ctx, args[1:], std); {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return exitOK
		case errors.Is(err, errUsage):
			return exitUsage
		default:
			fmt.Fprintf(std.err, "gtx %s: %v\n", c.name, err)
			return exitError
		}
	}
	fmt.Fprintf(std.err, "gtx: unknown command %q\n\n", args[0])
	help(std.err)
	return exitUsage
}

func help(w io.Writer) {
	fmt.Fprint(w, "gtx is the tool around global transactions for database/sql.\n\nUsage: gtx COMMAND [flags]\n\n")
	for _, c := range commands() {
		if !c.hidden {
			fmt.Fprintf(w, "  %-11s %s\n", c.name, c.summary)
		}
	}
	fmt.Fprint(w, "\n\"gtx COMMAND -h\" explains the flags of a command.\n")
}

func runVersion(_ context.Context, args []string, std stdio) error {
	if len(args) > 0 {
		fmt.Fprintln(std.err, "gtx version takes no arguments")
		return errUsage
	}
	version, goVersion := "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version, goVersion = info.Main.Version, info.GoVersion
	}
	_, err := fmt.Fprintf(std.out, "gtx %s %s\n", version, goVersion)
	return err
}
