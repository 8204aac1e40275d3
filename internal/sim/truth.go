package sim

import (
	"slices"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

// truth watches everything and knows what no process can know: which decisions
// are in the log and what is in the databases. It checks after every step that
// changes one of them.
type truth struct {
	w *World

	// Of the log, by the rules for readers.
	logID         uint64
	epoch, writer uint64
	xids          map[xidKey]*fate
	closed        uint64  // epochs until then have no three-phase transaction to claim
	order         []*fate // as begun
}

type xidKey struct{ epoch, seq uint64 }

func keyOf(x gtx.XID) xidKey { return xidKey{x.Epoch, x.Seq} }

// fate is what is known of one XID.
type fate struct {
	xid       gtx.XID
	committed bool // a Commit record is in the log
	done      bool // a Done record is in the log
	told      gtx.Status
	ended     bool   // a coordinator has called it aborted: it knows it no more
	began     string // who
	used      bool   // there was something to decide
	undone    []gtx.BranchRef
	kept      []gtx.BranchRef
	open      map[gtx.BranchRef]bool // committed locally, phase two has not been here
	rolled    map[gtx.ResourceID][]gtx.BranchID
	dead      []gtx.BranchRef // by the TM's own words
	confirmed []gtx.BranchRef // the same

	// Of branches that prepare, and of three-phase commit.
	registered   []gtx.BranchRef
	precommitted []gtx.ResourceID // somebody was told that these have all prepared
	toldIn       uint64           // epoch of who told it last
	overAT       bool             // a prepared branch has committed over an undo row of its own XID
	textbook     bool             // has a coordinator without a log: see textbook.go
}

func (t *truth) init() { t.xids = map[xidKey]*fate{} }

func (t *truth) fate(x gtx.XID) *fate { return t.fateAt(keyOf(x), x) }

func (t *truth) fateAt(k xidKey, x gtx.XID) *fate {
	f := t.xids[k]
	if f == nil {
		f = &fate{xid: x}
		t.xids[k] = f
		t.order = append(t.order, f)
	}
	return f
}

// landed takes a message of the log as every reader must (rules L2, L3, L7).
func (t *truth) landed(seq uint64, body []byte) {
	m, ok := parse(body)
	if !ok {
		t.w.fail("codec", "message %d cannot be read", seq)
		return
	}
	if m.prev != seq-1 {
		return // rule L3: nobody reads it
	}
	if t.logID == 0 {
		t.logID = m.log
	}
	if len(m.records) > 0 && m.records[0].kind == recEpoch {
		if m.epoch <= t.epoch {
			t.w.fail("I2", "epoch %d after %d", m.epoch, t.epoch)
		}
		t.epoch, t.writer = m.epoch, m.writer
	}
	if m.epoch != t.epoch || m.writer != t.writer {
		t.w.fail("L3", "message %d is of epoch %d and not of %d, and went in", seq, m.epoch, t.epoch)
		return
	}
	for _, r := range m.records {
		k := xidKey{r.epoch, r.seq}
		x := gtx.XID{Log: t.logID, Epoch: r.epoch, Seq: r.seq}
		switch r.kind {
		case recCommit:
			f := t.fateAt(k, x)
			if f.committed {
				t.w.fail("L7", "%s is committed twice", short(x))
			}
			f.committed = true
			if f.told == gtx.Aborted {
				t.w.fail("S1", "%s was told to be aborted and is committed now", short(x))
			}
			if len(f.undone) > 0 {
				t.w.fail("S1", "%s is committed, and %v was undone before", short(x), f.undone)
			}
			t.commitRecord(f, m.epoch, r.resources)
			if m.epoch != r.epoch {
				t.w.count("adopted transaction committed")
			}
		case recKeep:
			t.w.count("unfinished commit kept over a trim")
			if f := t.xids[k]; f == nil || !f.committed {
				t.w.fail("G3", "Keep of %s, which is not committed", short(x))
			}
		case recDone:
			f := t.xids[k]
			if f == nil || !f.committed {
				t.w.fail("G2", "Done of %s, which is not committed", short(x))
				continue
			}
			f.done = true
			if len(f.open) > 0 {
				t.w.fail("G2", "%s is done before all of its databases are", short(x))
			}
		case recTrim:
			t.w.count("Trim appended")
		case recClose:
			t.closed = max(t.closed, r.epoch)
			t.w.count("Close appended")
		case recHandover:
			t.w.count("active transactions handed over")
		}
	}
}

// leads is called when a node begins to lead.
func (t *truth) leads(n *node) {
	if n.m.Epoch() != t.epoch {
		t.w.count("deposed before it knew that it leads")
	}
}

// say checks a final statement about x (rule L8: from whomever).
func (t *truth) say(who string, x gtx.XID, st gtx.Status) {
	if x.IsZero() || st == gtx.Pending {
		return
	}
	f := t.fate(x)
	switch st {
	case gtx.Committed:
		if !f.committed {
			t.w.fail("S1", "%s says that %s is committed, and the log does not", who, short(x))
		}
		if f.told == gtx.Aborted {
			t.w.fail("S1", "%s says that %s is committed after aborted was said", who, short(x))
		}
		f.told = gtx.Committed
	case gtx.Aborted:
		if f.committed {
			t.w.fail("S1", "%s says that %s is aborted, and the log says committed", who, short(x))
		}
		if f.told == gtx.Committed {
			t.w.fail("S1", "%s says that %s is aborted after committed was said", who, short(x))
		}
		f.told = gtx.Aborted
	case gtx.PreCommitted:
		t.w.fail("H2", "%s answers that %s is pre-committed, which is no decision", who, short(x))
	case gtx.Expired:
		t.w.count("expired answered")
		if f.committed && !f.done {
			t.w.fail("G4", "%s says that %s is expired, and it is not done", who, short(x))
		}
	}
}

// answered checks a reply at the moment it is given.
func (t *truth) answered(n *node, q *question, a coordinator.Reply) {
	if a.Err != nil {
		return
	}
	if n.m != nil && n.m.Epoch() < t.epoch {
		t.w.count("deposed leader answered")
	}
	switch q.kind {
	case askBegin:
		if f := t.xids[keyOf(a.XID)]; f != nil && f.began != "" {
			t.w.fail("I2", "%s is minted twice", short(a.XID))
		}
		t.fate(a.XID).began = n.name
	case askRegister:
		f := t.fate(q.xid)
		if e, ok := q.event.(coordinator.Register); ok {
			t.registers(n, q.xid, e.Ref)
		}
		if f.ended && n.m != nil && n.m.Epoch() == t.epoch {
			t.w.fail("L7", "%s registers a branch of %s, which was said to be aborted", n.name, short(q.xid))
		}
	case askCommit, askRollback, askOutcome, askAwait, askClaim:
		if q.kind == askClaim && a.Status == gtx.Aborted {
			t.w.count("claim came too late")
		}
		t.keepsWord(n, q.xid, a.Status)
		t.say(n.name, q.xid, a.Status)
		t.fate(q.xid).ended = a.Status == gtx.Aborted
	}
}

// pushed checks a decision that goes to the workers.
func (t *truth) pushed(n *node, p coordinator.Push) {
	if p.Status == gtx.PreCommitted {
		t.precommits(n, p)
		return
	}
	t.keepsWord(n, p.XID, p.Status)
	t.say(n.name+" (push)", p.XID, p.Status)
}

// committedLocally is called when a branch commits in its database.
func (t *truth) committedLocally(x gtx.XID, ref gtx.BranchRef) {
	f := t.fate(x)
	if slices.Contains(f.rolled[ref.Resource], ref.Branch) {
		t.w.fail("S4", "branch %d of %s commits at %s after its rollback was acknowledged", ref.Branch, short(x), ref.Resource)
	}
	if f.done {
		t.w.fail("G2", "branch %d of %s commits at %s after Done", ref.Branch, short(x), ref.Resource)
	}
	if slices.Contains(f.dead, ref) {
		t.w.fail("T5", "branch %d of %s commits at %s after its TM called it dead", ref.Branch, short(x), ref.Resource)
	}
	if f.open == nil {
		f.open = map[gtx.BranchRef]bool{}
	}
	f.open[ref] = true
}

// ended is called when phase two of a branch is committed in its database: its
// header and undo rows are gone. undone tells that its rows were restored.
func (t *truth) ended(x gtx.XID, ref gtx.BranchRef, undone bool) {
	f := t.fate(x)
	delete(f.open, ref)
	if undone {
		f.undone = append(f.undone, ref)
		if f.committed {
			t.w.fail("S3", "branch %d of the committed %s is undone at %s", ref.Branch, short(x), ref.Resource)
		}
		if f.told == gtx.Committed {
			t.w.fail("S1", "branch %d of %s is undone at %s, and committed was told", ref.Branch, short(x), ref.Resource)
		}
		t.w.count("branch undone")
		return
	}
	f.kept = append(f.kept, ref)
	if !f.committed {
		t.w.fail("S1", "branch %d of %s is kept at %s, and it is not committed", ref.Branch, short(x), ref.Resource)
	}
	t.w.count("branch kept")
}

// resolved is called when a worker says that nothing is left of res (property S4,
// rules P2, P3): of branches that nobody has listed there may be (N3).
func (t *truth) resolved(d *database, res gtx.Resolution) {
	about := func(b gtx.BranchID) bool { return res.Status == gtx.Committed || slices.Contains(res.Branches, b) }
	for h := range d.headers {
		if h.xid == res.XID && about(h.branch) {
			t.w.fail("P3", "%s: the header of branch %d of %s is left behind", d.id, h.branch, short(res.XID))
		}
	}
	for n, u := range d.undo {
		if u.owner == res.XID && about(u.branch) {
			t.w.fail("P3", "%s: the undo row of row %d of %s is left behind", d.id, n, short(res.XID))
		}
	}
	if res.Status != gtx.Aborted || len(res.Branches) == 0 {
		return
	}
	f := t.fate(res.XID)
	if f.rolled == nil {
		f.rolled = map[gtx.ResourceID][]gtx.BranchID{}
	}
	f.rolled[d.id] = append(f.rolled[d.id], res.Branches...)
}

// commits is called when a TM asks for the decision.
func (t *truth) commits(x gtx.XID, confirmed, dead []gtx.BranchRef) {
	f := t.fate(x)
	for _, ref := range confirmed {
		if !f.open[ref] && !slices.Contains(f.undone, ref) {
			t.w.fail("T5", "%s calls branch %d confirmed, which has not committed at %s", short(x), ref.Branch, ref.Resource)
		}
	}
	for _, ref := range dead {
		if f.open[ref] {
			t.w.fail("T5", "%s calls branch %d dead, which has committed at %s", short(x), ref.Branch, ref.Resource)
		}
	}
	f.dead = append(f.dead, dead...)
	f.confirmed = append(f.confirmed, confirmed...)
}

// outcome is what an application was told by gtx.Run.
func (t *truth) outcome(app string, x gtx.XID, st gtx.Status) {
	t.say(app, x, st)
	if st == gtx.Committed {
		for _, ref := range t.fate(x).undone {
			t.w.fail("S1", "%s is told that %s is committed, and %v is undone", app, short(x), ref)
		}
	}
}
