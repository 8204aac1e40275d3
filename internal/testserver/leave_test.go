package testserver

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

const childEnv = "GTX_TESTSERVER_CHILD"

// child is what the process that is killed tells about itself.
type child struct {
	Supervisor int
	Addresses  []string
}

// TestInAChild is the body of the processes that the tests below kill.
func TestInAChild(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		return // the parent
	}
	var c child
	cfg, err := mysql.ParseDSN(MariaDB(t))
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(Postgres15(t))
	if err != nil {
		t.Fatal(err)
	}
	c.Addresses = []string{cfg.Addr, u.Host}
	c.Supervisor = shared.cmd.Process.Pid
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("child %s\n", text)
	_, _ = os.Stdin.Read(make([]byte, 1)) // until killed, or told to fail
	t.Fatal("the child fails")
}

// startChild runs TestInAChild in another process until its servers run.
func startChild(t *testing.T, tmp string) (cmd *exec.Cmd, in io.Closer, c child) {
	t.Helper()
	if os.Getenv(ShortEnv) != "" {
		t.Skipf("%s is set: tests with servers are left out", ShortEnv)
	}
	cmd = exec.Command(os.Args[0], "-test.run=^TestInAChild$")
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "GTX_TEST_M") && !strings.HasPrefix(v, "GTX_TEST_P") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cache, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, childEnv+"=1", "TMPDIR="+tmp, CacheEnv+"="+cache)
	in, err = cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() })
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	var told []string
	for lines := bufio.NewScanner(out); lines.Scan(); told = append(told, lines.Text()) {
		if text, ok := strings.CutPrefix(lines.Text(), "child "); ok {
			if err := json.Unmarshal([]byte(text), &c); err != nil {
				t.Fatal(err)
			}
			return cmd, in, c
		}
	}
	t.Fatalf("the child did not start its servers:\n%s", strings.Join(told, "\n"))
	return nil, nil, c
}

// eventually polls until ok, or fails.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not after a minute: %s", what)
		}
	}
}

func refused(address string) bool {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return true
	}
	_ = c.Close()
	return false
}

func empty(t *testing.T, dir string) bool {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, dirPattern))
	if err != nil {
		t.Fatal(err)
	}
	return len(left) == 0
}

func TestNothingIsLeftOfATestBinaryThatEnds(t *testing.T) {
	for name, end := range map[string]func(*exec.Cmd, io.Closer) error{
		"killed":      func(c *exec.Cmd, _ io.Closer) error { return c.Process.Signal(syscall.SIGKILL) },
		"interrupted": func(c *exec.Cmd, _ io.Closer) error { return c.Process.Signal(syscall.SIGINT) },
		"failed":      func(_ *exec.Cmd, in io.Closer) error { return in.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			tmp := shortTemp(t)
			cmd, in, c := startChild(t, tmp)
			if empty(t, tmp) {
				t.Fatal("the servers' directory is not where the test looks")
			}
			if err := end(cmd, in); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Fatal("the child ended well")
			}
			eventually(t, "the supervisor is gone", func() bool { return !alive(c.Supervisor) })
			for _, a := range c.Addresses {
				if !refused(a) {
					t.Errorf("a server still listens on %s", a)
				}
			}
			if !empty(t, tmp) {
				t.Error("a directory is left")
			}
		})
	}
}

func TestAKilledSupervisorTakesItsServersWithIt(t *testing.T) {
	tmp := shortTemp(t)
	_, _, c := startChild(t, tmp)
	if sweep(tmp); empty(t, tmp) {
		t.Fatal("the directory of a living supervisor was swept")
	}
	if err := syscall.Kill(c.Supervisor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, a := range c.Addresses {
		eventually(t, a+" refuses", func() bool { return refused(a) })
	}
	eventually(t, "its directory can be swept", func() bool { sweep(tmp); return empty(t, tmp) })
}

// shortTemp is a temporary directory in whose path a socket fits.
func shortTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gtx")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}
