package undo_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/undo"
)

// answers is a coordinator that knows the fates it was told. Only the scan's calls
// are answered.
type answers struct {
	gtx.Coordinator
	mu    sync.Mutex
	fate  map[gtx.XID]gtx.Status
	err   map[gtx.XID]error
	acked []gtx.XID
	asked chan struct{} // one for each question, when somebody listens
}

func (a *answers) Outcome(_ context.Context, xid gtx.XID) (gtx.Status, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case a.asked <- struct{}{}:
	default:
	}
	return a.fate[xid], a.err[xid]
}

func (a *answers) Acknowledge(_ context.Context, xid gtx.XID, r gtx.ResourceID) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r == "" {
		return errors.New("no resource")
	}
	a.acked = append(a.acked, xid)
	return nil
}

func (a *answers) set(xid gtx.XID, s gtx.Status) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fate[xid] = s
}

func TestScan(t *testing.T) {
	h := setup(t, account, "INSERT INTO account VALUES (1, 10), (2, 20), (3, 30), (4, 40), (5, 50)")
	var xid [6]gtx.XID
	for i := 1; i <= 5; i++ {
		xid[i] = h.xid()
		h.branch(xid[i], fmt.Sprintf("UPDATE account SET n = 0 WHERE id = %d", i))
	}
	h.plain("DELETE FROM gtx_branch WHERE xid = ?", xid[2].String()) // undo rows without a header
	c := &answers{
		fate: map[gtx.XID]gtx.Status{xid[1]: gtx.Committed, xid[2]: gtx.Aborted, xid[5]: gtx.Expired},
		err:  map[gtx.XID]error{xid[4]: errors.New("not my log")},
	}
	_, res := h.open(func() gtx.Coordinator { return c })
	for range 2 {
		if left, err := res.Scan(t.Context()); left != 2 || err != nil {
			t.Fatalf("left %d, %v", left, err)
		}
	}
	if got := h.rows("SELECT * FROM account"); got != "[[1 0] [2 20] [3 0] [4 0] [5 50]]" {
		t.Error(got)
	}
	if len(c.acked) != 1 { // an abort needs none (rule G1)
		t.Errorf("acknowledged %v", c.acked)
	}
	c.err[xid[3]] = fmt.Errorf("ask: %w", gtx.ErrUnavailable)
	if left, err := res.Scan(t.Context()); left != 2 || !errors.Is(err, gtx.ErrUnavailable) {
		t.Errorf("left %d, %v", left, err)
	}
	clear(c.err)
	for i := 3; i <= 4; i++ {
		c.set(xid[i], gtx.Aborted)
	}
	h.plain("UPDATE account SET n = 99 WHERE id = 3")
	if left, err := res.Scan(t.Context()); left != 1 || !errors.Is(err, gtx.ErrDirty) {
		t.Errorf("left %d, %v", left, err)
	}
	h.plain("UPDATE account SET n = 0 WHERE id = 3")
	if left, err := res.Scan(t.Context()); left != 0 || err != nil {
		t.Errorf("left %d, %v", left, err)
	}
	h.nothingLeft()
	if got := h.rows("SELECT n FROM account"); got != "[[0] [20] [30] [40] [50]]" {
		t.Error(got)
	}
	if left, err := h.res.Scan(t.Context()); left != 0 || err != nil { // no coordinator, nothing there
		t.Errorf("left %d, %v", left, err)
	}
}

func TestScanGoesOnBehindItsLimit(t *testing.T) {
	h := setup(t, account)
	h.plain("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1005)" +
		" INSERT INTO gtx_branch (xid, branch, mode, state, created) SELECT printf('%016x-0-1-%x', 1, i), 1, 1, 0, 0 FROM n")
	c := &answers{fate: map[gtx.XID]gtx.Status{}}
	_, res := h.open(func() gtx.Coordinator { return c })
	for _, want := range []int{1000, 5, 1000} {
		if left, err := res.Scan(t.Context()); left != want || err != nil {
			t.Errorf("left %d, %v, want %d", left, err, want)
		}
	}
}

func TestStartResolvesLeftoversUntilStop(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	h := setup(t, account, "INSERT INTO account VALUES (1, 10)")
	xid := h.xid()
	h.branch(xid, "UPDATE account SET n = 11")
	c := &answers{fate: map[gtx.XID]gtx.Status{}, asked: make(chan struct{})}
	db, res := h.open(func() gtx.Coordinator { return c })
	res.Start()
	res.Start()
	<-c.asked // pending: left alone
	<-c.asked
	if got := h.rows("SELECT n FROM account"); got != "[[11]]" {
		t.Error(got)
	}
	c.set(xid, gtx.Aborted)
	deadline := time.After(10 * time.Second)
	for h.rows("SELECT count(*) FROM gtx_undo") != "[[0]]" {
		select {
		case <-deadline:
			t.Fatal("not resolved")
		default:
		}
	}
	res.Stop()
	res.Stop()
	res.Start() // without effect
	h.nothingLeft()
	db.Close()
	h.db.Close()
}

func TestMigrateByManyAtOnce(t *testing.T) {
	h := &house{t: t}
	base, _, err := sqlite.SplitDSN("file:" + filepath.Join(t.TempDir(), "m.db"))
	if err != nil {
		t.Fatal(err)
	}
	h.dsn = base
	var wg sync.WaitGroup
	ids := make([]gtx.ResourceID, 8)
	for i := range ids {
		_, res := h.open(func() gtx.Coordinator { return nil })
		wg.Go(func() {
			var err error
			if ids[i], err = res.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] || len(id) != 36 || id[14] != '4' {
			t.Fatalf("identities %q", ids)
		}
	}
}

func TestMigrateWhereCreateIsDenied(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ro.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, dsn: "file:" + path + "?mode=ro"}
	_, res := h.open(func() gtx.Coordinator { return nil })
	_, err := res.Migrate(t.Context())
	if err == nil {
		t.Fatal("migrated a read-only database")
	}
	for _, want := range append(sqlite.Dialect{}.Schema(), "gtx migrate") {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not hold %q", want)
		}
	}
}

func TestNewResolverWantsItsConfig(t *testing.T) {
	if _, err := undo.NewResolver(undo.Config{}); err == nil {
		t.Error("made from nothing")
	}
}
