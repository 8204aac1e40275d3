package testserver

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// exitMissing is Run's exit code when the command went well without a server.
const exitMissing = 3

// killAfter is how long a command told to end may take.
const killAfter = 15 * time.Second

// Run starts every server that no variable names, runs the command with the
// variables set, stops the servers and returns the command's exit code. A server
// that cannot be had is told on log; the command runs without it, and the code
// is then never 0.
//
// SIGINT, SIGTERM, SIGHUP and the end of the parent process end the command and
// all its children, and then the servers. The code is then 128 plus the signal.
func Run(log io.Writer, name string, args ...string) int {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	began := time.Now()
	defer shared.stop()
	missing, err := startAll()
	if err != nil {
		fmt.Fprintln(log, "testservers:", err)
		return 1
	}
	tell := func() {
		for _, server := range slices.Sorted(maps.Keys(missing)) {
			fmt.Fprintf(log, "testservers: without %s: %s\n", kinds[server].title, missing[server])
		}
	}
	tell()
	fmt.Fprintf(log, "testservers: %d of %d servers ready after %.1f s\n",
		len(kinds)-len(missing), len(kinds), time.Since(began).Seconds())

	code, err := command(signals, name, args)
	if err != nil {
		fmt.Fprintln(log, "testservers:", err)
	}
	if len(missing) > 0 {
		tell()
		if code == 0 {
			code = exitMissing
		}
	}
	return code
}

// startAll starts the servers side by side, sets their variables and gives the
// reasons for those that are missing.
func startAll() (missing map[string]string, err error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	var wanted []string
	missing = make(map[string]string)
	for _, name := range Names() {
		k := kinds[name]
		if os.Getenv(k.env) != "" {
			continue
		}
		if _, err := k.root(); err != nil {
			missing[name] = err.Error()
			continue
		}
		wanted = append(wanted, name)
	}
	if len(wanted) == 0 {
		return missing, nil
	}
	r, err := shared.ask(doStart, wanted...)
	if err != nil {
		return nil, err
	}
	maps.Copy(missing, r.Err)
	for name, dsn := range r.DSN {
		if err := os.Setenv(kinds[name].env, dsn); err != nil {
			return nil, err
		}
	}
	return missing, nil
}

// command runs the command in a process group of its own, so that all of it can
// be told to end. The command's own process is also ended by the kernel when this
// one is killed, for which the thread that started it must stay.
func command(signals <-chan os.Signal, name string, args []string) (code int, err error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	parent := os.Getppid()
	if err := cmd.Start(); err != nil {
		return 127, fmt.Errorf("start %s: %w", name, err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()

	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var kill <-chan time.Time
	told := syscall.Signal(0)
	tell := func(sig syscall.Signal) {
		_ = syscall.Kill(-cmd.Process.Pid, sig) // it may have ended
		if told == 0 {
			told, kill = sig, time.After(killAfter)
		}
	}
	for {
		select {
		case err := <-done:
			var exit *exec.ExitError
			switch {
			case told != 0:
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // grandchildren
				return 128 + int(told), fmt.Errorf("ended by %v", told)
			case errors.As(err, &exit) && !exit.Exited():
				return 1, fmt.Errorf("%s: %w", strings.Join(append([]string{name}, args...), " "), err)
			case errors.As(err, &exit):
				return exit.ExitCode(), nil
			case err != nil:
				return 1, fmt.Errorf("wait for %s: %w", name, err)
			}
			return 0, nil
		case sig := <-signals:
			tell(sig.(syscall.Signal)) // on Unix always
		case <-tick.C:
			if told == 0 && os.Getppid() != parent {
				tell(syscall.SIGTERM)
			}
		case <-kill:
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
	}
}
