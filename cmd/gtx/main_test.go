package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary stand in for gtx: -crash starts itself, and the
// test of signals needs a process of its own.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{workerCommand, "demo", "coordinator"}, os.Args[1]) {
		os.Exit(run(context.Background(), os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr}))
	}
	os.Exit(m.Run())
}

// runGTX runs a command and gives its exit code and what it wrote.
func runGTX(t *testing.T, args ...string) (code int, out, stderr string) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	var o, e bytes.Buffer
	code = run(t.Context(), args, stdio{strings.NewReader(""), &o, &e})
	return code, o.String(), e.String()
}

func TestHelpAndUsage(t *testing.T) {
	cases := map[string]struct {
		args []string
		code int
		out  string // of both outputs together
	}{
		"nothing":         {nil, exitUsage, "Usage: gtx COMMAND"},
		"help":            {[]string{"help"}, exitOK, "demo"},
		"unknown":         {[]string{"x"}, exitUsage, `unknown command "x"`},
		"version":         {[]string{"version"}, exitOK, "gtx "},
		"version of what": {[]string{"version", "x"}, exitUsage, "no arguments"},
		"demo help":       {[]string{"demo", "-h"}, exitOK, "postgres://USER"},
		"unknown flag":    {[]string{"demo", "-x"}, exitUsage, "-x"},
		"argument":        {[]string{"demo", "x"}, exitUsage, `"x"`},
		"bad share":       {[]string{"demo", "-fail", "110%"}, exitUsage, "10%"},
		"not a share":     {[]string{"demo", "-fail", "NaN"}, exitUsage, "10%"},
		"no workers":      {[]string{"demo", "-workers", "0"}, exitUsage, "-workers"},
		"unknown kind":    {[]string{"demo", "-to", "oracle:x"}, exitError, "does not begin with mysql:"},
		"secret in DSN 2": {[]string{"demo", "-to", "pgx:postgres://u:hunter2@h:port/x"}, exitError, "gtx demo:"},
		"secret in DSN":   {[]string{"demo", "-to", "mysql:u:hunter2@tcp(x"}, exitError, "gtx demo:"},
		"unknown option":  {[]string{"demo", "-to", "sqlite:x.db?gtx_nonsense=1"}, exitError, "gtx_nonsense"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			code, out, stderr := runGTX(t, tc.args...)
			if all := out + stderr; code != tc.code || !strings.Contains(all, tc.out) || strings.Contains(all, "hunter2") || strings.Contains(all, workerCommand) {
				t.Errorf("exit code %d, want %d with %q:\n%s", code, tc.code, tc.out, all)
			}
		})
	}
}

func TestDemo(t *testing.T) {
	code, out, stderr := runGTX(t, "demo", "-transfers", "60", "-workers", "4", "-fail", "30%", "-seed", "1")
	if code != exitOK {
		t.Fatalf("exit code %d\n%s%s", code, out, stderr)
	}
	for _, want := range []string{"undone ", "p50 ", "money      200000000 before, 200000000 after", "left       0 undo rows", "in both banks or in none"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if left, _ := os.ReadDir(os.TempDir()); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDemoWithOneDatabaseAndADirectory(t *testing.T) {
	dir := t.TempDir()
	db := "sqlite:" + filepath.Join(dir, "one bank.db")
	for range 2 { // the second run finds log and database of the first
		if code, out, stderr := runGTX(t, "demo", "-transfers", "30", "-from", db, "-to", db, "-dir", dir); code != exitOK {
			t.Fatalf("exit code %d\n%s%s", code, out, stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "decisions")); err != nil {
		t.Errorf("-dir is not kept: %v", err)
	}
}

func TestCrashDemo(t *testing.T) {
	code, out, stderr := runGTX(t, "demo", "-crash", "-rounds", "3")
	if code != exitOK {
		t.Fatalf("exit code %d\n%s%s", code, out, stderr)
	}
	if n := strings.Count(out, "killed at"); n != 3 || !strings.Contains(out, "resolved   everything") || !strings.Contains(out, "200000000 after") {
		t.Errorf("%d kills in\n%s", n, out)
	}
}

// A broken invariant must not end with exit code 0.
func TestVerifyFails(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	d, err := newDemo(demoOptions{transfers: 1, workers: 1, accounts: 3}, stdio{out: io.Discard, err: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	b, closeBank, err := d.openBank(true)
	if err != nil {
		t.Fatal(err)
	}
	defer closeBank()
	if err := b.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	side, err := d.from.open(false, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer side.DB.Close()
	if _, err := side.DB.Exec("UPDATE " + d.name + "_a_account SET balance = balance - 1 WHERE id = 2"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := d.verify(ctx, b, 0, nil); err == nil || !strings.Contains(err.Error(), "account 2 holds 999999") {
		t.Errorf("got %v", err)
	}
}

func TestSignalStopsAndFinishes(t *testing.T) {
	for name, args := range map[string][]string{
		"transfers": {"demo", "-transfers", "1000000"},
		"crash":     {"demo", "-crash", "-rounds", "1000000"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], args...)
			cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var all strings.Builder
			lines := bufio.NewScanner(out)
			for n := 0; lines.Scan(); n++ {
				all.WriteString(lines.Text() + "\n")
				if n == 3 { // three lines of heading, then it works
					if err := cmd.Process.Signal(os.Interrupt); err != nil {
						t.Error(err)
					}
				}
			}
			if err := cmd.Wait(); err != nil || !strings.Contains(all.String(), "stopped:") || !strings.Contains(all.String(), "in both banks or in none") {
				t.Errorf("%v in\n%s", err, all.String())
			}
		})
	}
}
