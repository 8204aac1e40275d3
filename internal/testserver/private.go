package testserver

import (
	"os"
	"testing"
)

// Server is a server of one test, which may be killed and started again.
type Server struct {
	t     testing.TB
	kind  kind
	fleet *fleet
}

// Private starts a server of the named kind for this test alone, whatever the
// environment names, and ends it with the test.
func Private(t testing.TB, server string) *Server {
	t.Helper()
	k, err := kindOf(server)
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv(ShortEnv) != "" {
		t.Skipf("%s is set: tests on %s are left out", ShortEnv, k.title)
	}
	s := &Server{t: t, kind: k, fleet: &fleet{}}
	t.Cleanup(s.fleet.stop)
	s.Start()
	return s
}

// DSN gives the DSN of a new, empty database. It ends with the server.
func (s *Server) DSN() string {
	s.t.Helper()
	s.fleet.mu.Lock()
	admin := s.fleet.known[s.kind.name]
	s.fleet.mu.Unlock()
	dsn, err := create(s.kind, admin, databaseName(s.t.Name()))
	if err != nil {
		s.t.Fatal(err)
	}
	return dsn
}

// Kill ends the server's process as a crash would. Start brings it back.
func (s *Server) Kill() { s.t.Helper(); s.do(doKill) }

// Stop ends the server in good order. Start brings it back.
func (s *Server) Stop() { s.t.Helper(); s.do(doStop) }

// Start starts a server that was killed or stopped, on the same port and data,
// and returns when it answers.
func (s *Server) Start() { s.t.Helper(); s.do(doStart) }

func (s *Server) do(what string) {
	s.t.Helper()
	s.fleet.mu.Lock()
	defer s.fleet.mu.Unlock()
	r, err := s.fleet.ask(what, s.kind.name)
	if err != nil {
		s.t.Fatal(err)
	}
	if text := r.Err[s.kind.name]; text != "" {
		s.t.Fatalf("%s %s: %s", what, s.kind.title, text)
	}
}
