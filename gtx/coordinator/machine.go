package coordinator

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// role of a machine; it only grows.
type role uint8

const (
	loading role = iota
	candidate
	leader
	down
)

// Machine is the coordinator of one log. Not safe for concurrent use.
type Machine struct {
	cfg    Config
	writer uint64
	role   role
	log    uint64 // identity of the log; a proposal while it is empty
	epoch  uint64 // highest in the log, the own one once a candidate
	owner  uint64 // writer of the Epoch record that counts

	last  uint64 // sequence of the last known message
	chain Hash   // of that message

	seq     uint64 // last minted
	txs     map[key]*tx
	timers  timers
	tombs   tombstones
	active  int
	pending int // committing
	open    int // committed, not acknowledged by all

	queue   []*tx // committing, waiting for an append
	dones   []*tx // acknowledged by all, waiting for an append
	doneDue time.Time
	barrier bool
	flight  *flight

	out []Action
}

// flight is the one outstanding append (rule L5).
type flight struct {
	msg     message
	body    []byte
	commits []*tx
	dones   []*tx
}

// New makes a machine that knows nothing. writer must be random and new for
// every machine; log is the random identity that the log gets if it is empty.
// Neither may be zero.
func New(cfg Config, writer, log uint64) (*Machine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if writer == 0 || log == 0 {
		return nil, fmt.Errorf("%w: zero identity", ErrInvalid)
	}
	return &Machine{
		cfg: cfg, writer: writer, log: log, txs: map[key]*tx{},
		tombs: tombstones{keep: cfg.Tombstone, limit: cfg.MaxTombstones, set: map[key]struct{}{}},
	}, nil
}

// Campaign asks for the append of the next epoch behind the last message that
// Load took (rules I2, L1). Until it lands every request is refused.
func (m *Machine) Campaign() ([]Action, error) {
	if m.role != loading {
		return nil, fmt.Errorf("%w: campaign twice", ErrInvalid)
	}
	m.role = candidate
	m.out = m.out[:0]
	m.propose()
	return m.out, nil
}

// propose appends the next Epoch record.
func (m *Machine) propose() {
	m.flight = &flight{msg: message{epoch: m.epoch + 1, records: []record{{kind: kindEpoch}}}}
	m.send()
}

// Step takes one event at now and returns what is to be done, in order. The
// slice is valid until the next call. now must not go backwards.
func (m *Machine) Step(now time.Time, e Event) []Action {
	clear(m.out)
	m.out = m.out[:0]
	switch e := e.(type) {
	case Begin:
		xid, err := m.begin(now, e)
		m.emit(Reply{Call: e.Call, XID: xid, Err: err})
	case Register:
		m.emit(Reply{Call: e.Call, XID: e.XID, Err: m.register(now, e.XID, e.Ref)})
	case Commit:
		m.commit(now, e)
	case Rollback:
		m.rollback(now, e)
	case Outcome:
		t, st, err := m.find(now, e.XID)
		if t != nil {
			st = t.status()
		}
		m.emit(Reply{Call: e.Call, XID: e.XID, Status: st, Err: err})
	case Await:
		m.await(now, e)
	case Ack:
		m.emit(Reply{Call: e.Call, XID: e.XID, Err: m.ack(now, e.XID, e.Resource)})
	case Hello:
		m.emit(Reply{Call: e.Call, Err: m.hello(e.Resource)})
	case Tick:
		m.tick(now)
	case Landed:
		m.landed(now, e.Seq)
	case Unclear:
		if m.flight != nil {
			m.emit(Append{Prev: m.flight.msg.prev, Body: m.flight.body})
		}
	case Found:
		m.found(now, e)
	case Flush:
		m.doneDue = now
	case Barrier:
		m.barrier = true
	}
	m.take(now)
	return m.out
}

// Leading reports whether the machine answers requests.
func (m *Machine) Leading() bool { return m.role == leader }

// Log is the identity of the log.
func (m *Machine) Log() uint64 { return m.log }

// Epoch is the own epoch while leading, before that the highest in the log.
func (m *Machine) Epoch() uint64 { return m.epoch }

// Quiet reports whether no append is outstanding or due at once.
func (m *Machine) Quiet() bool {
	return m.role == down || m.flight == nil && len(m.queue) == 0 && len(m.dones) == 0 && !m.barrier
}

// Next is when the machine needs a Tick; false when it needs none.
func (m *Machine) Next() (time.Time, bool) {
	if m.role != leader {
		return time.Time{}, false
	}
	at, ok := m.timers.first()
	if len(m.dones) > 0 && m.flight == nil && (!ok || m.doneDue.Before(at)) {
		at, ok = m.doneDue, true
	}
	return at, ok
}

// Stats counts what a machine holds.
type Stats struct {
	Epoch      uint64 `json:"epoch"`
	Live       int    `json:"live"`       // active, undecided
	Committing int    `json:"committing"` // the record is on its way to the log
	Unfinished int    `json:"unfinished"` // committed, not acknowledged by all
	Forgetting int    `json:"forgetting"` // acknowledged, Done not yet durable
	Tombstones int    `json:"tombstones"`
	LogSeq     uint64 `json:"log_seq"` // last log message
}

// Idle reports whether no transaction is live, committing or unfinished.
func (s Stats) Idle() bool { return s.Live == 0 && s.Committing == 0 && s.Unfinished == 0 }

// Stats counts what the machine holds.
func (m *Machine) Stats() Stats {
	return Stats{
		Epoch: m.epoch, Live: m.active, Committing: m.pending, Unfinished: m.open,
		Forgetting: len(m.txs) - m.active - m.pending - m.open, Tombstones: len(m.tombs.set), LogSeq: m.last,
	}
}

func (m *Machine) emit(a Action) { m.out = append(m.out, a) }

// stepDown ends the machine. Who waits for a decision hears that this is not
// the place to ask, which says nothing about the decision (rule L4).
func (m *Machine) stepDown(err error) {
	if m.role == down {
		return
	}
	m.role = down
	for _, t := range m.sorted() {
		for _, call := range t.waiters {
			m.emit(Reply{Call: call, XID: m.xid(t.key), Err: ErrNotLeader})
		}
		t.waiters = nil
		for _, w := range t.watchers {
			m.emit(Reply{Call: w.call, XID: m.xid(t.key), Err: ErrNotLeader})
		}
		t.watchers = nil
	}
	m.flight, m.queue, m.dones, m.barrier = nil, nil, nil, false
	m.emit(StepDown{Err: err})
}

func (m *Machine) xid(k key) gtx.XID { return gtx.XID{Log: m.log, Epoch: k.epoch, Seq: k.seq} }

// find looks an XID up. A nil tx comes with its final status, or with the
// error that says why this machine cannot know.
func (m *Machine) find(now time.Time, x gtx.XID) (*tx, gtx.Status, error) {
	if m.role != leader {
		return nil, gtx.Pending, ErrNotLeader // rules L1, L6
	}
	if x.Log != m.log || x.Partition != 0 {
		return nil, gtx.Pending, fmt.Errorf("look up %s: %w", x, ErrForeignLog) // rule I1
	}
	if x.Epoch > m.epoch {
		return nil, gtx.Pending, fmt.Errorf("look up %s: %w", x, ErrNotLeader) // rule L6
	}
	if x.Epoch == 0 || x.Seq == 0 || x.Epoch == m.epoch && x.Seq > m.seq {
		return nil, gtx.Pending, fmt.Errorf("look up %s: never begun: %w", x, ErrInvalid)
	}
	k := key{x.Epoch, x.Seq}
	if t := m.txs[k]; t != nil {
		if t.state == stateActive && !now.Before(t.at) {
			m.abort(t) // the deadline has passed, its Tick has not come yet
			return nil, gtx.Aborted, nil
		}
		return t, gtx.Pending, nil
	}
	if _, ok := m.tombs.set[k]; ok {
		return nil, gtx.Committed, nil // rules C3, G5
	}
	if !m.tombs.horizon.less(k) {
		return nil, gtx.Expired, nil // rules C5, G4
	}
	return nil, gtx.Aborted, nil // rule B3: unknown is aborted, for ever
}

// sorted gives every transaction, oldest first, so that equal events give equal
// actions.
func (m *Machine) sorted() []*tx {
	return slices.SortedFunc(maps.Values(m.txs), func(a, b *tx) int {
		return cmp.Or(cmp.Compare(a.epoch, b.epoch), cmp.Compare(a.seq, b.seq))
	})
}

// group orders the branches of a transaction by resource, the resources sorted.
func group(refs []gtx.BranchRef) (rs []gtx.ResourceID, by map[gtx.ResourceID][]gtx.BranchID) {
	by = make(map[gtx.ResourceID][]gtx.BranchID, 2)
	for _, ref := range refs {
		if _, ok := by[ref.Resource]; !ok {
			rs = append(rs, ref.Resource)
		}
		by[ref.Resource] = append(by[ref.Resource], ref.Branch)
	}
	slices.Sort(rs)
	return rs, by
}
