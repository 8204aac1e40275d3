package testserver

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
)

// superviseEnv makes a binary that has this package the supervisor of a fleet.
const superviseEnv = "GTX_TESTSERVER_SUPERVISE"

// init turns the process into a supervisor when it was started as one, before
// any test or main runs. A process of its own is what outlives a test binary
// that is killed; being the same binary spares the tests a second build.
func init() {
	if os.Getenv(superviseEnv) == "" {
		return
	}
	if err := os.Unsetenv(superviseEnv); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := supervise(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "supervise test servers:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// supervisor owns server processes and the directory with their data.
type supervisor struct {
	dir     string
	onMain  chan func() // runs on the main thread
	mu      sync.Mutex
	servers map[string]*server // under mu
}

// supervise serves requests from in until it ends, or until SIGTERM, then ends
// every server and removes what they left on disk.
//
// It runs on the main thread (init functions do) and starts all processes there:
// the kernel kills them when the thread that started them ends, so they do not
// outlive this process even when it is killed.
func supervise(in io.Reader, out io.Writer) error {
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)

	sweep(os.TempDir())
	dir, unlock, err := makeDir(os.TempDir())
	if err != nil {
		return err
	}
	defer unlock()
	s := &supervisor{dir: dir, onMain: make(chan func()), servers: make(map[string]*server)}

	requests := make(chan request)
	go func() {
		defer close(requests)
		dec := json.NewDecoder(in)
		for {
			var q request
			if dec.Decode(&q) != nil {
				return // the other process has ended or wants us to
			}
			requests <- q
		}
	}()
	replies := make(chan reply, 1)
	for {
		select {
		case f := <-s.onMain:
			f()
		case q, ok := <-requests:
			if !ok {
				return s.end()
			}
			go func() { replies <- s.serve(q) }()
		case r := <-replies:
			if err := json.NewEncoder(out).Encode(r); err != nil {
				return s.end()
			}
		case <-term:
			return s.end()
		}
	}
}

// end kills every server: what they have is thrown away. A request under way
// finds its processes dead and the directory gone, and is not answered.
func (s *supervisor) end() error {
	killAll()
	return removeAll(s.dir)
}

// serve does one request, its servers side by side.
func (s *supervisor) serve(q request) reply {
	r := reply{DSN: make(map[string]string), Err: make(map[string]string)}
	var mu sync.Mutex // protects r
	var wg sync.WaitGroup
	for _, name := range q.Servers {
		wg.Go(func() {
			dsn, err := s.do(q.Do, name)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				r.Err[name] = err.Error()
			} else {
				r.DSN[name] = dsn
			}
		})
	}
	wg.Wait()
	return r
}

func (s *supervisor) do(what, name string) (string, error) {
	k, err := kindOf(name)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	srv := s.servers[name]
	if srv == nil {
		srv = &server{kind: k, dir: filepath.Join(s.dir, name), onMain: s.onMain}
		s.servers[name] = srv
	}
	s.mu.Unlock()
	switch what {
	case doStart:
		err = srv.start()
	case doKill:
		err = srv.end(syscall.SIGKILL)
	case doStop:
		err = srv.end(0)
	default:
		err = fmt.Errorf("unknown request %q", what)
	}
	return srv.dsn(), err
}
