package coordinator

import (
	"errors"
	"fmt"
	"time"
)

// Load takes the message at seq, stored at at. Messages come in order; the first
// may have a higher sequence than 1 when the log has been trimmed, which Campaign
// checks. An error wraps ErrGap or ErrCorrupt. After ErrGap nothing has changed:
// the message is not the next one. After ErrCorrupt the machine is of no more
// use, and the log is not to be served from.
func (m *Machine) Load(seq uint64, at time.Time, body []byte) error {
	if m.role != loading {
		return fmt.Errorf("%w: load while not loading", ErrInvalid)
	}
	err := m.apply(seq, at, body)
	if errors.Is(err, ErrCorrupt) {
		m.role = down
	}
	return err
}

// Expect names the hash of the message at seq, known from elsewhere. Load
// refuses another one there with ErrCorrupt, Campaign a log that ends before
// with ErrTruncated. It is called before the first Load.
func (m *Machine) Expect(seq uint64, hash Hash) {
	m.past.anchor, m.past.anchorHash = seq, hash
}

// Complete tells, while loading, whether Campaign would refuse what was loaded,
// and why.
func (m *Machine) Complete() error { return m.past.complete() }

// apply is how every reader takes a message (rules L2, L3, L7).
func (m *Machine) apply(seq uint64, at time.Time, body []byte) error {
	if p := &m.past; seq == 0 || p.last != 0 && seq != p.last+1 {
		return fmt.Errorf("load log message %d behind %d: %w", seq, p.last, ErrGap)
	}
	if err := m.read(seq, instant(at.UnixNano()), body); err != nil {
		return fmt.Errorf("load log message %d: %w", seq, err)
	}
	return nil
}

// read trusts a record only in the term whose Epoch record precedes it, and the
// first that it trusts for the identity of the log (rule I1).
func (m *Machine) read(seq uint64, at instant, body []byte) error {
	msg, err := decode(body)
	if err != nil {
		return err
	}
	p := &m.past
	begins := p.last == 0
	if begins {
		p.first = seq
	}
	bad := func(what string) error { return fmt.Errorf("%w: %s", ErrCorrupt, what) }
	switch {
	case msg.prev >= seq:
		return bad("appended behind a later message")
	case msg.prev < seq-1:
		// The log let in an append that its writer meant for an earlier place.
		// No reader takes it, its writer neither (rule L3). It may even name
		// another log: the one that its writer thought it would begin.
	case msg.part != m.cfg.Partition || m.epoch != 0 && msg.log != m.log:
		return bad("of another log")
	case begins && seq > 1:
		// Its predecessor is gone. What the chain says of it, a Trim can confirm.
		p.before, p.chained = msg.chain, true
		err = m.applyRecords(seq, msg, at)
	case msg.chain != p.chain:
		return bad("chain broken")
	default:
		err = m.applyRecords(seq, msg, at)
	}
	if err != nil {
		return bad(err.Error())
	}
	p.advance(seq, body)
	return p.check()
}

func (m *Machine) applyRecords(seq uint64, msg *message, at instant) error {
	m.log = msg.log
	epoch := len(msg.records) > 0 && msg.records[0].kind == kindEpoch
	switch {
	case epoch && msg.epoch <= m.epoch:
		return fmt.Errorf("epoch %d after %d", msg.epoch, m.epoch)
	case epoch:
		m.succeed(msg)
	case m.epoch == 0 && m.past.first > 1:
		m.epoch, m.owner = msg.epoch, msg.writer // its Epoch record has been trimmed
	case msg.epoch != m.epoch || msg.writer != m.owner:
		return fmt.Errorf("written in epoch %d, not in %d", msg.epoch, m.epoch)
	}
	if len(msg.records) == 1 && msg.records[0].kind == kindHandover {
		return m.loadTable(seq, msg.records[0].table)
	}
	m.dropOffer() // only an Epoch record right behind a table adopts it (rule O2)
	for i := range msg.records {
		if err := m.applyRecord(seq, &msg.records[i], at); err != nil {
			return err
		}
	}
	return nil
}

func (m *Machine) applyRecord(seq uint64, r *record, at instant) error {
	k := key{r.epoch, r.seq}
	switch r.kind {
	case kindCommit:
		if m.txs[k] != nil || m.tombs.has(k) || r.epoch != m.epoch && !m.mayCommit(k, seq) && !m.claimable(k) {
			return fmt.Errorf("commit of %d-%d", r.epoch, r.seq) // rule L7
		}
		m.loadCommit(seq, k, r)
	case kindKeep:
		return m.loadKeep(seq, k, r)
	case kindDone:
		t := m.txs[k]
		if t == nil && (m.past.first <= 1 || m.tombs.has(k) || k.epoch > m.epoch) {
			return fmt.Errorf("done of %d-%d without commit", r.epoch, r.seq)
		}
		if t != nil {
			m.forget(t)
		}
		m.tombs.add(at, k, seq)
	case kindClose:
		return m.loadClose(seq, r.epoch)
	case kindTrim:
		return m.loadTrim(seq, r.trim)
	case kindEpoch, kindHandover: // of the whole message
	}
	return nil
}

// loadCommit makes a decided transaction of r.
func (m *Machine) loadCommit(seq uint64, k key, r *record) {
	t := &tx{key: k, state: stateCommitted, record: seq}
	rs := m.buf[:0]
	m.marks++
	for _, id := range r.participants {
		res := m.use(id)
		if res.mark == m.marks {
			m.release(res, 1) // named twice
			continue
		}
		res.mark = m.marks
		rs = append(rs, res)
	}
	m.setTodo(t, rs)
	m.buf = rs
	m.txs[k] = t
	m.open++
	m.decided.push(t)
	m.oweAll(t)
}

// forget drops a decided transaction that a reader holds.
func (m *Machine) forget(t *tx) {
	m.settleAll(t)
	delete(m.txs, t.key)
	m.decided.remove(t)
	m.open--
}
