package soak

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// startTime bounds the start of one process on a loaded machine.
const startTime = 2 * time.Minute

// process is one process of the system under test.
type process struct {
	name  string
	cmd   *exec.Cmd
	in    *json.Encoder
	ready chan struct{} // closed by its first kindReady
	quiet chan struct{} // closed by its kindQuiet
	done  chan struct{} // closed when it has ended and all its events are read
	meant atomic.Bool   // its end is wanted
	close func() error
}

// spawn runs the test binary in a role. config is the first value on its standard input,
// orders follow. Its standard error goes to dir/name.log.
func spawn(dir, name, role string, config any, sink func(*process, event)) (*process, error) {
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
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
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
		ready: make(chan struct{}), quiet: make(chan struct{}), done: make(chan struct{}),
	}
	ready, quiet := sync.OnceFunc(func() { close(p.ready) }), sync.OnceFunc(func() { close(p.quiet) })
	go func() {
		readEvents(out, func(e event) {
			sink(p, e)
			switch e.Kind {
			case kindReady:
				ready()
			case kindQuiet:
				quiet()
			}
		})
		end := event{Kind: kindEnd}
		if err := cmd.Wait(); !p.meant.Load() {
			end.Text = fmt.Sprintf("ended by itself: %v", err)
		}
		sink(p, end)
		close(p.done)
	}()
	if err := p.in.Encode(config); err != nil {
		p.kill()
		return nil, fmt.Errorf("configure %s: %w", name, err)
	}
	return p, nil
}

// kill is SIGKILL, and waits.
func (p *process) kill() {
	p.meant.Store(true)
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
	_ = p.close()
}

// dieSelf ends the own process as a kill would.
func dieSelf() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // until the signal arrives
}

// freePort gives a port that nobody listens on now. It lies below 32768, from where on Linux
// gives them to outgoing connections: a server that was killed might not get its own back.
func freePort() (int, error) {
	for range 100 {
		port := 10_000 + rand.IntN(22_000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return port, l.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return 0, err
		}
	}
	return 0, errors.New("no port is free")
}
