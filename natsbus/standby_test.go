package natsbus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/internal/testserver/natstest"
	"github.com/globaltx/globaltx/natsbus"
)

// ref is the one branch of most transactions here.
var ref = gtx.BranchRef{Resource: "r", Branch: 1}

// beat is what a leader says of itself.
type beat struct {
	Name  string `json:"n"`
	Epoch uint64 `json:"e"`
	Free  bool   `json:"f"`
}

// beats gives the next n signs of life of leaders.
func beats(t *testing.T, url string, n int) []beat {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("gtx.ctl.leader")
	if err != nil {
		t.Fatal(err)
	}
	all := make([]beat, n)
	for i := range all {
		m, err := sub.NextMsgWithContext(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(m.Data, &all[i]); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestL8StandbyTakesOver: a leader that is not heard loses its place, what it
// had committed stays, what was undecided is aborted; and when it is back it
// follows, and takes nothing back.
func TestL8StandbyTakesOver(t *testing.T) {
	for name, fault := range map[string]func(*line){
		"connection held": (*line).holdNow,
		"connection cut, and the next one held": func(l *line) {
			l.holdNow()
			l.cut()
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, ctx, way := natsServer(t), testContext(t), newLine()
			first := service(t, url, func(c *natsbus.ServiceConfig) { c.Name, c.Options = "first", []nats.Option{way.option()} })
			second := service(t, url, func(c *natsbus.ServiceConfig) { c.Name = "second" })
			if !first.Leading() || second.Leading() {
				t.Fatalf("first %+v, second %+v", first.Status(), second.Status())
			}
			b := client(t, url)
			committed, open := begin(t, b, ref), begin(t, b, ref)
			st, err := b.Commit(ctx, committed, []gtx.BranchRef{ref}, nil)
			wantStatus(t, "commit at the first", st, err, gtx.Committed)

			fault(way)
			waitLeading(t, second)
			for xid, want := range map[gtx.XID]gtx.Status{committed: gtx.Committed, open: gtx.Aborted} {
				st, err := b.Outcome(ctx, xid)
				wantStatus(t, "outcome at the second", st, err, want)
			}
			st, err = b.Commit(ctx, open, []gtx.BranchRef{ref}, nil)
			wantStatus(t, "commit of an xid of the first", st, err, gtx.Aborted)
			xid := begin(t, b, ref)
			st, err = b.Commit(ctx, xid, []gtx.BranchRef{ref}, nil)
			wantStatus(t, "commit at the second", st, err, gtx.Committed)

			way.release()
			waitStandby(t, first)
			epoch := second.Status().Epoch
			for _, bt := range beats(t, url, 3*4) { // three times TakeoverAfter
				if bt.Name == "second" && bt.Epoch != epoch || bt.Name == "first" && bt.Epoch >= epoch {
					t.Fatalf("epoch %d of second, then %+v", epoch, bt)
				}
			}
			if first.Leading() || !second.Leading() {
				t.Errorf("first %+v, second %+v", first.Status(), second.Status())
			}
		})
	}
}

// TestO2HandoverKeepsTheUndecided: neither a standby nor the next start lets go
// of a transaction that was open when the leader was told to stop.
func TestO2HandoverKeepsTheUndecided(t *testing.T) {
	for name, standby := range map[string]bool{"to a standby": true, "to the next start": false} {
		t.Run(name, func(t *testing.T) {
			url := natsServer(t)
			first := service(t, url)
			var second *natsbus.Service
			if standby {
				second = service(t, url)
			}
			b := client(t, url)
			stop, err := b.Serve("r", nothing{})
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			var xid gtx.XID
			err = b.Run(testContext(t), func(ctx context.Context) error {
				tx, _ := gtx.FromContext(ctx)
				xid = tx.XID()
				enlist := func() error {
					ref, err := tx.Enlist("r")
					if err != nil {
						return err
					}
					if err := b.Register(ctx, xid, ref); err != nil {
						return err
					}
					tx.Confirm(ref)
					return nil
				}
				if err := enlist(); err != nil {
					return err
				}
				first.Stop()
				if second == nil {
					second = service(t, url)
				}
				waitLeading(t, second)
				return enlist() // at the adopter
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := first.Err(); err != nil {
				t.Errorf("the first ended with %v", err)
			}
			st, err := b.Outcome(testContext(t), xid)
			wantStatus(t, "outcome", st, err, gtx.Committed)
			if now := second.Status().Epoch; xid.Epoch >= now {
				t.Errorf("xid %s, epoch %d", xid, now)
			}
			wantIdle(t, b)
		})
	}
}

// TestToldOutcomesSurviveHandovers commits and rolls back under load while three
// nodes hand over to each other and start again.
func TestToldOutcomesSurviveHandovers(t *testing.T) {
	url := natsServer(t)
	nodes := []*natsbus.Service{service(t, url), service(t, url), service(t, url)}
	b := client(t, url)
	stop, err := b.Serve("r", nothing{})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()

	type outcome struct {
		xid gtx.XID
		st  gtx.Status
	}
	const workers = 8
	told := make([][]outcome, workers)
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	rounds := make(chan struct{}, 1000)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				xid, err := b.Begin(ctx, gtx.BeginRequest{Timeout: time.Minute})
				if err != nil {
					if ctx.Err() == nil {
						t.Errorf("begin: %v", err)
					}
					return
				}
				var st gtx.Status
				if err = b.Register(ctx, xid, ref); err == nil && i%4 == 3 {
					st, err = b.Rollback(ctx, xid)
				} else if err == nil {
					st, err = b.Commit(ctx, xid, []gtx.BranchRef{ref}, nil)
				}
				want := gtx.Committed
				if i%4 == 3 {
					want = gtx.Aborted
				}
				if ctx.Err() != nil {
					return // asked, but not heard
				}
				if err != nil || st != want {
					t.Errorf("end of %s: %s, %v", xid, st, err)
					return
				}
				told[w] = append(told[w], outcome{xid, st})
				select {
				case rounds <- struct{}{}:
				default:
				}
			}
		})
	}
	for i := range 4 {
		for range 40 * workers {
			select {
			case <-rounds:
			case <-ctx.Done():
				t.Fatal(ctx.Err())
			}
		}
		old := leaderOf(t, nodes)
		nodes[old].Stop()
		nodes[old] = service(t, url)
		t.Logf("hand-over %d to epoch %d", i, nodes[leaderOf(t, nodes)].Status().Epoch)
	}
	cancel()
	wg.Wait()

	n := 0
	for _, of := range told {
		for _, o := range of {
			st, err := b.Outcome(testContext(t), o.xid)
			wantStatus(t, fmt.Sprintf("outcome of %s", o.xid), st, err, o.st)
			n++
		}
	}
	t.Logf("%d told outcomes", n)
	for _, s := range nodes {
		if st := s.Status(); st.Trouble != "" {
			t.Errorf("%+v", st)
		}
	}
}

// leaderOf waits until one of nodes leads.
func leaderOf(t *testing.T, nodes []*natsbus.Service) int {
	t.Helper()
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	leads := make(chan int, len(nodes))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i, s := range nodes {
		wg.Go(func() {
			if s.WaitLeading(ctx) == nil {
				leads <- i
			}
		})
	}
	select {
	case i := <-leads:
		return i
	case <-ctx.Done():
		t.Fatal("nobody leads")
		return 0
	}
}

// TestServersAwayChangeNoLeader: while no node can be heard by any other, silence
// says nothing. The undecided transactions of the leader survive.
func TestServersAwayChangeNoLeader(t *testing.T) {
	c := natstest.Start(t, 1)
	url, ctx := c.URL(), testContext(t)
	first, second := service(t, url), service(t, url)
	b := client(t, url)
	xid := begin(t, b, ref)
	epoch := first.Status().Epoch
	c.Nodes()[0].Stop()
	// Longer than TakeoverAfter: the call has two seconds.
	away, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := b.Outcome(away, xid); !errors.Is(err, gtx.ErrUnavailable) {
		t.Fatalf("outcome without a server: %v", err)
	}
	c.Nodes()[0].Restart()
	st, err := b.Commit(ctx, xid, []gtx.BranchRef{ref}, nil)
	wantStatus(t, "commit after the servers are back", st, err, gtx.Committed)
	if !first.Leading() || second.Leading() || first.Status().Epoch != epoch {
		t.Errorf("first %+v, second %+v", first.Status(), second.Status())
	}
}

// TestStopWhileCandidate: an epoch record that gets no answer keeps nobody from
// ending.
func TestStopWhileCandidate(t *testing.T) {
	url, way := natsServer(t), newLine()
	first := service(t, url)
	second := service(t, url, func(c *natsbus.ServiceConfig) { c.Options = []nats.Option{way.option()} })
	held := way.holdAt("PUB gtx.log")
	first.Stop()
	select {
	case <-held:
	case <-testContext(t).Done():
		t.Fatal("the second has not campaigned")
	}
	ended := make(chan struct{})
	go func() {
		second.Stop()
		close(ended)
	}()
	select {
	case <-ended:
	case <-testContext(t).Done():
		t.Fatal("a candidate does not stop")
	}
	if err := second.Err(); err != nil {
		t.Error(err)
	}
}

// TestClockThatIsSetChangesNoDeadline: the wall clock of each leader is hours off
// in another direction whenever it is read.
func TestClockThatIsSetChangesNoDeadline(t *testing.T) {
	url, ctx := natsServer(t), testContext(t)
	var mu sync.Mutex
	reads := 0
	jumps := func(c *natsbus.ServiceConfig) {
		c.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			reads++
			off := time.Duration(reads) * 24 * time.Hour
			if reads%2 == 0 {
				off = -off
			}
			return time.Now().Add(off)
		}
	}
	node := service(t, url, jumps)
	b := client(t, url)
	long := begin(t, b, ref) // a minute
	for i := range 3 {
		short, err := b.Begin(ctx, gtx.BeginRequest{Timeout: 50 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		st, err := b.Await(ctx, gtx.XID{}, short)
		wantStatus(t, "transaction at its deadline", st, err, gtx.Aborted)
		st, err = b.Outcome(ctx, long)
		wantStatus(t, "transaction before its deadline", st, err, gtx.Pending)
		node.Stop()
		node = service(t, url, jumps)
		if i == 2 {
			st, err = b.Commit(ctx, long, []gtx.BranchRef{ref}, nil)
			wantStatus(t, "commit by the fourth leader", st, err, gtx.Committed)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if reads < 4 {
		t.Errorf("the clock was read %d times", reads)
	}
}

func TestNodesTellWhatTheyAre(t *testing.T) {
	url := natsServer(t)
	if nodes, err := natsbus.Nodes(testContext(t), natsbus.ServiceConfig{URL: url}); !errors.Is(err, gtx.ErrUnavailable) {
		t.Fatalf("without a node: %v, %v", nodes, err)
	}
	service(t, url, func(c *natsbus.ServiceConfig) { c.Name = "one" })
	service(t, url, func(c *natsbus.ServiceConfig) { c.Name = "two" })
	begin(t, client(t, url), ref)
	beats(t, url, 2) // the second comes after the Begin
	nodes, err := natsbus.Nodes(testContext(t), natsbus.ServiceConfig{URL: url})
	if err != nil || len(nodes) != 2 {
		t.Fatalf("%+v, %v", nodes, err)
	}
	one, two := nodes[0], nodes[1]
	if one.Name != "one" || one.Role != natsbus.RoleLeader || one.Epoch != 1 || one.Stats.Live != 1 || one.Log == "" {
		t.Errorf("%+v", one)
	}
	if two.Name != "two" || two.Role != natsbus.RoleStandby || two.Leader != "one" || two.Log != one.Log || two.Lag() != 0 || two.Seq == 0 {
		t.Errorf("%+v", two)
	}
}

// TestG3StandbyFindsTheLogTrimmed: a standby that was away while the log forgot
// what it had not read yet loads it from its new start.
func TestG3StandbyFindsTheLogTrimmed(t *testing.T) {
	url, ctx, way := natsServer(t), testContext(t), newLine()
	small := func(c *natsbus.ServiceConfig) {
		c.Coordinator.TrimBytes, c.Coordinator.Tombstone = 4<<10, time.Millisecond
	}
	first := service(t, url, small)
	second := service(t, url, small, func(c *natsbus.ServiceConfig) { c.Options = []nats.Option{way.option()} })
	b := client(t, url)
	stop, err := b.Serve("r", nothing{})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	way.holdNow()
	at := second.Status().Seq
	for first := uint64(0); first <= at+1; {
		xid := begin(t, b, ref)
		st, err := b.Commit(ctx, xid, []gtx.BranchRef{ref}, nil)
		wantStatus(t, "commit", st, err, gtx.Committed)
		s, err := js.Stream(ctx, "GTX_LOG")
		if err != nil {
			t.Fatal(err)
		}
		first = s.CachedInfo().State.FirstSeq
	}
	xid := begin(t, b, ref)
	way.release()
	first.Stop()
	waitLeading(t, second)
	st, err := b.Commit(ctx, xid, []gtx.BranchRef{ref}, nil)
	wantStatus(t, "commit of an adopted transaction", st, err, gtx.Committed)
}

// TestNodeEnduresWhatIsWrong: a node whose log is gone says so once, does not end,
// and still stops.
func TestNodeEnduresWhatIsWrong(t *testing.T) {
	url, ctx := natsServer(t), testContext(t)
	said := &lines{more: make(chan struct{}, 1)}
	logged := func(c *natsbus.ServiceConfig) { c.Logger = slog.New(slog.NewTextHandler(said, nil)) }
	node := service(t, url, logged)
	b := client(t, url)
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(ctx, "GTX_LOG"); err != nil {
		t.Fatal(err)
	}
	waiting, cancel := context.WithCancel(ctx)
	asked := make(chan error, 1)
	go func() {
		xid, err := b.Begin(waiting, gtx.BeginRequest{})
		if err == nil {
			_, err = b.Commit(waiting, xid, nil, nil)
		}
		asked <- err
	}()
	said.wait(t, "the stream is gone", 1)
	tries, err := nc.SubscribeSync("$JS.API.STREAM.INFO.GTX_LOG")
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if _, err := tries.NextMsgWithContext(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if role := node.Status().Role; role != natsbus.RoleStandby {
		t.Errorf("still %s", role)
	}
	if trouble := node.Status().Trouble; !strings.Contains(trouble, "GTX_LOG") {
		t.Errorf("trouble: %q", trouble)
	}
	cancel()
	if err := <-asked; err == nil {
		t.Error("a commit without a log was answered")
	}
	node.Stop()
	if err := node.Err(); err != nil {
		t.Error(err)
	}
	// The append that has nowhere to go, and then the log.
	if n := said.count("the stream is gone"); n > 2 {
		t.Errorf("said %d times", n)
	}
}

// lines is what has been logged.
type lines struct {
	more chan struct{} // holds a token after a write

	// mu protects the following.
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return l.text.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

func (l *lines) wait(t *testing.T, text string, n int) {
	t.Helper()
	deadline := time.After(50 * time.Second)
	for l.count(text) < n {
		select {
		case <-l.more:
		case <-deadline:
			l.mu.Lock()
			defer l.mu.Unlock()
			t.Fatalf("%q is not among\n%s", text, l.text.String())
		}
	}
}
