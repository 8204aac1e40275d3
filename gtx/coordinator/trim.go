package coordinator

import "fmt"

// The log gets shorter as a log-structured store does, without a second log and
// without a pause (rule G3): a leader picks a place to cut, appends again what
// is still needed of the part before it, in portions that ride with decisions,
// then one Trim record, and lets the log forget the part once that is durable.
//
// Needed are the commits that somebody has not acknowledged. Tombstones are not
// written again: the cut stays below the oldest, so that they are loaded as
// long as they count, and the horizon in the Trim record stands for those that
// are gone (rule G4).

// spacing is the least distance of checkpoints.
func (c *Config) spacing() int { return max(c.TrimBytes/64, 1) }

// planTrim begins a trim when enough has been appended since the last. The
// newest quarter stays out of it: most of what is unfinished there will be
// acknowledged soon, and need not be written twice. What had to be written twice
// the last time counts against trimming again, so that a lot of old unfinished
// commits does not make the log rewrite itself all the time.
func (m *Machine) planTrim() {
	p := &m.past
	if m.trim != nil || m.role != leader || p.bytes-p.freed < m.cfg.TrimBytes+4*p.keeping {
		return
	}
	limit := p.last
	if done, ok := m.tombs.oldest(); ok {
		limit = done - 1 // rule G5
	}
	if m.handed.live > 0 {
		limit = min(limit, m.handed.from-1)
	}
	for i := len(p.marks) - 1; i >= 0; i-- {
		c := &p.marks[i]
		if c.bytes-p.freed < m.cfg.TrimBytes/2 {
			return // not worth it
		}
		if c.seq <= limit && p.bytes-c.bytes >= m.cfg.TrimBytes/4 && !p.splits(c.seq) {
			m.trim = &trim{upTo: c.seq, hash: c.hash}
			return
		}
	}
}

// takeTrim puts the next portion of Keep records into f or, when none is left to
// write, the Trim record.
func (m *Machine) takeTrim(f *flight) {
	if m.trim == nil {
		return
	}
	t := m.decided.head
	if t == nil || t.record > m.trim.upTo {
		if f.closed == 0 && m.closed > 0 && m.closedAt <= m.trim.upTo {
			f.add(&record{kind: kindClose, epoch: m.closed}, maxRecords) // rule H5 is for ever
			f.closed = m.closed
		}
		m.trim.horizon = m.tombs.horizon
		f.add(&record{kind: kindTrim, trim: m.trim}, maxRecords)
		f.trim, m.trim = m.trim, nil
		return
	}
	portion := f.size() + m.cfg.MaxBatch/4
	limit := maxRecords // for the first, else a long one might never have its turn
	for ; t != nil && t.record <= m.trim.upTo; t = t.order.next {
		if t.state != stateCommitted {
			continue // its Done is on the way
		}
		if !f.add(m.record(kindKeep, t), limit) {
			return
		}
		limit = portion
		f.keeps = append(f.keeps, t)
	}
}

// landedTrim is for the part of a landed append that takeTrim wrote.
func (m *Machine) landedTrim(f *flight, seq uint64) {
	for _, t := range f.keeps {
		m.rewritten(t, seq)
	}
	if len(f.keeps) > 0 {
		m.past.kept += len(f.body)
	}
	if f.trim != nil {
		m.past.trim(f.trim, m.cfg.spacing())
		m.emit(Purge{UpTo: f.trim.upTo})
	}
	m.planTrim()
}

// rewritten says that a Keep of t is in the log at seq.
func (m *Machine) rewritten(t *tx, seq uint64) {
	m.decided.remove(t)
	t.record = seq
	m.decided.push(t)
}

// loadKeep takes a Keep record: a commit that is known, perhaps with less
// participants than before, or one whose Commit has been trimmed.
func (m *Machine) loadKeep(seq uint64, k key, r *record) error {
	t := m.txs[k]
	if t == nil {
		if m.past.first <= 1 || m.tombs.has(k) || k.epoch > m.epoch {
			return fmt.Errorf("keep of %d-%d without commit", k.epoch, k.seq)
		}
		m.loadCommit(seq, k, r)
		return nil
	}
	m.marks++
	for _, id := range r.participants {
		if res := m.resources[id]; res != nil {
			res.mark = m.marks
		}
	}
	for i := range t.todo {
		if o := &t.todo[i]; o.res != nil && o.res.mark != m.marks {
			m.settle(o)
		}
	}
	m.rewritten(t, seq)
	return nil
}

// loadTrim takes a Trim record.
func (m *Machine) loadTrim(seq uint64, t *trim) error {
	p := &m.past
	if t.upTo >= seq || t.upTo < p.trimmed {
		return fmt.Errorf("trim of %d after %d", t.upTo, p.trimmed)
	}
	if first := m.decided.head; first != nil && first.record <= t.upTo {
		return fmt.Errorf("trim of %d drops the commit of %d-%d", t.upTo, first.epoch, first.seq) // rule G3
	}
	if m.closed > 0 && m.closedAt <= t.upTo {
		return fmt.Errorf("trim of %d drops the close of epoch %d", t.upTo, m.closed) // rule H5
	}
	if t.upTo+1 == p.first && p.chained && p.before != t.hash {
		return fmt.Errorf("message %d is not the one behind the trim", p.first)
	}
	p.trim(t, m.cfg.spacing())
	m.tombs.raise(t.horizon)
	return nil
}
