package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

// database is one resource: rows with a number and a value, the headers and undo
// rows of globaltx, row locks, local transactions at READ COMMITTED. What is
// committed survives a crash (rule A2), what is open does not.
type database struct {
	w    *World
	id   gtx.ResourceID
	down bool

	rows    []int64 // committed
	undo    map[int]undoRow
	headers map[header]struct{}
	locks   map[lockKey]*rowLock
	open    []*localTx
	// prepared are the branches of mode XA that wait for the decision, oldest first.
	prepared []*prepared

	chains  [][]write // of every row, for the checks
	workers []*worker
	site    *site // of the textbook's protocol, if a script plays it
}

type header struct {
	xid    gtx.XID
	branch gtx.BranchID
}

type undoRow struct {
	owner         gtx.XID
	branch        gtx.BranchID
	seq           int64
	before, after int64
}

// write is a committed change of a row; plain ones have no XID.
type write struct {
	xid   gtx.XID
	value int64
}

// lockKey names what can be locked: a data row, its undo row, or a header's key.
type lockKey struct {
	kind byte // 'r', 'u', 'h'
	n    int
	h    header
}

type rowLock struct {
	owner *localTx
	queue []*lockWaiter
}

type lockWaiter struct {
	t       *localTx
	granted bool
	over    bool // timed out, or its transaction has ended
	wake    func()
}

var (
	errLost     = errors.New("sim: connection to the database is lost")
	errLockTime = errors.New("sim: lock wait timeout")
)

func (w *World) newDatabase(id gtx.ResourceID, rows int) *database {
	d := &database{
		w: w, id: id, rows: make([]int64, rows), chains: make([][]write, rows),
		undo: map[int]undoRow{}, headers: map[header]struct{}{}, locks: map[lockKey]*rowLock{},
	}
	w.dbs = append(w.dbs, d)
	return d
}

func (w *World) database(id gtx.ResourceID) *database {
	for _, d := range w.dbs {
		if d.id == id {
			return d
		}
	}
	return nil
}

// crash rolls back what is open and refuses connections until restart.
func (d *database) crash() {
	if d.down {
		return
	}
	d.w.tracef("database %s crashes", d.id)
	d.w.count("database crashed")
	d.down = true
	for len(d.open) > 0 {
		d.open[0].lose()
	}
}

func (d *database) restart() {
	if d.down {
		d.w.tracef("database %s is back", d.id)
		d.down = false
		if d.site != nil {
			d.site.recover()
		}
	}
}

// localTx is a local transaction on a connection of one process.
type localTx struct {
	d      *database
	p      *process
	wait   time.Duration // bound of one wait for a lock
	broken bool          // the connection is gone
	ended  bool

	data    []dataWrite
	undo    []undoWrite
	headers []headerWrite
	locks   []lockKey

	// What the checks want to know.
	xid     gtx.XID // of a branch; zero for plain writers and phase two
	branch  gtx.BranchID
	restore bool
}

type dataWrite struct {
	n        int
	value    int64
	restored bool
}

type undoWrite struct {
	n      int
	row    undoRow
	delete bool
}

type headerWrite struct {
	h      header
	delete bool
}

// begin opens a connection with a local transaction.
func (d *database) begin(p *process, wait time.Duration) (*localTx, error) {
	t := &localTx{d: d, p: p, wait: wait}
	if err := t.travel("begin"); err != nil {
		return nil, err
	}
	if d.w.chance(d.w.opts.commitLost) {
		d.w.count("connection refused")
		return nil, errLost
	}
	d.open = append(d.open, t)
	p.open = append(p.open, t)
	return t, nil
}

// travel is the way of a statement to the server, where others get in between.
func (t *localTx) travel(what string) error {
	w := t.d.w
	switch {
	case w.opts.scripted:
		text := fmt.Sprintf("%s at %s: %s", t.p.name, t.d.id, what)
		w.park(func(wake func()) { w.in(0, text, wake) })
	case w.chance(w.opts.slowWork):
		w.sleep(w.between(0, 2*time.Second))
	case w.chance(w.opts.interleave):
		w.sleep(w.between(0, 2*time.Millisecond))
	}
	switch {
	case t.p.dead:
		return errCrashed
	case t.broken || t.d.down:
		return errLost
	}
	return nil
}

// lock waits for k. It is held until the end of the transaction.
func (t *localTx) lock(k lockKey) error {
	l := t.d.locks[k]
	if l == nil {
		t.d.locks[k] = &rowLock{owner: t}
		t.locks = append(t.locks, k)
		return nil
	}
	if l.owner == t {
		return nil
	}
	w := t.d.w
	w.count("waited for a lock")
	if k.kind == 'h' {
		w.count("guard or claim waited for a header")
	}
	lw := &lockWaiter{t: t}
	l.queue = append(l.queue, lw)
	w.park(func(wake func()) {
		lw.wake = wake
		w.in(t.wait, "", func() {
			if !lw.granted && !lw.over {
				lw.over = true
				wake()
			}
		})
	})
	switch {
	case t.p.dead:
		lw.over = true
		return errCrashed
	case t.broken:
		lw.over = true
		return errLost
	case !lw.granted:
		lw.over = true
		w.count("lock wait timed out")
		return errLockTime
	}
	return nil
}

// release gives every lock to whoever has waited longest.
func (t *localTx) release() {
	d := t.d
	for _, k := range t.locks {
		l := d.locks[k]
		for len(l.queue) > 0 && (l.queue[0].over || l.queue[0].t.ended) {
			l.queue = l.queue[1:]
		}
		if len(l.queue) == 0 {
			delete(d.locks, k)
			continue
		}
		next := l.queue[0]
		l.queue = l.queue[1:]
		l.owner, next.granted = next.t, true
		next.t.locks = append(next.t.locks, k)
		d.w.in(0, "", next.wake)
	}
	t.locks = nil
}

// end closes the transaction.
func (t *localTx) end() {
	t.ended = true
	t.release()
	t.d.open = slices.DeleteFunc(t.d.open, func(o *localTx) bool { return o == t })
	t.p.open = slices.DeleteFunc(t.p.open, func(o *localTx) bool { return o == t })
}

// lose breaks the connection: the server rolls back.
func (t *localTx) lose() {
	t.broken = true
	if t.ended {
		return
	}
	t.wakeWaiters()
	t.end()
}

// wakeWaiters lets a statement that waits for a lock see that its connection is
// gone.
func (t *localTx) wakeWaiters() {
	for _, l := range t.d.locks {
		for _, lw := range l.queue {
			if lw.t == t && !lw.over && !lw.granted {
				lw.over = true
				t.d.w.in(0, "", lw.wake)
				return // one statement at a time
			}
		}
	}
}

// rollback ends the transaction without effect.
func (t *localTx) rollback() {
	if t.ended || t.p.dead {
		return
	}
	if err := t.travel("rollback"); err != nil || t.ended {
		return
	}
	t.end()
}

// commit ends the transaction with its effects. An error leaves open whether:
// the COMMIT or its answer may be lost, and the COMMIT may still be on its way.
func (t *localTx) commit() error {
	if err := t.travel("commit"); err != nil {
		return err
	}
	w := t.d.w
	switch {
	case w.chance(w.opts.commitLost):
		w.count("COMMIT lost")
		t.depart(func() { t.lose() })
		return errLost
	case w.chance(w.opts.commitLost):
		w.count("COMMIT late")
		t.depart(func() {
			if !t.ended {
				t.apply()
			}
		})
		return errLost
	}
	t.apply()
	if w.chance(w.opts.commitLost) {
		w.count("answer to COMMIT lost")
		return errLost
	}
	return t.gone()
}

// gone tells whether an answer can still come.
func (t *localTx) gone() error {
	if t.p.dead {
		return errCrashed
	}
	return nil
}

// depart leaves the transaction to the server alone, which comes to it later.
func (t *localTx) depart(then func()) {
	w := t.d.w
	t.p.open = slices.DeleteFunc(t.p.open, func(o *localTx) bool { return o == t })
	w.in(w.between(0, 2*time.Second), "", then)
}

// apply makes the changes visible, all at once.
func (t *localTx) apply() {
	d := t.d
	for _, wr := range t.data {
		t.note(wr)
		d.rows[wr.n] = wr.value
	}
	for _, u := range t.undo {
		if u.delete {
			t.noteEnded(u.n)
			delete(d.undo, u.n)
			continue
		}
		d.undo[u.n] = u.row
	}
	for _, h := range t.headers {
		if h.delete {
			if _, ok := d.headers[h.h]; ok {
				delete(d.headers, h.h)
				d.w.truth.ended(h.h.xid, gtx.BranchRef{Resource: d.id, Branch: h.h.branch}, t.restore)
			}
			continue
		}
		d.headers[h.h] = struct{}{}
	}
	if !t.xid.IsZero() {
		d.w.truth.committedLocally(t.xid, gtx.BranchRef{Resource: d.id, Branch: t.branch})
		if d.w.tracing {
			d.w.tracef("%s: branch %d of %s commits: %s", d.id, t.branch, short(t.xid), d.show())
		}
	} else if d.w.tracing && len(t.data)+len(t.undo)+len(t.headers) > 0 {
		d.w.tracef("%s: %s commits: %s", d.id, t.p.name, d.show())
	}
	t.end()
}

// note keeps the history of a row and checks what goes in.
func (t *localTx) note(wr dataWrite) {
	d := t.d
	c := d.chains[wr.n]
	if !wr.restored {
		if u, held := d.undo[wr.n]; held && u.owner != t.xid {
			d.w.fail("S2", "%s: row %d of %s is overwritten by %s", d.id, wr.n, short(u.owner), t.who())
		}
		d.chains[wr.n] = append(c, write{t.xid, wr.value})
		return
	}
	x := d.undo[wr.n].owner
	if len(c) == 0 || c[len(c)-1].xid != x {
		d.w.fail("S2", "%s: row %d is restored for %s, whose write is not the last", d.id, wr.n, short(x))
		return
	}
	for len(c) > 0 && c[len(c)-1].xid == x {
		c = c[:len(c)-1]
	}
	d.chains[wr.n] = c
	if was := lastValue(c); was != wr.value {
		d.w.fail("S2", "%s: row %d is restored to %d, it was %d", d.id, wr.n, wr.value, was)
	}
}

func lastValue(c []write) int64 {
	if len(c) == 0 {
		return 0
	}
	return c[len(c)-1].value
}

// noteEnded checks that an undo row goes only with what the decision asks for.
func (t *localTx) noteEnded(n int) {
	u, ok := t.d.undo[n]
	if !ok {
		return
	}
	restored := slices.ContainsFunc(t.data, func(wr dataWrite) bool { return wr.n == n && wr.restored })
	committed := t.d.w.truth.fate(u.owner).committed
	switch {
	case restored && committed:
		t.d.w.fail("S3", "%s: row %d of the committed %s is undone", t.d.id, n, short(u.owner))
	case !restored && !committed:
		t.d.w.fail("S1", "%s: row %d of %s loses its undo row, and %s is not committed", t.d.id, n, short(u.owner), short(u.owner))
	}
}

func (t *localTx) who() string {
	if t.xid.IsZero() {
		return t.p.name
	}
	return fmt.Sprintf("%s for %s", t.p.name, short(t.xid))
}

// show tells what is there, for the trace.
func (d *database) show() string {
	s := fmt.Sprint(d.rows)
	for n := range d.rows {
		if u, ok := d.undo[n]; ok {
			s += fmt.Sprintf(" u%d:%s", n, short(u.owner))
		}
	}
	return fmt.Sprintf("%s h:%d%s", s, len(d.headers), d.showPrepared())
}

// value is what t sees of a row.
func (t *localTx) value(n int) int64 {
	for i := len(t.data) - 1; i >= 0; i-- {
		if t.data[i].n == n {
			return t.data[i].value
		}
	}
	return t.d.rows[n]
}

// undoOf is what t sees of an undo row.
func (t *localTx) undoOf(n int) (undoRow, bool) {
	for i := len(t.undo) - 1; i >= 0; i-- {
		if t.undo[i].n == n {
			return t.undo[i].row, !t.undo[i].delete
		}
	}
	u, ok := t.d.undo[n]
	return u, ok
}

// hasHeader is what t sees of a header.
func (t *localTx) hasHeader(h header) bool {
	for i := len(t.headers) - 1; i >= 0; i-- {
		if t.headers[i].h == h {
			return !t.headers[i].delete
		}
	}
	_, ok := t.d.headers[h]
	return ok
}

// insertHeader waits for whoever is inserting the same key; false when it is
// there.
func (t *localTx) insertHeader(h header) (bool, error) {
	if err := t.travel("insert header"); err != nil {
		return false, err
	}
	if err := t.lock(lockKey{kind: 'h', h: h}); err != nil {
		return false, err
	}
	if t.hasHeader(h) {
		return false, nil
	}
	t.headers = append(t.headers, headerWrite{h: h})
	return true, nil
}
