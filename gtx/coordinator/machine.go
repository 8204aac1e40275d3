package coordinator

import (
	"fmt"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// role of a machine.
type role uint8

const (
	loading role = iota
	candidate
	leader
	handing // a leader that is frozen (rule O2)
	down
)

// Machine is the coordinator of one log. Not safe for concurrent use.
type Machine struct {
	cfg    Config
	writer uint64
	role   role
	log    uint64 // identity of the log; a proposal while it is empty
	epoch  uint64 // highest in the log, the own one once a leader
	owner  uint64 // writer of the Epoch record that counts

	began time.Time // of the first Step; instants count from there
	past  past      // what is known of the log itself

	seq       uint64 // last minted
	txs       map[key]*tx
	deadlines timers[*tx]
	rounds    timers[*tx]   // pre-committing
	decided   list[tx, *tx] // committed or finished, sorted by tx.record
	tombs     tombstones
	offer     *offer      // a table at the end of the log, to be adopted (rule O2)
	adopted   map[key]*tx // for a reader: what the leader of this epoch has adopted and not decided
	handed    handedOver
	active    int
	pending   int // pre-committing or committing
	open      int // committed, not acknowledged by all
	branches  int // of active transactions, and the resources they have named
	owed      int // acknowledgements
	awaits    int // watchers

	resources map[gtx.ResourceID]*resource
	alarms    timers[*resource]
	leases    map[gtx.ResourceID]lease
	swept     instant // when leases were looked through
	marks     uint64  // see resource.mark

	window   instant          // until then participants are waited for (rule H3)
	mine     map[key]struct{} // three-phase, adopted: nobody else can have told its participants
	closed   uint64           // three-phase transactions of epochs before are closed (rule H5)
	closedAt uint64           // sequence of the last Close record that says so
	closing  bool             // a Close record is wanted, or on its way

	queue   []*tx // committing, waiting for an append
	dones   []*tx // acknowledged by all, waiting for an append
	doneDue instant
	barrier bool
	trim    *trim    // under way
	chunks  []*table // of the hand-over, still to be appended
	flight  *flight

	out []Action
	rec record      // see Machine.record
	buf []*resource // participants of one transaction
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
		past:      past{spacing: cfg.spacing()},
		tombs:     newTombstones(cfg.Tombstone, cfg.MaxTombstones),
		resources: map[gtx.ResourceID]*resource{}, leases: map[gtx.ResourceID]lease{},
	}, nil
}

// Step takes one event at now and returns what is to be done, in order. The
// slice is valid until the next call. now must not go backwards; where it has a
// monotonic reading, only that counts.
func (m *Machine) Step(at time.Time, e Event) []Action {
	clear(m.out)
	m.out = m.out[:0]
	if m.began.IsZero() {
		m.began = at
	}
	now := m.instant(at)
	if !m.request(now, e) {
		m.happen(now, e)
	}
	m.take(now)
	return m.out
}

// request answers e if it is a request.
func (m *Machine) request(now instant, e Event) bool {
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
		m.emit(Reply{Call: e.Call, Err: m.ack(now, e)})
	case Ready:
		m.emit(Reply{Call: e.Call, Err: m.ready(now, e)})
	case Claim:
		m.claim(now, e)
	case Hello:
		m.emit(Reply{Call: e.Call, Err: m.hello(now, e.Resource)})
	case Scan:
		m.emit(Reply{Call: e.Call, Err: m.scan(now, e)})
	default:
		return false
	}
	return true
}

// happen takes an event that nobody waits for.
func (m *Machine) happen(now instant, e Event) {
	switch e := e.(type) {
	case Tick:
		m.tick(now)
	case Landed:
		m.landed(now, e.Seq)
	case Unclear:
		if m.flight != nil {
			m.emit(Append{Prev: m.flight.prev, Body: m.flight.body})
		}
	case Found:
		m.found(now, e)
	case Flush:
		m.doneDue = now
		m.hasten()
	case Barrier:
		m.barrier = m.role == leader
	case Handover:
		m.freeze()
	}
}

// tick lets deadlines pass and repeats pushes.
func (m *Machine) tick(now instant) {
	if m.role != leader {
		return
	}
	m.tombs.expire(now)
	for at, ok := m.deadlines.first(); ok && at <= now; at, ok = m.deadlines.first() {
		m.abort(m.deadlines[0])
	}
	for at, ok := m.rounds.first(); ok && at <= now; at, ok = m.rounds.first() {
		m.preCommitRound(now, m.rounds[0])
	}
	for at, ok := m.alarms.first(); ok && at <= now; at, ok = m.alarms.first() {
		m.round(now, m.alarms[0])
	}
}

// instant gives the machine's own measure of at.
func (m *Machine) instant(at time.Time) instant {
	return instant(m.began.UnixNano() + int64(at.Sub(m.began)))
}

// Position is the sequence and the hash of the last message of the log that
// this machine knows; zeros when it knows none.
func (m *Machine) Position() (seq uint64, hash Hash) { return m.past.last, m.past.chain }

// Leading reports whether the machine answers requests.
func (m *Machine) Leading() bool { return m.role == leader }

// Log is the identity of the log.
func (m *Machine) Log() uint64 { return m.log }

// Epoch is the own epoch while leading, before that the highest in the log.
func (m *Machine) Epoch() uint64 { return m.epoch }

// Quiet reports whether no append is outstanding or due at once.
func (m *Machine) Quiet() bool {
	return m.role == down || m.flight == nil && len(m.queue)+len(m.rounds)+len(m.dones) == 0 && !m.barrier && !m.closing
}

// Next is when the machine needs a Tick; false when it needs none.
func (m *Machine) Next() (time.Time, bool) {
	if m.role != leader {
		return time.Time{}, false
	}
	at, ok := m.deadlines.first()
	for _, first := range []func() (instant, bool){m.alarms.first, m.rounds.first} {
		if due, some := first(); some && (!ok || due < at) {
			at, ok = due, true
		}
	}
	if len(m.dones) > 0 && m.flight == nil && (!ok || m.doneDue < at) {
		at, ok = m.doneDue, true
	}
	if !ok {
		return time.Time{}, false
	}
	return m.began.Add(time.Duration(int64(at) - m.began.UnixNano())), true
}

// Stats counts what a machine holds.
type Stats struct {
	Epoch      uint64 `json:"epoch"`
	Live       int    `json:"live"`       // active, undecided
	Committing int    `json:"committing"` // pre-committed, or the record is on its way to the log
	Unfinished int    `json:"unfinished"` // committed, not acknowledged by all
	Forgetting int    `json:"forgetting"` // acknowledged, Done not yet durable
	Tombstones int    `json:"tombstones"`
	LogSeq     uint64 `json:"log_seq"` // last log message
	Trimmed    uint64 `json:"trimmed"` // last log message that is not needed any more
}

// Idle reports whether no transaction is live, committing or unfinished.
func (s Stats) Idle() bool { return s.Live == 0 && s.Committing == 0 && s.Unfinished == 0 }

// Stats counts what the machine holds.
func (m *Machine) Stats() Stats {
	return Stats{
		Epoch: m.epoch, Live: m.active, Committing: m.pending, Unfinished: m.open,
		Forgetting: len(m.txs) - m.active - m.pending - m.open, Tombstones: len(m.tombs.set),
		LogSeq: m.past.last, Trimmed: m.past.trimmed,
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
	m.turnAway(true)
	m.flight, m.queue, m.dones, m.barrier, m.trim, m.chunks = nil, nil, nil, false, nil, nil
	m.emit(StepDown{Err: err})
}

func (m *Machine) xid(k key) gtx.XID {
	return gtx.XID{Log: m.log, Partition: m.cfg.Partition, Epoch: k.epoch, Seq: k.seq}
}

// find looks an XID up. A nil tx comes with its final status, with the error that
// says why this machine cannot know, or with Pending: nobody knows yet (rule H3).
func (m *Machine) find(now instant, x gtx.XID) (*tx, gtx.Status, error) {
	t, st, err := m.look(now, x)
	if t == nil && st == gtx.Pending && err == nil {
		m.close(now)
	}
	return t, st, err
}

// look is find for who does not ask what has become of x: it closes nothing.
func (m *Machine) look(now instant, x gtx.XID) (*tx, gtx.Status, error) {
	if m.role != leader {
		return nil, gtx.Pending, ErrNotLeader // rules L1, L6
	}
	if x.Log != m.log || x.Partition != m.cfg.Partition {
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
		if t.state == stateActive && t.deadline.at <= now {
			m.abort(t) // the deadline has passed, its Tick has not come yet
			return nil, gtx.Aborted, nil
		}
		return t, gtx.Pending, nil
	}
	if m.tombs.has(k) {
		return nil, gtx.Committed, nil // rules C3, G5
	}
	if _, mine := m.mine[k]; !mine && m.claimable(k) {
		// Also below the horizon: another leader's may be lower, and would let it be
		// claimed.
		return nil, gtx.Pending, nil // rule H3
	}
	if !m.tombs.horizon.less(k) {
		return nil, gtx.Expired, nil // rules C5, G4
	}
	return nil, gtx.Aborted, nil // rule B3: unknown is aborted, for ever
}
