package sim

import (
	"slices"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
	"github.com/globaltx/globaltx/xa"
)

// prepared is called when a branch of mode XA is prepared in its database. A late one,
// of a transaction that has been aborted, has no effect that anybody sees: the scan
// rolls it back (rule X1).
func (t *truth) prepared(n xa.Name) {
	f, ref := t.fate(n.XID), n.Ref()
	switch {
	case f.open[ref]:
		t.w.fail("X1", "branch %d of %s is prepared twice at %s", n.Branch, short(n.XID), n.Database)
	case f.textbook:
	case !slices.Contains(f.registered, ref):
		t.w.fail("X1", "branch %d of %s is prepared at %s without the coordinator's ok", n.Branch, short(n.XID), n.Database)
	case f.done:
		t.w.fail("G2", "branch %d of %s is prepared at %s after Done", n.Branch, short(n.XID), n.Database)
	case slices.Contains(f.dead, ref):
		t.w.fail("T5", "branch %d of %s is prepared at %s after its TM called it dead", n.Branch, short(n.XID), n.Database)
	}
	t.w.count("branch prepared")
	if f.open == nil {
		f.open = map[gtx.BranchRef]bool{}
	}
	f.open[ref] = true
}

// preparedEnded is called when a prepared branch has been committed or rolled back.
func (t *truth) preparedEnded(n xa.Name, commit bool) {
	f, ref := t.fate(n.XID), n.Ref()
	delete(f.open, ref)
	if commit {
		f.kept = append(f.kept, ref)
		t.w.count("prepared branch committed")
	} else {
		f.undone = append(f.undone, ref)
		t.w.count("prepared branch rolled back")
	}
	switch {
	case f.textbook && len(f.kept) > 0 && len(f.undone) > 0:
		t.w.fail("S1", "%s is committed at %s and rolled back at %s", short(n.XID), f.kept[0].Resource, f.undone[0].Resource)
	case f.textbook:
	case commit && !f.committed:
		t.w.fail("S1", "branch %d of %s is committed at %s, and %s is not", n.Branch, short(n.XID), n.Database, short(n.XID))
	case !commit && f.committed:
		t.w.fail("S3", "branch %d of the committed %s is rolled back at %s", n.Branch, short(n.XID), n.Database)
	case !commit && f.told == gtx.Committed:
		t.w.fail("S1", "branch %d of %s is rolled back at %s, and committed was told", n.Branch, short(n.XID), n.Database)
	}
}

// resolvedPrepared is called when a worker says that nothing is left of res at d.
// before are the branches that were prepared when it began: a PREPARE that comes later
// is found by a scan, but a committed transaction has none (rules X1, X3).
func (t *truth) resolvedPrepared(d *database, before []xa.Name, res gtx.Resolution) {
	for _, n := range d.preparedOf(res.XID) {
		if res.Status == gtx.Committed || res.Status == gtx.Aborted && slices.Contains(before, n) {
			t.w.fail("X3", "%s: prepared branch %d of %s is left behind", d.id, n.Branch, short(n.XID))
		}
	}
}

// registers is called when a coordinator allows a branch.
func (t *truth) registers(n *node, x gtx.XID, ref gtx.BranchRef) {
	f := t.fate(x)
	if slices.Contains(f.registered, ref) {
		return
	}
	if f.precommitted != nil {
		t.w.fail("H2", "%s registers branch %d of %s, which is pre-committed", n.name, ref.Branch, short(x))
	}
	f.registered = append(f.registered, ref)
}

// precommits checks what tells a participant that all have voted yes (rule H2): it must
// be true.
func (t *truth) precommits(n *node, p coordinator.Push) {
	f := t.fate(p.XID)
	t.w.count("pre-committed told")
	if !p.XID.ThreePhase() {
		t.w.fail("H2", "%s pre-commits %s, which is not three-phase", n.name, short(p.XID))
	}
	if f.told == gtx.Aborted && n.m.Epoch() == t.epoch { // a deposed one may: its word comes to nothing (rule H5)
		t.w.fail("H2", "%s pre-commits %s, which was told to be aborted", n.name, short(p.XID))
	}
	for _, ref := range f.registered {
		if !slices.Contains(f.confirmed, ref) && !slices.Contains(f.dead, ref) {
			t.w.fail("H2", "%s pre-commits %s, and nobody has said that branch %d at %s is prepared", n.name, short(p.XID), ref.Branch, ref.Resource)
		}
	}
	for _, ref := range f.confirmed {
		if !slices.Contains(f.registered, ref) || !slices.Contains(p.Participants, ref.Resource) {
			t.w.fail("H2", "%s pre-commits %s without %s", n.name, short(p.XID), ref.Resource)
		}
	}
	f.precommitted, f.toldIn = p.Participants, n.m.Epoch()
}

// keepsWord checks that a leader aborts nothing that it has called pre-committed: a
// participant may claim it as soon as that leader is gone (rule H2).
func (t *truth) keepsWord(n *node, x gtx.XID, st gtx.Status) {
	if f := t.fate(x); st == gtx.Aborted && f.precommitted != nil && n.m != nil && f.toldIn == n.m.Epoch() {
		t.w.fail("H2", "%s aborts %s, which it has called pre-committed", n.name, short(x))
	}
}

// commitRecord checks the Commit record of a three-phase transaction: by its own leader
// behind PreCommit, by a later one only what was claimed, and not behind Close (rules
// H2, H4, H5).
func (t *truth) commitRecord(f *fate, epoch uint64, resources []string) {
	if !f.xid.ThreePhase() || len(resources) == 0 {
		return
	}
	if f.precommitted == nil {
		t.w.fail("H2", "%s is committed, and nobody was told that all have prepared", short(f.xid))
	}
	if epoch > f.toldIn {
		t.w.count("claim committed")
		if f.xid.Epoch < t.closed {
			t.w.fail("H5", "%s is committed behind Close %d", short(f.xid), t.closed)
		}
	}
	for _, r := range f.precommitted {
		if !slices.Contains(resources, string(r)) {
			t.w.fail("H4", "%s is committed without %s", short(f.xid), r)
		}
	}
}
