package coordinator

import (
	"cmp"
	"maps"
	"slices"

	"github.com/globaltx/globaltx/gtx"
)

// resource is a database that some transaction names. It is forgotten with the
// last of them, so nobody can grow the map with names only.
type resource struct {
	id   gtx.ResourceID
	uses int    // branches and owed acknowledgements that point here
	mark uint64 // of Machine.marks: seen in the present pass

	lanes [2]lane // laneFresh, laneAgain
	due   alarm   // when a push is due to be repeated
	hello instant // when Hello last took the window back
}

func (r *resource) alarm() *alarm { return &r.due }

// use finds or makes the resource and counts one use.
func (m *Machine) use(id gtx.ResourceID) *resource {
	r := m.resources[id]
	if r == nil {
		r = &resource{id: id}
		r.lanes[laneFresh].pause = m.pushMin(laneFresh)
		r.lanes[laneAgain].pause = m.pushMin(laneAgain)
		m.resources[id] = r
	}
	r.uses++
	return r
}

// release takes n uses back.
func (m *Machine) release(r *resource, n int) {
	if r.uses -= n; r.uses == 0 {
		m.alarms.remove(r)
		delete(m.resources, r.id)
	}
}

// dropBranches forgets the branches of t, and who might have had one.
func (m *Machine) dropBranches(t *tx) {
	for _, b := range t.branches {
		m.release(b.res, 1)
	}
	m.branches -= len(t.branches)
	t.branches = nil
	if t.more != nil {
		m.branches -= len(t.more.named)
		t.more.named = nil
	}
}

// owed is an acknowledgement of a commit that a resource has not given.
type owed struct {
	tx    *tx
	res   *resource
	order links[owed] // in a lane of res
	at    instant     // of the last push
	lane  uint8
	out   bool // pushed, and not yet taken for lost
	ready bool // knows that tx is pre-committed
}

func (o *owed) links() *links[owed] { return &o.order }

// oweAll makes the participants of a decided t wait for their pushes.
func (m *Machine) oweAll(t *tx) {
	for i := range t.todo {
		o := &t.todo[i]
		o.res.lanes[laneFresh].wait.push(o)
	}
}

// setTodo makes rs the participants of t. Their uses have been counted.
func (m *Machine) setTodo(t *tx, rs []*resource) {
	t.todo = make([]owed, len(rs))
	for i, r := range rs {
		t.todo[i] = owed{tx: t, res: r}
	}
	t.left = uint16(len(rs)) //nolint:gosec // at most MaxBranches
	m.owed += len(rs)
}

// settle takes o off the books; it was in a lane.
func (m *Machine) settle(o *owed) {
	l := &o.res.lanes[o.lane]
	if o.out {
		l.out.remove(o)
	} else {
		l.wait.remove(o)
	}
	r := o.res
	o.tx.left--
	o.res = nil
	m.owed--
	m.release(r, 1)
}

// settleAll takes the rest of t off the books.
func (m *Machine) settleAll(t *tx) {
	for i := range t.todo {
		if o := &t.todo[i]; o.res != nil {
			m.settle(o)
		}
	}
	t.todo = nil
}

// everyResource gives the resources, sorted, so that equal events give equal
// actions.
func (m *Machine) everyResource() []*resource {
	return slices.SortedFunc(maps.Values(m.resources), func(a, b *resource) int { return cmp.Compare(a.id, b.id) })
}
