package natsbus_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
	"github.com/globaltx/globaltx/natsbus"
)

var (
	names3 = []gtx.ResourceID{"a-xa", "b-xa"}
	refs3  = []gtx.BranchRef{{Resource: "a-xa", Branch: 1}, {Resource: "b-xa", Branch: 1}}
)

// voter is a Resolver that votes.
type voter struct {
	*recorder
	vote func(context.Context) error
}

func (v voter) CanCommit(ctx context.Context) error { return v.vote(ctx) }

// begin3 begins a three-phase transaction with one branch at each of names3.
func begin3(t testing.TB, b *natsbus.Bus) gtx.XID {
	t.Helper()
	ctx := testContext(t)
	xid, err := b.Begin(ctx, gtx.BeginRequest{Timeout: time.Minute, Mode: gtx.ThreePhase, Resources: names3})
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range refs3 {
		if err := b.Register(ctx, xid, ref); err != nil {
			t.Fatal(err)
		}
	}
	return xid
}

// serve3 serves names3; the recorders tell what was delivered.
func serve3(t testing.TB, b *natsbus.Bus) (all [2]*recorder) {
	t.Helper()
	for i, r := range names3 {
		all[i] = newRecorder()
		stop, err := b.Serve(r, all[i])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
	}
	return all
}

func wantTold(t *testing.T, got gtx.Resolution, xid gtx.XID) {
	t.Helper()
	if got.XID != xid || got.Status != gtx.PreCommitted || fmt.Sprint(got.Participants) != fmt.Sprint(names3) {
		t.Fatalf("delivered %+v, want that %s is pre-committed", got, xid)
	}
}

// eventually asks until the outcome of xid is not pending.
func eventually(t *testing.T, b *natsbus.Bus, xid gtx.XID) gtx.Status {
	t.Helper()
	ctx := testContext(t)
	for {
		st, err := b.Outcome(ctx, xid)
		if err != nil {
			t.Fatal(err)
		}
		if st != gtx.Pending {
			return st
		}
	}
}

func TestH2ParticipantsHearFirst(t *testing.T) {
	b, ctx := embedded(t, t.TempDir(), natsbus.WithCoordinator(coordinator.Config{PreCommitWait: time.Hour})), testContext(t)
	served := serve3(t, b)
	if err := b.Register(ctx, begin3(t, b), gtx.BranchRef{Resource: "c-xa", Branch: 1}); !errors.Is(err, natsbus.ErrRefused) {
		t.Errorf("a branch where none was named: %v", err)
	}
	xid := begin3(t, b)
	st, err := b.Commit(ctx, xid, refs3, nil) // an hour, if nobody said that he is ready
	wantStatus(t, "commit", st, err, gtx.Committed)
	for _, res := range served {
		wantTold(t, res.wait(t), xid)
		if got := res.wait(t); got.XID != xid || got.Status != gtx.Committed {
			t.Errorf("delivered %+v", got)
		}
	}
	st, err = b.Claim(ctx, xid, names3)
	wantStatus(t, "claim of a committed one", st, err, gtx.Committed)
	if _, err := b.Claim(ctx, begin(t, b), names3); !errors.Is(err, natsbus.ErrRefused) {
		t.Errorf("claim of one in mode AT: %v", err)
	}
}

// TestH2NobodyAnswers: a participant whose process is away does not hold the decision up.
func TestH2NobodyAnswers(t *testing.T) {
	cfg := coordinator.Config{PreCommitWait: 20 * time.Millisecond, PushMin: 50 * time.Millisecond, DoneDelay: time.Millisecond}
	b, ctx := embedded(t, t.TempDir(), natsbus.WithCoordinator(cfg)), testContext(t)
	xid := begin3(t, b)
	st, err := b.Commit(ctx, xid, refs3, nil)
	wantStatus(t, "commit", st, err, gtx.Committed)
	for _, res := range serve3(t, b) {
		if got := res.wait(t); got.XID != xid || got.Status != gtx.Committed {
			t.Errorf("delivered %+v", got)
		}
	}
	wantIdle(t, b)
}

func TestH1CanCommit(t *testing.T) {
	host, ctx := embedded(t, t.TempDir(), natsbus.Listen("127.0.0.1:0")), testContext(t)
	b := client(t, host.URL()) // with the rights of an application
	asker := client(t, host.URL())
	say := errors.New("max_prepared_transactions is 0")
	for r, v := range map[gtx.ResourceID]voter{
		"yes/db":  {vote: func(context.Context) error { return nil }},
		"no":      {vote: func(context.Context) error { return say }},
		"later":   {vote: func(context.Context) error { return fmt.Errorf("starting up: %w", gtx.ErrUnavailable) }},
		"patient": {vote: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
	} {
		stop, err := b.Serve(r, v)
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
	}
	stop, err := b.Serve("at", nothing{})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for _, from := range []*natsbus.Bus{b, asker} {
		if err := from.CanCommit(ctx, "yes/db"); err != nil {
			t.Errorf("yes: %v", err)
		}
		if err := from.CanCommit(ctx, "no"); err == nil || !strings.HasSuffix(err.Error(), say.Error()) || errors.Is(err, gtx.ErrUnavailable) {
			t.Errorf("no: %v", err)
		}
		if err := from.CanCommit(ctx, "later"); !errors.Is(err, gtx.ErrUnavailable) || !strings.Contains(err.Error(), "starting up") {
			t.Errorf("not now: %v", err)
		}
		for _, r := range []gtx.ResourceID{"nobody", "at"} {
			if err := from.CanCommit(ctx, r); !errors.Is(err, nats.ErrNoResponders) || !errors.Is(err, gtx.ErrUnavailable) {
				t.Errorf("%s: %v", r, err)
			}
		}
	}
	if err := b.CanCommit(ctx, ""); !errors.Is(err, natsbus.ErrRefused) {
		t.Errorf("no name: %v", err)
	}
	soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := asker.CanCommit(soon, "patient"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
	asker.Close()
	if err := asker.CanCommit(ctx, "yes/db"); !errors.Is(err, natsbus.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// TestH4TheLeaderIsCutOff: who was told that all have prepared tells it to the next
// leader, and hears the same fate as the TM.
func TestH4TheLeaderIsCutOff(t *testing.T) {
	url, ctx, way := natsServer(t), testContext(t), newLine()
	patient := func(c *natsbus.ServiceConfig) {
		c.Coordinator.PreCommitWait, c.Coordinator.ClaimWindow = time.Hour, time.Hour
	}
	first := service(t, url, patient, func(c *natsbus.ServiceConfig) { c.Options = []nats.Option{way.option()} })
	second := service(t, url, patient)
	b := client(t, url)
	served := serve3(t, b)
	served[1].fail = func(d gtx.Resolution) error { // it never says that it knows
		if d.Status == gtx.PreCommitted {
			return gtx.ErrConflict
		}
		return nil
	}
	xid, left := begin3(t, b), begin3(t, b)
	decided := make(chan error, 1)
	go func() {
		st, err := b.Commit(ctx, xid, refs3, nil)
		if err == nil && st != gtx.Committed {
			err = fmt.Errorf("commit: %s", st)
		}
		decided <- err
	}()
	wantTold(t, served[0].wait(t), xid)
	way.holdNow()
	waitLeading(t, second)
	st, err := b.Outcome(ctx, xid)
	wantStatus(t, "outcome at the second", st, err, gtx.Pending)
	st, err = b.Claim(ctx, xid, names3)
	wantStatus(t, "claim", st, err, gtx.Committed)
	if err := <-decided; err != nil {
		t.Error(err)
	}
	for _, res := range served {
		for got := res.wait(t); got.XID != xid || got.Status != gtx.Committed; got = res.wait(t) {
			wantTold(t, got, xid)
		}
	}
	st, err = b.Outcome(ctx, left)
	wantStatus(t, "another one of the first, in the window", st, err, gtx.Pending)
	way.release()
	waitStandby(t, first)
}

// preCommitVictimEnv makes the test binary the process of TestH4TheLeaderIsKilled.
const preCommitVictimEnv = "NATSBUS_TEST_PRECOMMIT_VICTIM"

// preCommitVictim tells the names of two transactions whose participants have been told
// that all have prepared, and waits to be killed.
func preCommitVictim(dir string) {
	ctx := context.Background()
	b, err := natsbus.Embedded(ctx, dir, natsbus.WithCoordinator(coordinator.Config{PreCommitWait: time.Hour}))
	if err != nil {
		panic(err)
	}
	told := newRecorder()
	told.fail = func(d gtx.Resolution) error {
		told.got <- d
		return gtx.ErrConflict // not ready
	}
	if _, err := b.Serve(names3[0], told); err != nil {
		panic(err)
	}
	for range 2 {
		xid, err := b.Begin(ctx, gtx.BeginRequest{Mode: gtx.ThreePhase, Resources: names3})
		if err != nil {
			panic(err)
		}
		for _, ref := range refs3 {
			if err := b.Register(ctx, xid, ref); err != nil {
				panic(err)
			}
		}
		go func() { _, _ = b.Commit(ctx, xid, refs3, nil) }() // for ever
		for d := range told.got {
			if d.XID == xid && d.Status == gtx.PreCommitted {
				break
			}
		}
		fmt.Println(xid)
	}
	select {}
}

func TestH4TheLeaderIsKilled(t *testing.T) {
	dir, ctx := t.TempDir(), testContext(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), preCommitVictimEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var xids []gtx.XID
	for lines := bufio.NewScanner(out); len(xids) < 2 && lines.Scan(); {
		if xid, err := gtx.ParseXID(lines.Text()); err == nil {
			xids = append(xids, xid)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if len(xids) != 2 {
		t.Fatalf("the victim told of %v", xids)
	}
	b := embedded(t, dir, natsbus.WithCoordinator(coordinator.Config{ClaimWindow: time.Hour}))
	for _, xid := range xids {
		st, err := b.Outcome(ctx, xid)
		wantStatus(t, "in the window", st, err, gtx.Pending)
	}
	st, err := b.Claim(ctx, xids[0], names3)
	wantStatus(t, "claim", st, err, gtx.Committed)
	b.Close()

	b = embedded(t, dir, natsbus.WithCoordinator(coordinator.Config{ClaimWindow: time.Millisecond, PushMin: 50 * time.Millisecond, DoneDelay: time.Millisecond}))
	if st := eventually(t, b, xids[1]); st != gtx.Aborted {
		t.Errorf("nobody has claimed it: %s", st)
	}
	st, err = b.Claim(ctx, xids[1], names3)
	wantStatus(t, "claim after the close", st, err, gtx.Aborted)
	st, err = b.Outcome(ctx, xids[0])
	wantStatus(t, "the claimed one", st, err, gtx.Committed)
	serve3(t, b)
	wantIdle(t, b)
}
