package coordinator

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// check compares everything that m counts with what it holds.
func (m *Machine) check() error {
	var active, adopted, pending, rounds, open, owed, branches, awaits, record int
	uses := map[*resource]int{}
	branchesOf := func(ts map[key]*tx) {
		for _, t := range ts {
			for _, b := range t.branches {
				uses[b.res]++
				branches++
			}
			branches += len(t.named())
		}
	}
	branchesOf(m.txs)
	branchesOf(m.adopted)
	if m.offer != nil {
		branchesOf(m.offer.txs)
	}
	for _, t := range m.txs {
		left := 0
		for i := range t.todo {
			if o := &t.todo[i]; o.res != nil {
				uses[o.res]++
				left++
			}
		}
		owed += left
		if left != int(t.left) {
			return fmt.Errorf("%v counts %d of %d acknowledgements", t.key, t.left, left)
		}
		if t.more != nil {
			awaits += len(t.more.watchers)
		}
		switch t.state {
		case stateActive:
			active++
		case statePreCommitting:
			pending++
			rounds++
		case stateCommitting:
			pending++
		case stateCommitted:
			open++
		}
		if t.state >= stateCommitted {
			record++
		} else if t.epoch < m.epoch && !t.claimed {
			adopted++
		}
		if on := t.deadline.slot != 0; on != (t.state <= statePreCommitting) {
			return fmt.Errorf("%v in state %d has a deadline: %v", t.key, t.state, on)
		}
	}
	for what, n := range map[string][2]int{
		"active": {m.active, active}, "pending": {m.pending, pending}, "rounds": {len(m.rounds), rounds}, "open": {m.open, open}, "owed": {m.owed, owed},
		"branches": {m.branches, branches}, "awaits": {m.awaits, awaits}, "decided": {m.decided.n, record},
		"resources": {len(m.resources), len(uses)},
	} {
		if n[0] != n[1] {
			return fmt.Errorf("%s: counts %d of %d", what, n[0], n[1])
		}
	}
	if m.role == leader && m.handed.live != adopted {
		return fmt.Errorf("adopted: counts %d of %d", m.handed.live, adopted)
	}
	last := uint64(0)
	for t := m.decided.head; t != nil; t = t.order.next {
		if t.record < last {
			return fmt.Errorf("%v of record %d behind %d", t.key, t.record, last)
		}
		last = t.record
	}
	for r, n := range uses {
		out := r.lanes[laneFresh].out.n + r.lanes[laneAgain].out.n
		if r.uses != n || out > m.cfg.PushWindow || m.role == leader && (out > 0) != (r.due.slot != 0) {
			return fmt.Errorf("resource %s: %d of %d uses, %d pushes are out, alarm %d", r.id, r.uses, n, out, r.due.slot)
		}
	}
	return nil
}

// script makes messages of bytes: well-formed ones in their places mostly, so
// that a fuzzer comes further than the checksum.
type script struct{ b []byte }

func (s *script) next() uint64 {
	if len(s.b) == 0 {
		return 0
	}
	v := s.b[0]
	s.b = s.b[1:]
	return uint64(v)
}

// key is a three-phase one now and then.
func (s *script) key() key { return key{1 + s.next()%4, 12 + s.next()%8} }

func (s *script) resources() (rs []gtx.ResourceID) {
	for n := s.next() % 4; n > 0; n-- {
		rs = append(rs, gtx.ResourceID(fmt.Sprint("r", s.next()%4)))
	}
	return rs
}

func (s *script) record(seq uint64) record {
	k := s.key()
	switch s.next() % 4 {
	case 0:
		return record{kind: kindDone, epoch: k.epoch, seq: k.seq}
	case 1:
		return record{kind: kindKeep, epoch: k.epoch, seq: k.seq, participants: s.resources()}
	case 2:
		switch s.next() % 4 {
		case 1:
			return record{kind: kindClose, epoch: k.epoch}
		case 0, 2:
			return record{kind: kindTrim, trim: &trim{upTo: seq - s.next()%8, horizon: s.key()}}
		}
	}
	return record{kind: kindCommit, epoch: k.epoch, seq: k.seq, participants: s.resources()}
}

func (s *script) table() *table {
	t := &table{chunk: s.next() % 3, resources: append(s.resources(), "r9")}
	t.chunks = t.chunk + 1 + s.next()%2
	for n := s.next() % 4; n > 0; n-- {
		h := handed{key: s.key(), secret: s.next(), left: s.next()}
		h.age = h.key
		for n := s.next() % 3; n > 0; n-- {
			h.branches = append(h.branches, handedBranch{s.next() % uint64(len(t.resources)), 1 + s.next()})
		}
		if h.key.threePhase() {
			h.named = []uint64{s.next() % uint64(len(t.resources))}
		}
		t.active = append(t.active, h)
	}
	return t
}

// message gives the one for seq, behind what m knows.
func (s *script) message(m *Machine, seq uint64) []byte {
	_, chain := m.Position()
	msg := message{log: testLog, epoch: max(m.Epoch(), 1), prev: seq - 1, writer: 1, chain: chain}
	switch what := s.next() % 16; {
	case what == 0:
		msg.epoch++
		msg.records = []record{{kind: kindEpoch}}
	case what == 1:
		msg.records = []record{{kind: kindHandover, table: s.table()}}
	case what == 2 && msg.prev > 0:
		msg.prev--
	case what == 3:
		msg.epoch = 1 + s.next()%4
	default:
		for range s.next() % 4 {
			msg.records = append(msg.records, s.record(seq))
		}
	}
	body := msg.encode()
	if s.next() == 255 {
		body[s.next()%uint64(len(body))]++
	}
	return body
}

// FuzzLoad: whatever the log holds, it is refused with an error that says so, or
// the machine is sound and can lead.
func FuzzLoad(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 5, 2, 1, 1, 3, 2, 1, 2, 0, 5, 1, 1, 1, 0})
	f.Add([]byte{7, 0, 0, 5, 1, 1, 1, 2, 0, 1, 1, 1, 1, 0, 0})
	f.Add([]byte{0, 0, 0, 0, 1, 0, 2, 1, 0, 0, 2, 0, 1, 5, 9, 1, 0, 7, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &script{b}
		m, err := New(Config{Tombstone: 5 * time.Second, TrimBytes: 512, PushWindow: 2}, 2, testLog)
		if err != nil {
			t.Fatal(err)
		}
		seq := 1 + s.next()%4
		now := start
		for len(s.b) > 0 {
			now = now.Add(time.Second)
			if err := m.Load(seq, now, s.message(m, seq)); err != nil {
				if !errors.Is(err, ErrCorrupt) {
					t.Fatal(err)
				}
				if _, err := m.Campaign(); err == nil {
					t.Fatal("campaigns on a corrupt log")
				}
				return
			}
			if err := m.check(); err != nil {
				t.Fatal(err)
			}
			seq++
		}
		actions, err := m.Campaign()
		if err != nil {
			if !errors.Is(err, ErrGap) {
				t.Fatal(err)
			}
			return
		}
		appends := 0
		land := func(actions []Action) {
			for i := 0; i < len(actions); i++ {
				if a, ok := actions[i].(Append); ok {
					if appends++; appends > 1000 {
						t.Fatal("appends without end")
					}
					actions, i = m.Step(now, Landed{Seq: a.Prev + 1}), -1
					if err := m.check(); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		land(actions)
		for range 10 {
			now = now.Add(time.Minute)
			land(m.Step(now, Tick{}))
		}
		land(m.Step(now, Handover{}))
	})
}
