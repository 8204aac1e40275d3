package undo_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/gtx"
)

func TestStats(t *testing.T) {
	h := setup(t, account, "INSERT INTO account VALUES (1, 10), (2, 20), (3, 30)")
	one, two, three := h.xid(), h.xid(), h.xid()
	h.branch(one, "UPDATE account SET n = 11 WHERE id = 1")
	h.branch(two, "UPDATE account SET n = 0 WHERE id > 1")
	c := &answers{fate: map[gtx.XID]gtx.Status{one: gtx.Committed, two: gtx.Aborted}}
	res, _ := h.process(c)
	if left, err := res.Scan(t.Context()); left != 0 || err != nil {
		t.Fatalf("%d left, %v", left, err)
	}
	for _, fate := range []gtx.Status{gtx.Committed, gtx.Aborted} { // who comes second
		if err := res.Resolve(t.Context(), gtx.Resolution{XID: one, Status: fate, Branches: []gtx.BranchID{1}}); err != nil {
			t.Fatal(err)
		}
	}
	if s := res.Stats(); s.Committed != 1 || s.Aborted != 1 || s.Restored != 2 || s.Scans != 1 || s.Stuck != 0 || s.Failures != 0 || s.Conflicts != 0 || s.LastError != nil {
		t.Errorf("%+v", s)
	}
	// A busy database, and an error of another kind.
	open, _ := h.local(three, "UPDATE account SET n = 1 WHERE id = 1")
	if err := res.Resolve(t.Context(), gtx.Resolution{XID: one, Status: gtx.Aborted}); !errors.Is(err, gtx.ErrConflict) {
		t.Error(err)
	}
	end(t, open, "ROLLBACK")
	h.plain("DROP TABLE gtx_undo")
	if err := res.Resolve(t.Context(), gtx.Resolution{XID: one, Status: gtx.Aborted}); err == nil || errors.Is(err, gtx.ErrConflict) {
		t.Error(err)
	}
	s := res.Stats()
	if s.Conflicts != 1 || s.Failures != 1 || s.LastError == nil || !strings.Contains(s.LastError.Error(), "gtx_undo") || s.LastErrorAt.IsZero() {
		t.Errorf("%+v", s)
	}
}

// TestStuckIsTriedLessAndLess: each try restores all rows and takes them back, so the
// scan of its own lets more and more passes go by; a pass that is asked for tries.
func TestStuckIsTriedLessAndLess(t *testing.T) {
	h, xid, c := stuckHouse(t)
	res, _ := h.process(c)
	res.Start()
	// The coordinator is asked at passes 1, 2, 4, 8 and 16 at the earliest.
	for range 5 {
		<-c.asked
	}
	res.Stop()
	if s := res.Stats(); s.Stuck != 1 || s.Scans < 16 {
		t.Errorf("%+v", s)
	}
	c.asked = nil
	h.plain("UPDATE account SET n = 12")
	if left, err := res.Scan(t.Context()); left != 0 || err != nil {
		t.Fatalf("%s: %d left, %v", xid, left, err)
	}
}
