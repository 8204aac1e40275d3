package testserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// running holds every process of this supervisor that has not been waited for.
var running struct {
	sync.Mutex
	processes map[*process]struct{}
	closed    bool // no more starts: the supervisor ends
}

// process is a program that runs, with its output in a file.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended; err is set then
	err  error
}

// owner is the user for a program that refuses to run as root, or nil.
func owner() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if uid, gid, ok := lookup(name); ok {
			return &syscall.Credential{Uid: uid, Gid: gid}, nil
		}
	}
	return nil, errors.New("neither user postgres nor nobody exists, and Postgres refuses to run as root")
}

// enterable says what keeps a user other than root from the directory dir, such
// as a private home above it.
func enterable(dir string) error {
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return fmt.Errorf("look at the directory: %w", err)
		}
		if info.Mode().Perm()&0o001 == 0 {
			return fmt.Errorf("only its owner may enter %s", at)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

// start runs a program, its output in the file log, as user cred unless nil. It
// dies with the supervisor.
func start(onMain chan<- func(), log string, cred *syscall.Credential, name string, args ...string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: cred}
	p := &process{cmd: cmd, log: log, done: make(chan struct{})}
	started := make(chan error, 1)
	onMain <- func() { started <- p.launch() }
	err = <-started
	_ = out.Close()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		running.Lock()
		delete(running.processes, p)
		running.Unlock()
		close(p.done)
	}()
	return p, nil
}

func (p *process) launch() error {
	running.Lock()
	defer running.Unlock()
	if running.closed {
		return errors.New("the test servers are being stopped")
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	if running.processes == nil {
		running.processes = make(map[*process]struct{})
	}
	running.processes[p] = struct{}{}
	return nil
}

// run is start and the wait for its end.
func run(onMain chan<- func(), log string, cred *syscall.Credential, name string, args ...string) error {
	p, err := start(onMain, log, cred, name, args...)
	if err != nil {
		return err
	}
	<-p.done
	return p.failure()
}

// failure is nil for a process that ended well, else tells the end of its log.
func (p *process) failure() error {
	if p.err == nil {
		return nil
	}
	text, _ := os.ReadFile(p.log) // without it the error still tells the exit code
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return fmt.Errorf("%s: %w\n%s", p.cmd.Path, p.err, strings.Join(lines[max(0, len(lines)-15):], "\n"))
}

// quit sends sig and waits; a process that does not end is killed.
func (p *process) quit(sig syscall.Signal) {
	_ = p.cmd.Process.Signal(sig) // an error means that it has ended
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		p.kill()
	}
}

// kill ends the process, its group and its children at once. Postgres puts each
// of its children into a group of its own.
func (p *process) kill() {
	pid := p.cmd.Process.Pid
	_ = syscall.Kill(pid, syscall.SIGSTOP) // no more children
	below := children(pid)
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	for _, c := range below {
		_ = syscall.Kill(c, syscall.SIGKILL)
	}
	<-p.done
	for _, c := range below {
		for alive(c) {
			time.Sleep(time.Millisecond) // the kernel closes its sockets
		}
	}
}

func children(pid int) (pids []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is well formed
	for _, list := range lists {
		text, _ := os.ReadFile(list) // a thread that has ended has none
		for _, field := range strings.Fields(string(text)) {
			if c, err := strconv.Atoi(field); err == nil {
				pids = append(pids, c)
			}
		}
	}
	return pids
}

// alive tells whether a process exists and is more than a zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ") // "pid (name) state …"
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

// killAll ends all processes and lets no new one start. Postgres is asked by
// SIGQUIT to end at once, and removes its shared memory then.
func killAll() {
	running.Lock()
	running.closed = true
	var all []*process
	for p := range running.processes {
		all = append(all, p)
	}
	running.Unlock()
	var wg sync.WaitGroup
	for _, p := range all {
		wg.Go(func() {
			if p.cmd.SysProcAttr.Credential != nil || strings.Contains(p.cmd.Path, "postgres") {
				p.quit(syscall.SIGQUIT)
			} else {
				p.kill()
			}
		})
	}
	wg.Wait()
}
