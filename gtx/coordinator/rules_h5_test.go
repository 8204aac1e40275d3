package coordinator

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

func TestH5CloseDecides(t *testing.T) {
	log := new([][]byte)
	x := orphan(t, log)
	r := lead(t, log, 2, some)
	r.pass(5 * time.Second)
	r.ready(x, "a") // of a participant that is about to claim
	r.ack(x, "a")
	if err := r.register(x, a1); !errors.Is(err, gtx.ErrEnded) {
		t.Errorf("register: %v", err)
	}
	if len(*log) != 2 || r.append != nil {
		t.Fatal("closed although nobody has asked")
	}
	r.want(x, gtx.Pending)
	if r.append == nil || r.m.Quiet() {
		t.Fatal("the question has closed nothing")
	}
	// In flight: neither fate may be told, and no claim is taken.
	r.append = nil
	r.step(Unclear{})
	r.want(x, gtx.Pending)
	r.wantStatus(r.claim(x, "a", "b"), gtx.Pending)
	r.land()
	r.want(x, gtx.Aborted)
	r.wantStatus(r.claim(x, "a", "b"), gtx.Aborted)
	if n := r.records(kindClose); n != 1 || len(*log) != 3 {
		t.Errorf("%d Close records, %d messages", n, len(*log))
	}
	next := lead(t, log, 3, some)
	next.want(x, gtx.Aborted) // without a window
	next.wantStatus(next.claim(x, "a", "b"), gtx.Aborted)
}

// TestH5AClaimBeforeTheQuestion: as long as nobody has been told "aborted", a claim is
// taken, also behind the window and while the log is slow.
func TestH5AClaimBeforeTheQuestion(t *testing.T) {
	cfg := some
	cfg.MaxBatch = 10
	log := new([][]byte)
	r := lead(t, log, 1, cfg)
	x, _ := r.preCommitted()
	y, _ := r.preCommitted()
	asked, _ := r.preCommitted()
	r = lead(t, log, 2, cfg)
	r.pass(time.Minute)
	slow := r.commit(r.begin(a1), []gtx.BranchRef{a1}, nil) // outstanding
	cx, cy := r.claim(x, ab...), r.claim(y, ab...)
	r.want(asked, gtx.Pending)
	late := r.claim(asked, ab...)
	r.land() // both claims do not fit into one message, and the Close is behind them
	for _, c := range []int{slow, cx, cy} {
		r.wantStatus(c, gtx.Committed)
	}
	r.wantStatus(late, gtx.Pending)
	r.want(asked, gtx.Aborted)
	next := lead(t, log, 3, cfg)
	next.want(x, gtx.Committed)
	next.want(y, gtx.Committed)
	next.want(asked, gtx.Aborted)
}

// TestH5ReadersRefuseACommitBehindTheClose: no leader writes one.
func TestH5ReadersRefuseACommitBehindTheClose(t *testing.T) {
	for _, closed := range []bool{false, true} {
		log := new([][]byte)
		x := orphan(t, log)
		r := lead(t, log, 2, some)
		r.pass(5 * time.Second)
		if closed {
			r.want(x, gtx.Pending)
			r.land()
		}
		seq, hash := r.m.Position()
		forged := message{log: testLog, epoch: 2, prev: seq, writer: 2, chain: hash, records: []record{
			{kind: kindCommit, epoch: x.Epoch, seq: x.Seq, participants: ab},
		}}
		m, err := New(some, 4, testLog)
		if err != nil {
			t.Fatal(err)
		}
		for i, body := range append(*log, forged.encode()) {
			err = m.Load(uint64(i+1), start, body)
		}
		if got := errors.Is(err, ErrCorrupt); got != closed {
			t.Errorf("closed %v: load: %v", closed, err)
		}
	}
}

// TestH5NotWhatWasAdopted: a Close is about what nobody knows.
func TestH5NotWhatWasAdopted(t *testing.T) {
	log := new([][]byte)
	x := orphan(t, log)
	r := lead(t, log, 2, some)
	held := r.begin3(a1, b1)
	r.handOver()
	r = lead(t, log, 3, some)
	r.pass(5 * time.Second)
	r.want(x, gtx.Pending)
	r.land()
	r.want(x, gtx.Aborted)
	r.want(held, gtx.Pending)
	c := r.commit(held, []gtx.BranchRef{a1, b1}, nil)
	r.ready(held, "a")
	r.ready(held, "b")
	r.land()
	r.wantStatus(c, gtx.Committed)
	next := lead(t, log, 4, some)
	next.want(held, gtx.Committed)
	next.want(x, gtx.Aborted)
}

// TestH5CloseOutlivesTheTrim: whoever was told "aborted" was told so for ever.
func TestH5CloseOutlivesTheTrim(t *testing.T) {
	log := new([][]byte)
	x := orphan(t, log)
	cfg := short
	r := lead(t, log, 2, cfg)
	r.pass(5 * time.Second)
	r.want(x, gtx.Pending)
	r.land()
	r.want(x, gtx.Aborted)
	r.finished(600)
	cut := slices.Max(append(r.purges, 0))
	if cut < 3 || r.records(kindClose) < 2 {
		t.Fatalf("purged %v with %d Close records", r.purges, r.records(kindClose))
	}
	for _, cut := range []uint64{0, cut} {
		part := slices.Clone(*log)
		clear(part[:cut])
		next := followAt(t, &part, 3, cfg, r.now)
		next.land()
		if st := next.outcome(x); st != gtx.Expired {
			t.Errorf("cut at %d: %s, it is below the horizon", cut, st)
		}
		next.wantStatus(next.claim(x, ab...), gtx.Expired)
	}
	// A Trim that leaves no Close behind is none.
	seq, hash := r.m.Position()
	at, known := r.m.closedAt, r.m.past
	forged := message{log: testLog, epoch: 2, prev: seq, writer: 2, chain: hash, records: []record{
		{kind: kindTrim, trim: &trim{upTo: max(at, known.trimmed), horizon: r.m.tombs.horizon}},
	}}
	m, err := New(cfg, 4, testLog)
	if err != nil {
		t.Fatal(err)
	}
	for i, body := range append(*log, forged.encode()) {
		err = m.Load(uint64(i+1), r.now, body)
	}
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("load: %v", err)
	}
}

// TestH5BelowTheHorizon: "expired" makes a database roll back, so it is not told
// before it is certain that no leader takes a claim; horizons differ.
func TestH5BelowTheHorizon(t *testing.T) {
	log := new([][]byte)
	x := orphan(t, log)
	cfg := some
	cfg.MaxTombstones = 1
	r := lead(t, log, 2, cfg)
	for range 2 { // the second raises the horizon to the first
		r.ack(r.committed(a1), "a")
		r.pass(time.Second)
		r.land()
	}
	if r.m.tombs.horizon.epoch != 2 {
		t.Fatal("the horizon has not risen")
	}
	r.want(x, gtx.Pending)
	r.wantStatus(r.claim(x, ab...), gtx.Pending) // nobody knows whether it has a record
	if r.append != nil {
		t.Fatal("claimed below the horizon")
	}
	before := slices.Clone(*log)
	r.pass(5 * time.Second)
	r.want(x, gtx.Pending)
	r.land()
	r.want(x, gtx.Expired)

	// Had it told that earlier, the next leader, which remembers more, could have
	// committed what a database has rolled back.
	other := lead(t, &before, 3, some)
	c := other.claim(x, ab...)
	other.land()
	other.wantStatus(c, gtx.Committed)
}
