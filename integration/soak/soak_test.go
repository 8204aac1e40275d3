package soak

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/internal/testserver"
	"github.com/globaltx/globaltx/internal/testserver/testdb"
)

// stall is how long nothing at all may go on.
const stall = 2 * time.Minute

// pairs of sender and receiver.
var pairs = [][2]string{
	{testserver.NameMySQL, testserver.NamePostgres18},
	{testserver.NamePostgres15, testserver.NameMariaDB},
	{"sqlite", "sqlite"},
}

// TestSoak sends messages while every kind of process is killed, and then counts their
// effects. SOAK_MESSAGES is how many in all, divided among the pairs; SOAK_SEED repeats the
// choice of what is killed, not the timing; SOAK_PAIR=mysql,postgres18 is one pair alone;
// SOAK_DIR keeps the logs of a run that failed.
func TestSoak(t *testing.T) {
	seed := uint64(setting(t, "SOAK_SEED", int(time.Now().UnixNano())))
	t.Logf("SOAK_SEED=%d", seed)
	messages := setting(t, "SOAK_MESSAGES", 0)
	list, each := [][2]string{pairs[seed%2], pairs[2]}, []int{3000, 500}
	if messages > 0 {
		// SQLite lets one write at a time, and has fewer kinds of processes.
		list, each = pairs, []int{messages * 2 / 5, messages * 2 / 5, messages / 5}
	}
	if only := os.Getenv("SOAK_PAIR"); only != "" {
		from, to, _ := strings.Cut(only, ",")
		list, each = [][2]string{{from, to}}, []int{max(messages, each[0])}
	}
	for i, pair := range list {
		t.Run(pair[0]+"-"+pair[1], func(t *testing.T) {
			p := plan{from: pair[0], to: pair[1], workers: 4, lanes: 24, senders: 2, seed: seed}
			if p.from == "sqlite" {
				p.workers, p.lanes = 1, 4
			}
			soak(t, p, each[i], messages > 0)
		})
	}
}

// setting reads a number from the environment.
func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// soak is one run with one pair.
func soak(t *testing.T, p plan, messages int, long bool) {
	ctx, stop := context.WithCancelCause(t.Context())
	defer stop(nil)
	w := newWorld(ctx, t, p)
	n := &nemesis{
		w: w, random: rand.New(rand.NewPCG(p.seed, 7)), kills: map[string]int{},
		down: 300 * time.Millisecond, pause: 200 * time.Millisecond,
	}
	switch {
	case long:
		n.down, n.pause = time.Second, time.Second
	case p.from == "sqlite":
		// A relay that is killed leaves leases of 12 s, and who waits for a coordinator that
		// was killed may hold the lock that all writers need.
		n.pause = 800 * time.Millisecond
	}
	began := time.Now()
	w.order(orderGo)
	governed := make(chan struct{})
	govern, ungovern := context.WithCancel(ctx)
	go func() {
		defer close(governed)
		stop(w.govern(govern, t))
	}()
	err := errors.Join(n.run(ctx, func() bool { return w.sent() < messages }), w.everyWay(ctx))
	ungovern()
	<-governed
	if err = errors.Join(err, w.drain(t.Context())); err != nil {
		t.Errorf("%v\n%s", err, w.state(t.Context()))
	}
	took := time.Since(began)
	e := w.evidence(t.Context())
	if f := judge(e); !f.none() {
		t.Errorf("%v\n%s", f, w.state(t.Context()))
	}
	left, err := remains(t.Context(), w.from.admin, w.to.admin)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v: %v", left, err)
	}
	for _, text := range w.trouble() {
		t.Error(text)
	}
	for _, v := range w.victims() {
		if n.kills[v.kind] == 0 {
			t.Errorf("no %s was killed", v.kind)
		}
	}
	if len(e.sent) < messages || len(e.back) == 0 {
		t.Errorf("%d messages sent, want %d; %d rolled back", len(e.sent), messages, len(e.back))
	}
	tries, err := number(t.Context(), w.to.admin, "SELECT count(*) FROM gtx_inbox_try")
	if err != nil {
		t.Error(err)
	}
	t.Logf("%s; longest pause %.1f s; %d counts of tries left to age", w.report(n, e, took), w.pause.Seconds(), tries)
}

// window is how many messages may be under way before the senders pause: with kills of
// relays and of consumers each of them has its share of what is lost and comes again.
const window = 3000

// govern keeps the senders in step with the receivers. It gives an error when nothing goes
// on any more, nil when ctx ends.
func (w *world) govern(ctx context.Context, t *testing.T) error {
	var last [2]int64
	moved, goes, told := time.Now(), true, time.Now()
	for await(ctx, 100*time.Millisecond) {
		sent := int64(w.sent())
		done, err := number(ctx, w.to.admin, "SELECT COALESCE(MAX(n), 0) FROM soak_effect")
		if err != nil {
			done = last[1] // it has been killed just now
		}
		if now := [2]int64{sent, done}; now != last {
			w.pause = max(w.pause, time.Since(moved))
			last, moved = now, time.Now()
		}
		if time.Since(moved) > stall {
			return fmt.Errorf("nothing has gone on for %v: %d sent, %d handled", stall, sent, done)
		}
		if time.Since(told) > time.Minute {
			told = time.Now()
			t.Logf("%d sent, %d handled", sent, done)
		}
		if under := sent - done; goes && under > window || !goes && under < window/2 {
			goes = !goes
			w.order(map[bool]string{true: orderGo, false: orderPause}[goes])
		}
	}
	return nil
}

// everyWay waits, without more kills, until messages were sent in global transactions, too.
func (w *world) everyWay(ctx context.Context) error {
	for began := time.Now(); ; {
		way, missing := w.unused()
		switch {
		case !missing:
			return nil
		case time.Since(began) > stall:
			return fmt.Errorf("nothing was sent in way %d", way)
		case !await(ctx, 50*time.Millisecond):
			return context.Cause(ctx)
		}
	}
}

// drain ends the sending, and waits until every message is through.
func (w *world) drain(ctx context.Context) error {
	w.order(orderStop)
	for _, s := range w.role("sender") {
		select {
		case <-s.proc.quiet:
		case <-s.proc.done:
			return fmt.Errorf("%s has ended", s.proc.name)
		case <-time.After(stall):
			return fmt.Errorf("%s does not stop", s.proc.name)
		}
	}
	var last string
	moved := time.Now()
	for await(ctx, 50*time.Millisecond) {
		waits, err := w.waiting(ctx)
		if err == nil && waits == "" {
			return nil
		}
		if now := fmt.Sprint(waits, err); now != last {
			last, moved = now, time.Now()
		}
		if time.Since(moved) > stall {
			return fmt.Errorf("messages do not get through: %s", last)
		}
	}
	return ctx.Err()
}

// waiting tells where messages are that are not done with, "" where there is none.
func (w *world) waiting(ctx context.Context) (string, error) {
	box, err := number(ctx, w.from.admin, "SELECT count(*) FROM gtx_outbox")
	if err != nil {
		return "", err
	}
	infos, err := w.consumers(ctx)
	if err != nil {
		return "", err
	}
	var pending, unacked uint64
	for _, c := range infos {
		pending += c.NumPending
		unacked += uint64(c.NumAckPending)
	}
	open, err := testdb.Leftovers(ctx, w.from.admin)
	if err != nil {
		return "", err
	}
	if box == 0 && pending == 0 && unacked == 0 && open == 0 && len(infos) == w.plan.lanes {
		return "", nil
	}
	return fmt.Sprintf("%d in the outbox, %d in the stream, %d with consumers, %d of %d lanes, %d rows and branches of global transactions",
		box, pending, unacked, len(infos), w.plan.lanes, open), nil
}

func (w *world) consumers(ctx context.Context) (all []*jetstream.ConsumerInfo, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, err := w.js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	list := s.ListConsumers(ctx)
	for c := range list.Info() {
		all = append(all, c)
	}
	return all, list.Err()
}

// evidence ends all processes and reads what they have left.
func (w *world) evidence(ctx context.Context) (e evidence) {
	for _, s := range w.slots {
		if s.role != "nats" {
			s.proc.kill()
		}
	}
	var errs [2]error
	e.sent, errs[0] = read(ctx, w.from.admin, "SELECT id, k, seq FROM soak_sent")
	e.effects, errs[1] = read(ctx, w.to.admin, "SELECT id, k, seq FROM soak_effect ORDER BY k, n")
	if err := errors.Join(errs[:]...); err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	e.told, e.back = w.told, w.back
	return e
}

// state is what helps to find out why a run has failed.
func (w *world) state(ctx context.Context) string {
	var b strings.Builder
	waits, err := w.waiting(ctx)
	fmt.Fprintf(&b, "%s (%v)\n", waits, err)
	infos, err := w.consumers(ctx)
	for _, c := range infos {
		fmt.Fprintf(&b, "%s: pending %d, unacknowledged %d, redelivered %d, delivered %d, acknowledged %d\n",
			c.Name, c.NumPending, c.NumAckPending, c.NumRedelivered, c.Delivered.Stream, c.AckFloor.Stream)
	}
	left, lerr := remains(ctx, w.from.admin, w.to.admin)
	fmt.Fprintf(&b, "left: %v (%v, %v)\n", left, err, lerr)
	for _, s := range w.slots {
		text, _ := os.ReadFile(filepath.Join(w.dir, s.proc.name+".log")) // none: nothing to show
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		fmt.Fprintf(&b, "%s: …\n  %s\n", s.proc.name, strings.Join(lines[max(0, len(lines)-4):], "\n  "))
	}
	return b.String()
}

// report is what a run that went well has to show.
func (w *world) report(n *nemesis, e evidence, took time.Duration) string {
	var kills []string
	for _, kind := range slices.Sorted(maps.Keys(n.kills)) {
		kills = append(kills, fmt.Sprintf("%s %d", kind, n.kills[kind]))
	}
	c := w.total()
	byWay := e.byWay()
	return fmt.Sprintf("%d messages sent (%d in local transactions, %d in mode AT, %d XA), %d handled, %d more rolled back; killed: %s (%d times two at once); "+
		"known already: to the stream %d, to the inbox %d; %d handlers ran for a message delivered before, %d failed; %.0f s, %.0f messages/s",
		len(e.sent), byWay[wayPlain], byWay[wayAT], byWay[wayXA], len(e.effects), len(e.back), strings.Join(kills, ", "), n.double,
		c.InStream, c.InInbox, c.Repeated, c.FailedRuns, took.Seconds(), float64(len(e.sent))/took.Seconds())
}
