package coordinator

import (
	"fmt"
	"maps"
	"slices"

	"github.com/globaltx/globaltx/gtx"
)

// Hand-over (rule O2). A leader that is to go freezes, settles what waits for
// the log, and appends its active transactions as a table of one or more
// consecutive messages. The leader whose Epoch record is the very next adopts
// them: they keep XID, age, key and branches. For every later reader they are
// transactions of a former epoch, which is what unknown means: aborted.

// offer is a table at the end of the log.
type offer struct {
	from         uint64 // sequence of its first chunk
	next, chunks uint64
	txs          map[key]*tx // deadline.at holds the time that is left
}

// handedOver is what a leader has adopted.
type handedOver struct {
	from uint64 // where the table begins
	live int    // transactions of it that are undecided
}

// Offered reports whether what was loaded ends in a whole hand-over: nobody
// leads, and only who campaigns next can adopt it.
func (m *Machine) Offered() bool { return m.offer != nil && m.offer.next == m.offer.chunks }

// freeze begins the hand-over. From now on nothing is answered but the commits
// that are on their way, and no deadline aborts.
func (m *Machine) freeze() {
	switch m.role {
	case leader:
		m.hasten() // all have voted yes, and the next leader would not know
		m.role, m.barrier, m.trim = handing, false, nil
		m.turnAway(false)
	case loading, candidate:
		m.stepDown(ErrHandedOver)
	case handing, down:
	}
}

// handOver appends the next chunk of the table, when all else is in the log.
func (m *Machine) handOver(now instant) {
	if m.chunks == nil {
		m.chunks = m.tables(now)
	}
	f := m.newFlight(now, m.epoch)
	f.table = true
	f.add(&record{kind: kindHandover, table: m.chunks[0]}, m.cfg.MaxBatch)
	m.chunks = m.chunks[1:]
	m.launch(f)
}

// tables cuts the active transactions into chunks of MaxBatch bytes. Without one
// there is an empty table: it says that nobody leads.
func (m *Machine) tables(now instant) []*table {
	var (
		chunks []*table
		c      *table
		size   int
		at     map[gtx.ResourceID]uint64 // in c.resources
	)
	index := func(r gtx.ResourceID) uint64 {
		i, ok := at[r]
		if !ok {
			i = uint64(len(c.resources))
			at[r] = i
			c.resources = append(c.resources, r)
			size += len(r)
		}
		return i
	}
	for _, t := range m.everyActive() {
		n := 64
		for _, b := range t.branches {
			n += 16 + len(b.res.id)
		}
		for _, r := range t.named() {
			n += 8 + len(r)
		}
		if c == nil || size+n > m.cfg.MaxBatch {
			c, size, at = &table{chunk: uint64(len(chunks))}, 0, map[gtx.ResourceID]uint64{}
			chunks = append(chunks, c)
		}
		h := handed{key: t.key, age: t.age(), secret: t.secret, left: uint64(max(t.deadline.at-now, 0))} //nolint:gosec // not negative
		for _, b := range t.branches {
			h.branches = append(h.branches, handedBranch{index(b.res.id), uint64(b.id)}) //nolint:gosec // positive
		}
		for _, r := range t.named() {
			h.named = append(h.named, index(r))
		}
		size += 64 + 16*len(h.branches) + 8*len(h.named)
		c.active = append(c.active, h)
	}
	if c == nil {
		chunks = append(chunks, &table{})
	}
	for _, c := range chunks {
		c.chunks = uint64(len(chunks))
	}
	return chunks
}

// everyActive gives the active transactions, oldest first.
func (m *Machine) everyActive() []*tx {
	return slices.SortedFunc(slices.Values(m.deadlines), oldestFirst)
}

// loadTable takes a chunk. One that does not fit to those before it makes no
// table: what is in it is unknown, which is aborted.
func (m *Machine) loadTable(seq uint64, t *table) error {
	if t.chunk == 0 {
		m.dropOffer()
		m.offer = &offer{from: seq, chunks: t.chunks, txs: map[key]*tx{}}
	}
	o := m.offer
	if o == nil || t.chunk != o.next || t.chunks != o.chunks {
		m.dropOffer()
		return nil
	}
	o.next++
	for i := range t.active {
		if err := m.loadHanded(o, t, &t.active[i]); err != nil {
			return err
		}
	}
	return nil
}

func (m *Machine) loadHanded(o *offer, t *table, h *handed) error {
	if h.key.epoch > m.epoch || m.txs[h.key] != nil || m.tombs.has(h.key) || o.txs[h.key] != nil {
		return fmt.Errorf("hand-over of %d-%d", h.key.epoch, h.key.seq)
	}
	x := &tx{key: h.key, secret: h.secret}
	x.deadline.at = instant(min(h.left, uint64(m.cfg.MaxTimeout))) //nolint:gosec // MaxTimeout is positive
	if h.age != h.key {
		x.extra().first = h.age
	}
	for _, b := range h.branches {
		m.attach(x, t.resources[b.resource], gtx.BranchID(b.id)) //nolint:gosec // checked by the decoder
	}
	for _, i := range h.named {
		x.extra().named = append(x.extra().named, t.resources[i])
	}
	m.branches += len(h.named)
	o.txs[h.key] = x
	return nil
}

// succeed begins the term of msg's Epoch record for a reader. A whole table right
// before it belongs to it.
func (m *Machine) succeed(msg *message) {
	m.epoch, m.owner = msg.epoch, msg.writer
	m.dropAdopted()
	if o := m.offer; o != nil && o.next == o.chunks {
		m.adopted, m.handed.from = o.txs, o.from
		m.offer = nil
	}
	m.dropOffer()
}

// adopt makes the transactions of a whole table right before the own Epoch record
// active.
func (m *Machine) adopt(now instant) {
	m.dropAdopted()
	o := m.offer
	if o == nil || o.next != o.chunks {
		m.dropOffer()
		return
	}
	m.offer = nil
	m.handed = handedOver{from: o.from, live: len(o.txs)}
	for _, t := range slices.SortedFunc(maps.Values(o.txs), oldestFirst) {
		m.txs[t.key] = t
		m.active++
		m.deadlines.set(t, now+t.deadline.at)
		if !t.threePhase() {
			continue
		}
		if m.mine == nil {
			m.mine = map[key]struct{}{}
		}
		m.mine[t.key] = struct{}{}
	}
}

// mayCommit reports whether the leader that wrote message seq had adopted k.
func (m *Machine) mayCommit(k key, seq uint64) bool {
	t := m.adopted[k]
	if t == nil {
		return false
	}
	m.dropBranches(t)
	delete(m.adopted, k)
	m.past.extend(m.handed.from, seq)
	return true
}

// leaveAdopted takes note that t, if it was adopted, is decided: by its record
// at seq, or by none if that is 0.
func (m *Machine) leaveAdopted(t *tx, seq uint64) {
	if t.epoch == m.epoch || t.claimed {
		return
	}
	m.handed.live--
	if seq != 0 {
		m.past.extend(m.handed.from, seq)
	}
}

func (m *Machine) dropOffer() {
	if m.offer == nil {
		return
	}
	for _, t := range m.offer.txs {
		m.dropBranches(t)
	}
	m.offer = nil
}

func (m *Machine) dropAdopted() {
	for _, t := range m.adopted {
		m.dropBranches(t)
	}
	m.adopted = nil
}
