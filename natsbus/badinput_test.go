package natsbus

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

// logLines keeps what is logged.
type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logLines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, part) {
			n++
		}
	}
	return n
}

// attacker has an application's rights, and writes what it likes.
type attacker struct {
	t     *testing.T
	ctx   context.Context
	bus   *Bus // an honest one
	nc    *nats.Conn
	log   logLines
	inbox string
	got   *nats.Subscription
	sent  int
}

func attack(t *testing.T, cfg coordinator.Config) *attacker {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	a := &attacker{t: t, ctx: ctx, inbox: nats.NewInbox()}
	cfg.PushMin, cfg.DoneDelay, cfg.StallAfter = 50*time.Millisecond, time.Millisecond, time.Minute
	var err error
	if a.bus, err = Embedded(ctx, t.TempDir(), Listen("127.0.0.1:0"), WithCoordinator(cfg),
		WithLogger(slog.New(slog.NewTextHandler(&a.log, nil)))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.bus.Close() })
	if a.nc, err = nats.Connect(a.bus.URL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.nc.Close)
	if a.got, err = a.nc.SubscribeSync(a.inbox + ".*"); err != nil {
		t.Fatal(err)
	}
	if err := a.got.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *attacker) send(msg []byte) {
	a.t.Helper()
	a.sent++
	if err := a.nc.PublishRequest(requestSubject(0), a.inbox+"."+strconv.Itoa(a.sent), msg); err != nil {
		a.t.Fatal(err)
	}
}

func (a *attacker) receive() []byte {
	a.t.Helper()
	m, err := a.got.NextMsgWithContext(a.ctx)
	if err != nil {
		a.t.Fatal(err)
	}
	return m.Data
}

// ask sends requests with the ids 1, 2… and gives the answers to all, by id.
func (a *attacker) ask(qs ...request) map[uint64]answer {
	a.t.Helper()
	a.send(batchOf(qs...))
	answers := map[uint64]answer{}
	for len(answers) < len(qs) {
		data := a.receive()
		_, body, err := header(data)
		if err != nil {
			a.t.Fatalf("%x: %v", data, err)
		}
		for r := (reader{b: body}); len(r.b) > 0; {
			id, c, body := r.uvarint(), code(r.byte()), r.bytes(maxMessage)
			ans, err := decodeAnswer(qs[id-1].Op, c, body)
			if err != nil {
				a.t.Fatal(err)
			}
			answers[id] = ans
		}
	}
	return answers
}

func batchOf(qs ...request) []byte {
	msg := []byte{wireVersion, kindRequests}
	for i, q := range qs {
		body := q.append(nil)
		msg = append(appendHead(binary.AppendUvarint(msg, uint64(i+1)), q.Op, len(body)), body...)
	}
	return msg
}

func (a *attacker) begin() gtx.XID {
	a.t.Helper()
	xid, err := a.bus.Begin(a.ctx, gtx.BeginRequest{Timeout: time.Minute})
	if err != nil {
		a.t.Fatal(err)
	}
	return xid
}

func (a *attacker) stats() coordinator.Stats {
	a.t.Helper()
	st, err := a.bus.Stats(a.ctx)
	if err != nil {
		a.t.Fatal(err)
	}
	return st
}

// heap is what is in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers of the first have freed
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// wantHeap is checked behind a flood that would take more if it were kept.
func wantHeap(t *testing.T, before uint64) {
	t.Helper()
	if now := heap(); now > before+3<<20 {
		t.Errorf("heap grew from %d to %d bytes", before, now)
	}
}

func TestMalformedBatchesAreRefused(t *testing.T) {
	a := attack(t, coordinator.Config{})
	good := batchOf(request{Op: opBegin})
	before, mem := a.stats(), heap()
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		var msg []byte
		switch rnd.IntN(4) {
		case 0: // cut
			msg = good[:2+1+rnd.IntN(len(good)-3)]
		case 1: // no requests
			msg = []byte{wireVersion, kindReplies, 1, 0, 0}
		case 2: // nothing
			msg = good[:rnd.IntN(2)]
			if len(msg) == 1 {
				msg = []byte{wireVersion}
			}
		case 3: // an entry longer than the message
			msg = []byte{wireVersion, kindRequests, 1, byte(opBegin), 0xff, 0xff, 0xff, 0xff, 0x0f}
		}
		a.send(msg)
		got := a.receive()
		if len(msg) == 0 || msg[0] == wireVersion {
			if len(got) < 3 || got[1] != kindRefusal || code(got[2]) != codeInvalid {
				t.Fatalf("%x was answered with %x", msg, got)
			}
		}
	}
	for id, got := range a.ask(request{Op: 0}, request{Op: lastOp + 1}, request{Op: 255}) {
		if !errors.Is(got.Err, ErrRefused) || !errors.Is(got.Err, coordinator.ErrInvalid) {
			t.Errorf("unknown operation %d: %v", id, got.Err)
		}
	}
	// One that cannot be read does not take its neighbours with it.
	msg := append(batchOf(request{Op: opStats}), 2, byte(opOutcome), 1, 0)
	a.send(msg)
	for range 2 {
		if got := a.receive(); len(got) < 3 || got[1] != kindReplies {
			t.Errorf("half a batch was answered with %x", got)
		}
	}
	if after := a.stats(); after != before {
		t.Errorf("stats went from %+v to %+v", before, after)
	}
	for _, kind := range []string{"malformed batch", "malformed request"} {
		if n := a.log.count(kind); n != 1 {
			t.Errorf("%d log lines tell of a %s", n, kind)
		}
	}
	wantHeap(t, mem)
}

func TestOversizedRequests(t *testing.T) {
	a := attack(t, coordinator.Config{})
	a.send(append([]byte{wireVersion, kindRequests}, make([]byte, maxMessage)...))
	if got := a.receive(); got[1] != kindRefusal || code(got[2]) != codeInvalid {
		t.Errorf("a message beyond the limit was answered with %x", got)
	}
	// More entries than any client sends, in a message that is small enough.
	msg := []byte{wireVersion, kindRequests}
	for range maxEntries + 1 {
		msg = append(msg, 1, byte(opStats), 0)
	}
	a.send(msg)
	if got := a.receive(); got[1] != kindRefusal || code(got[2]) != codeInvalid {
		t.Errorf("a batch of %d was answered with %x", maxEntries+1, got)
	}
	xid := a.begin()
	refs := make([]gtx.BranchRef, 100_000)
	for i := range refs {
		refs[i] = gtx.BranchRef{Resource: "resource", Branch: gtx.BranchID(i + 1)}
	}
	if _, err := a.bus.Commit(a.ctx, xid, refs, nil); !errors.Is(err, ErrRefused) {
		t.Errorf("commit of 100000 branches: %v", err)
	}
	if err := a.bus.Register(a.ctx, xid, gtx.BranchRef{Resource: gtx.ResourceID(strings.Repeat("r", 200)), Branch: 1}); !errors.Is(err, ErrRefused) {
		t.Errorf("register at a resource of 200 bytes: %v", err)
	}
	if st, err := a.bus.Rollback(a.ctx, xid); err != nil || st != gtx.Aborted {
		t.Errorf("rollback: %s, %v", st, err)
	}
}

func TestUnknownVersionIsToldWhichAreSpoken(t *testing.T) {
	a := attack(t, coordinator.Config{})
	for v := range 256 {
		if v == wireVersion {
			continue
		}
		a.send([]byte{byte(v), kindRequests, 1, byte(opBegin), 0})
		if got := a.receive(); !bytes.Equal(got, []byte{0, wireVersion, wireVersion}) {
			t.Fatalf("version %d was answered with %x", v, got)
		}
	}
	if n := a.log.count("another version"); n != 1 {
		t.Errorf("%d log lines", n)
	}
}

func TestOldClientHearsOfNewCoordinator(t *testing.T) {
	a := attack(t, coordinator.Config{})
	var log logLines
	nc, err := nats.Connect(a.bus.URL())
	if err != nil {
		t.Fatal(err)
	}
	out, err := newBatcher(nc, 9, newComplaints(slog.New(slog.NewTextHandler(&log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	b := &Bus{cfg: Config{}.withDefaults(), nc: nc, out: out, ctx: a.ctx, cancel: func() {}, closed: make(chan struct{})}
	defer b.Close()
	// The application's user may not listen to requests: the coordinator's own
	// connection plays the new coordinator.
	sub, err := a.bus.host.svc.nc.Subscribe(requestSubject(9), func(m *nats.Msg) { _ = m.Respond([]byte{0, 2, 3}) })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := a.bus.host.svc.nc.FlushWithContext(a.ctx); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		_, err := b.Begin(a.ctx, gtx.BeginRequest{})
		var version *VersionError
		if !errors.As(err, &version) || *version != (VersionError{Mine: wireVersion, Min: 2, Max: 3}) || !errors.Is(err, ErrRefused) {
			t.Fatalf("begin: %v", err)
		}
	}
	if n := log.count("another version"); n != 1 {
		t.Errorf("%d log lines", n)
	}
}

// TestReplay sends the same bytes again and again: the network may, and so may
// an attacker (rules B2, B3, C3).
func TestReplay(t *testing.T) {
	a := attack(t, coordinator.Config{})
	const key = 7
	xid := a.ask(request{Op: opBegin, Key: key, Timeout: time.Minute})[1].XID
	ref := gtx.BranchRef{Resource: "r", Branch: 1}
	for range 3 {
		for id, got := range a.ask(request{Op: opRegister, XID: xid, Ref: ref}, request{Op: opRegister, XID: xid, Ref: ref}) {
			if got.Err != nil {
				t.Errorf("register %d: %v", id, got.Err)
			}
		}
	}
	commit := request{Op: opCommit, XID: xid, Key: key, Confirmed: []gtx.BranchRef{ref}}
	for range 3 {
		for id, got := range a.ask(commit, commit, request{Op: opRollback, XID: xid, Key: key}) {
			if got.Err != nil || got.Status != gtx.Committed && (id != 3 || got.Status != gtx.Pending) {
				t.Errorf("decision %d: %s, %v", id, got.Status, got.Err)
			}
		}
	}
	ack := request{Op: opAck, Resource: "r", XIDs: []gtx.XID{xid, xid}}
	for range 3 {
		if got := a.ask(ack)[1]; got.Err != nil {
			t.Errorf("acknowledge: %v", got.Err)
		}
	}
	if err := a.bus.Idle(a.ctx); err != nil {
		t.Fatal(err)
	}
	if got := a.ask(commit)[1]; got.Status != gtx.Committed {
		t.Errorf("commit of what is finished: %s, %v", got.Status, got.Err)
	}
	if got := a.ask(request{Op: opRegister, XID: xid, Ref: ref})[1]; !errors.Is(got.Err, gtx.ErrEnded) {
		t.Errorf("register at what is finished: %v", got.Err)
	}
}

func TestForgedXIDs(t *testing.T) {
	a := attack(t, coordinator.Config{})
	xid := a.begin()
	before := a.stats()
	later, future, zero, foreign, part := xid, xid, xid, xid, xid
	later.Epoch++
	future.Seq += 1000
	zero.Seq = 0
	foreign.Log++
	part.Partition++
	for what, tt := range map[string]struct {
		gtx.XID
		is error
	}{
		"of a later epoch":     {later, coordinator.ErrNotLeader},
		"never begun":          {future, coordinator.ErrInvalid},
		"zero":                 {zero, coordinator.ErrInvalid},
		"of another log":       {foreign, coordinator.ErrForeignLog},
		"of another partition": {part, coordinator.ErrForeignLog},
	} {
		for _, q := range []request{
			{Op: opRegister, Ref: gtx.BranchRef{Resource: "r", Branch: 1}},
			{Op: opCommit},
			{Op: opRollback},
			{Op: opOutcome},
			{Op: opAwait, Waiter: xid, Nonce: 1},
		} {
			q.XID = tt.XID
			if got := a.ask(q)[1]; !errors.Is(got.Err, tt.is) || got.Status != gtx.Pending {
				t.Errorf("%s of an xid %s: %s, %v", q.Op, what, got.Status, got.Err)
			}
		}
	}
	if after := a.stats(); after != before {
		t.Errorf("stats went from %+v to %+v", before, after)
	}
}

// TestForeignOwner proves that only who began a transaction decides it.
func TestForeignOwner(t *testing.T) {
	a := attack(t, coordinator.Config{})
	guest, err := Connect(a.ctx, Config{URL: a.bus.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	xid := a.begin()
	ref := gtx.BranchRef{Resource: "r", Branch: 1}
	if err := guest.Register(a.ctx, xid, ref); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if st, err := guest.Commit(a.ctx, xid, []gtx.BranchRef{ref}, nil); !errors.Is(err, coordinator.ErrNotOwner) || !errors.Is(err, ErrRefused) || st != gtx.Pending {
			t.Errorf("commit by another: %s, %v", st, err)
		}
		if st, err := guest.Rollback(a.ctx, xid); !errors.Is(err, coordinator.ErrNotOwner) || st != gtx.Pending {
			t.Errorf("rollback by another: %s, %v", st, err)
		}
		for id, got := range a.ask(request{Op: opCommit, XID: xid, Confirmed: []gtx.BranchRef{ref}}, request{Op: opRollback, XID: xid}) {
			if !errors.Is(got.Err, coordinator.ErrNotOwner) {
				t.Errorf("decision %d without a key: %s, %v", id, got.Status, got.Err)
			}
		}
	}
	if st, err := a.bus.Commit(a.ctx, xid, []gtx.BranchRef{ref}, nil); err != nil || st != gtx.Committed {
		t.Fatalf("commit by its owner: %s, %v", st, err)
	}
	// Asking with Rollback is harmless once it is decided (rule C4).
	if st, err := guest.Rollback(a.ctx, xid); err != nil || st != gtx.Committed {
		t.Errorf("rollback by another after the decision: %s, %v", st, err)
	}
}

// TestReplySubjectsOfTheCoordinator names subjects that the coordinator may
// write and an application may not.
func TestReplySubjectsOfTheCoordinator(t *testing.T) {
	a := attack(t, coordinator.Config{})
	a.begin() // the log has no more to write
	before := a.stats()
	// The coordinator's own connection sees everything that it would write.
	watch, err := a.bus.host.svc.nc.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.bus.host.svc.nc.FlushWithContext(a.ctx); err != nil {
		t.Fatal(err)
	}
	evil := []string{logSubject, "$JS.API.STREAM.PURGE." + streamName, "$JS.API.STREAM.DELETE." + streamName, evtPrefix + "r", requestSubject(0), "gtx.ctl.leader"}
	for _, reply := range evil {
		for _, msg := range [][]byte{batchOf(request{Op: opStats}), {wireVersion}, {99}, batchOf(request{Op: 99})} {
			if err := a.nc.PublishRequest(requestSubject(0), reply, msg); err != nil {
				t.Fatal(err)
			}
		}
	}
	a.ask(request{Op: opStats}) // everything before it has been read
	for {
		m, err := watch.NextMsg(time.Millisecond)
		if errors.Is(err, nats.ErrTimeout) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		// Not for a request: beats, the anchor, and _CORE. where the log answers the
		// coordinator, also what it asked before.
		known := slices.ContainsFunc([]string{"_INBOX.", "_CORE.", "gtx.ctl.", anchorSubject}, func(p string) bool { return strings.HasPrefix(m.Subject, p) })
		if m.Subject != requestSubject(0) && !known {
			t.Errorf("the coordinator wrote to %s", m.Subject)
		}
	}
	if after := a.stats(); after != before {
		t.Errorf("stats went from %+v to %+v", before, after)
	}
	if n := a.log.count("foreign reply subject"); n != 1 {
		t.Errorf("%d log lines", n)
	}
}

func TestRegisterAtTheEnd(t *testing.T) {
	a := attack(t, coordinator.Config{})
	ref := gtx.BranchRef{Resource: "r", Branch: 1}
	aborted, committed := a.begin(), a.begin()
	if _, err := a.bus.Rollback(a.ctx, aborted); err != nil {
		t.Fatal(err)
	}
	if err := a.bus.Register(a.ctx, committed, ref); err != nil {
		t.Fatal(err)
	}
	if st, err := a.bus.Commit(a.ctx, committed, []gtx.BranchRef{ref}, nil); err != nil || st != gtx.Committed {
		t.Fatal(st, err)
	}
	before := a.stats()
	for i := range 1000 {
		ref.Branch = gtx.BranchID(i + 2)
		if err := a.bus.Register(a.ctx, aborted, ref); !errors.Is(err, gtx.ErrAborted) {
			t.Fatalf("register at an aborted transaction: %v", err)
		}
		if err := a.bus.Register(a.ctx, committed, ref); !errors.Is(err, gtx.ErrEnded) {
			t.Fatalf("register at a committed transaction: %v", err)
		}
	}
	if after := a.stats(); after != before {
		t.Errorf("stats went from %+v to %+v", before, after)
	}
}

func TestBranchesWithoutEnd(t *testing.T) {
	a := attack(t, coordinator.Config{})
	xid, mem := a.begin(), heap()
	branch, refused := 0, 0
	for range 50 {
		qs := make([]request, 2000)
		for i := range qs {
			branch++
			qs[i] = request{Op: opRegister, XID: xid, Ref: gtx.BranchRef{Resource: "r", Branch: gtx.BranchID(branch)}}
		}
		for _, got := range a.ask(qs...) {
			var limit *coordinator.LimitError
			if errors.As(got.Err, &limit) && limit.What == "branches" && limit.Limit == 1024 {
				refused++
			} else if got.Err != nil {
				t.Fatalf("register: %v", got.Err)
			}
		}
	}
	if refused != branch-1024 {
		t.Errorf("%d of %d branches were refused", refused, branch)
	}
	if err := a.bus.Register(a.ctx, xid, gtx.BranchRef{Resource: "r", Branch: 1 << 40}); !errors.Is(err, gtx.ErrUnavailable) {
		t.Errorf("register: %v", err)
	}
	wantHeap(t, mem)
}

func TestBeginsWithoutEnd(t *testing.T) {
	const live = 500
	a := attack(t, coordinator.Config{MaxLive: live})
	mem, begun, refused := heap(), 0, 0
	qs := make([]request, 2000)
	for i := range qs {
		qs[i] = request{Op: opBegin, Key: rand.Uint64(), Timeout: 24 * time.Hour}
	}
	const rounds = 25
	for range rounds {
		for _, got := range a.ask(qs...) {
			var limit *coordinator.LimitError
			switch {
			case got.Err == nil:
				begun++
			case errors.As(got.Err, &limit) && limit.Limit == live && errors.Is(got.Err, gtx.ErrUnavailable):
				refused++
			default:
				t.Fatalf("begin: %v", got.Err)
			}
		}
	}
	if begun != live || refused != rounds*len(qs)-live {
		t.Errorf("%d begun, %d refused", begun, refused)
	}
	if st := a.stats(); st.Live != live {
		t.Errorf("stats %+v", st)
	}
	wantHeap(t, mem)
}

// TestAwaitsWithoutEnd asks for the end of a transaction that does not end,
// each time as somebody else: those beyond the limit are sent away.
func TestAwaitsWithoutEnd(t *testing.T) {
	a := attack(t, coordinator.Config{})
	xid, mem := a.begin(), heap()
	const rounds, each = 15, 2000
	nonce := uint64(0)
	for range rounds {
		qs := make([]request, each)
		for i := range qs {
			nonce++
			qs[i] = request{Op: opAwait, XID: xid, Nonce: nonce}
		}
		a.send(batchOf(qs...))
		a.stats()
	}
	wantHeap(t, mem)
	if st, err := a.bus.Rollback(a.ctx, xid); err != nil || st != gtx.Aborted {
		t.Fatalf("rollback: %s, %v", st, err)
	}
	aborted, pending := 0, 0
	for aborted+pending < rounds*each {
		_, body, err := header(a.receive())
		if err != nil {
			t.Fatal(err)
		}
		for r := (reader{b: body}); len(r.b) > 0; {
			_, c, body := r.uvarint(), code(r.byte()), r.bytes(maxMessage)
			switch got, err := decodeAnswer(opAwait, c, body); {
			case err != nil || got.Err != nil:
				t.Fatalf("await: %v, %v", err, got.Err)
			case got.Status == gtx.Aborted:
				aborted++
			default:
				pending++
			}
		}
	}
	if aborted == 0 || aborted > rounds*each/2 {
		t.Errorf("%d waited for the end, %d were sent away", aborted, pending)
	}
}

// TestGarbageEvents proves that a resource worker survives what is no decision.
func TestGarbageEvents(t *testing.T) {
	a := attack(t, coordinator.Config{})
	got := make(chan gtx.Resolution, 10)
	stop, err := a.bus.Serve("r", resolver(func(r gtx.Resolution) error {
		got <- r
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if err := a.bus.nc.FlushWithContext(a.ctx); err != nil { // another connection must not be faster
		t.Fatal(err)
	}
	core := a.bus.host.svc.nc
	pending := appendPush([]byte{wireVersion, kindPushes}, &gtx.Resolution{XID: wireXID, Status: gtx.Pending})
	nobody := appendPush([]byte{wireVersion, kindPushes}, &gtx.Resolution{XID: wireXID, Status: gtx.PreCommitted})
	for range 100 {
		for _, msg := range [][]byte{nil, {wireVersion}, {wireVersion, kindPushes, 1}, {99, kindPushes}, batchOf(request{Op: opStats}), pending, nobody} {
			if err := core.Publish(evtPrefix+"r", msg); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := gtx.Resolution{XID: wireXID, Status: gtx.Aborted}
	if err := core.Publish(evtPrefix+"r", appendPush([]byte{wireVersion, kindPushes}, &want)); err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-got:
		if r.XID != want.XID || r.Status != want.Status {
			t.Errorf("delivered %+v", r)
		}
	case <-a.ctx.Done():
		t.Fatal("the decision behind the garbage was not delivered")
	}
	if n := a.log.count("no decisions"); n != 1 {
		t.Errorf("%d log lines", n)
	}
}

type resolver func(gtx.Resolution) error

func (f resolver) Resolve(_ context.Context, r gtx.Resolution) error { return f(r) }
