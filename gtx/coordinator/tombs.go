package coordinator

import "time"

// tombstones remember finished commits, in the order of their Done records.
// What they drop raises the horizon, so it is answered with expired and never
// with aborted (C3, C5).
type tombstones struct {
	keep    instant
	limit   int
	set     map[key]struct{}
	queue   []tombstone
	head    int
	horizon key
}

type tombstone struct {
	key
	at   instant
	done uint64 // sequence of the Done record
}

func newTombstones(keep time.Duration, limit int) tombstones {
	return tombstones{keep: instant(keep), limit: limit, set: map[key]struct{}{}}
}

func (s *tombstones) add(now instant, k key, done uint64) {
	s.set[k] = struct{}{}
	s.queue = append(s.queue, tombstone{k, now, done})
	s.expire(now)
}

func (s *tombstones) has(k key) bool {
	_, ok := s.set[k]
	return ok
}

// oldest is the sequence of the first Done record that is still remembered.
func (s *tombstones) oldest() (done uint64, ok bool) {
	if s.head == len(s.queue) {
		return 0, false
	}
	return s.queue[s.head].done, true
}

// raise lifts the horizon; it never sinks (rule G4).
func (s *tombstones) raise(k key) {
	if s.horizon.less(k) {
		s.horizon = k
	}
}

func (s *tombstones) expire(now instant) {
	for s.head < len(s.queue) {
		t := s.queue[s.head]
		if len(s.set) <= s.limit && now-t.at < s.keep {
			break
		}
		delete(s.set, t.key)
		s.raise(t.key)
		s.head++
	}
	if s.head > 1024 && s.head > len(s.queue)/2 {
		s.queue = append(s.queue[:0], s.queue[s.head:]...)
		s.head = 0
	}
}
