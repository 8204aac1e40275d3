package soak

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// evidence is what a run has left.
type evidence struct {
	sent    []message // business rows, in any order
	effects []message // sorted by key, each key in the order of handling
	told    []uint64  // senders were told that these have committed
	back    []uint64  // senders have rolled these back
}

// byWay counts what was sent in each way.
func (e *evidence) byWay() (n [ways]int) {
	for _, m := range e.sent {
		n[m.key/keyGroup]++
	}
	return n
}

// findings counts what must not be. Each has an example or more.
type findings struct {
	lost, doubled, ghosts, revived, changed, disordered, forgotten int
	examples                                                       []string
}

func (f *findings) note(n *int, format string, args ...any) {
	*n++
	if *n <= 5 {
		f.examples = append(f.examples, fmt.Sprintf(format, args...))
	}
}

func (f *findings) none() bool {
	return f.lost+f.doubled+f.ghosts+f.revived+f.changed+f.disordered+f.forgotten == 0
}

func (f *findings) String() string {
	return fmt.Sprintf("%d lost, %d doubled, %d never committed, %d rolled back and handled, %d changed, %d out of order, %d commits forgotten by the sender's database\n%s",
		f.lost, f.doubled, f.ghosts, f.revived, f.changed, f.disordered, f.forgotten, strings.Join(f.examples, "\n"))
}

// judge compares what was sent with what has taken effect.
func judge(e evidence) *findings {
	f := &findings{}
	type fate struct {
		message
		effects int
	}
	sent := make(map[uint64]*fate, len(e.sent))
	numbers := map[int][]int64{}
	for _, m := range e.sent {
		sent[m.id] = &fate{message: m}
		numbers[m.key] = append(numbers[m.key], m.seq)
	}
	for key, list := range numbers {
		slices.Sort(list)
		for i, seq := range list {
			if seq != int64(i)+1 {
				f.note(&f.forgotten, "key %d: the sender has number %d at place %d", key, seq, i+1)
				break
			}
		}
	}
	for _, id := range e.told {
		if sent[id] == nil {
			f.note(&f.forgotten, "%v was told committed, and the sender's database has no row", message{id: id})
		}
	}
	back := make(map[uint64]bool, len(e.back))
	for _, id := range e.back {
		if back[id] = true; sent[id] != nil {
			f.note(&f.revived, "%v was rolled back, and the sender's database has its row", sent[id])
		}
	}
	last := map[int]int64{}
	for _, m := range e.effects {
		s := sent[m.id]
		switch {
		case s == nil && back[m.id]:
			f.note(&f.revived, "%v was rolled back, and has an effect", m)
		case s == nil:
			f.note(&f.ghosts, "%v has an effect, and no row at the sender", m)
		case s.message != m:
			f.note(&f.changed, "%v has the effect of %v", s, m)
		default:
			if s.effects++; s.effects > 1 {
				f.note(&f.doubled, "%v: effect %d", m, s.effects)
			}
		}
		if m.seq != last[m.key]+1 {
			f.note(&f.disordered, "%v was handled behind number %d", m, last[m.key])
		}
		last[m.key] = m.seq
	}
	for _, s := range sent {
		if s.effects == 0 {
			f.note(&f.lost, "%v has no effect", s.message)
		}
	}
	return f
}

// TestJudge plants what the judge must find.
func TestJudge(t *testing.T) {
	good := func() evidence {
		var e evidence
		for key := range 3 {
			for seq := int64(1); seq <= 4; seq++ {
				m := message{uint64(key)<<32 | uint64(seq), key, seq}
				e.sent, e.effects, e.told = append(e.sent, m), append(e.effects, m), append(e.told, m.id)
			}
		}
		e.back = []uint64{99}
		return e
	}
	if f := judge(good()); !f.none() {
		t.Errorf("nothing is wrong, and the judge says: %v", f)
	}
	for _, c := range []struct {
		name string
		do   func(e *evidence)
		got  func(f *findings) int
	}{
		{"lost", func(e *evidence) { e.effects = slices.Delete(e.effects, 5, 6) }, func(f *findings) int { return f.lost }},
		{"lost at the end", func(e *evidence) { e.effects = e.effects[:11] }, func(f *findings) int { return f.lost }},
		{"all lost", func(e *evidence) { e.effects = nil }, func(f *findings) int { return f.lost }},
		{"doubled", func(e *evidence) { e.effects = slices.Insert(e.effects, 5, e.effects[5]) }, func(f *findings) int { return f.doubled }},
		{"doubled at the end", func(e *evidence) { e.effects = append(e.effects, e.effects[11]) }, func(f *findings) int { return f.doubled }},
		{"swapped", func(e *evidence) { e.effects[5], e.effects[6] = e.effects[6], e.effects[5] }, func(f *findings) int { return f.disordered }},
		{"never sent", func(e *evidence) { e.effects = append(e.effects, message{77, 2, 5}) }, func(f *findings) int { return f.ghosts }},
		{"rolled back", func(e *evidence) { e.effects = append(e.effects, message{99, 2, 5}) }, func(f *findings) int { return f.revived }},
		{"rolled back, sent", func(e *evidence) { e.sent = append(e.sent, message{99, 2, 5}) }, func(f *findings) int { return f.revived }},
		{"another's body", func(e *evidence) { e.effects[3].key = 1 }, func(f *findings) int { return f.changed }},
		{"told, and gone", func(e *evidence) { e.sent, e.effects = e.sent[:11], e.effects[:11] }, func(f *findings) int { return f.forgotten }},
		{"a number is missing", func(e *evidence) { e.sent[5].seq = 9 }, func(f *findings) int { return f.forgotten }},
	} {
		e := good()
		c.do(&e)
		if f := judge(e); c.got(f) == 0 {
			t.Errorf("%s: the judge says: %v", c.name, f)
		}
	}
}
