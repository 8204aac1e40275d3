package sim

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

var (
	_ undo.Store   = store{}
	_ undo.StoreTx = storeTx{}
)

// store is a database as phase two sees it from one process.
type store struct {
	d *database
	p *process
}

func (s store) Resource(context.Context) (gtx.ResourceID, error) { return s.d.id, nil }

func (s store) Classify(err error) undo.ErrorClass {
	switch {
	case errors.Is(err, errLockTime):
		return undo.Conflict
	case errors.Is(err, errLost):
		return undo.Lost
	}
	return undo.Other
}

func (s store) Leftovers(_ context.Context, after string, limit int) ([]string, error) {
	t := &localTx{d: s.d, p: s.p}
	if err := t.travel("leftovers"); err != nil {
		return nil, err
	}
	var out []string
	add := func(x gtx.XID) {
		if text := x.String(); text > after {
			out = append(out, text)
		}
	}
	for h := range s.d.headers {
		add(h.xid)
	}
	for _, u := range s.d.undo {
		add(u.owner)
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(len(out), limit)], nil
}

func (s store) Begin(_ context.Context, o undo.TxOptions) (undo.StoreTx, error) {
	t, err := s.d.begin(s.p, o.LockWait)
	if err != nil {
		return nil, err
	}
	t.restore = o.Restores
	return storeTx{t}, nil
}

// storeTx is a local transaction of phase two.
type storeTx struct{ t *localTx }

func byHeader(a, b undo.Header) int {
	return cmp.Or(cmp.Compare(a.XID.Epoch, b.XID.Epoch), cmp.Compare(a.XID.Seq, b.XID.Seq), cmp.Compare(a.Branch, b.Branch))
}

func (s storeTx) Headers(_ context.Context, xids []gtx.XID, lock bool) ([]undo.Header, error) {
	t := s.t
	if err := t.travel("headers"); err != nil {
		return nil, err
	}
	var out []undo.Header
	add := func(h header) {
		if slices.Contains(xids, h.xid) && t.hasHeader(h) {
			out = append(out, undo.Header{XID: h.xid, Branch: h.branch})
		}
	}
	for h := range t.d.headers {
		add(h)
	}
	for _, w := range t.headers {
		add(w.h)
	}
	slices.SortFunc(out, byHeader)
	out = slices.Compact(out)
	if !lock {
		return out, nil
	}
	still := out[:0]
	for _, h := range out {
		k := header{h.XID, h.Branch}
		if err := t.lock(lockKey{kind: 'h', h: k}); err != nil {
			return nil, err
		}
		if t.hasHeader(k) { // as READ COMMITTED looks again behind a wait
			still = append(still, h)
		}
	}
	return still, nil
}

func (s storeTx) Claim(_ context.Context, h undo.Header) (taken bool, err error) {
	fresh, err := s.t.insertHeader(header{h.XID, h.Branch})
	return err == nil && !fresh, err
}

func (s storeTx) Guard(_ context.Context, xid gtx.XID, branches []gtx.BranchID) error {
	for _, b := range branches {
		if _, err := s.t.insertHeader(header{xid, b}); err != nil {
			return err
		}
	}
	return nil
}

func (s storeTx) UndoRows(_ context.Context, xid gtx.XID, limit int) ([]undo.Row, error) {
	t := s.t
	if err := t.travel("undo rows"); err != nil {
		return nil, err
	}
	var out []undo.Row
	for n := range t.d.rows {
		if u, ok := t.undoOf(n); ok && u.owner == xid {
			out = append(out, undo.Row{
				Table: "t", KeyHash: strconv.Itoa(n), XID: xid, Branch: u.branch, Seq: u.seq, Op: undo.Update,
			})
		}
	}
	slices.SortStableFunc(out, func(a, b undo.Row) int {
		return cmp.Or(cmp.Compare(b.Branch, a.Branch), cmp.Compare(b.Seq, a.Seq))
	})
	if limit > 0 {
		out = out[:min(len(out), limit)]
	}
	return out, nil
}

// lockRow locks the data row and the undo row behind r (rule W1), and tells
// whether the latter is still its XID's.
func (s storeTx) lockRow(r *undo.Row) (n int, u undoRow, ok bool, err error) {
	if n, err = strconv.Atoi(r.KeyHash); err != nil {
		return 0, u, false, err
	}
	for _, kind := range []byte{'r', 'u'} {
		if err := s.t.lock(lockKey{kind: kind, n: n}); err != nil {
			return 0, u, false, err
		}
	}
	u, ok = s.t.undoOf(n)
	return n, u, ok && u.owner == r.XID, nil
}

func (s storeTx) Restore(_ context.Context, rows []undo.Row) (done []undo.Row, err error) {
	t := s.t
	if err := t.travel("restore"); err != nil {
		return nil, err
	}
	for i := range rows {
		n, u, ok, err := s.lockRow(&rows[i])
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if now := t.value(n); now != u.after && now != u.before {
			t.d.w.fail("S2", "%s: row %d of %s is dirty, and nobody writes beside the driver", t.d.id, n, short(u.owner))
			return nil, undo.Dirty(&rows[i], "the row is not what the transaction left there")
		}
		t.data = append(t.data, dataWrite{n: n, value: u.before, restored: true})
		done = append(done, rows[i])
	}
	return done, nil
}

func (s storeTx) DeleteUndo(_ context.Context, rows []undo.Row) error {
	if err := s.t.travel("delete undo rows"); err != nil {
		return err
	}
	for i := range rows {
		n, _, ok, err := s.lockRow(&rows[i])
		if err != nil {
			return err
		}
		if ok {
			s.t.undo = append(s.t.undo, undoWrite{n: n, delete: true})
		}
	}
	return nil
}

func (s storeTx) DropUndo(_ context.Context, xids []gtx.XID) (int, error) {
	t := s.t
	if err := t.travel("delete undo rows"); err != nil {
		return 0, err
	}
	dropped := 0
	for n := range t.d.rows {
		if u, ok := t.undoOf(n); !ok || !slices.Contains(xids, u.owner) {
			continue
		}
		if err := t.lock(lockKey{kind: 'u', n: n}); err != nil {
			return 0, err
		}
		if u, ok := t.undoOf(n); ok && slices.Contains(xids, u.owner) {
			t.undo = append(t.undo, undoWrite{n: n, delete: true})
			dropped++
		}
	}
	return dropped, nil
}

func (s storeTx) DeleteHeaders(_ context.Context, headers []undo.Header) error {
	if err := s.t.travel("delete headers"); err != nil {
		return err
	}
	for _, h := range headers {
		k := header{h.XID, h.Branch}
		if err := s.t.lock(lockKey{kind: 'h', h: k}); err != nil {
			return err
		}
		if s.t.hasHeader(k) {
			s.t.headers = append(s.t.headers, headerWrite{h: k, delete: true})
		}
	}
	return nil
}

func (s storeTx) Commit(context.Context) error { return s.t.commit() }

func (s storeTx) Rollback(context.Context) { s.t.rollback() }
