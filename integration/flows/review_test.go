package flows

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/internal/testserver/testdb"
	"github.com/globaltx/globaltx/natsbus/flow"
	"github.com/globaltx/globaltx/natsbus/inbox"
)

// TestFlowLargeHeader: what Start takes, an undo with a long reason can carry, too.
func TestFlowLargeHeader(t *testing.T) {
	t.Parallel()
	_, a, b, c := trio(t, testdb.Servers()[0], flow.Config{})
	b.handle(nil)
	c.handle(func(string, *flow.Message) error {
		return inbox.Permanent(errors.New(strings.Repeat("declined ", 500)))
	})
	a.run()
	b.run()
	id := ""
	for n := 66_000; id == ""; n -= 10 {
		got, err := a.Start(t.Context(), a.db, flow.Start{Kind: kind, To: both, Header: nats.Header{"X": {strings.Repeat("x", n)}}})
		if err != nil && !errors.Is(err, flow.ErrStart) {
			t.Fatal(err)
		}
		id = got
	}
	testdb.Eventually(t, "stock is done", func() bool { return b.step(id) == "done" })
	c.run()
	testdb.Eventually(t, "the flow has ended", func() bool { return strings.HasPrefix(a.state(id), "undone, billing failed: declined") })
	if y := b.effects(id); y != "do,undo" {
		t.Errorf("stock has %q", y)
	}
}

// TestFlowPatience: messages that wait for code that does not come keep no others waiting,
// and are barred when the time of their flow is over.
func TestFlowPatience(t *testing.T) {
	t.Parallel()
	p, a, b, _ := trio(t, testdb.Servers()[0], flow.Config{Resend: 300 * time.Millisecond})
	stream, err := p.js.CreateStream(t.Context(), flow.StreamConfig())
	if err != nil {
		t.Fatal(err)
	}
	const room = 10
	_, err = stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
		Durable: "flow-stock", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 30 * time.Second, MaxDeliver: -1, MaxAckPending: room, FilterSubjects: []string{"gtx.flow.stock"},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.handle(nil)
	a.run()
	b.run()
	var unknown []string
	for range room + 2 {
		id, err := a.Start(t.Context(), a.db, flow.Start{Kind: "unknown", To: []string{"stock"}, Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		unknown = append(unknown, id)
	}
	good := a.start(flow.Start{To: []string{"stock"}})
	a.becomes(good, "done, stock done")
	for _, id := range unknown {
		a.becomes(id, "undone, stock barred: not all done after 1s")
	}
}

// latin gives a PostgreSQL server whose new databases hold Latin letters only.
func latin(t *testing.T) testdb.Server {
	t.Helper()
	all := testdb.Servers()
	s := all[slices.IndexFunc(all, func(s testdb.Server) bool { return s.Driver == "gtx-pgx" })]
	base := s.DSN
	s.DSN = func(t testing.TB) string {
		t.Helper()
		at, err := url.Parse(base(t))
		if err != nil {
			t.Fatal(err)
		}
		admin, err := sql.Open("gtx-pgx", at.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { admin.Close() })
		at.Path += "_latin"
		name := strings.TrimPrefix(at.Path, "/")
		testdb.MustExec(t, admin, "CREATE DATABASE "+name+" ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
		t.Cleanup(func() { testdb.MustExec(t, admin, "DROP DATABASE "+name+" WITH (FORCE)") })
		return at.String()
	}
	return s
}

// TestFlowLetters: errors in letters that a database does not have keep no step of its
// service from its end.
func TestFlowLetters(t *testing.T) {
	t.Parallel()
	s := latin(t)
	p := newPost(t)
	services := map[string]*service{}
	for _, name := range []string{"shop", "stock", "billing"} {
		services[name] = newService(t, p, s, name, flow.Config{})
	}
	a, b, c := services["shop"], services["stock"], services["billing"]
	var tries atomic.Int32
	b.handle(nil)
	c.handle(func(string, *flow.Message) error {
		tries.Add(1)
		return inbox.Permanent(errors.New("zu wenig: 5 € 世界\n"))
	})
	a.run()
	b.run()
	id := a.start(flow.Start{To: both})
	testdb.Eventually(t, "stock is done", func() bool { return b.step(id) == "done" })
	c.run()
	const why = `zu wenig: 5 \u20ac \u4e16\u754c`
	a.becomes(id, "undone, billing failed: "+why+", stock undone: billing: "+why)
	if tries.Load() != 1 || b.effects(id) != "do,undo" {
		t.Errorf("billing has tried %d times, stock has %q", tries.Load(), b.effects(id))
	}
}

// TestFlowOld: whether a step was done of which the row may have been removed is not guessed.
// The flow shows as stuck, until an operator says what was done by hand. So does one for a
// service that was never there.
func TestFlowOld(t *testing.T) {
	onEach(t, func(t *testing.T, s testdb.Server) {
		p := newPost(t)
		a := newService(t, p, s, "shop", flow.Config{Resend: 100 * time.Millisecond, MaxTries: 3})
		b := newService(t, p, s, "stock", flow.Config{})
		b.handle(nil)
		var ends atomic.Int32
		err := a.OnEnd(kind, func(context.Context, *sql.Tx, *flow.Flow) error {
			if ends.Add(1) == 1 {
				panic("at the first end, which an operator has brought about")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		old := a.start(flow.Start{To: []string{"stock"}})
		nobody := a.start(flow.Start{To: []string{"nobody"}, Timeout: time.Second})
		settle := func(db *sql.DB, service, id string) error {
			return flow.Settle(t.Context(), db, dialect(t, db), service, id, "me", "called them")
		}
		if err := settle(a.db, "nobody", nobody); !errors.Is(err, flow.ErrNotStuck) {
			t.Errorf("a flow that runs: got %v", err)
		}
		testdb.MustExec(t, a.db, "UPDATE gtx_flow SET began = began - 3000000000000, deadline = deadline - 3000000000000 WHERE id = '"+old+"'")
		testdb.MustExec(t, a.db, "DELETE FROM gtx_outbox WHERE subject <> ''")
		a.run()
		b.run()
		testdb.Eventually(t, "it is stuck", func() bool {
			f, err := a.Flow(t.Context(), old)
			return err == nil && f.Stuck() && strings.Contains(f.To[0].Error, "Config.Keep")
		})
		if err := settle(b.db, "stock", old); !errors.Is(err, flow.ErrNotStuck) {
			t.Errorf("at the service: got %v", err)
		}
		if err := settle(a.db, "stock", old); err != nil {
			t.Error(err)
		}
		a.becomes(old, "undone, stock undone: by hand: called them")
		a.becomes(nobody, "undoing, nobody waiting")
		if err := settle(a.db, "nobody", nobody); err != nil {
			t.Error(err)
		}
		a.becomes(nobody, "undone, nobody undone: by hand: called them")
		if n := ends.Load(); n != 3 {
			t.Errorf("%d ends were begun, want 3", n)
		}
		var n int
		if err := b.db.QueryRow("SELECT count(*) FROM gtx_inbox_dead").Scan(&n); err != nil || n != 0 {
			t.Errorf("%d dead letters, %v", n, err)
		}
	})
}

// TestFlowStartAlone: a *sql.DB outside of global transactions gets a local one for all that
// Start writes.
func TestFlowStartAlone(t *testing.T) {
	onEach(t, func(t *testing.T, s testdb.Server) {
		a := newService(t, newPost(t), s, "shop", flow.Config{})
		st := flow.Start{Kind: kind, To: []string{"nobody"}}
		id, err := a.Start(t.Context(), a.db, st)
		if err != nil {
			t.Fatal(err)
		}
		a.becomes(id, "running, nobody waiting")
		conn, err := a.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := a.Start(t.Context(), conn, st); !errors.Is(err, flow.ErrStart) {
			t.Errorf("a *sql.Conn: got %v", err)
		}
		testdb.MustExec(t, a.db, "DROP TABLE gtx_flow_to")
		if _, err := a.Start(t.Context(), a.db, st); err == nil {
			t.Error("started without a table")
		}
		var n int
		if err := a.db.QueryRow("SELECT count(*) FROM gtx_flow").Scan(&n); err != nil || n != 1 {
			t.Errorf("%d flows, %v", n, err)
		}
	})
}

// TestFlowTwins: two databases cannot be one service, of which one would be told to undo what
// the other has done.
func TestFlowTwins(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	b := newService(t, p, testdb.Servers()[0], "stock", flow.Config{})
	twin := newService(t, p, testdb.Servers()[0], "stock", flow.Config{})
	stop := b.run()
	testdb.Eventually(t, "the first runs", func() bool {
		_, err := p.js.Consumer(t.Context(), flow.Stream, "flow-stock")
		return err == nil
	})
	if err := twin.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "two databases must not share a name") {
		t.Errorf("got %v", err)
	}
	stop()
	b.again()
	b.run() // the same database again
}

// TestFlowOtherOutbox: the messages of a flow must commit with its rows.
func TestFlowOtherOutbox(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	a := newService(t, p, testdb.Servers()[0], "shop", flow.Config{})
	b := newService(t, p, testdb.Servers()[0], "stock", flow.Config{})
	b.cfg.Outbox = a.box
	if _, err := flow.Open(t.Context(), b.db, b.cfg); err == nil || !strings.Contains(err.Error(), "Config.Outbox is of database") {
		t.Errorf("got %v", err)
	}
}

// TestFlowStreamGone: a stream that is deleted is made anew, and what was in it asked for
// again.
func TestFlowStreamGone(t *testing.T) {
	t.Parallel()
	p, a, b, c := trio(t, testdb.Servers()[0], flow.Config{Resend: 200 * time.Millisecond})
	for _, sv := range []*service{b, c} {
		sv.handle(nil)
		sv.run()
	}
	a.run()
	a.becomes(a.start(flow.Start{To: both}), "done, billing done, stock done")
	if err := p.js.DeleteStream(t.Context(), flow.Stream); err != nil {
		t.Fatal(err)
	}
	a.becomes(a.start(flow.Start{To: both}), "done, billing done, stock done")
}

// TestFlowOtherStream: a stream that does not take the messages is an error, not a wait.
func TestFlowOtherStream(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	a := newService(t, p, testdb.Servers()[0], "shop", flow.Config{})
	if _, err := p.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: flow.Stream, Subjects: []string{"other.>"}}); err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "does not take gtx.flow.shop") {
		t.Errorf("got %v", err)
	}
}

// TestFlowUndoRetry: an Undo that says it is not its fault is seen as stuck all the same.
func TestFlowUndoRetry(t *testing.T) {
	t.Parallel()
	_, a, b, c := trio(t, testdb.Servers()[0], flow.Config{MaxTries: 2})
	b.handle(func(what string, _ *flow.Message) error {
		if what == "undo" {
			return inbox.Retry(errors.New("the bank is away"))
		}
		return nil
	})
	c.handle(func(string, *flow.Message) error { return inbox.Permanent(errNo) })
	a.run()
	b.run()
	id := a.start(flow.Start{To: both})
	testdb.Eventually(t, "stock is done", func() bool { return b.step(id) == "done" })
	c.run()
	a.becomes(id, "undoing, billing failed: "+errNo.Error()+", stock done: undo: the bank is away")
}

// TestFlowSwallowedDeadlock: MySQL ends the local transaction of a Do that takes a deadlock for
// nothing. The flow does not hear that it is done: here it then fails for good.
func TestFlowSwallowedDeadlock(t *testing.T) {
	for _, s := range testdb.Servers() {
		if s.Driver != "gtx-mysql" {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			p := newPost(t)
			a := newService(t, p, testdb.Servers()[0], "shop", flow.Config{})
			b := newService(t, p, s, "stock", flow.Config{})
			testdb.MustExec(t, b.db, "CREATE TABLE acc (id int PRIMARY KEY, v int NOT NULL)")
			testdb.MustExec(t, b.db, "INSERT INTO acc VALUES (1, 0), (2, 0)")
			first := true
			err := b.Handle(kind, flow.Step{
				Do: func(ctx context.Context, tx *sql.Tx, _ *flow.Message) error {
					if !first {
						return inbox.Permanent(errNo)
					}
					first = false
					return swallow(ctx, t, b.db, tx)
				},
				Undo: func(context.Context, *sql.Tx, *flow.Message) error { return nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			a.run()
			b.run()
			id := a.start(flow.Start{To: []string{"stock"}})
			a.becomes(id, "undone, stock failed: "+errNo.Error())
		})
	}
}

// swallow has tx be the victim of a deadlock, and says nothing.
func swallow(ctx context.Context, t *testing.T, db *sql.DB, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, "UPDATE acc SET v = v + 1 WHERE id = 1"); err != nil {
		return err
	}
	// The victim is who has changed less.
	other, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer other.Rollback()
	for i := range 50 {
		if _, err := other.ExecContext(ctx, "INSERT INTO acc VALUES (?, 0)", 100+i); err != nil {
			return err
		}
	}
	if _, err := other.ExecContext(ctx, "UPDATE acc SET v = v + 1 WHERE id = 2"); err != nil {
		return err
	}
	waited := make(chan error, 1)
	go func() {
		_, err := other.ExecContext(ctx, "UPDATE acc SET v = v + 1 WHERE id = 1")
		waited <- err
	}()
	if _, err := tx.ExecContext(ctx, "UPDATE acc SET v = v + 1 WHERE id = 2"); err == nil {
		t.Error("no deadlock")
	}
	return <-waited
}

// rounds counts lines of a log.
type rounds struct{ n atomic.Int64 }

func (r *rounds) Write(b []byte) (int, error) {
	r.n.Add(1)
	return len(b), nil
}

// TestFlowUnwritable: flows that can be neither asked about nor put off are looked at as
// seldom as others.
func TestFlowUnwritable(t *testing.T) {
	t.Parallel()
	p := newPost(t)
	a := newService(t, p, testdb.Servers()[0], "shop", flow.Config{Resend: 100 * time.Millisecond})
	other := newService(t, p, testdb.Servers()[0], "other", flow.Config{Resend: 100 * time.Millisecond})
	var log rounds
	a.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	a.again()
	for range 100 {
		a.start(flow.Start{To: both})
	}
	stop := a.run()
	testdb.Eventually(t, "it runs", func() bool {
		_, err := p.js.Consumer(t.Context(), flow.Stream, "flow-shop")
		return err == nil
	})
	testdb.MustExec(t, a.db, "CREATE TRIGGER no BEFORE UPDATE ON gtx_flow BEGIN SELECT RAISE(ABORT, 'no'); END")
	testdb.Eventually(t, "a first round", func() bool { return log.n.Load() > 0 })
	marker := other.start(flow.Start{To: both})
	other.run()
	// Each of its questions is a round of its own.
	testdb.Eventually(t, "three rounds of another service", func() bool { return asked(other, marker) >= 3 })
	stop()
	if n := log.n.Load(); n > 30 {
		t.Errorf("%d rounds meanwhile", n)
	}
}
