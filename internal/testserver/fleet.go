package testserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// startTimeout bounds one request to the supervisor. Setting MySQL's data
// directory up takes seconds, and several times that on a loaded machine.
const startTimeout = 3 * time.Minute

// shared holds the servers that this process uses.
var shared fleet

// fleet is a supervisor, started at first use, seen from the process that uses
// its servers. It has no goroutine, so a check for leaked ones sees nothing.
type fleet struct {
	mu      sync.Mutex // protects the following, and one request at a time
	cmd     *exec.Cmd
	in, out *os.File
	dec     *json.Decoder
	known   map[string]string // server → admin DSN
	broken  error             // no use asking again
}

// request is one line from the process to its supervisor.
type request struct {
	Do      string   `json:"do"` // doStart, doKill, doStop
	Servers []string `json:"servers"`
}

const (
	doStart = "start" // set up when new, start, wait until it answers
	doKill  = "kill"  // SIGKILL: what a crash leaves
	doStop  = "stop"  // in good order
)

// reply is the one line that answers a request. Every server of it is in one of
// the two.
type reply struct {
	DSN map[string]string `json:"dsn,omitempty"`
	Err map[string]string `json:"err,omitempty"`
}

// dsn gives the admin DSN of the named server: its variable's, or that of the
// fleet's own, which is started when it does not run. The variable is then
// set, so that a process that a test starts from its own binary uses the same.
func (f *fleet) dsn(k kind) (string, error) {
	if dsn := os.Getenv(k.env); dsn != "" {
		return dsn, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if dsn := f.known[k.name]; dsn != "" {
		return dsn, nil
	}
	if _, err := k.root(); err != nil {
		return "", err
	}
	r, err := f.ask(doStart, k.name)
	if err != nil {
		return "", err
	}
	if text := r.Err[k.name]; text != "" {
		return "", fmt.Errorf("start %s: %s", k.title, text)
	}
	return f.known[k.name], os.Setenv(k.env, f.known[k.name])
}

// ask sends one request and waits for its reply. f.mu is held.
func (f *fleet) ask(do string, servers ...string) (reply, error) {
	if f.broken != nil {
		return reply{}, f.broken
	}
	if f.cmd == nil {
		if err := f.launch(); err != nil {
			return reply{}, err
		}
	}
	r, err := f.exchange(request{Do: do, Servers: servers})
	if err != nil {
		f.broken = fmt.Errorf("talk to the supervisor of the test servers: %w", err)
		return reply{}, f.broken
	}
	for name, dsn := range r.DSN {
		f.known[name] = dsn
	}
	return r, nil
}

func (f *fleet) exchange(q request) (r reply, err error) {
	deadline := time.Now().Add(startTimeout)
	if err := errors.Join(f.in.SetWriteDeadline(deadline), f.out.SetReadDeadline(deadline)); err != nil {
		return r, err
	}
	if err := json.NewEncoder(f.in).Encode(q); err != nil {
		return r, err
	}
	return r, f.dec.Decode(&r)
}

// launch starts the supervisor: this binary again, see init in supervisor.go. It
// has a process group of its own, so that an interrupt from the terminal does not
// reach it before the tests are over, and none of this process's outputs,
// which `go test` would wait for.
func (f *fleet) launch() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the own binary: %w", err)
	}
	qr, qw, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	rr, rw, err := os.Pipe()
	if err != nil {
		return errors.Join(fmt.Errorf("make a pipe: %w", err), qr.Close(), qw.Close())
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), superviseEnv+"=1")
	cmd.Stdin, cmd.Stdout = qr, rw
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	closed := errors.Join(qr.Close(), rw.Close())
	if err != nil {
		return errors.Join(fmt.Errorf("start the supervisor of the test servers: %w", err), closed, qw.Close(), rr.Close())
	}
	f.cmd, f.in, f.out, f.dec = cmd, qw, rr, json.NewDecoder(rr)
	f.known = make(map[string]string)
	return nil
}

// stop ends the fleet's own servers and waits until nothing of them is left. It
// may be called again, and the fleet used again.
func (f *fleet) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cmd == nil {
		return
	}
	for name, dsn := range f.known {
		if env := kinds[name].env; os.Getenv(env) == dsn {
			_ = os.Unsetenv(env)
		}
	}
	_ = f.in.Close() // the order to end
	_ = f.cmd.Wait() // its exit code tells nothing more
	_ = f.out.Close()
	f.cmd, f.known, f.broken = nil, nil, nil
}
