package coordinator

import (
	"bytes"
	"fmt"

	"github.com/globaltx/globaltx/gtx"
)

// flight is the one outstanding append (rule L5).
type flight struct {
	epoch  uint64
	count  int
	body   []byte
	prev   uint64
	since  instant // when it was sent first
	sent   bool    // body has been given out and must not be changed
	table  bool    // it holds a chunk of the hand-over
	closed uint64  // of the Close record that it holds, 0 for none
	trim   *trim
	queued []*tx // commits
	dones  []*tx
	keeps  []*tx
}

// size of the records in f, in bytes.
func (f *flight) size() int { return len(f.body) - headerLen }

// add puts a record into f unless it would exceed limit; the first one always
// fits.
func (f *flight) add(r *record, limit int) bool {
	n := len(f.body)
	f.body = r.append(f.body)
	if f.count > 0 && f.size() > limit {
		f.body = f.body[:n]
		return false
	}
	f.count++
	return true
}

// newFlight begins the next append.
func (m *Machine) newFlight(now instant, epoch uint64) *flight {
	return &flight{epoch: epoch, since: now, body: make([]byte, headerLen, 4*headerLen)}
}

// launch makes f the outstanding append.
func (m *Machine) launch(f *flight) {
	f.body = append(f.body, make([]byte, trailerLen)...)
	m.flight = f
	m.send()
}

// send emits the outstanding append for its place behind the last message.
func (m *Machine) send() {
	f := m.flight
	if f.sent {
		f.body = bytes.Clone(f.body)
	}
	f.sent, f.prev = true, m.past.last
	head := message{part: m.cfg.Partition, log: m.log, epoch: f.epoch, prev: f.prev, writer: m.writer, chain: m.past.chain}
	head.seal(f.body, f.count)
	m.emit(Append{Prev: f.prev, Body: f.body})
}

// Campaign asks for the append of the next epoch behind the last message that
// Load took (rules I2, L1). Until it lands every request is refused. After Yield
// it may be called again.
//
// It is refused with ErrGap when the log begins behind a message that no Trim
// record covers (rules L2, G3), and with ErrTruncated when it ends before what
// Expect knows.
func (m *Machine) Campaign() ([]Action, error) {
	if m.role != loading {
		return nil, fmt.Errorf("%w: campaign twice", ErrInvalid)
	}
	if err := m.past.complete(); err != nil {
		return nil, fmt.Errorf("campaign: %w", err)
	}
	m.role = candidate
	clear(m.out)
	m.out = m.out[:0]
	m.propose()
	return m.out, nil
}

// propose appends the next Epoch record.
func (m *Machine) propose() {
	f := m.newFlight(0, m.epoch+1)
	f.add(&record{kind: kindEpoch}, m.cfg.MaxBatch)
	m.launch(f)
}

// take starts the next append when none is outstanding and something is due
// (rule L5). Waiting Done records ride along with every append.
func (m *Machine) take(now instant) {
	if m.flight != nil || m.role != leader && m.role != handing {
		return
	}
	due := len(m.dones) > 0 && (now >= m.doneDue || m.trim != nil || m.role == handing)
	if len(m.queue) == 0 && !due && !m.barrier && m.trim == nil && !m.closing {
		if m.role == handing {
			m.handOver(now)
		}
		return
	}
	f := m.newFlight(now, m.epoch)
	limit := m.cfg.MaxBatch
	if len(m.dones) > 0 {
		limit /= 2 // a Done is shorter than its Commit: as many have room, and none waits for ever
	}
	f.queued, m.queue = m.fill(f, kindCommit, m.queue, limit)
	f.dones, m.dones = m.fill(f, kindDone, m.dones, m.cfg.MaxBatch)
	m.takeClose(f)
	m.takeTrim(f)
	m.barrier = false
	m.launch(f)
}

// fill adds a record for each of ts until f has limit bytes, and splits them there.
func (m *Machine) fill(f *flight, k kind, ts []*tx, limit int) (in, rest []*tx) {
	n := 0
	for n < len(ts) && f.add(m.record(k, ts[n]), limit) {
		n++
	}
	return ts[:n:n], ts[n:]
}

// record makes the record of t; it is good until the next one.
func (m *Machine) record(k kind, t *tx) *record {
	r := &m.rec
	*r = record{kind: k, epoch: t.epoch, seq: t.seq, participants: r.participants[:0]}
	for i := range t.todo {
		if o := &t.todo[i]; o.res != nil {
			r.participants = append(r.participants, o.res.id)
		}
	}
	return r
}

// landed settles the outstanding append as durable (rules L3, L4a).
func (m *Machine) landed(now instant, seq uint64) {
	f := m.flight
	if f == nil {
		return
	}
	if seq != f.prev+1 {
		// Not where it was meant to be: every reader ignores it there. What is at
		// prev+1 is unknown to us.
		m.stepDown(fmt.Errorf("append behind %d landed at %d: %w", f.prev, seq, ErrGap))
		return
	}
	m.flight = nil
	m.past.advance(seq, f.body)
	if m.role == candidate {
		m.lead(now, f)
		return
	}
	for _, t := range f.queued {
		m.committed(now, t, seq)
	}
	for _, t := range f.dones {
		delete(m.txs, t.key)
		m.decided.remove(t)
		m.tombs.add(now, t.key, seq) // rules G2, G5
	}
	m.landedClose(f, seq)
	m.landedTrim(f, seq)
	if f.table && len(m.chunks) == 0 {
		m.stepDown(ErrHandedOver)
	}
}

// lead begins the own epoch, whose record f holds.
func (m *Machine) lead(now instant, f *flight) {
	m.role, m.epoch, m.owner = leader, f.epoch, m.writer
	m.window = now + instant(m.cfg.ClaimWindow)
	m.tombs.expire(now)
	m.adopt(now)
	for t := m.decided.head; t != nil; t = t.order.next {
		if t.left == 0 {
			m.finish(now, t)
		}
	}
	for _, r := range m.everyResource() {
		m.pump(now, r)
	}
	if p := &m.past; p.trimmed >= p.first && p.trimmed > 0 {
		m.emit(Purge{UpTo: p.trimmed}) // the former leader may not have come to it
	}
	m.planTrim()
}

// committed is rule C2: the record of t is in the log at seq.
func (m *Machine) committed(now instant, t *tx, seq uint64) {
	m.pending--
	m.open++
	t.state, t.record = stateCommitted, seq
	m.decided.push(t)
	m.leaveAdopted(t, seq)
	m.answer(t, Reply{Status: gtx.Committed})
	m.tell(t, Reply{Status: gtx.Committed})
	t.more = nil
	if len(t.todo) == 0 { // every branch was dead: nothing to end
		m.finish(now, t)
		return
	}
	m.oweAll(t)
	for i := range t.todo {
		m.pump(now, t.todo[i].res)
	}
}

// found settles the outstanding append by what the log holds in its place.
func (m *Machine) found(now instant, e Found) {
	f := m.flight
	if f == nil {
		return
	}
	at := f.prev + 1
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
	if m.role != candidate && (msg.epoch > m.epoch || msg.prev == f.prev) {
		m.stepDown(fmt.Errorf("settle append at %d: epoch %d: %w", at, msg.epoch, ErrFenced))
		return
	}
	// Rule L4b: somebody else's message is there, so the own append is dead and
	// may be sent again behind it. For a leader it is one that L3 ignores.
	before := m.epoch
	if err := m.apply(at, e.At, e.Body); err != nil {
		m.stepDown(err)
		return
	}
	switch {
	case m.role != candidate:
		m.send()
	case m.epoch != before: // rule I2: the number is taken
		m.flight, m.role = nil, loading
		m.emit(Yield{})
	default:
		m.propose()
	}
}
