package messages

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/natsbus/inbox"
)

// TestInboxOnce delivers each message to four consumers of one inbox at a time: one of
// them has the effect, the others learn that it is there.
func TestInboxOnce(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		r := newInboxRig(t, s, open(t, s, s.dsn(t)))
		in := r.open(r.db, inbox.Config{Wait: 30 * time.Second})
		bodies := [][]byte{nil, {}, {0}, bytes.Repeat([]byte{0, 0xff, '\''}, 300_000), []byte("plain")}
		const n = 20
		for i := range n {
			id := ""
			switch i % 4 {
			case 0:
				id = fmt.Sprintf("order-%d", i)
			case 1:
				id = fmt.Sprintf("it's \\ \x80 %d", i) // what must not stand in a statement
			case 2:
				id = strings.Repeat("long", 100) + fmt.Sprint(i)
			}
			r.publish("orders.new", id, bodies[i%len(bodies)])
		}
		var wg sync.WaitGroup
		for i := range 4 {
			c := r.durable(fmt.Sprintf("c%d", i), 30*time.Second)
			wg.Go(func() {
				for k := range n {
					msg := r.next(c)
					err := in.Handle(t.Context(), msg, func(ctx context.Context, tx *sql.Tx) error {
						if !bytes.Equal(msg.Data(), bodies[k%len(bodies)]) {
							t.Error("the body is another")
						}
						return r.effect(ctx, tx, &inbox.Message{ID: fmt.Sprint(k)})
					})
					for err != nil { // a conflict: SQLite locks all, MySQL may call it a deadlock
						msg = r.next(c)
						err = in.Handle(t.Context(), msg, func(ctx context.Context, tx *sql.Tx) error {
							meta, _ := msg.Metadata()
							return r.effect(ctx, tx, &inbox.Message{ID: fmt.Sprint(meta.Sequence.Stream - 1)})
						})
					}
				}
			})
		}
		wg.Wait()
		r.once(n)
		if st := in.Stats(); st.Handled != n || st.Duplicates+st.Handled < 4*n {
			t.Errorf("got %+v", st)
		}
	})
}

// TestInboxFails: an error, a panic and what a handler calls not the message's fault are
// tried again; nothing of a try that failed stays.
func TestInboxFails(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		r := newInboxRig(t, s, open(t, s, s.dsn(t)))
		in := r.open(r.db, inbox.Config{MaxTries: 4}) // three count, and the one that is running
		r.publish("orders.new", "a", []byte("x"))
		var tries atomic.Int32
		r.consume(in, inbox.Source{}, func(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
			if err := r.effect(ctx, tx, m); err != nil {
				return err
			}
			switch tries.Add(1) {
			case 1:
				return errUndo
			case 2:
				panic("at the second")
			case 3: // would be too many
				return inbox.Retry(errUndo)
			case 4:
				_, err := tx.ExecContext(ctx, "SELECT nonsense")
				return err
			}
			return nil
		})
		eventually(t, "handled", func() bool { return in.Stats().Handled == 1 })
		r.once(1)
		eventually(t, "no tries left", func() bool { return r.number("SELECT count(*) FROM gtx_inbox_try") == 0 })
		if st := in.Stats(); st.Failed != 4 || st.Dead != 0 {
			t.Errorf("got %+v", st)
		}
	})
}

// TestInboxDead: a message that no try mends is put aside, told to the dead-letter stream,
// not delivered again, and replayed once.
func TestInboxDead(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		r := newInboxRig(t, s, open(t, s, s.dsn(t)))
		_, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "DEAD", Subjects: []string{"dead.>"}})
		if err != nil {
			t.Fatal(err)
		}
		in := r.open(r.db, inbox.Config{MaxTries: 3, DeadSubject: "dead.billing"})
		var mended atomic.Bool
		var tries atomic.Int32
		body := bytes.Repeat([]byte{0, 1, 0xfe}, 10_000)
		msg := &nats.Msg{Subject: "orders.new", Header: nats.Header{"X-Odd": {"a", "b: c"}, "Nats-Msg-Id": {"a"}}, Data: body}
		if _, err := r.js.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
		handler := func(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
			tries.Add(1)
			if !bytes.Equal(m.Body, body) || !cmp.Equal(m.Header["X-Odd"], []string{"a", "b: c"}) || m.Subject != "orders.new" {
				return inbox.Permanent(errors.New("the message has changed"))
			}
			if !mended.Load() {
				return fmt.Errorf("poison\nin two lines \x00\xff: %w", errUndo)
			}
			return r.effect(ctx, tx, m)
		}
		r.consume(in, inbox.Source{}, handler)
		eventually(t, "put aside", func() bool { return in.Stats().Dead == 1 })

		dead, err := r.js.CreateOrUpdateConsumer(t.Context(), "DEAD", jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy})
		if err != nil {
			t.Fatal(err)
		}
		letter := r.next(dead)
		if h := letter.Headers(); !bytes.Equal(letter.Data(), body) || h.Get(inbox.HeaderDeadSubject) != "orders.new" || h.Get(inbox.HeaderDeadID) != "ORDERS/a" ||
			!strings.Contains(h.Get(inbox.HeaderDeadError), "poison in two lines") || h.Get("X-Odd") != "a" {
			t.Errorf("dead letter: %v", h)
		}
		if n := tries.Load(); n != 3 {
			t.Errorf("%d tries, want 3", n)
		}
		list, err := in.Dead(t.Context(), 10)
		if err != nil || len(list) != 1 || list[0].ID != "ORDERS/a" || list[0].Size != int64(len(body)) || list[0].Deliveries != 3 || !strings.Contains(list[0].Error, "poison") {
			t.Fatalf("got %+v, %v", list, err)
		}

		// It comes once more, by another way.
		late := r.next(r.durable("late", 30*time.Second))
		err = in.Handle(t.Context(), late, func(context.Context, *sql.Tx) error { t.Error("a dead message runs"); return nil })
		if !errors.Is(err, inbox.ErrDead) {
			t.Errorf("got %v, want ErrDead", err)
		}

		// A replay that fails leaves it there.
		if err := in.Replay(t.Context(), "ORDERS/a"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "replayed in vain", func() bool {
			list, err := in.Dead(t.Context(), 10)
			return err == nil && len(list) == 1 && !list[0].Replay && tries.Load() == 4
		})
		mended.Store(true)
		if err := in.Replay(t.Context(), "ORDERS/a"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "replayed", func() bool { return in.Stats().Replayed == 1 })
		r.once(1)
		for what, err := range map[string]error{
			"Replay": in.Replay(t.Context(), "ORDERS/a"), "ReplayWith": in.ReplayWith(t.Context(), "ORDERS/a", handler), "Drop": in.Drop(t.Context(), "' OR 1 = 1"),
		} {
			if !errors.Is(err, inbox.ErrNotDead) {
				t.Errorf("%s: got %v, want ErrNotDead", what, err)
			}
		}
		if lag, err := in.Lag(t.Context()); err != nil || lag.Dead != 0 {
			t.Errorf("got %+v, %v", lag, err)
		}
	})
}

// TestInboxPermanent: an error that no try would mend puts aside at once, and what is
// dropped then has no effect any more.
func TestInboxPermanent(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		r := newInboxRig(t, s, open(t, s, s.dsn(t)))
		in := r.open(r.db, inbox.Config{})
		r.publish("orders.new", "", nil)
		c := r.durable("c", 30*time.Second)
		err := in.Handle(t.Context(), r.next(c), func(context.Context, *sql.Tx) error { return inbox.Permanent(errUndo) })
		if !errors.Is(err, inbox.ErrDead) || !errors.Is(err, errUndo) {
			t.Fatalf("got %v", err)
		}
		list, err := in.Dead(t.Context(), 1)
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		if err := in.Drop(t.Context(), list[0].ID); err != nil {
			t.Fatal(err)
		}
		err = in.Handle(t.Context(), r.next(r.durable("d", 30*time.Second)), func(context.Context, *sql.Tx) error { t.Error("runs"); return nil })
		if err != nil {
			t.Error(err)
		}
		r.once(0)
	})
}

// TestInboxDies: deliveries that end with their process count, so that a message that
// kills each process is put aside.
func TestInboxDies(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		r := newInboxRig(t, s, open(t, s, s.dsn(t)))
		in := r.open(r.db, inbox.Config{MaxTries: 2})
		r.publish("orders.new", "a", nil)
		c := r.durable("c", 30*time.Second)
		for n := 1; ; n++ {
			var err error
			msg := r.next(c)
			done := make(chan struct{})
			go func() {
				defer close(done)
				err = in.Handle(t.Context(), msg, func(context.Context, *sql.Tx) error {
					runtime.Goexit() // no answer to anybody
					return nil
				})
			}()
			<-done
			if errors.Is(err, inbox.ErrDead) {
				if n != 4 {
					t.Errorf("dead at delivery %d, want 4", n)
				}
				break
			}
			if err := msg.Nak(); err != nil { // AckWait has passed
				t.Fatal(err)
			}
		}
		r.once(0)
	})
}

// TestInboxAckLost: broker and connection die between COMMIT and the acknowledgement.
func TestInboxAckLost(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		r := newInboxRig(t, s, open(t, s, s.dsn(t)))
		in := r.open(r.db, inbox.Config{})
		r.publish("orders.new", "", nil)
		r.durable("c", time.Second)
		handle := func(during func(js jetstream.JetStream)) error {
			js := r.b.jetStream(t)
			c, err := js.Consumer(t.Context(), "ORDERS", "c")
			if err != nil {
				t.Fatal(err)
			}
			return in.Handle(t.Context(), r.next(c), func(ctx context.Context, tx *sql.Tx) error {
				during(js)
				return r.effect(ctx, tx, &inbox.Message{ID: "a"})
			})
		}
		err := handle(func(js jetstream.JetStream) {
			r.b.stop()
			js.Conn().Close() // and what it would send when the broker is back
		})
		if err != nil {
			t.Fatal(err)
		}
		r.once(1)
		r.b.start(t)
		if err := handle(func(jetstream.JetStream) { t.Error("runs again") }); err != nil {
			t.Fatal(err)
		}
		r.once(1)
	})
}

// TestInboxCommitLost: the COMMIT is lost, or its answer. Neither is told to be done, and
// the redelivery finds out.
func TestInboxCommitLost(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		for _, arrives := range []bool{true, false} {
			t.Run(fmt.Sprint("arrives=", arrives), func(t *testing.T) {
				program := &hook{}
				r := newInboxRig(t, s, openHooked(t, s, s.dsn(t), program, &hook{}))
				in := r.open(r.db, inbox.Config{})
				r.publish("orders.new", "", nil)
				c := r.durable("c", 30*time.Second)
				lose := func(text string) error {
					if strings.HasPrefix(text, "COMMIT") {
						program.Set(nil, nil)
						return errInjected
					}
					return nil
				}
				handle := func() error {
					return in.Handle(t.Context(), r.next(c), func(ctx context.Context, tx *sql.Tx) error {
						if err := r.effect(ctx, tx, &inbox.Message{ID: "a"}); err != nil {
							return err
						}
						return nil
					})
				}
				if arrives {
					program.Set(nil, func(text string, err error) error { return errors.Join(err, lose(text)) })
				} else {
					program.Set(lose, nil)
				}
				if err := handle(); !errors.Is(err, errInjected) {
					t.Fatalf("got %v", err)
				}
				if err := handle(); err != nil {
					t.Fatal(err)
				}
				r.once(1)
			})
		}
	})
}

// TestInboxCancel: what a cancelled handler did is undone, the message comes again at
// once, and the try does not count.
func TestInboxCancel(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		r := newInboxRig(t, s, open(t, s, s.dsn(t)))
		in := r.open(r.db, inbox.Config{MaxTries: 1})
		r.publish("orders.new", "a", nil)
		c := r.durable("c", 30*time.Second)
		for range 2 {
			ctx, cancel := context.WithCancel(t.Context())
			err := in.Handle(ctx, r.next(c), func(ctx context.Context, tx *sql.Tx) error {
				if err := r.effect(ctx, tx, &inbox.Message{ID: "a"}); err != nil {
					return err
				}
				cancel()
				return nil // a careless program
			})
			if err == nil || errors.Is(err, inbox.ErrDead) {
				t.Fatalf("got %v", err)
			}
			r.once(0)
		}
		if err := in.Handle(t.Context(), r.next(c), func(ctx context.Context, tx *sql.Tx) error { return r.effect(ctx, tx, &inbox.Message{ID: "a"}) }); err != nil {
			t.Fatal(err)
		}
		r.once(1)
	})
}

// TestInboxTimeout: a handler that hangs ends with its context, and that counts.
func TestInboxTimeout(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		r := newInboxRig(t, s, open(t, s, s.dsn(t)))
		in := r.open(r.db, inbox.Config{MaxTries: 1, Timeout: time.Second})
		r.publish("orders.new", "a", nil)
		err := in.Handle(t.Context(), r.next(r.durable("c", 30*time.Second)), func(ctx context.Context, tx *sql.Tx) error {
			<-ctx.Done()
			return ctx.Err()
		})
		if !errors.Is(err, inbox.ErrDead) {
			t.Errorf("got %v, want ErrDead", err)
		}
	})
}
