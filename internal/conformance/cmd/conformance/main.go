// The command conformance runs public test suites through our drivers and compares them
// with the bare ones. It needs the servers that testservers starts: `make conformance`.
//
//	conformance -suite 'mysql/*' -mode outside -run TestCRUD -v
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/globaltx/globaltx/internal/conformance"
)

func main() {
	suites := flag.String("suite", "", "patterns of suites, with commas; empty: all")
	modes := flag.String("mode", "", "modes beside bare, with commas; empty: those of each suite")
	run := flag.String("run", "", "tests, as go test -run")
	verbose := flag.Bool("v", false, "print the output of tests that differ")
	list := flag.Bool("list", false, "list the suites")
	flag.Parse()
	if *list {
		for _, s := range conformance.Suites() {
			fmt.Println(s.Name)
		}
		return
	}
	root, err := root()
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
	cache := os.Getenv("GTX_TEST_CACHE")
	if cache == "" {
		cache = filepath.Join(root, ".cache")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := conformance.Run(ctx, conformance.Options{
		Root: root, Cache: filepath.Join(cache, "conformance"), Out: os.Stdout,
		Suites: split(*suites), Modes: split(*modes), Run: *run, Verbose: *verbose,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
	}
	if !ok {
		os.Exit(1)
	}
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// root is the directory of the main module: the command is run in the module of
// conformance, or anywhere below the main one.
func root() (string, error) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/globaltx/globaltx")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("find the checkout, run this in internal/conformance: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
