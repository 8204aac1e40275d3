package testserver

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// readyTimeout bounds the wait for a started server to answer.
const readyTimeout = 90 * time.Second

// engine is what differs between the families of servers.
type engine interface {
	// setUp fills the data directory.
	setUp(s *server) error
	// command gives the program and its arguments.
	command(s *server) (name string, args []string)
	// local is the DSN of the admin user over the Unix socket in s.dir: who answers
	// there is this server and not one that took its port.
	local(s *server) string
	// dsn is the DSN of the admin user over TCP.
	dsn(s *server) string
	// stopSignal asks for an end in good order.
	stopSignal() syscall.Signal
}

// server is one server of a supervisor, running or not.
type server struct {
	kind   kind
	dir    string // data, socket, log
	onMain chan<- func()

	mu       sync.Mutex // protects the following, and one action at a time
	engine   engine
	root     string
	password string
	cred     *syscall.Credential // nil: our own user
	port     int                 // the same after a restart
	process  *process            // nil or ended: not running
}

func (s *server) data() string    { return filepath.Join(s.dir, "data") }
func (s *server) logFile() string { return filepath.Join(s.dir, "log") }

func (s *server) dsn() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.port == 0 {
		return ""
	}
	return s.engine.dsn(s)
}

// start sets the server up when it is new and returns when it answers.
func (s *server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.engine == nil {
		if err := s.create(); err != nil {
			return err
		}
	}
	if s.process != nil {
		select {
		case <-s.process.done:
		default:
			return nil // runs
		}
	}
	// A start fails early when another process took the port, or when children of a
	// killed Postgres are not gone yet: try again, on another port when new.
	deadline := time.Now().Add(readyTimeout)
	fresh := s.port == 0
	for attempt := 1; ; attempt++ {
		if fresh {
			port, err := freePort()
			if err != nil {
				return err
			}
			s.port = port
		}
		early, err := s.launch(deadline)
		if err == nil {
			return nil
		}
		if !early || attempt == 10 || time.Now().After(deadline) {
			if fresh {
				s.port = 0
			}
			return err
		}
		time.Sleep(time.Duration(attempt) * 50 * time.Millisecond)
	}
}

// create sets the data directory up.
func (s *server) create() (err error) {
	if s.root, err = s.kind.root(); err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o711); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	var secret [12]byte
	_, _ = rand.Read(secret[:]) // never fails, by its documentation
	s.password = hex.EncodeToString(secret[:])
	var e engine
	switch s.kind.name {
	case NameMySQL:
		e = mysqlServer{}
	case NameMariaDB:
		e = mysqlServer{maria: true}
	default:
		e = postgresServer{}
	}
	if err := e.setUp(s); err != nil {
		return errors.Join(err, os.RemoveAll(s.dir))
	}
	s.engine = e
	return nil
}

// launch starts the process and waits until it answers. early: it ended before.
func (s *server) launch(deadline time.Time) (early bool, err error) {
	name, args := s.engine.command(s)
	p, err := start(s.onMain, s.logFile(), s.cred, name, args...)
	if err != nil {
		return false, err
	}
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return true, fmt.Errorf("server ended before it answered: %w", p.failure())
		case <-tick.C:
			if err = s.answers(); err == nil {
				s.process = p
				return false, nil
			}
			if time.Now().After(deadline) {
				p.kill()
				return false, fmt.Errorf("wait for the server to answer: %w", err)
			}
		}
	}
}

func (s *server) answers() error {
	for _, dsn := range []string{s.engine.local(s), s.engine.dsn(s)} {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		db, err := sql.Open(s.kind.dialect, dsn)
		if err != nil {
			return err
		}
		if err := errors.Join(db.PingContext(ctx), db.Close()); err != nil {
			return err
		}
	}
	return nil
}

// end ends a running server, with sig, or in good order when 0.
func (s *server) end(sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return errors.New("the server does not run")
	}
	if sig == syscall.SIGKILL {
		s.process.kill()
	} else {
		s.process.quit(s.engine.stopSignal())
	}
	s.process = nil
	return nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

func lookup(name string) (uid, gid uint32, ok bool) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, 0, false
	}
	id, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return 0, 0, false
	}
	group, err := strconv.ParseUint(u.Gid, 10, 32)
	return uint32(id), uint32(group), err == nil
}
