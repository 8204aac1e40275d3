package sqltext

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	cacheShards  = 8
	cacheEntries = 4096      // per Cache
	cacheBytes   = 16 << 20  // per Cache, estimated
	cacheLargest = 256 << 10 // per entry, estimated
)

// Cache remembers what Parse said, refusals too. It holds at most 4096 texts
// and about 16 MiB; a statement that would take more than 256 KiB is not kept.
// Statements with literals that never come again push each other out before those that do come
// again. The zero value is ready for use; a Cache is safe for concurrent use and
// must not be copied.
type Cache struct {
	shards [cacheShards]cacheShard
}

// A statement means something else in another dialect or mode.
type cacheKey struct {
	text string
	d    Dialect
	m    Mode
}

type cacheEntry struct {
	key     cacheKey
	st      *Statement
	refusal *Refusal
	bytes   int
	used    atomic.Bool // since the hand went by
}

// cacheShard is a map with a second-chance ring.
type cacheShard struct {
	mu    sync.RWMutex
	byKey map[cacheKey]*cacheEntry
	ring  []*cacheEntry
	hand  int
	bytes int
}

var cacheSeed = maphash.MakeSeed()

// Parse is the function Parse with a memory. A hit does not allocate. The
// Statement is shared by all who ask for the text.
func (c *Cache) Parse(text string, d Dialect, m Mode) (*Statement, error) {
	key := cacheKey{text, d, m}
	s := &c.shards[maphash.String(cacheSeed, text)%cacheShards]
	e := s.get(key)
	if e == nil {
		key.text = strings.Clone(text) // the caller's string may be a piece of a large one
		e = &cacheEntry{key: key}
		e.st, e.refusal = parse(key.text, d, m)
		e.bytes = size(e)
		if e.bytes <= cacheLargest {
			s.put(e)
		}
	}
	if e.refusal != nil {
		return nil, e.refusal
	}
	return e.st, nil
}

func (s *cacheShard) get(key cacheKey) *cacheEntry {
	s.mu.RLock()
	e := s.byKey[key]
	s.mu.RUnlock()
	if e != nil && !e.used.Load() { // a store by every reader would bounce the line
		e.used.Store(true)
	}
	return e
}

func (s *cacheShard) put(e *cacheEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey == nil {
		s.byKey = map[cacheKey]*cacheEntry{}
	}
	if s.byKey[e.key] != nil { // another goroutine was faster
		return
	}
	for len(s.ring) > 0 && (len(s.ring) >= cacheEntries/cacheShards || s.bytes+e.bytes > cacheBytes/cacheShards) {
		s.evict()
	}
	s.byKey[e.key] = e
	s.ring = append(s.ring, e)
	s.bytes += e.bytes
}

// evict removes the first entry from the hand on that was not used since the
// hand last went by.
func (s *cacheShard) evict() {
	for {
		if s.hand >= len(s.ring) {
			s.hand = 0
		}
		e := s.ring[s.hand]
		if e.used.Swap(false) {
			s.hand++
			continue
		}
		last := len(s.ring) - 1
		s.ring[s.hand], s.ring[last] = s.ring[last], nil
		s.ring = s.ring[:last]
		s.bytes -= e.bytes
		delete(s.byKey, e.key)
		// The entry moved here was the newest: let the others have their turn first.
		s.hand++
		return
	}
}

// size estimates the memory of an entry.
func size(e *cacheEntry) int {
	n := 256 + len(e.key.text)
	if e.st != nil {
		n += statementSize(e.st)
	}
	return n
}

// statementSize estimates from the sizes of the parts. The placeholders of a
// nested statement are those of the text, counted twice here.
func statementSize(st *Statement) int {
	const fixed, perTable, perValue, perMarker, perName, perPart = 576, 144, 40, 48, 64, 160
	n := fixed + perTable*len(st.Targets) + perMarker*len(st.Placeholders)
	for _, row := range st.Rows {
		n += perValue * (len(row) + 1)
	}
	names := len(st.Columns) + len(st.SetColumns) + len(st.Functions)
	for _, u := range st.Upserts {
		names += len(u.SetColumns)
	}
	for _, w := range st.Whens {
		names += len(w.SetColumns) + len(w.Columns)
	}
	n += perName*names + perPart*(len(st.Upserts)+len(st.Whens)+len(st.CTEs))
	for _, c := range st.CTEs {
		if c.Write != nil {
			n += statementSize(c.Write)
		}
	}
	for _, part := range st.Parts {
		n += statementSize(part)
	}
	return n
}
