package sim

import (
	"errors"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

// leader is the node that leads the epoch of the log.
func (w *World) leader() *node {
	for _, n := range w.nodes {
		if n.m != nil && n.m.Leading() && n.m.Epoch() == w.truth.epoch {
			return n
		}
	}
	return nil
}

// idle tells whether everything has come to its end.
func (w *World) idle() bool {
	if n := w.leader(); len(w.nodes) > 0 && (n == nil || !n.m.Stats().Idle()) {
		return false
	}
	for _, d := range w.dbs {
		if d.leftover() || len(d.prepared) > 0 || len(d.open) > 0 || len(d.locks) > 0 {
			return false
		}
	}
	for _, p := range w.procs {
		if len(p.coros) > 0 {
			return false
		}
	}
	return true
}

// checkEnd checks what must hold when all faults have ended and all is quiet.
func (w *World) checkEnd() {
	if len(w.nodes) > 0 {
		n := w.leader()
		if n == nil {
			w.fail("L1", "nobody leads")
			return
		}
		if st := n.m.Stats(); !st.Idle() {
			w.fail("L1", "the coordinator still holds %+v", st)
		}
	}
	for _, d := range w.dbs {
		if d.leftover() || len(d.prepared) > 0 || len(d.locks) > 0 || len(d.open) > 0 {
			w.fail("L1", "%s has headers %d, undo rows %d, prepared branches %d, locks %d, local transactions %d",
				d.id, len(d.headers), len(d.undo), len(d.prepared), len(d.locks), len(d.open))
		}
		w.checkRows(d)
	}
	for _, p := range w.procs {
		if !p.dead && len(p.coros) > 0 {
			w.fail("L1", "%s has not ended", p.name)
		}
	}
	if len(w.nodes) > 0 {
		w.checkLog()
	}
}

// checkRows compares the rows with the decisions.
func (w *World) checkRows(d *database) {
	for n, c := range d.chains {
		if got := lastValue(c); got != d.rows[n] {
			w.fail("S3", "%s: row %d is %d, its last write that counts is %d", d.id, n, d.rows[n], got)
		}
		for _, wr := range c {
			if wr.xid.IsZero() {
				continue
			}
			if f := w.truth.fate(wr.xid); !f.committed && !f.textbook {
				w.fail("S1", "%s: row %d keeps a write of %s, which is not committed", d.id, n, short(wr.xid))
			}
		}
	}
}

// checkLog asks a new coordinator that knows nothing but the log.
func (w *World) checkLog() {
	m, err := coordinator.New(w.opts.machine, w.rnd.Uint64()|1, w.rnd.Uint64()|1)
	if err != nil {
		w.fail("config", "%v", err)
		return
	}
	for seq := max(1, w.log.first); seq <= w.log.last; seq++ {
		e, _ := w.log.get(seq)
		if err := m.Load(seq, e.at, e.body); err != nil {
			w.fail("L2", "the log cannot be read at %d (%s): %v", seq, describe(e.body), err)
			return
		}
	}
	if _, err := m.Campaign(); err != nil {
		w.fail("L2", "nobody could lead this log: %v", err)
		return
	}
	m.Step(w.clock(), coordinator.Landed{Seq: w.log.last + 1})
	for _, f := range w.truth.order {
		for _, a := range m.Step(w.clock(), coordinator.Outcome{XID: f.xid}) {
			r, ok := a.(coordinator.Reply)
			switch {
			case !ok:
			case r.Status == gtx.Pending && f.xid.ThreePhase() && f.xid.Epoch >= w.truth.closed && (!f.committed || f.done): // rule H3
			case r.Err != nil && !errors.Is(r.Err, coordinator.ErrInvalid):
				w.fail("L2", "outcome of %s: %v", short(f.xid), r.Err)
			case r.Status == gtx.Committed && !f.committed, r.Status == gtx.Aborted && f.committed, r.Status == gtx.Pending:
				w.fail("S1", "the next leader says that %s is %s", short(f.xid), r.Status)
			}
		}
	}
}
