package natsbus_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
	"github.com/globaltx/globaltx/natsbus"
)

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// embedded opens dir; the Bus is closed with the test, or earlier by it.
func embedded(t testing.TB, dir string, opts ...natsbus.EmbeddedOption) *natsbus.Bus {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	// A disk that stalls for seconds is the machine's, not the test's.
	fast := coordinator.Config{PushMin: 50 * time.Millisecond, DoneDelay: time.Millisecond, StallAfter: time.Minute}
	b, err := natsbus.Embedded(testContext(t), dir,
		append([]natsbus.EmbeddedOption{natsbus.WithLogger(quiet), natsbus.WithCoordinator(fast)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// recorder is a Resolver that tells what it was given.
type recorder struct {
	got  chan gtx.Resolution
	fail func(gtx.Resolution) error
}

func newRecorder() *recorder { return &recorder{got: make(chan gtx.Resolution, 1000)} }

func (r *recorder) Resolve(_ context.Context, res gtx.Resolution) error {
	if r.fail != nil {
		if err := r.fail(res); err != nil {
			return err
		}
	}
	r.got <- res
	return nil
}

func (r *recorder) wait(t *testing.T) gtx.Resolution {
	t.Helper()
	select {
	case res := <-r.got:
		return res
	case <-time.After(20 * time.Second):
		t.Fatal("no decision was delivered")
		return gtx.Resolution{}
	}
}

func begin(t testing.TB, b *natsbus.Bus, refs ...gtx.BranchRef) gtx.XID {
	t.Helper()
	ctx := testContext(t)
	xid, err := b.Begin(ctx, gtx.BeginRequest{Name: t.Name(), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range refs {
		if err := b.Register(ctx, xid, ref); err != nil {
			t.Fatal(err)
		}
	}
	return xid
}

func wantStatus(t *testing.T, what string, got gtx.Status, err error, want gtx.Status) {
	t.Helper()
	if err != nil || got != want {
		t.Fatalf("%s: got %s, %v; want %s", what, got, err, want)
	}
}

func wantIdle(t *testing.T, b *natsbus.Bus) {
	t.Helper()
	if err := b.Idle(testContext(t)); err != nil {
		t.Fatal(err)
	}
}

func TestCommitReachesEveryResource(t *testing.T) {
	b, ctx := embedded(t, t.TempDir()), testContext(t)
	refA, refB := gtx.BranchRef{Resource: "bank-a", Branch: 1}, gtx.BranchRef{Resource: "bank/b", Branch: 2}
	resA, resB := newRecorder(), newRecorder()
	for r, res := range map[gtx.ResourceID]*recorder{refA.Resource: resA, refB.Resource: resB} {
		stop, err := b.Serve(r, res)
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		defer stop() // twice is allowed
	}
	xid := begin(t, b, refA, refB)
	for range 2 { // rule C3
		st, err := b.Commit(ctx, xid, []gtx.BranchRef{refA, refB}, nil)
		wantStatus(t, "commit", st, err, gtx.Committed)
	}
	for _, r := range []*recorder{resA, resB} {
		if got := r.wait(t); got.XID != xid || got.Status != gtx.Committed {
			t.Errorf("delivered %+v", got)
		}
	}
	wantIdle(t, b)
	st, err := b.Rollback(ctx, xid) // C3: from the tombstone
	wantStatus(t, "rollback after commit", st, err, gtx.Committed)
}

func TestFailedDeliveryIsRepeated(t *testing.T) {
	b := embedded(t, t.TempDir())
	ref := gtx.BranchRef{Resource: "r", Branch: 1}
	res := newRecorder()
	var once sync.Once
	res.fail = func(gtx.Resolution) (err error) {
		once.Do(func() { err = errors.New("database is away") })
		return err
	}
	stop, err := b.Serve("r", res)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	xid := begin(t, b, ref)
	st, err := b.Commit(testContext(t), xid, []gtx.BranchRef{ref}, nil)
	wantStatus(t, "commit", st, err, gtx.Committed)
	res.wait(t)
	wantIdle(t, b)
}

func TestAbortIsPushedAndFinal(t *testing.T) {
	b, ctx := embedded(t, t.TempDir()), testContext(t)
	ref := gtx.BranchRef{Resource: "r", Branch: 1}
	res := newRecorder()
	stop, err := b.Serve("r", res)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	xid := begin(t, b, ref)
	st, err := b.Rollback(ctx, xid)
	wantStatus(t, "rollback", st, err, gtx.Aborted)
	got := res.wait(t) // with its branches, which need a guard each (rule P3)
	if got.Status != gtx.Aborted || got.XID != xid || len(got.Branches) != 1 || got.Branches[0] != ref.Branch {
		t.Errorf("delivered %+v", got)
	}
	if err := b.Register(ctx, xid, ref); !errors.Is(err, gtx.ErrAborted) {
		t.Errorf("register after abort: %v", err)
	}
	st, err = b.Commit(ctx, xid, []gtx.BranchRef{ref}, nil)
	wantStatus(t, "commit after abort", st, err, gtx.Aborted)
}

func TestDeadlineAborts(t *testing.T) {
	b, ctx := embedded(t, t.TempDir()), testContext(t)
	res := newRecorder()
	stop, err := b.Serve("r", res)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	ref := gtx.BranchRef{Resource: "r", Branch: 1}
	xid, err := b.Begin(ctx, gtx.BeginRequest{Timeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Register(ctx, xid, ref); err != nil {
		t.Fatal(err)
	}
	if got := res.wait(t); got.Status != gtx.Aborted || got.XID != xid {
		t.Errorf("delivered %+v", got)
	}
	wantIdle(t, b)
}

func TestReopenKeepsCommitsAndAbortsTheRest(t *testing.T) {
	dir, ctx := t.TempDir(), testContext(t)
	ref := gtx.BranchRef{Resource: "r", Branch: 1}
	first := embedded(t, dir)
	committed, open := begin(t, first, ref), begin(t, first, ref)
	st, err := first.Commit(ctx, committed, []gtx.BranchRef{ref}, nil)
	wantStatus(t, "commit", st, err, gtx.Committed)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	second := embedded(t, dir)
	for xid, want := range map[gtx.XID]gtx.Status{committed: gtx.Committed, open: gtx.Aborted} {
		st, err := second.Outcome(ctx, xid)
		wantStatus(t, "outcome after reopening", st, err, want)
	}
	res := newRecorder()
	stop, err := second.Serve("r", res)
	if err != nil {
		t.Fatal(err)
	}
	if got := res.wait(t); got.XID != committed || got.Status != gtx.Committed {
		t.Errorf("delivered %+v after reopening", got)
	}
	stop()
	wantIdle(t, second)
	fresh := begin(t, second)
	if fresh.Log != committed.Log || fresh.Epoch != committed.Epoch+1 {
		t.Errorf("xid %s after reopening, %s before", fresh, committed)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}

	third := embedded(t, dir)
	wantIdle(t, third)
	st, err = third.Outcome(ctx, committed)
	wantStatus(t, "outcome of a finished commit", st, err, gtx.Committed)
}

func TestDirectoryBelongsToOneBus(t *testing.T) {
	dir := t.TempDir()
	embedded(t, dir)
	if b, err := natsbus.Embedded(testContext(t), dir); !errors.Is(err, natsbus.ErrInUse) {
		t.Fatalf("second Embedded: %v, %v", b, err)
	}
}

func TestForeignLogIsRefused(t *testing.T) {
	b, ctx := embedded(t, t.TempDir()), testContext(t)
	other := gtx.XID{Log: 1, Epoch: 1, Seq: 1}
	if st, err := b.Outcome(ctx, other); !errors.Is(err, coordinator.ErrForeignLog) || st != gtx.Pending {
		t.Errorf("outcome: %s, %v", st, err)
	}
	if st, err := b.Rollback(ctx, other); !errors.Is(err, coordinator.ErrForeignLog) || st != gtx.Pending {
		t.Errorf("rollback: %s, %v", st, err)
	}
}

func TestClosedBus(t *testing.T) {
	b, ctx := embedded(t, t.TempDir()), testContext(t)
	xid := begin(t, b)
	b.Close()
	b.Close()
	_, err := b.Begin(ctx, gtx.BeginRequest{})
	if !errors.Is(err, natsbus.ErrClosed) || !errors.Is(err, gtx.ErrUnavailable) {
		t.Errorf("begin: %v", err)
	}
	if _, err := b.Commit(ctx, xid, nil, nil); !errors.Is(err, gtx.ErrUnavailable) {
		t.Errorf("commit: %v", err)
	}
	if _, err := b.Serve("r", newRecorder()); !errors.Is(err, gtx.ErrUnavailable) {
		t.Errorf("serve: %v", err)
	}
}

func TestCancelledContext(t *testing.T) {
	b := embedded(t, t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := b.Begin(ctx, gtx.BeginRequest{})
	if !errors.Is(err, gtx.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("begin: %v", err)
	}
}

func TestOtherProcessJoins(t *testing.T) {
	dir := t.TempDir()
	host, ctx := embedded(t, dir, natsbus.Listen("127.0.0.1:0")), testContext(t)
	file := filepath.Join(dir, "url")
	text, err := os.ReadFile(file)
	if err != nil || strings.TrimSpace(string(text)) != host.URL() {
		t.Errorf("%s: %q, %v", file, text, err)
	}
	if info, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("who may read the password: %v, %v", info.Mode(), err)
	}
	guest, err := natsbus.Connect(ctx, natsbus.Config{URL: host.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	ref := gtx.BranchRef{Resource: "r", Branch: 1}
	res := newRecorder()
	if _, err := guest.Serve("r", res); err != nil { // Close stops it
		t.Fatal(err)
	}
	xid := begin(t, host)
	if err := guest.Register(ctx, xid, ref); err != nil {
		t.Fatal(err)
	}
	st, err := host.Commit(ctx, xid, []gtx.BranchRef{ref}, nil)
	wantStatus(t, "commit", st, err, gtx.Committed)
	res.wait(t)
	wantIdle(t, guest)
}

func TestRunCommitsAndAborts(t *testing.T) {
	b, ctx := embedded(t, t.TempDir()), testContext(t)
	ref := gtx.BranchRef{}
	work := func(ctx context.Context) error {
		tx, _ := gtx.FromContext(ctx)
		var err error
		if ref, err = tx.Enlist("r"); err != nil {
			return err
		}
		if err := b.Register(ctx, tx.XID(), ref); err != nil {
			return err
		}
		tx.Confirm(ref)
		return nil
	}
	if err := b.Run(ctx, work); err != nil {
		t.Fatal(err)
	}
	st, err := b.Stats(ctx)
	if err != nil || st.Unfinished != 1 {
		t.Fatalf("stats %+v, %v", st, err)
	}
	boom := errors.New("boom")
	err = b.Run(ctx, func(ctx context.Context) error { return errors.Join(work(ctx), boom) })
	if !errors.Is(err, boom) {
		t.Fatalf("run: %v", err)
	}
}

func TestConcurrentCommitsShareAppends(t *testing.T) {
	b, ctx := embedded(t, t.TempDir()), testContext(t)
	const n = 400
	xids := make([]gtx.XID, n)
	refs := make([]gtx.BranchRef, n)
	for i := range n {
		refs[i] = gtx.BranchRef{Resource: "r", Branch: gtx.BranchID(i + 1)}
		xids[i] = begin(t, b, refs[i])
	}
	before, err := b.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if st, err := b.Commit(ctx, xids[i], refs[i:i+1], nil); err != nil || st != gtx.Committed {
				t.Errorf("commit: %s, %v", st, err)
			}
		})
	}
	wg.Wait()
	after, err := b.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if used := after.LogSeq - before.LogSeq; used >= n/2 {
		t.Errorf("%d commits took %d appends", n, used)
	}
}

// nothing is a Resolver of a resource that never has anything left.
type nothing struct{}

func (nothing) Resolve(context.Context, gtx.Resolution) error { return nil }

// TestStopWaitsForDeliveries proves that nothing of the Resolver runs any more
// when stop has returned.
func TestStopWaitsForDeliveries(t *testing.T) {
	b, ctx := embedded(t, t.TempDir()), testContext(t)
	started, release := make(chan struct{}), make(chan struct{})
	res := newRecorder()
	res.fail = func(gtx.Resolution) error {
		close(started)
		<-release
		return nil
	}
	stop, err := b.Serve("r", res)
	if err != nil {
		t.Fatal(err)
	}
	xid := begin(t, b, gtx.BranchRef{Resource: "r", Branch: 1})
	if _, err := b.Rollback(ctx, xid); err != nil {
		t.Fatal(err)
	}
	<-started
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	select {
	case <-stopped:
		t.Error("stop has not waited")
	case <-time.After(20 * time.Millisecond): // one that does not wait is faster
	}
	close(release)
	select {
	case <-stopped:
	case <-ctx.Done():
		t.Fatal("stop waits for ever")
	}
	if len(res.got) != 1 {
		t.Error("stop came back before its delivery")
	}
}

// TestScanLease proves that one worker at a time has the lease of a resource.
func TestScanLease(t *testing.T) {
	b, ctx := embedded(t, t.TempDir()), testContext(t)
	xid := begin(t, b, gtx.BranchRef{Resource: "r", Branch: 1})
	for _, tt := range []struct {
		worker uint64
		want   bool
	}{{1, true}, {2, false}, {1, true}} {
		if got, err := b.Scan(ctx, "r", tt.worker, time.Hour); err != nil || got != tt.want {
			t.Errorf("worker %d: %v, %v", tt.worker, got, err)
		}
	}
	if _, err := b.Rollback(ctx, xid); err != nil {
		t.Fatal(err)
	}
}

// TestHelloBringsWhatIsUnfinished proves that a database that is back need not
// wait for the next push, which is an hour away here.
func TestHelloBringsWhatIsUnfinished(t *testing.T) {
	b, ctx := embedded(t, t.TempDir(), natsbus.WithCoordinator(coordinator.Config{
		PushMin: time.Hour, PushMax: time.Hour, DoneDelay: time.Millisecond,
	})), testContext(t)
	away, tried := newRecorder(), make(chan struct{}, 1)
	away.fail = func(gtx.Resolution) error {
		tried <- struct{}{}
		return errors.New("database is away")
	}
	stop, err := b.Serve("r", away)
	if err != nil {
		t.Fatal(err)
	}
	ref := gtx.BranchRef{Resource: "r", Branch: 1}
	xid := begin(t, b, ref)
	st, err := b.Commit(ctx, xid, []gtx.BranchRef{ref}, nil)
	wantStatus(t, "commit", st, err, gtx.Committed)
	select {
	case <-tried:
	case <-ctx.Done():
		t.Fatal("no decision was delivered")
	}
	stop() // what Hello brings while the failure is not over would not be delivered
	back := newRecorder()
	stop, err = b.Serve("r", back) // says Hello
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if got := back.wait(t); got.XID != xid {
		t.Fatalf("delivered %+v", got)
	}
	if err := b.Idle(ctx); err != nil {
		t.Fatal(err)
	}
}
