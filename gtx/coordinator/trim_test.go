package coordinator

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/gtx"
)

// short trims every few dozen transactions.
var short = Config{TrimBytes: 8 << 10, Tombstone: time.Minute, DoneDelay: time.Second, PushMin: time.Second, MaxBatch: 1 << 10}

// finished runs n transactions to their Done records, a second each.
func (r *rig) finished(n int) (xs []gtx.XID) {
	r.t.Helper()
	for range n {
		x := r.committed(a1)
		r.ack(x, "a")
		r.pass(time.Second)
		r.land()
		xs = append(xs, x)
	}
	return xs
}

// purge forgets the messages up to seq.
func (r *rig) purge(seq uint64) { clear((*r.log)[:seq]) }

func TestG2DoneRidesWithTheNextCommit(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	r.ack(r.committed(a1), "a")
	n := len(*log)
	r.committed(a1)
	if st := r.m.Stats(); len(*log) != n+1 || st.Forgetting != 0 {
		t.Errorf("%d messages, stats %+v", len(*log)-n, st)
	}
}

func TestG3TrimKeepsWhatIsUnfinished(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, short)
	x := r.committed(a1, b1)
	r.ack(x, "a")
	first := r.finished(1)[0]
	last := r.finished(300)[299]
	if len(r.purges) < 2 {
		t.Fatalf("purged %v", r.purges)
	}
	r.purge(slices.Max(r.purges))

	next := followAt(t, log, 2, short, r.now)
	next.land()
	next.want(x, gtx.Committed)
	want := []Push{{"b", gtx.Resolution{XID: x, Status: gtx.Committed}}} // the Keep record knows that a has acknowledged
	if diff := cmp.Diff(want, next.pushes); diff != "" {
		t.Error(diff)
	}
	next.want(first, gtx.Expired)
	next.want(last, gtx.Committed)
	next.ack(x, "b")
	next.pass(time.Second)
	next.land()
	if st := next.m.Stats(); !st.Idle() || st.Forgetting != 0 {
		t.Errorf("stats %+v", st)
	}
}

// TestG3EveryCrashLeavesALogThatServes takes each point at which a leader that
// trims can die, and each state of the purge that the log may then be in.
func TestG3EveryCrashLeavesALogThatServes(t *testing.T) {
	log := new([][]byte)
	short := short
	short.TrimBytes, short.Tombstone = 1<<10, 6*time.Second
	r := lead(t, log, 1, short)
	var open []gtx.XID
	at := map[gtx.XID]int{} // length of the log when x was told to be committed
	for range 8 {
		open = append(open, r.committed(a1, b1))
		at[open[len(open)-1]] = len(*log)
		for _, x := range r.finished(6) {
			at[x] = len(*log)
		}
	}
	for n := 1; n <= len(*log); n++ {
		var cuts []uint64
		for _, body := range (*log)[:n] {
			for _, rec := range must(decode(body)).records {
				if rec.kind == kindTrim {
					cuts = append(cuts, rec.trim.upTo)
				}
			}
		}
		for _, cut := range append([]uint64{0}, cuts[max(0, len(cuts)-2):]...) {
			prefix := slices.Clone((*log)[:n])
			clear(prefix[:cut])
			next := followAt(t, &prefix, 2, short, r.now)
			next.land()
			for x, told := range at {
				if st := next.outcome(x); told <= n && st != gtx.Committed && (st != gtx.Expired || slices.Contains(open, x)) {
					t.Fatalf("log of %d messages, cut at %d: %s is %s", n, cut, x, st)
				}
			}
		}
		if n == len(*log) && len(cuts) < 3 {
			t.Errorf("trimmed %d times", len(cuts))
		}
	}
}

func must(m *message, err error) *message {
	if err != nil {
		panic(err)
	}
	return m
}

func TestG3NoTrimRecordNoPurge(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, short)
	r.committed(b1)
	for len(r.purges) == 0 {
		x := r.committed(a1)
		r.ack(x, "a")
		r.now = r.now.Add(time.Second)
		r.step(Tick{})
		for r.append != nil && len(r.purges) == 0 {
			trims := hasKind(r.append.Body, kindTrim)
			n := r.land1()
			if got := len(r.purges) > 0; got != trims {
				t.Fatalf("message %d: Trim is %v, purged is %v", n, trims, got)
			}
		}
	}
	// A leader that is deposed before its Trim has landed purges nothing.
	r.purges = nil
	for !hasKind(r.nextAppend(), kindTrim) {
		r.land1()
	}
	lead(t, log, 2, short)
	r.land()
	r.wantDown(ErrFenced)
	if r.purges != nil {
		t.Errorf("purged %v", r.purges)
	}
}

// nextAppend makes commits until an append is outstanding.
func (r *rig) nextAppend() []byte {
	for r.append == nil {
		x := r.begin(a1)
		r.commit(x, []gtx.BranchRef{a1}, nil)
		r.ack(gtx.XID{Log: testLog, Epoch: x.Epoch, Seq: x.Seq - 1}, "a")
		r.now = r.now.Add(time.Second)
	}
	return r.append.Body
}

// land1 performs the outstanding append only.
func (r *rig) land1() uint64 {
	a := *r.append
	r.append = nil
	r.store(a)
	r.step(Landed{Seq: uint64(len(*r.log))})
	return uint64(len(*r.log))
}

func hasKind(body []byte, k kind) bool {
	return slices.ContainsFunc(must(decode(body)).records, func(r record) bool { return r.kind == k })
}

func TestG3ANewLeaderPurgesAgain(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, short)
	r.finished(300)
	upTo := slices.Max(r.purges)
	next := lead(t, log, 2, short)
	if diff := cmp.Diff([]uint64{upTo}, next.purges); diff != "" {
		t.Error(diff)
	}
	next.purge(upTo)
	last := lead(t, log, 3, short)
	if last.purges != nil {
		t.Errorf("purged %v again", last.purges)
	}
}

func TestG3BeginningThatNoTrimCovers(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, short)
	r.finished(300)
	upTo := slices.Max(r.purges)
	campaign := func(log [][]byte) error {
		m, err := New(short, 2, testLog)
		if err != nil {
			t.Fatal(err)
		}
		for i, body := range log {
			if body == nil {
				continue
			}
			if err := m.Load(uint64(i+1), start, body); err != nil {
				return err
			}
		}
		_, err = m.Campaign()
		return err
	}
	for _, cut := range []uint64{0, 1, upTo - 1, upTo} {
		part := slices.Clone(*log)
		clear(part[:cut])
		if err := campaign(part); err != nil {
			t.Errorf("cut at %d of %d: %v", cut, upTo, err)
		}
	}
	part := slices.Clone(*log)
	clear(part[:upTo+1])
	if err := campaign(part); !errors.Is(err, ErrGap) {
		t.Errorf("cut behind the trim: %v", err)
	}
	// Another message of the same writer in front is not what the Trim names.
	clear(part)
	first := must(decode((*log)[upTo]))
	first.chain[0]++
	part[upTo] = first.encode()
	chain := part[upTo]
	for i := upTo + 1; i < uint64(len(part)); i++ {
		msg := must(decode((*log)[i]))
		msg.chain = hashOf(chain)
		chain = msg.encode()
		part[i] = chain
	}
	if err := campaign(part); !errors.Is(err, ErrCorrupt) {
		t.Errorf("chain that does not begin at the trim: %v", err)
	}
}

func TestG3ReaderRefusesATrimThatDropsACommit(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	x := r.committed(a1)
	_, hash := r.m.Position()
	forged := message{log: testLog, epoch: 1, prev: 2, writer: 1, chain: hash, records: []record{
		{kind: kindTrim, trim: &trim{upTo: 2, hash: hash}},
	}}
	*log = append(*log, forged.encode())
	m, err := New(some, 2, testLog)
	if err != nil {
		t.Fatal(err)
	}
	for i, body := range *log {
		err = m.Load(uint64(i+1), start, body)
	}
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("trim of %s: %v", x, err)
	}
	if _, err := m.Campaign(); !errors.Is(err, ErrInvalid) {
		t.Errorf("campaign on a corrupt log: %v", err)
	}
}

func TestG3TrimDoesNotDelayDecisions(t *testing.T) {
	log := new([][]byte)
	cfg := short
	cfg.TrimBytes = 64 << 10
	r := lead(t, log, 1, cfg)
	for range 600 {
		r.committed(a1, b1)
	}
	if len(r.purges) != 0 {
		t.Fatal("trimmed too early")
	}
	var keeps int
	for len(r.purges) == 0 {
		for range 20 {
			r.commit(r.begin(a1), []gtx.BranchRef{a1}, nil)
		}
		if hasKind(r.append.Body, kindKeep) {
			keeps++
			if n := len(r.append.Body); n > headerLen+short.MaxBatch+short.MaxBatch/4+64 {
				t.Fatalf("message of %d bytes", n)
			}
		}
		for r.m.Stats().Committing > 0 {
			r.land1()
		}
	}
	if keeps < 3 {
		t.Errorf("%d messages with Keep records", keeps)
	}
}

func TestG3OldUnfinishedCommitsDoNotRewriteTheLogAllTheTime(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, short)
	for range 400 { // Keep records of more than TrimBytes
		r.committed(a1, b1, ref("a resource with a long name that makes a long record", 1))
	}
	before := len(*log)
	r.finished(1000)
	kept, all := 0, 0
	for _, body := range (*log)[before:] {
		all += len(body)
		for _, rec := range must(decode(body)).records {
			if rec.kind == kindKeep {
				kept += len(rec.append(nil))
			}
		}
	}
	if kept == 0 || kept > all/3 {
		t.Errorf("%d bytes of Keep records in %d bytes", kept, all)
	}
}

func TestG5TheCutStaysBelowTheTombstones(t *testing.T) {
	log := new([][]byte)
	cfg := short
	cfg.Tombstone = time.Hour
	r := lead(t, log, 1, cfg)
	xs := r.finished(1000)
	if len(r.purges) != 0 {
		t.Fatalf("purged %v", r.purges)
	}
	r.want(xs[0], gtx.Committed)
	r.pass(2 * time.Hour)
	xs = append(xs, r.finished(100)...)
	if len(r.purges) == 0 {
		t.Fatal("not purged after the tombstones")
	}
	r.purge(slices.Max(r.purges))
	next := followAt(t, log, 2, cfg, r.now)
	next.land()
	next.want(xs[1050], gtx.Committed)
}

func TestG4HorizonIsDurableAndNeverSinks(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, short)
	done := r.finished(1)[0]
	aborted := r.begin(a1)
	r.rollback(aborted)
	r.want(aborted, gtx.Aborted)
	r.finished(300)
	r.want(aborted, gtx.Expired) // below the horizon nobody knows
	for writer := uint64(2); writer < 5; writer++ {
		r.purge(slices.Max(append(r.purges, 0)))
		next := followAt(t, log, writer, short, r.now)
		next.land()
		next.want(done, gtx.Expired)
		next.want(aborted, gtx.Expired)
		fresh := next.begin(a1)
		next.rollback(fresh)
		next.want(fresh, gtx.Aborted)
		next.finished(300)
		r = next
	}
}

func TestG3LogOfTrimsAndEpochs(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, short)
	r.finished(300)
	for writer := uint64(2); writer < 200; writer++ {
		next := follow(t, log, writer, short)
		next.now = r.now.Add(2 * time.Minute)
		next.land()
		for _, p := range next.purges {
			next.purge(p)
		}
		r = next
	}
	alive := slices.DeleteFunc(slices.Clone(*log), func(b []byte) bool { return b == nil })
	x := r.committed(a1)
	if x.Epoch != 199 {
		t.Errorf("xid %s", x)
	}
	if len(alive) > 200 {
		t.Errorf("%d of %d messages are left", len(alive), len(*log))
	}
	lead(t, log, 200, short).want(x, gtx.Committed)
}

func TestExpectFindsALostOrReplacedEnd(t *testing.T) {
	log := new([][]byte)
	r := lead(t, log, 1, some)
	r.finished(5)
	seq, hash := r.m.Position()
	try := func(log [][]byte, seq uint64, hash Hash) error {
		m, err := New(some, 2, testLog)
		if err != nil {
			t.Fatal(err)
		}
		m.Expect(seq, hash)
		for i, body := range log {
			if err := m.Load(uint64(i+1), start, body); err != nil {
				return err
			}
		}
		_, err = m.Campaign()
		return err
	}
	if err := try(*log, seq, hash); err != nil {
		t.Error(err)
	}
	if err := try((*log)[:seq-1], seq, hash); !errors.Is(err, ErrTruncated) {
		t.Errorf("lost end: %v", err)
	}
	if err := try(nil, seq, hash); !errors.Is(err, ErrTruncated) {
		t.Errorf("lost log: %v", err)
	}
	hash[0]++
	if err := try(*log, seq, hash); !errors.Is(err, ErrCorrupt) {
		t.Errorf("replaced end: %v", err)
	}
	for n := range seq {
		if err := try(*log, n+1, Hash{1}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("message %d replaced: %v", n+1, err)
		}
	}
}

func hashOf(body []byte) Hash {
	var p past
	p.spacing = 1
	p.advance(1, body)
	return p.chain
}
