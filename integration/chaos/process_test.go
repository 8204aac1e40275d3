package chaos

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is one process of the system under test.
type process struct {
	name  string
	cmd   *exec.Cmd
	in    *json.Encoder
	ready chan struct{} // closed by its first kindReady
	done  chan struct{} // closed when it has ended and all its events are read
	meant atomic.Bool   // its end is wanted
	close func() error
}

// spawn runs the test binary in a role. config is the first value on its
// standard input, orders follow. Its standard error goes to dir/name.log.
func spawn(dir, name, role string, config any, sink func(event)) (*process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleEnv+"="+role, "GORACE=halt_on_error=1")
	cmd.Stderr = log
	// A stopped process does not see that its input has ended.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{
		name: name, cmd: cmd, in: json.NewEncoder(in), close: in.Close,
		ready: make(chan struct{}), done: make(chan struct{}),
	}
	once := sync.OnceFunc(func() { close(p.ready) })
	go func() {
		readEvents(out, name, func(e event) {
			sink(e)
			if e.Kind == kindReady {
				once()
			}
		})
		err := cmd.Wait()
		text := ""
		if err != nil {
			text = err.Error()
		}
		if !p.meant.Load() {
			text = "unwanted end: " + text
		}
		sink(event{At: monotonic(), Proc: name, Kind: kindEnd, Text: text})
		close(p.done)
	}()
	if err := p.in.Encode(config); err != nil {
		p.kill()
		return nil, fmt.Errorf("configure %s: %w", name, err)
	}
	return p, nil
}

// order sends a value to the process, which may have died.
func (p *process) order(v any) error { return p.in.Encode(v) }

// signal sends sig to the process.
func (p *process) signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// kill is SIGKILL, and waits.
func (p *process) kill() {
	p.meant.Store(true)
	p.signal(syscall.SIGKILL)
	<-p.done
}

// ended tells whether the process is gone.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// limitFiles bounds the files that the process writes from now on, in bytes:
// writes behind it fail with EFBIG, as a broken disk fails them with EIO.
func (p *process) limitFiles(n uint64) error {
	var now unix.Rlimit
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, nil, &now); err != nil {
		return fmt.Errorf("read file limit of %s: %w", p.name, err)
	}
	now.Cur = min(n, now.Max)
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &now, nil); err != nil {
		return fmt.Errorf("limit files of %s: %w", p.name, err)
	}
	return nil
}
