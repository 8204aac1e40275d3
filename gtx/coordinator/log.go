package coordinator

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// Load takes the message at seq, stored at at. Messages come in order from
// sequence 1. An error wraps ErrGap or ErrCorrupt: do not serve from this log.
func (m *Machine) Load(seq uint64, at time.Time, body []byte) error {
	if m.role != loading {
		return fmt.Errorf("%w: load after campaign", ErrInvalid)
	}
	return m.apply(seq, at, body)
}

// apply is how every reader takes a message (rules L2, L3, L7). It trusts a
// record only in the term whose Epoch record precedes it.
func (m *Machine) apply(seq uint64, at time.Time, body []byte) error {
	if seq != m.last+1 {
		return fmt.Errorf("load log message %d behind %d: %w", seq, m.last, ErrGap)
	}
	msg, err := decode(body)
	if err != nil {
		return fmt.Errorf("load log message %d: %w", seq, err)
	}
	if seq == 1 {
		m.log = msg.log
	}
	bad := func(what string) error { return fmt.Errorf("load log message %d: %w: %s", seq, ErrCorrupt, what) }
	switch {
	case msg.log != m.log || msg.part != 0:
		return bad("of another log")
	case msg.prev > m.last:
		return bad("appended behind a later message")
	case msg.prev < m.last:
		// The log let in an append that its writer meant for an earlier place.
		// No reader takes it, its writer neither (rule L3).
		m.advance(seq, body)
		return nil
	case msg.chain != m.chain:
		return bad("chain broken")
	}
	if err := m.applyRecords(msg, at); err != nil {
		return bad(err.Error())
	}
	m.advance(seq, body)
	return nil
}

func (m *Machine) advance(seq uint64, body []byte) {
	m.last, m.chain = seq, sha256.Sum256(body)
}

func (m *Machine) applyRecords(msg *message, at time.Time) error {
	if len(msg.records) > 0 && msg.records[0].kind == kindEpoch {
		if msg.epoch <= m.epoch {
			return fmt.Errorf("epoch %d after %d", msg.epoch, m.epoch)
		}
		m.epoch, m.owner = msg.epoch, msg.writer
	}
	if msg.epoch != m.epoch || msg.writer != m.owner {
		return fmt.Errorf("written in epoch %d, not in %d", msg.epoch, m.epoch)
	}
	for _, r := range msg.records {
		k := key{r.epoch, r.seq}
		switch r.kind {
		case kindCommit:
			_, buried := m.tombs.set[k]
			if r.epoch != m.epoch || m.txs[k] != nil || buried {
				return fmt.Errorf("commit of %d-%d", r.epoch, r.seq) // rule L7
			}
			t := &tx{key: k, index: -1, state: stateCommitted, todo: r.participants}
			m.txs[k] = t
			m.open++
		case kindDone:
			t := m.txs[k]
			if t == nil {
				return fmt.Errorf("done of %d-%d without commit", r.epoch, r.seq)
			}
			delete(m.txs, k)
			m.open--
			m.tombs.add(at, k)
		}
	}
	return nil
}

// send emits the outstanding append, encoded for its place behind last.
func (m *Machine) send() {
	f := m.flight
	f.msg.log, f.msg.prev, f.msg.chain, f.msg.writer = m.log, m.last, m.chain, m.writer
	f.body = f.msg.encode()
	m.emit(Append{Prev: f.msg.prev, Body: f.body})
}

// take starts the next append when none is outstanding and something is due
// (rule L5). Waiting Done records ride along with every append.
func (m *Machine) take(now time.Time) {
	due := len(m.dones) > 0 && !now.Before(m.doneDue)
	if m.role != leader || m.flight != nil || len(m.queue) == 0 && !due && !m.barrier {
		return
	}
	f := &flight{msg: message{epoch: m.epoch}}
	size := 0
	add := func(r record) bool {
		n := r.size()
		if size > 0 && size+n > m.cfg.MaxBatch {
			return false
		}
		size += n
		f.msg.records = append(f.msg.records, r)
		return true
	}
	n := 0
	for _, t := range m.queue {
		if !add(record{kind: kindCommit, epoch: t.epoch, seq: t.seq, participants: t.todo}) {
			break
		}
		n++
	}
	f.commits, m.queue = m.queue[:n:n], m.queue[n:]
	n = 0
	for _, t := range m.dones {
		if !add(record{kind: kindDone, epoch: t.epoch, seq: t.seq}) {
			break
		}
		n++
	}
	f.dones, m.dones = m.dones[:n:n], m.dones[n:]
	m.barrier = false
	m.flight = f
	m.send()
}

// landed settles the outstanding append as durable (rules L3, L4a).
func (m *Machine) landed(now time.Time, seq uint64) {
	f := m.flight
	if f == nil {
		return
	}
	if seq != f.msg.prev+1 {
		// Not where it was meant to be: every reader ignores it there. What is at
		// prev+1 is unknown to us.
		m.stepDown(fmt.Errorf("append behind %d landed at %d: %w", f.msg.prev, seq, ErrGap))
		return
	}
	m.flight = nil
	m.advance(seq, f.body)
	if m.role == candidate {
		m.role, m.epoch, m.owner = leader, f.msg.epoch, m.writer
		m.tombs.expire(now)
		for _, t := range m.sorted() { // every one is committed and unfinished
			t.pause = m.cfg.PushMin
			if len(t.todo) == 0 {
				m.finish(now, t)
				continue
			}
			m.push(now, t)
		}
		return
	}
	for _, t := range f.commits {
		m.pending--
		m.open++
		t.state = stateCommitted
		for _, call := range t.waiters {
			m.emit(Reply{Call: call, XID: m.xid(t.key), Status: gtx.Committed})
		}
		t.waiters = nil
		m.tell(t, gtx.Committed)
		t.pause = m.cfg.PushMin
		if len(t.todo) == 0 { // every branch was dead: nothing to end
			m.finish(now, t)
			continue
		}
		m.push(now, t)
	}
	for _, t := range f.dones {
		delete(m.txs, t.key)
		m.tombs.add(now, t.key) // rules G2, G5
	}
}

// found settles the outstanding append by what the log holds in its place.
func (m *Machine) found(now time.Time, e Found) {
	f := m.flight
	if f == nil {
		return
	}
	at := f.msg.prev + 1
	if e.Body == nil {
		m.stepDown(fmt.Errorf("settle append at %d: %w", at, ErrGap)) // rule L4
		return
	}
	if bytes.Equal(e.Body, f.body) {
		m.landed(now, at) // rule L4a: the own message, by its writer number
		return
	}
	msg, err := decode(e.Body)
	if err != nil {
		m.stepDown(fmt.Errorf("settle append at %d: %w", at, err))
		return
	}
	if m.role == leader && (msg.epoch > m.epoch || msg.prev == f.msg.prev) {
		m.stepDown(fmt.Errorf("settle append at %d: epoch %d: %w", at, msg.epoch, ErrFenced))
		return
	}
	// Rule L4b: somebody else's message is there, so the own append is dead and
	// may be sent again behind it. For a leader it is one that L3 ignores.
	if err := m.apply(at, e.At, e.Body); err != nil {
		m.stepDown(err)
		return
	}
	if m.role == candidate {
		m.propose() // rule I2: with a new number
		return
	}
	m.send()
}
