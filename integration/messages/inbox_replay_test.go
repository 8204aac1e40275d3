package messages

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/natsbus/inbox"
)

// TestInboxReplayDies: a replay that ends its process is not tried by the next one, and says
// so. One that is stopped is.
func TestInboxReplayDies(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		r := newInboxRig(t, s, open(t, s, s.dsn(t)))
		in := r.open(r.db, inbox.Config{})
		for _, id := range []string{"deadly", "good"} {
			r.publish("orders.new", id, nil)
		}
		c := r.durable("c", 30*time.Second)
		for range 2 {
			if err := in.Handle(t.Context(), r.next(c), func(context.Context, *sql.Tx) error { return inbox.Permanent(errUndo) }); !errors.Is(err, inbox.ErrDead) {
				t.Fatal(err)
			}
		}
		for _, id := range []string{"ORDERS/deadly", "ORDERS/good"} {
			if err := in.Replay(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		var died, good atomic.Int32
		first := r.open(r.db, inbox.Config{})
		src := inbox.Source{Durable: "c"}
		stop := r.consume(first, src, func(_ context.Context, _ *sql.Tx, m *inbox.Message) error {
			if m.ID == "ORDERS/deadly" {
				died.Add(1)
				runtime.Goexit() // as the process would
			}
			t.Error("something else has run")
			return nil
		})
		eventually(t, "the death", func() bool { return died.Load() == 1 })
		stop()

		// The next one is stopped while it replays the other.
		second := r.open(r.db, inbox.Config{})
		begun := make(chan struct{})
		stop = r.consume(second, src, func(ctx context.Context, _ *sql.Tx, m *inbox.Message) error {
			if m.ID != "ORDERS/good" {
				t.Errorf("%s runs again", m.ID)
			}
			close(begun)
			<-ctx.Done()
			return ctx.Err()
		})
		<-begun
		stop()
		third := r.open(r.db, inbox.Config{})
		r.consume(third, src, func(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
			if m.ID != "ORDERS/good" {
				t.Errorf("%s runs again", m.ID)
			}
			good.Add(1)
			return r.effect(ctx, tx, m)
		})
		eventually(t, "the replay of the other", func() bool { return third.Stats().Replayed == 1 })
		if good.Load() != 1 {
			t.Errorf("the other ran %d times", good.Load())
		}
		r.once(1)
		list, err := in.Dead(t.Context(), 10)
		if err != nil || len(list) != 1 || list[0].ID != "ORDERS/deadly" || list[0].Replay || !strings.Contains(list[0].Error, "without an answer") || !strings.Contains(list[0].Error, errUndo.Error()) {
			t.Errorf("got %+v, %v", list, err)
		}
	})
}

// TestInboxReplayMany asks for more replays than are looked for at a time.
func TestInboxReplayMany(t *testing.T) {
	s := servers()[0]
	r := newInboxRig(t, s, open(t, s, s.dsn(t)))
	const n = 250
	for i := range n {
		r.publish("orders.new", fmt.Sprint(i), nil)
	}
	var mended atomic.Bool
	in := r.open(r.db, inbox.Config{})
	r.consume(in, inbox.Source{Workers: 1}, func(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
		if !mended.Load() {
			return inbox.Permanent(errUndo)
		}
		return r.effect(ctx, tx, m)
	})
	eventually(t, "all are put aside", func() bool { return in.Stats().Dead == n })
	mended.Store(true)
	for i := range n {
		if err := in.Replay(t.Context(), fmt.Sprint("ORDERS/", i)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all are replayed", func() bool { return in.Stats().Replayed == n })
	r.once(n)
}

// TestInboxDeadHeader: a dead letter whose own headers leave no room for those that say what
// was wrong goes without them, and one for which there is no room at all without both.
func TestInboxDeadHeader(t *testing.T) {
	s := servers()[0]
	r := newInboxRig(t, s, open(t, s, s.dsn(t)))
	in := r.open(r.db, inbox.Config{DeadSubject: "dead.x"})
	for name, tc := range map[string]struct {
		limit        int32
		header, size int
		noBody       string
		noHeader     string
		left         int
	}{
		"room":    {-1, 1000, 2000, "", "", 2000},
		"headers": {-1, 65_400, 2000, "", "left out", 2000},
		"body":    {1000, 10, 2000, "left out", "", 0},
		"both":    {1000, 5000, 2000, "left out", "left out", 0},
	} {
		stream, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "DEAD", Subjects: []string{"dead.>"}, MaxMsgSize: tc.limit})
		if err != nil {
			t.Fatal(err)
		}
		msg := &nats.Msg{Subject: "orders.new", Header: nats.Header{"A": {strings.Repeat("x", tc.header)}, "Nats-Msg-Id": {name}}, Data: make([]byte, tc.size)}
		if _, err := r.js.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
		c, err := r.js.CreateOrUpdateConsumer(t.Context(), "ORDERS", jetstream.ConsumerConfig{Durable: "c", AckPolicy: jetstream.AckExplicitPolicy})
		if err != nil {
			t.Fatal(err)
		}
		err = in.Handle(t.Context(), r.next(c), func(context.Context, *sql.Tx) error { return inbox.Permanent(errUndo) })
		if !errors.Is(err, inbox.ErrDead) || strings.Contains(err.Error(), "publish") {
			t.Errorf("%s: got %v", name, err)
		}
		got, err := stream.GetLastMsgForSubject(t.Context(), "dead.x")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if h := got.Header; h.Get(inbox.HeaderDeadID) != "ORDERS/"+name || h.Get(inbox.HeaderDeadBody) != tc.noBody || h.Get(inbox.HeaderDeadHeader) != tc.noHeader ||
			(h.Get("A") == "") == (tc.noHeader == "") || len(got.Data) != tc.left {
			t.Errorf("%s: got %.300q, %d bytes", name, h, len(got.Data))
		}
		if err := r.js.DeleteStream(t.Context(), "DEAD"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestInboxKeepDeadForEver purges, and what is put aside stays.
func TestInboxKeepDeadForEver(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		r := newInboxRig(t, s, open(t, s, s.dsn(t)))
		in := r.open(r.db, inbox.Config{KeepDead: -1})
		r.publish("orders.new", "a", nil)
		if err := in.Handle(t.Context(), r.next(r.durable("c", 30*time.Second)), func(context.Context, *sql.Tx) error { return inbox.Permanent(errUndo) }); !errors.Is(err, inbox.ErrDead) {
			t.Fatal(err)
		}
		mustExec(t, r.db, "UPDATE gtx_inbox_dead SET at = 1")
		mustExec(t, r.db, "UPDATE gtx_inbox SET at = 1")
		mustExec(t, r.db, "INSERT INTO gtx_inbox_try (consumer, id, tries, error, at) VALUES ('billing', 'x', 1, '', 1)")
		if n, err := in.Purge(t.Context(), time.Now()); err != nil || n != 1 { // the count of tries
			t.Errorf("%d rows removed, %v, want 1", n, err)
		}
		if list, err := in.Dead(t.Context(), 1); err != nil || len(list) != 1 {
			t.Errorf("got %v, %v", list, err)
		}
	})
}

// TestInboxEncoding puts aside with an error that a session of PostgreSQL would misread.
func TestInboxEncoding(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		r := newInboxRig(t, s, open(t, s, s.dsn(t)))
		if s.family() == "gtx-postgres" {
			var name string
			if err := r.db.QueryRowContext(t.Context(), "SELECT current_database()").Scan(&name); err != nil {
				t.Fatal(err)
			}
			mustExec(t, r.db, "ALTER DATABASE "+name+" SET client_encoding = 'GBK'")
			r.db.SetMaxIdleConns(0) // what comes next connects anew
		}
		in := r.open(r.db, inbox.Config{MaxTries: 1})
		r.publish("orders.new", "a", nil)
		const odd = `世\'世'ソ\ü?\`
		if err := in.Handle(t.Context(), r.next(r.durable("c", 30*time.Second)), func(context.Context, *sql.Tx) error { return errors.New(odd) }); !errors.Is(err, inbox.ErrDead) {
			t.Fatal(err)
		}
		if list, err := in.Dead(t.Context(), 1); err != nil || len(list) != 1 || list[0].Error != odd {
			t.Errorf("got %+v, %v", list, err)
		}
	})
}

// TestInboxSmallEncoding puts aside in a database of PostgreSQL that does not hold the error.
func TestInboxSmallEncoding(t *testing.T) {
	for _, s := range servers() {
		if s.family() != "gtx-postgres" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			dsn := s.dsn(t)
			at, err := url.Parse(dsn)
			if err != nil {
				t.Fatal(err)
			}
			name := strings.TrimPrefix(at.Path, "/")
			admin := open(t, s, dsn)
			mustExec(t, admin, "CREATE DATABASE "+name+"_latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
			t.Cleanup(func() { mustExec(t, admin, "DROP DATABASE "+name+"_latin WITH (FORCE)") })
			at.Path += "_latin"
			r := newInboxRig(t, s, open(t, s, at.String()))
			in := r.open(r.db, inbox.Config{})
			r.publish("orders.new", "a", nil)
			if err := in.Handle(t.Context(), r.next(r.durable("c", 30*time.Second)), func(context.Context, *sql.Tx) error { return inbox.Permanent(errors.New("世界 is not ü")) }); !errors.Is(err, inbox.ErrDead) {
				t.Fatal(err)
			}
			if list, err := in.Dead(t.Context(), 1); err != nil || len(list) != 1 || list[0].Error != `\u4e16\u754c is not \u00fc` {
				t.Errorf("got %+v, %v", list, err)
			}
		})
	}
}
