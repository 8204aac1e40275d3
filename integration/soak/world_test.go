package soak

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/internal/testserver"
)

// slot is a place in the system for one process after another.
type slot struct {
	name, role string
	proc       *process
	times      int // processes started here
}

// store is one database, and its server unless it is a file.
type store struct {
	database
	server *testserver.Server
	admin  *sql.DB
}

// plan is what a world is made of.
type plan struct {
	from, to       string // "sqlite", or a name of internal/testserver
	workers, lanes int
	senders        int    // also relays and consumers
	limit          uint64 // messages of one sender. Zero: none
	relayBug       string
	consumerBug    string
	seed           uint64
}

// world is the whole system.
type world struct {
	t        *testing.T
	dir      string
	plan     plan
	from, to *store
	port     int
	slots    []*slot
	js       jetstream.JetStream
	senders  uint64        // processes started
	pause    time.Duration // the longest without any message sent or handled; govern writes it

	// orders keeps orders and the start of processes apart: a new sender might miss one.
	orders sync.Mutex
	goes   bool // senders send

	// mu protects the following.
	mu        sync.Mutex
	told      []uint64
	byWay     [ways]int // of them
	back      []uint64
	sums      map[string]counts // of processes, by name
	unplanned []string
}

// newWorld starts everything. The senders wait.
func newWorld(ctx context.Context, t *testing.T, p plan) *world {
	t.Helper()
	dir, err := os.MkdirTemp(os.Getenv("SOAK_DIR"), "gtx-soak-")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir, plan: p, sums: map[string]counts{}}
	t.Cleanup(w.close)
	w.from, w.to = w.store(p.from, "from"), w.store(p.to, "to")
	if err := errors.Join(
		w.from.createSender(ctx, w.from.admin, ways*keyGroup), w.to.createReceiver(ctx, w.to.admin),
		w.from.forgiving(ctx, w.from.admin), w.to.forgiving(ctx, w.to.admin),
	); err != nil {
		t.Fatal(err)
	}
	if w.port, err = freePort(); err != nil {
		t.Fatal(err)
	}
	w.add("nats", "nats")
	if err := w.createStream(ctx); err != nil {
		t.Fatal(err)
	}
	if !w.buggy() {
		w.add("coordinator", "coordinator")
	}
	for i := range p.senders {
		for _, role := range []string{"sender", "relay", "consumer"} {
			w.add(fmt.Sprintf("%s%d", role, i), role)
		}
	}
	return w
}

func (w *world) store(kind, name string) *store {
	s := &store{}
	switch kind {
	case "sqlite":
		// A transaction is in the kernel at each commit, as with the servers.
		s.database = database{"sqlite", "file:" + filepath.Join(w.dir, name+".db") + "?_pragma=busy_timeout(20000)&_pragma=journal_mode(wal)&_pragma=synchronous(normal)"}
	default:
		driver := map[string]string{
			testserver.NameMySQL: "mysql", testserver.NameMariaDB: "mysql", testserver.NamePostgres15: "postgres", testserver.NamePostgres18: "pgx",
		}[kind]
		s.server = testserver.Private(w.t, kind)
		s.database = database{driver, s.server.DSN()}
	}
	var err error
	if s.admin, err = s.plain(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { s.admin.Close() })
	return s
}

func (w *world) createStream(ctx context.Context) error {
	nc, js, err := dial(w.url())
	if err != nil {
		return err
	}
	w.t.Cleanup(nc.Close)
	w.js = js
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: stream, Subjects: []string{"soak.>"}, Storage: jetstream.FileStorage})
	if err != nil {
		return fmt.Errorf("create stream: %w", err)
	}
	return nil
}

func (w *world) buggy() bool { return w.plan.relayBug+w.plan.consumerBug != "" }

func (w *world) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", w.port) }

func (w *world) add(name, role string) {
	s := &slot{name: name, role: role}
	w.slots = append(w.slots, s)
	if err := w.start(s); err != nil {
		w.t.Fatal(err)
	}
}

// start puts a new process into the slot, and waits until it is there.
func (w *world) start(s *slot) error {
	w.orders.Lock()
	defer w.orders.Unlock()
	s.times++
	name := fmt.Sprintf("%s.%d", s.name, s.times)
	var config any
	switch s.role {
	case "nats":
		config = natsConfig{w.dir, w.port}
	case "coordinator":
		config = coordinatorConfig{name, w.url()}
	case "sender":
		w.senders++
		config = senderConfig{
			Number: w.senders, URL: w.url(), Database: w.from.database, Workers: w.plan.workers, Lanes: w.plan.lanes,
			Seed: w.plan.seed + w.senders<<16, Go: w.goes, Plain: w.buggy(), Limit: w.plan.limit,
		}
	case "relay":
		config = relayConfig{w.url(), w.from.database, w.plan.relayBug, s.times == 1}
	case "consumer":
		config = consumerConfig{w.url(), w.to.database, w.plan.lanes, w.plan.relayBug != "", w.plan.consumerBug, s.times == 1}
	}
	p, err := spawn(w.dir, name, s.role, config, w.hear)
	if err != nil {
		return err
	}
	s.proc = p
	if s.times == 1 && (s.role == "relay" && w.plan.relayBug != "" || s.role == "consumer" && w.plan.consumerBug != "") {
		p.meant.Store(true) // it dies by its own hand
	}
	if s.role != "nats" {
		return nil // it comes up by itself, whatever is away
	}
	select {
	case <-p.ready:
		return nil
	case <-p.done:
		return fmt.Errorf("%s has ended", name)
	case <-time.After(startTime):
		return fmt.Errorf("%s does not start", name)
	}
}

// hear takes what a process tells.
func (w *world) hear(p *process, e event) {
	if e.Kind == kindReady || e.Kind == kindQuiet {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Kind {
	case kindSent:
		w.told = append(w.told, e.IDs...)
		w.byWay[e.Way] += len(e.IDs)
	case kindBack:
		w.back = append(w.back, e.IDs...)
	case kindSum:
		w.sums[p.name] = e.Sum
	case kindEnd:
		if e.Text != "" {
			w.unplanned = append(w.unplanned, p.name+": "+e.Text)
		}
	}
}

// order tells all senders, and those that are started later.
func (w *world) order(what string) {
	w.orders.Lock()
	defer w.orders.Unlock()
	w.goes = what == orderGo
	for _, s := range w.role("sender") {
		_ = s.proc.in.Encode(what) // it may have been killed
	}
}

func (w *world) role(role string) []*slot {
	return slices.DeleteFunc(slices.Clone(w.slots), func(s *slot) bool { return s.role != role })
}

// sent tells how many messages are known to have committed.
func (w *world) sent() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.told)
}

// unused gives a way of sending by which no message is known to have committed.
func (w *world) unused() (way int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for way, n := range w.byWay {
		if n == 0 && (way != wayXA || w.plan.from != "sqlite") { // which cannot prepare
			return way, true
		}
	}
	return 0, false
}

// trouble is what processes have done that nobody wanted.
func (w *world) trouble() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.unplanned)
}

func (w *world) total() (sum counts) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.sums {
		sum.add(c)
	}
	return sum
}

// close ends everything that still runs. A failed test keeps what it left.
func (w *world) close() {
	for _, s := range w.slots {
		if s.proc != nil {
			s.proc.kill()
		}
	}
	if w.t.Failed() {
		w.t.Logf("logs are kept in %s", w.dir)
		return
	}
	_ = os.RemoveAll(w.dir) // temporary
}
