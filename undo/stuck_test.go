package undo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// journal keeps what was logged at Warn and above.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) lines() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Split(strings.TrimSpace(j.buf.String()), "\n")
}

// process opens the database as one more process would.
func (h *house) process(c gtx.Coordinator) (*undo.Resolver, *journal) {
	h.t.Helper()
	db, _ := h.open(func() gtx.Coordinator { return nil })
	j := &journal{}
	res, err := undo.NewResolver(undo.Config{
		DB: db, Dialect: sqlite.Dialect{}, Coordinator: func() gtx.Coordinator { return c }, ScanInterval: 1,
		Logger: slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(res.Stop)
	return res, j
}

// stuckHouse has one XID whose row was overwritten with n = 987654.
func stuckHouse(t *testing.T) (*house, gtx.XID, *answers) {
	t.Helper()
	h := setup(t, account, "INSERT INTO account VALUES (1, 10)")
	xid := h.xid()
	h.branch(xid, "UPDATE account SET n = 11")
	h.branch(xid, "UPDATE account SET n = 12")
	h.plain("UPDATE account SET n = 987654")
	return h, xid, &answers{fate: map[gtx.XID]gtx.Status{xid: gtx.Aborted}, asked: make(chan struct{})}
}

func TestStuckIsToldOnce(t *testing.T) {
	h, xid, c := stuckHouse(t)
	one, told := h.process(c)
	one.Start()
	for range 5 {
		<-c.asked // a scan
	}
	one.Stop()
	lines := told.lines()
	if len(lines) != 1 || !strings.Contains(lines[0], "stuck") || !strings.Contains(lines[0], xid.String()) || strings.Contains(lines[0], "987654") {
		t.Errorf("logged %q", lines)
	}
	if got := h.rows("SELECT DISTINCT state FROM gtx_branch"); got != "[[1]]" {
		t.Errorf("states of both headers: %s", got)
	}
	// Another process sees the mark and says nothing.
	two, told := h.process(c)
	for range 2 {
		if left, err := two.Scan(t.Context()); left != 1 || !errors.Is(err, gtx.ErrDirty) {
			t.Fatalf("left %d, %v", left, err)
		}
	}
	if lines := told.lines(); lines[0] != "" {
		t.Errorf("logged %q", lines)
	}
	if one.Stats().Stuck != 1 || two.Stats().Stuck != 1 {
		t.Errorf("stats %+v, %+v", one.Stats(), two.Stats())
	}
	h.plain("UPDATE account SET n = 12")
	if left, err := two.Scan(t.Context()); left != 0 || err != nil {
		t.Fatalf("left %d, %v", left, err)
	}
	h.nothingLeft()
	if two.Stats().Stuck != 0 {
		t.Errorf("stats %+v", two.Stats())
	}
	if left, err := one.Scan(t.Context()); left != 0 || err != nil || one.Stats().Stuck != 0 { // what another has ended
		t.Errorf("left %d, %v, stats %+v", left, err, one.Stats())
	}
}

func TestStuckWithoutHeader(t *testing.T) {
	h, xid, c := stuckHouse(t)
	h.plain("DELETE FROM gtx_branch")
	res, told := h.process(c)
	for range 3 {
		if err := res.Resolve(t.Context(), gtx.Resolution{XID: xid, Status: gtx.Aborted}); !errors.Is(err, gtx.ErrDirty) {
			t.Fatal(err)
		}
	}
	if lines := told.lines(); len(lines) != 1 || !strings.Contains(lines[0], "stuck") {
		t.Errorf("logged %q", lines)
	}
	left, err := res.Left(t.Context())
	if err != nil || len(left) != 1 || left[0].Branches != 0 || left[0].UndoRows != 1 || !left[0].Created.IsZero() || left[0].Stuck != nil {
		t.Errorf("left %+v, %v", left, err)
	}
}

func TestUnreadableMarkIsListed(t *testing.T) {
	h, xid, c := stuckHouse(t)
	res, _ := h.process(c)
	h.plain("UPDATE gtx_branch SET state = 1, payload = 'x'")
	stuck, err := res.Stuck(t.Context())
	if err != nil || len(stuck) != 1 || stuck[0].XID != xid || !strings.Contains(stuck[0].Reason, "cannot be read") {
		t.Errorf("stuck %+v, %v", stuck, err)
	}
	// The next one who meets the row writes a new mark.
	if _, err := res.Scan(t.Context()); !errors.Is(err, gtx.ErrDirty) {
		t.Fatal(err)
	}
	if stuck, err = res.Stuck(t.Context()); err != nil || len(stuck) != 1 || stuck[0].Table != "account" || stuck[0].Since.IsZero() {
		t.Errorf("stuck %+v, %v", stuck, err)
	}
}

// TestOperateAsksFirst: nothing is settled against the coordinator's word, or
// without it unless the operator answers for that.
func TestOperateAsksFirst(t *testing.T) {
	unavailable := fmt.Errorf("ask: %w", gtx.ErrUnavailable)
	foreign := errors.New("not my log")
	for name, tc := range map[string]struct {
		none   bool // no coordinator at all
		status gtx.Status
		err    error
		assume bool
		want   error // nil: settled
	}{
		"aborted":               {status: gtx.Aborted},
		"expired":               {status: gtx.Expired},
		"pending":               {status: gtx.Pending, want: undo.ErrNotAborted},
		"committed":             {status: gtx.Committed, want: undo.ErrNotAborted},
		"committed, assumed":    {status: gtx.Committed, assume: true, want: undo.ErrNotAborted},
		"pending, assumed":      {status: gtx.Pending, assume: true, want: undo.ErrNotAborted},
		"silence":               {err: unavailable, want: gtx.ErrUnavailable},
		"silence, assumed":      {err: unavailable, assume: true},
		"another's":             {err: foreign, want: foreign},
		"another's, assumed":    {err: foreign, assume: true, want: foreign},
		"nobody to ask":         {none: true, want: gtx.ErrNoCoordinator},
		"nobody to ask, assume": {none: true, assume: true},
	} {
		t.Run(name, func(t *testing.T) {
			h, xid, c := stuckHouse(t)
			c.fate[xid], c.err = tc.status, map[gtx.XID]error{xid: tc.err}
			var asked gtx.Coordinator = c
			if tc.none {
				asked = nil
			}
			res, told := h.process(asked)
			done, err := res.Operate(t.Context(), undo.Operation{
				XID: xid, Action: undo.ForceBefore, Who: "ops", Reason: "test", AssumeAborted: tc.assume,
			})
			if tc.want != nil {
				if !errors.Is(err, tc.want) || h.rows("SELECT n FROM account") != "[[987654]]" || h.rows("SELECT * FROM gtx_operator") != "[]" {
					t.Errorf("got %v, want %v", err, tc.want)
				}
				return
			}
			if err != nil || done.Left != nil || len(done.Rows) != 1 {
				t.Fatalf("%+v, %v", done, err)
			}
			h.nothingLeft()
			if got := h.rows("SELECT n FROM account"); got != "[[10]]" {
				t.Error(got)
			}
			if assumed := strings.Contains(strings.Join(told.lines(), "\n"), "assumes"); assumed != (tc.none || tc.err != nil) {
				t.Errorf("logged %q", told.lines())
			}
			if acked := len(c.acked) == 1; acked != (!tc.none && tc.err == nil) {
				t.Errorf("acknowledged %v", c.acked)
			}
		})
	}
}

func TestOperationIsChecked(t *testing.T) {
	h, xid, c := stuckHouse(t)
	res, _ := h.process(c)
	good := undo.Operation{XID: xid, Action: undo.Retry, Who: "ops", Reason: "test"}
	for name, change := range map[string]func(o *undo.Operation){
		"xid":         func(o *undo.Operation) { o.XID = gtx.XID{} },
		"action":      func(o *undo.Operation) { o.Action = "drop" },
		"who":         func(o *undo.Operation) { o.Who = "" },
		"long who":    func(o *undo.Operation) { o.Who = strings.Repeat("x", 191) },
		"reason":      func(o *undo.Operation) { o.Reason = "" },
		"long reason": func(o *undo.Operation) { o.Reason = strings.Repeat("x", 4001) },
		"retry a row": func(o *undo.Operation) { o.KeyHash = "x" },
	} {
		o := good
		change(&o)
		if _, err := res.Operate(t.Context(), o); err == nil || errors.Is(err, gtx.ErrDirty) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := res.Operate(t.Context(), good); !errors.Is(err, gtx.ErrDirty) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := res.Operate(ctx, good); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestForceFreesUniqueKeys needs the order of TestUniqueKeysAreFreedFirst.
func TestForceFreesUniqueKeys(t *testing.T) {
	h := setup(t, "CREATE TABLE u (id INTEGER PRIMARY KEY, v UNIQUE, w)", "INSERT INTO u VALUES (1, 'a', 0)")
	xid := h.xid()
	h.branch(xid, "INSERT INTO u VALUES (2, 'z', 0)", "UPDATE u SET v = 'b' WHERE id = 1", "UPDATE u SET v = 'a' WHERE id = 2")
	h.plain("UPDATE u SET w = 9")
	res, _ := h.process(&answers{fate: map[gtx.XID]gtx.Status{xid: gtx.Aborted}})
	done, err := res.Operate(t.Context(), undo.Operation{XID: xid, Action: undo.ForceBefore, Who: "ops", Reason: "test"})
	if err != nil || done.Left != nil || len(done.Rows) != 2 {
		t.Fatalf("%+v, %v", done, err)
	}
	h.nothingLeft()
	if got := h.rows("SELECT * FROM u"); got != "[[1 a 0]]" {
		t.Error(got)
	}
}

// TestForceThatCannotBe: a value that a row of somebody else has taken is not taken
// back, and nothing is half done.
func TestForceThatCannotBe(t *testing.T) {
	h := setup(t, "CREATE TABLE u (id INTEGER PRIMARY KEY, v UNIQUE)", "INSERT INTO u VALUES (1, 'a'), (2, 'b')")
	xid := h.xid()
	h.branch(xid, "UPDATE u SET v = 'x' WHERE id = 1", "UPDATE u SET v = 'y' WHERE id = 2")
	h.plain("UPDATE u SET v = 'xx' WHERE id = 1")
	h.plain("UPDATE u SET v = 'yy' WHERE id = 2")
	h.plain("INSERT INTO u VALUES (3, 'a')")
	res, _ := h.process(&answers{fate: map[gtx.XID]gtx.Status{xid: gtx.Aborted}})
	_, err := res.Operate(t.Context(), undo.Operation{XID: xid, Action: undo.ForceBefore, Who: "ops", Reason: "test"})
	if (sqlite.Dialect{}).Classify(err) != undo.Duplicate {
		t.Errorf("got %v", err)
	}
	if got := h.rows("SELECT * FROM u") + h.rows("SELECT COUNT(*) FROM gtx_undo") + h.rows("SELECT * FROM gtx_operator"); got != "[[1 xx] [2 yy] [3 a]][[2]][]" {
		t.Error(got)
	}
}
