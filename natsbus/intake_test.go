package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/coordinator"
)

var quiet = slog.New(slog.DiscardHandler)

// bareServer runs a server without JetStream, in this process only.
func bareServer(t *testing.T) *server.Server {
	t.Helper()
	srv, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(20 * time.Second) {
		t.Fatal("server is not ready")
	}
	return srv
}

func bareConn(t *testing.T, srv *server.Server) *nats.Conn {
	t.Helper()
	nc, err := dial("", quiet, nats.InProcessServer(srv))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func bareBus(t *testing.T, srv *server.Server, cfg Config) *Bus {
	t.Helper()
	cfg.Logger, cfg.Options = quiet, []nats.Option{nats.InProcessServer(srv)}
	b, err := connect(cfg.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// script plays a coordinator: answer is asked for every request, one at a time,
// and says false for no answer.
func script(t *testing.T, srv *server.Server, answer func(coordinator.Event) (coordinator.Reply, bool)) *intake {
	t.Helper()
	in := newIntake(bareConn(t, srv), 0, quiet)
	err := in.open(func(events []coordinator.Event) bool {
		for _, e := range events {
			if r, ok := answer(e); ok {
				r.Call = callOf(e)
				in.reply(r)
			}
		}
		in.flush()
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(in.close)
	return in
}

func callOf(e coordinator.Event) any {
	switch e := e.(type) {
	case coordinator.Begin:
		return e.Call
	case coordinator.Register:
		return e.Call
	case coordinator.Commit:
		return e.Call
	case coordinator.Rollback:
		return e.Call
	case coordinator.Outcome:
		return e.Call
	case coordinator.Await:
		return e.Call
	}
	panic(fmt.Sprintf("no call in %T", e))
}

func intakeContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// TestC4LostAnswer proves that a commit whose answer is lost is asked of the
// next leader, which may know it as committed, as aborted, or not answer either.
func TestC4LostAnswer(t *testing.T) {
	for _, tt := range []struct {
		name string
		then func(coordinator.Event) (coordinator.Reply, bool)
		want gtx.Status
		err  error
	}{
		{"committed", func(coordinator.Event) (coordinator.Reply, bool) {
			return coordinator.Reply{Status: gtx.Committed}, true
		}, gtx.Committed, nil},
		{"aborted", func(coordinator.Event) (coordinator.Reply, bool) {
			return coordinator.Reply{Status: gtx.Aborted}, true
		}, gtx.Aborted, nil},
		{"not durable", func(coordinator.Event) (coordinator.Reply, bool) { return coordinator.Reply{}, true }, gtx.Pending, nil},
		{"silent", func(coordinator.Event) (coordinator.Reply, bool) { return coordinator.Reply{}, false }, gtx.Pending, gtx.ErrUnavailable},
		{"does not lead", func(coordinator.Event) (coordinator.Reply, bool) {
			return coordinator.Reply{Err: coordinator.ErrNotLeader}, true
		}, gtx.Pending, coordinator.ErrNotLeader},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := bareServer(t)
			b := bareBus(t, srv, Config{Timeout: 2 * time.Second, TryTimeout: 200 * time.Millisecond})
			asked := make(chan struct{}, 100)
			first := script(t, srv, func(coordinator.Event) (coordinator.Reply, bool) {
				asked <- struct{}{}
				return coordinator.Reply{}, false
			})
			done := make(chan error, 1)
			var got gtx.Status
			go func() {
				var err error
				got, err = b.Commit(intakeContext(t), wireXID, wireRefs, nil)
				done <- err
			}()
			<-asked
			first.close()
			script(t, srv, tt.then)
			if err := <-done; got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("commit: %s, %v", got, err)
			}
		})
	}
}

// TestNobodyThere proves that the lack of a coordinator is noticed at once, not
// when a try has timed out, and that the first one to come is found.
func TestNobodyThere(t *testing.T) {
	srv := bareServer(t)
	b := bareBus(t, srv, Config{Timeout: 100 * time.Millisecond, TryTimeout: time.Hour})
	_, err := b.Begin(intakeContext(t), gtx.BeginRequest{})
	if !errors.Is(err, gtx.ErrUnavailable) || !errors.Is(err, nats.ErrNoResponders) {
		t.Fatalf("begin: %v", err)
	}
	b = bareBus(t, srv, Config{Timeout: time.Minute, TryTimeout: time.Hour})
	done := make(chan error, 1)
	go func() {
		xid, err := b.Begin(intakeContext(t), gtx.BeginRequest{})
		if err == nil && xid != wireXID {
			err = fmt.Errorf("xid %s", xid)
		}
		done <- err
	}()
	script(t, srv, func(coordinator.Event) (coordinator.Reply, bool) { return coordinator.Reply{XID: wireXID}, true })
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestAwaitHasItsOwnTime proves that a waiter waits as long as it wants to, also
// where that is longer than other calls may take.
func TestAwaitHasItsOwnTime(t *testing.T) {
	srv := bareServer(t)
	b := bareBus(t, srv, Config{Timeout: 50 * time.Millisecond, TryTimeout: 20 * time.Millisecond})
	begin := time.Now()
	script(t, srv, func(coordinator.Event) (coordinator.Reply, bool) {
		return coordinator.Reply{Status: gtx.Committed}, time.Since(begin) > 200*time.Millisecond
	})
	if st, err := b.Await(intakeContext(t), gtx.XID{}, wireXID); err != nil || st != gtx.Committed {
		t.Errorf("await: %s, %v", st, err)
	}
}

// TestTwoCoordinatorsAnswer: one that is deposed hears every request, too. What it
// says of itself is no answer, whichever of the two is faster, and costs no try.
func TestTwoCoordinatorsAnswer(t *testing.T) {
	for _, deposedFirst := range []bool{true, false} {
		t.Run(fmt.Sprintf("deposed first %v", deposedFirst), func(t *testing.T) {
			srv, ctx := bareServer(t), intakeContext(t)
			b := bareBus(t, srv, Config{Timeout: time.Minute, TryTimeout: time.Hour})
			turn := make(chan struct{}, 1)
			after := func(last bool, r coordinator.Reply) func(coordinator.Event) (coordinator.Reply, bool) {
				return func(coordinator.Event) (coordinator.Reply, bool) {
					if last {
						select {
						case <-turn:
						case <-ctx.Done():
						}
					} else {
						select {
						case turn <- struct{}{}:
						default:
						}
					}
					return r, true
				}
			}
			script(t, srv, after(!deposedFirst, coordinator.Reply{Err: coordinator.ErrNotLeader}))
			script(t, srv, after(deposedFirst, coordinator.Reply{Status: gtx.Committed}))
			for range 3 {
				st, err := b.Commit(ctx, wireXID, nil, nil)
				if err != nil || st != gtx.Committed {
					t.Fatalf("commit: %s, %v", st, err)
				}
			}
		})
	}
}

// TestFullQueueIsAnsweredAtOnce proves that nothing is dropped in silence: the
// caller hears it, goes on asking in its time, and gets through when there is
// room.
func TestFullQueueIsAnsweredAtOnce(t *testing.T) {
	srv := bareServer(t)
	in := newIntake(bareConn(t, srv), 0, quiet)
	var tries, room atomic.Int64
	room.Store(1 << 30)
	err := in.open(func(events []coordinator.Event) bool {
		if tries.Add(1) < room.Load() {
			return false
		}
		for _, e := range events {
			in.reply(coordinator.Reply{Call: callOf(e), Status: gtx.Committed})
		}
		in.flush()
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	b := bareBus(t, srv, Config{Timeout: 200 * time.Millisecond, TryTimeout: time.Hour})
	if _, err := b.Outcome(intakeContext(t), wireXID); !errors.Is(err, coordinator.ErrOverload) || !errors.Is(err, gtx.ErrUnavailable) {
		t.Errorf("outcome: %v", err)
	}
	if n := tries.Load(); n < 2 {
		t.Errorf("%d tries", n)
	}
	room.Store(tries.Load() + 3)
	b = bareBus(t, srv, Config{Timeout: time.Minute, TryTimeout: time.Hour})
	if st, err := b.Outcome(intakeContext(t), wireXID); err != nil || st != gtx.Committed {
		t.Errorf("outcome: %s, %v", st, err)
	}
}

// TestOneMessageAnswersMany proves that the replies of a flush to one process
// share a message, whatever batches its requests came in.
func TestOneMessageAnswersMany(t *testing.T) {
	srv := bareServer(t)
	in := newIntake(bareConn(t, srv), 0, quiet)
	const n = 50
	calls := make(chan any, n)
	err := in.open(func(events []coordinator.Event) bool {
		for _, e := range events {
			calls <- callOf(e)
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	b := bareBus(t, srv, Config{Timeout: time.Minute, TryTimeout: time.Hour})
	watch, err := b.nc.SubscribeSync(b.out.inbox + "*")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, n)
	waiting := make([]any, 0, n)
	for range n {
		go func() {
			st, err := b.Outcome(intakeContext(t), wireXID)
			if err == nil && st != gtx.Committed {
				err = fmt.Errorf("status %s", st)
			}
			done <- err
		}()
		waiting = append(waiting, <-calls) // so each came in a batch of its own
	}
	for _, call := range waiting {
		in.reply(coordinator.Reply{Call: call, Status: gtx.Committed})
	}
	in.flush()
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got, _, err := watch.Pending(); err != nil || got != 1 {
		t.Errorf("%d messages answered %d requests, %v", got, n, err)
	}
}

// TestFloodIsAnsweredInFull proves that what waits behind a slow reader is turned
// away, each message with an answer, rather than dropped.
func TestFloodIsAnsweredInFull(t *testing.T) {
	srv := bareServer(t)
	in := newIntake(bareConn(t, srv), 0, quiet)
	release := make(chan struct{})
	err := in.open(func(events []coordinator.Event) bool {
		<-release
		for _, e := range events {
			in.stats(e.(statsEvent).Call, coordinator.Stats{})
		}
		in.flush()
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	ctx, nc := intakeContext(t), bareConn(t, srv)
	sub, err := nc.SubscribeSync("_INBOX.flood.*")
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	const n = waitingMessages + 500
	msg := batchOf(request{Op: opStats})
	for range n {
		if err := nc.PublishRequest(in.subject, "_INBOX.flood.1", msg); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.FlushWithContext(ctx); err != nil {
		t.Fatal(err)
	}
	if err := in.nc.FlushWithContext(ctx); err != nil { // now they wait at the reader
		t.Fatal(err)
	}
	close(release)
	answered, away := 0, 0
	for range n {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			t.Fatalf("%d answered, %d turned away: %v", answered, away, err)
		}
		switch {
		case m.Data[1] == kindReplies:
			answered++
		case m.Data[1] == kindRefusal && code(m.Data[2]) == codeOverload:
			away++
		default:
			t.Fatalf("answer %x", m.Data)
		}
	}
	if answered < waitingMessages || away == 0 {
		t.Errorf("%d answered, %d turned away", answered, away)
	}
}

// TestInboxPrefix proves that the prefix of the connection is used, as the
// rights of a user may demand, and refused where no coordinator would answer.
func TestInboxPrefix(t *testing.T) {
	srv := bareServer(t)
	for prefix, ok := range map[string]bool{"_INBOX.orders": true, "orders": false, "gtx.log": false} {
		cfg := Config{Logger: quiet, Options: []nats.Option{nats.InProcessServer(srv), nats.CustomInboxPrefix(prefix)}}
		b, err := connect(cfg.withDefaults())
		if (err == nil) != ok {
			t.Errorf("prefix %q: %v", prefix, err)
		}
		if err == nil {
			if !strings.HasPrefix(b.out.inbox, prefix+".") {
				t.Errorf("prefix %q: inbox %q", prefix, b.out.inbox)
			}
			b.Close()
		}
	}
}

// idle makes a batcher that sends nothing on its own.
func idle() *batcher {
	return &batcher{
		complain: newComplaints(quiet), wake: make(chan struct{}, 1),
		calls: map[uint64]*call{}, acks: map[word][]gtx.XID{},
	}
}

func read(t *testing.T, msg []byte) []entry {
	t.Helper()
	d := door{in: &intake{}}
	if err := d.read(msg); err != nil {
		t.Fatal(err)
	}
	return d.entries
}

// TestGivenUpIsNotSent proves that no request leaves after its caller has gone:
// it could decide what the caller has told its user otherwise.
func TestGivenUpIsNotSent(t *testing.T) {
	b := idle()
	var calls []*call
	for range 3 {
		c, err := b.start(&request{Op: opCommit, XID: wireXID})
		if err != nil {
			t.Fatal(err)
		}
		b.send(c)
		calls = append(calls, c)
	}
	b.drop(calls[1])
	got := read(t, b.fill([]byte{wireVersion, kindRequests}, 1))
	if len(got) != 2 || got[0].id != calls[0].id || got[1].id != calls[2].id {
		t.Errorf("sent %+v", got)
	}
	b.send(calls[0])
	b.drop(calls[0])
	if msg := b.fill([]byte{wireVersion, kindRequests}, 2); len(msg) != 2 || len(b.queue) != 0 {
		t.Errorf("sent %x, queued %v", msg, b.queue)
	}
}

func TestBatchesAreBounded(t *testing.T) {
	b := idle()
	for range 2*batchEntries + 1 {
		c, err := b.start(&request{Op: opStats})
		if err != nil {
			t.Fatal(err)
		}
		b.send(c)
	}
	for i, want := range []int{batchEntries, batchEntries, 1} {
		if got := read(t, b.fill([]byte{wireVersion, kindRequests}, uint64(i+1))); len(got) != want {
			t.Errorf("batch %d has %d requests, want %d", i, len(got), want)
		}
	}
	big := make([]gtx.BranchRef, 4096)
	for i := range big {
		big[i] = gtx.BranchRef{Resource: "01234567-89ab-cdef-0123-456789abcdef", Branch: 1 << 62}
	}
	for range 2 {
		c, err := b.start(&request{Op: opCommit, Confirmed: big, Dead: big})
		if err != nil {
			t.Fatal(err)
		}
		b.send(c)
	}
	for i := range 2 {
		if got := read(t, b.fill([]byte{wireVersion, kindRequests}, uint64(i+1))); len(got) != 1 {
			t.Errorf("%d large requests in one batch", len(got))
		}
	}
}

// TestManyResourcesFitIntoBatches: a batch with more entries than a coordinator
// takes would be refused whole.
func TestManyResourcesFitIntoBatches(t *testing.T) {
	b := idle()
	const resources = maxEntries + 1
	for i := range resources {
		b.ack(word{opAck, gtx.ResourceID(strconv.Itoa(i))}, wireXID)
	}
	sum := 0
	for n := uint64(1); sum < resources; n++ {
		got := read(t, b.fill([]byte{wireVersion, kindRequests}, n))
		if len(got) == 0 || len(got) > batchEntries {
			t.Fatalf("batch %d has %d entries behind %d", n, len(got), sum)
		}
		sum += len(got)
	}
}

func TestAcknowledgementsShareAnEntry(t *testing.T) {
	b := idle()
	for i := range maxAcks + 10 {
		b.ack(word{opAck, "r"}, gtx.XID{Log: 1, Epoch: 1, Seq: uint64(i + 1)})
	}
	seen := map[gtx.XID]bool{}
	for n := uint64(1); ; n++ {
		msg := b.fill([]byte{wireVersion, kindRequests}, n)
		if len(msg) == 2 {
			break
		}
		for _, e := range read(t, msg) {
			q, err := decodeRequest(e.op, e.body, nil)
			if err != nil || q.Op != opAck || e.id != 0 || len(q.XIDs) > batchEntries {
				t.Fatalf("%+v, %v", q, err)
			}
			for _, x := range q.XIDs {
				seen[x] = true
			}
		}
	}
	if len(seen) != maxAcks || b.nacks != 0 {
		t.Errorf("%d acknowledgements were sent, %d are left", len(seen), b.nacks)
	}
}

// TestAnswersGoWhereTheyBelong feeds answers that are late, doubled, for
// somebody else, or for a whole batch.
func TestAnswersGoWhereTheyBelong(t *testing.T) {
	b := idle()
	c, err := b.start(&request{Op: opCommit, XID: wireXID})
	if err != nil {
		t.Fatal(err)
	}
	other, err := b.start(&request{Op: opCommit, XID: wireXID})
	if err != nil {
		t.Fatal(err)
	}
	b.send(c)
	b.fill(nil, 1)
	b.send(other)
	b.fill(nil, 2)
	b.answers(appendReply([]byte{wireVersion, kindReplies, 77}, &coordinator.Reply{Status: gtx.Aborted}))
	for range 20 {
		b.answers(appendReply([]byte{wireVersion, kindReplies, byte(c.id)}, &coordinator.Reply{Status: gtx.Committed}))
	}
	if r := <-c.got; r.err != nil || r.Status != gtx.Committed {
		t.Errorf("got %+v", r)
	}
	if len(other.got) != 0 {
		t.Errorf("the other got %+v", <-other.got)
	}
	b.fail(2, result{err: nats.ErrNoResponders})
	if r := <-other.got; !errors.Is(r.err, nats.ErrNoResponders) {
		t.Errorf("the other got %+v", r)
	}
	b.fail(1, result{err: nats.ErrNoResponders})
	if len(other.got) != 0 {
		t.Error("the other heard of batch 1")
	}
	b.drop(other)
	b.answers(appendReply([]byte{wireVersion, kindReplies, byte(other.id)}, &coordinator.Reply{Status: gtx.Committed}))
	if len(other.got) != 0 {
		t.Error("an answer came for a call that has ended")
	}
}
