package main

import (
	"bufio"
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver/natstest"
	"github.com/globaltx/globaltx/natsbus"
)

func TestCoordinatorUsage(t *testing.T) {
	cases := map[string]struct {
		args []string
		code int
		out  string
	}{
		"help":           {[]string{"-h"}, exitOK, "SIGTERM hands over"},
		"nothing":        {nil, exitUsage, "needs -url, or -embedded"},
		"both":           {[]string{"-url", "x", "-embedded", "y"}, exitUsage, "not both"},
		"argument":       {[]string{"-url", "x", "y"}, exitUsage, `"y"`},
		"half a key":     {[]string{"-url", "x", "-tlscert", "y"}, exitUsage, "go together"},
		"level":          {[]string{"-url", "x", "-log-level", "loud"}, exitUsage, "log-level"},
		"status inside":  {[]string{"-embedded", "x", "-status"}, exitUsage, "-status needs -url"},
		"no server":      {[]string{"-url", "nats://127.0.0.1:9"}, exitError, "no servers available"},
		"no server asks": {[]string{"-url", "nats://127.0.0.1:9", "-status"}, exitError, "no servers available"},
		"no nkey":        {[]string{"-url", "nats://127.0.0.1:9", "-nkey", "absent"}, exitError, "read -nkey"},
		"open address":   {[]string{"-embedded", t.TempDir(), "-listen", "0.0.0.0:0"}, exitError, "only a loopback address"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			code, out, stderr := runGTX(t, append([]string{"coordinator"}, tc.args...)...)
			if all := out + stderr; code != tc.code || !strings.Contains(all, tc.out) {
				t.Errorf("exit code %d, want %d with %q:\n%s", code, tc.code, tc.out, all)
			}
		})
	}
}

// coordinatorProcess is gtx coordinator in a process of its own.
type coordinatorProcess struct {
	*exec.Cmd
	lines chan string
}

func startCoordinator(t *testing.T, args ...string) *coordinatorProcess {
	t.Helper()
	p := &coordinatorProcess{exec.Command(os.Args[0], append([]string{"coordinator"}, args...)...), make(chan string, 100)}
	var log strings.Builder
	p.Stderr = &log
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(p.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // unless it has ended
		<-read
		_ = p.Wait()
		if t.Failed() {
			t.Logf("%v said\n%s", args, log.String())
		}
	})
	return p
}

// wait gives the next line with text in it.
func (p *coordinatorProcess) wait(t *testing.T, text string) string {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				t.Fatalf("%v ended without saying %q", p.Args, text)
			}
			if strings.Contains(line, text) {
				return line
			}
		case <-deadline:
			t.Fatalf("%v does not say %q", p.Args, text)
		}
	}
}

// end sends a signal and gives the exit code.
func (p *coordinatorProcess) end(t *testing.T, s os.Signal) int {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	for range p.lines { // until it has closed its output
	}
	_ = p.Wait() // the code says it
	return p.ProcessState.ExitCode()
}

func openTransaction(t *testing.T, b *natsbus.Bus) (gtx.XID, []gtx.BranchRef) {
	t.Helper()
	refs := []gtx.BranchRef{{Resource: "r", Branch: 1}}
	xid, err := b.Begin(t.Context(), gtx.BeginRequest{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Register(t.Context(), xid, refs[0]); err != nil {
		t.Fatal(err)
	}
	return xid, refs
}

func connect(t *testing.T, url string) *natsbus.Bus {
	t.Helper()
	b, err := natsbus.Connect(t.Context(), natsbus.Config{URL: url, Timeout: 40 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func wantOutcome(t *testing.T, what string, got gtx.Status, err error, want gtx.Status) {
	t.Helper()
	if err != nil || got != want {
		t.Fatalf("%s: %s, %v; want %s", what, got, err, want)
	}
}

// startNode starts a coordinator on the NATS server at that URL.
func startNode(t *testing.T, at, name string) *coordinatorProcess {
	t.Helper()
	return startCoordinator(t, "-url", at, "-assume-sync-always", "-name", name, "-takeover-after", "1s", "-max-bytes", "67108864")
}

// leaderAndStandby starts two coordinators, and a NATS server for them at that URL.
func leaderAndStandby(t *testing.T) (at string, one, two *coordinatorProcess) {
	t.Helper()
	at = natstest.Start(t, 1).URL()
	one = startNode(t, at, "one")
	one.wait(t, "one leads log ")
	two = startNode(t, at, "two")
	two.wait(t, "two follows one")
	return at, one, two
}

// A terminated leader hands over what is open; a killed one loses it, and nothing
// else.
func TestCoordinatorProcesses(t *testing.T) {
	at, one, two := leaderAndStandby(t)
	b := connect(t, at)
	xid, refs := openTransaction(t, b)

	if code := one.end(t, syscall.SIGTERM); code != exitOK {
		t.Errorf("terminated leader: exit code %d", code)
	}
	two.wait(t, "two leads log ")
	st, err := b.Commit(t.Context(), xid, refs, nil)
	wantOutcome(t, "commit at the adopter", st, err, gtx.Committed)

	three := startNode(t, at, "three")
	three.wait(t, "three follows two")
	code, out, stderr := runGTX(t, "coordinator", "-status", "-url", at)
	if code != exitOK || !strings.Contains(out, "three  standby") || !strings.Contains(out, "two    leader") {
		t.Errorf("-status: exit code %d\n%s%s", code, out, stderr)
	}
	lost, refs := openTransaction(t, b)
	two.end(t, os.Kill)
	three.wait(t, "three leads log ")
	st, err = b.Commit(t.Context(), lost, refs, nil)
	wantOutcome(t, "commit of what the killed leader had in memory", st, err, gtx.Aborted)
	st, err = b.Outcome(t.Context(), xid)
	wantOutcome(t, "outcome of what it had committed", st, err, gtx.Committed)
}

// Programs that joined an embedded coordinator keep their open transactions over
// its restart.
func TestCoordinatorEmbedded(t *testing.T) {
	dir := t.TempDir()
	p := startCoordinator(t, "-embedded", dir, "-listen", "127.0.0.1:0")
	p.wait(t, "URL in "+filepath.Join(dir, "url"))
	at := readURL(t, dir)
	b := connect(t, at)
	xid, refs := openTransaction(t, b)
	if code := p.end(t, os.Interrupt); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	p = startCoordinator(t, "-embedded", dir, "-listen", u.Host)
	p.wait(t, "leads on "+u.Host)
	if again := readURL(t, dir); again != at {
		t.Errorf("the address was %s and is %s", at, again)
	}
	st, err := b.Commit(t.Context(), xid, refs, nil)
	wantOutcome(t, "commit after the restart", st, err, gtx.Committed)
}

func readURL(t *testing.T, dir string) string {
	t.Helper()
	name := filepath.Join(dir, "url")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the file with the password: %v, %v", info.Mode(), err)
	}
	return strings.TrimSpace(string(text))
}

// The second signal does not wait for the hand-over.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	blocked := make(chan struct{})
	defer close(blocked)
	said := make(lineWriter, 1)
	ended := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() { ended <- stopAtOnceBySignal(stdio{out: said}, func() { <-blocked }) }()
	select {
	case <-said:
	case <-ctx.Done():
		t.Fatal("nothing is said")
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "will be aborted") {
			t.Errorf("ended with %v", err)
		}
	case <-ctx.Done():
		t.Fatal("it waits")
	}
}

type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}
