package proxy

import (
	"container/list"
	"database/sql/driver"
)

// maxStatements bounds what one connection keeps prepared at the server.
const maxStatements = 64

// Statements are the prepared statements of one connection that a Dialect keeps
// for captures that come again. Like the connection they belong to one goroutine
// at a time. The zero value is empty and ready.
type Statements struct {
	byKey map[any]*list.Element
	order list.List // of *kept, the last used in front
	off   bool
}

type kept struct {
	key   any
	stmt  driver.Stmt // nil when only seen
	extra any
}

// Get gives what was put under key, which must be comparable. seen tells that the
// key has been asked for before: a text that comes only once is not worth
// preparing.
func (s *Statements) Get(key any) (stmt driver.Stmt, extra any, seen bool) {
	if s == nil || s.off {
		return nil, nil, false
	}
	if e, ok := s.byKey[key]; ok {
		s.order.MoveToFront(e)
		k := e.Value.(*kept)
		return k.stmt, k.extra, true
	}
	s.put(&kept{key: key})
	return nil, nil, false
}

// Stopped tells that nothing is kept any more, see Stop.
func (s *Statements) Stopped() bool { return s.off }

// Put keeps a prepared statement, or nil where the base driver keeps it, and what
// belongs to it. It may close the one that was used the longest ago.
func (s *Statements) Put(key any, stmt driver.Stmt, extra any) {
	if e, ok := s.byKey[key]; ok {
		s.drop(e)
	}
	s.put(&kept{key, stmt, extra})
}

func (s *Statements) put(k *kept) {
	if s.byKey == nil {
		s.byKey = map[any]*list.Element{}
	}
	s.byKey[k.key] = s.order.PushFront(k)
	if s.order.Len() > maxStatements {
		s.drop(s.order.Back())
	}
}

// Clear closes all: the schema may have changed.
func (s *Statements) Clear() {
	for s.order.Len() > 0 {
		s.drop(s.order.Back())
	}
}

// Stop clears and keeps nothing from now on: somebody between here and the server
// does not keep prepared statements.
func (s *Statements) Stop() {
	s.Clear()
	s.off = true
}

func (s *Statements) drop(e *list.Element) {
	k := e.Value.(*kept)
	s.order.Remove(e)
	delete(s.byKey, k.key)
	if k.stmt != nil {
		// Where it fails the connection is broken, which its next use tells.
		_ = k.stmt.Close()
	}
}
