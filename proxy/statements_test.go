package proxy

import (
	"database/sql/driver"
	"testing"
)

type counted struct{ closed *int }

func (c counted) Close() error                             { *c.closed++; return nil }
func (counted) NumInput() int                              { return -1 }
func (counted) Exec([]driver.Value) (driver.Result, error) { return nil, driver.ErrSkip }
func (counted) Query([]driver.Value) (driver.Rows, error)  { return nil, driver.ErrSkip }

func TestStatements(t *testing.T) {
	var s Statements
	closed := 0
	if _, _, seen := s.Get(1); seen {
		t.Error("a key that nobody has asked for was seen")
	}
	if stmt, _, seen := s.Get(1); !seen || stmt != nil {
		t.Errorf("asked a second time: %v, seen %v", stmt, seen)
	}
	s.Put(1, counted{&closed}, "extra")
	if stmt, extra, seen := s.Get(1); stmt == nil || extra != "extra" || !seen {
		t.Errorf("got %v, %v, seen %v", stmt, extra, seen)
	}
	s.Put(1, counted{&closed}, "new")
	if closed != 1 {
		t.Errorf("replaced: %d closed", closed)
	}
	for i := range 2 * maxStatements {
		s.Get(1) // so it is never the oldest
		s.Put(100+i, counted{&closed}, nil)
	}
	if stmt, _, _ := s.Get(1); stmt == nil || s.order.Len() != maxStatements || len(s.byKey) != maxStatements {
		t.Errorf("%v, %d kept, %d keys", stmt, s.order.Len(), len(s.byKey))
	}
	s.Clear()
	if s.Stopped() {
		t.Error("stopped by Clear")
	}
	if want := 2 + 2*maxStatements; closed != want || s.order.Len() != 0 || len(s.byKey) != 0 {
		t.Errorf("cleared: %d closed, want %d", closed, want)
	}
	s.Stop()
	s.Get(1)
	if _, _, seen := s.Get(1); seen || !s.Stopped() {
		t.Errorf("stopped: seen %v, told %v", seen, s.Stopped())
	}
}
