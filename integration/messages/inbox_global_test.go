package messages

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus/inbox"
)

// globalModes are those that a server can do.
func globalModes(s server) map[string][]gtx.Option {
	m := map[string][]gtx.Option{"at": nil}
	if s.driver != "gtx-sqlite" {
		m["xa"] = []gtx.Option{gtx.WithMode(gtx.XA)}
	}
	return m
}

// TestInboxGlobal: a message that changes two databases changes both once, or none; it is
// not acknowledged before that is decided.
func TestInboxGlobal(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		for mode, opts := range globalModes(s) {
			t.Run(mode, func(t *testing.T) {
				bus := embedded(t)
				r := newInboxRig(t, s, open(t, s, s.dsn(t)))
				away := open(t, s, s.dsn(t))
				mustExec(t, away, "CREATE TABLE far (id bigint PRIMARY KEY, n bigint NOT NULL)")
				mustExec(t, away, "INSERT INTO far VALUES (1, 0)")
				in := r.open(r.db, inbox.Config{Global: true, Options: append([]gtx.Option{gtx.WithCoordinator(bus)}, opts...), Wait: 300 * time.Millisecond})
				r.publish("orders.new", "a", nil)
				c, twin := r.durable("c", 30*time.Second), r.durable("twin", 30*time.Second)
				far := func() int {
					var n int
					if err := away.QueryRowContext(t.Context(), "SELECT n FROM far").Scan(&n); err != nil {
						t.Fatal(err)
					}
					return n
				}
				handle := func(before func() error) error {
					return in.Handle(t.Context(), r.next(c), func(ctx context.Context, tx *sql.Tx) error {
						if err := r.effect(ctx, tx, &inbox.Message{ID: "a"}); err != nil {
							return err
						}
						if _, err := away.ExecContext(ctx, "UPDATE far SET n = n + 1 WHERE id = 1"); err != nil {
							return err
						}
						return before()
					})
				}
				if err := handle(func() error { return errUndo }); !errors.Is(err, errUndo) {
					t.Fatalf("got %v", err)
				}
				clean(t, r.db)
				clean(t, away)
				r.once(0)
				if n := far(); n != 0 {
					t.Errorf("n = %d after an abort", n)
				}
				// The row may stay, or not: the twin is neither told that it has taken effect, nor run.
				held, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
				go func() {
					done <- handle(func() error {
						close(held)
						select {
						case <-release:
						case <-t.Context().Done():
						}
						return nil
					})
				}()
				<-held
				local := r.open(r.db, inbox.Config{Wait: 300 * time.Millisecond})
				if s.driver != "gtx-sqlite" {
					err := local.Handle(t.Context(), r.next(twin), func(context.Context, *sql.Tx) error { t.Error("runs"); return nil })
					if err == nil {
						t.Error("acknowledged before the decision")
					}
				}
				close(release)
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				for { // until phase two is done
					err := local.Handle(t.Context(), r.next(twin), func(context.Context, *sql.Tx) error { t.Error("runs"); return nil })
					if err == nil {
						break
					}
				}
				r.once(1)
				if n := far(); n != 1 {
					t.Errorf("n = %d, want 1", n)
				}
			})
		}
	})
}

// TestInboxGlobalUndecided: the local transaction of a message has committed early and its
// global transaction is open. The same message comes by another way, and waits for what
// the decision is: here an abort, after which it runs.
func TestInboxGlobalUndecided(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		for _, commits := range []bool{true, false} {
			t.Run(fmt.Sprint("commits=", commits), func(t *testing.T) {
				bus := embedded(t)
				program := &hook{}
				r := newInboxRig(t, s, openHooked(t, s, s.dsn(t), program, &hook{}))
				in := r.open(r.db, inbox.Config{Global: true, Options: []gtx.Option{gtx.WithCoordinator(bus)}})
				twin := r.open(r.db, inbox.Config{})
				r.publish("orders.new", "a", nil)
				c, d := r.durable("c", 30*time.Second), r.durable("d", 30*time.Second)
				handle := func(ctx context.Context, tx *sql.Tx) error {
					return r.effect(ctx, tx, &inbox.Message{ID: "a"})
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				// The twin is delivered right after the local COMMIT.
				early := r.next(d)
				program.Set(nil, func(text string, err error) error {
					if !strings.HasSuffix(text, "COMMIT") || err != nil { // on MySQL it has company
						return err
					}
					program.Set(nil, nil)
					if err := twin.Handle(t.Context(), early, handle); err == nil {
						t.Error("acknowledged before the decision")
					}
					if !commits {
						cancel()
					}
					return nil
				})
				err := in.Handle(ctx, r.next(c), handle)
				if (err == nil) != commits {
					t.Fatalf("got %v", err)
				}
				clean(t, r.db)
				for {
					if err := twin.Handle(t.Context(), r.next(d), handle); err == nil {
						break
					}
				}
				r.once(1)
			})
		}
	})
}

// TestInboxInside: a message is not acknowledged inside somebody else's transaction.
func TestInboxInside(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		bus := embedded(t)
		r := newInboxRig(t, s, open(t, s, s.dsn(t)))
		r.publish("orders.new", "a", nil)
		c := r.durable("c", 30*time.Second)
		msg := r.next(c)
		for _, global := range []bool{false, true} {
			in := r.open(r.db, inbox.Config{Global: global, Options: []gtx.Option{gtx.WithCoordinator(bus)}})
			err := gtx.Run(t.Context(), func(ctx context.Context) error {
				if err := in.Consume(ctx, inbox.Source{Stream: "ORDERS"}, r.effect); !errors.Is(err, inbox.ErrInside) {
					t.Errorf("Consume: got %v", err)
				}
				return in.Handle(ctx, msg, func(context.Context, *sql.Tx) error { t.Error("runs"); return nil })
			}, gtx.WithCoordinator(bus))
			if !errors.Is(err, inbox.ErrInside) {
				t.Errorf("got %v, want ErrInside", err)
			}
		}
		in := r.open(r.db, inbox.Config{})
		if err := in.Handle(t.Context(), msg, func(ctx context.Context, tx *sql.Tx) error { return r.effect(ctx, tx, &inbox.Message{ID: "a"}) }); err != nil {
			t.Error(err) // and it was not answered before
		}
		r.once(1)
	})
}

// TestInboxPurge removes what is old, has taken effect and nobody holds; nothing else.
func TestInboxPurge(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		r := newInboxRig(t, s, open(t, s, s.dsn(t)))
		in := r.open(r.db, inbox.Config{Keep: time.Hour, KeepDead: 3 * time.Hour})
		r.open(r.db, inbox.Config{Name: "other"})
		at := func(age time.Duration) int64 { return time.Now().Add(-age).UnixMicro() }
		put := func(name, id string, state int, age time.Duration) {
			mustExec(t, r.db, fmt.Sprintf("INSERT INTO gtx_inbox (consumer, id, at, state, xid) VALUES ('%s', '%s', %d, %d, '')", name, id, at(age), state))
		}
		dead := func(id string, age time.Duration) {
			mustExec(t, r.db, fmt.Sprintf("INSERT INTO gtx_inbox_dead (consumer, id, subject, header, body, error, at, deliveries, sent, replay) VALUES ('billing', '%s', 's', '', '', '', %d, 1, 1, 0)", id, at(age)))
		}
		for i := range 1203 {
			put("billing", fmt.Sprintf("old-%d", i), 1+2*(i%2), 2*time.Hour)
		}
		put("billing", "young", 1, 30*time.Minute)
		put("other", "old", 1, 2*time.Hour)
		put("billing", "#made", 0, 9*time.Hour)
		put("billing", "dead", 2, 2*time.Hour)
		dead("dead", 2*time.Hour)
		put("billing", "dead-old", 2, 4*time.Hour)
		dead("dead-old", 4*time.Hour)
		for id, age := range map[string]time.Duration{"young": 2 * time.Minute, "dead": time.Second, "unhandled": 2 * time.Minute} {
			mustExec(t, r.db, fmt.Sprintf("INSERT INTO gtx_inbox_try (consumer, id, tries, error, at) VALUES ('billing', '%s', 1, '', %d)", id, at(age)))
		}
		if n, err := in.Purge(t.Context(), time.Now().Add(-3*time.Hour)); err != nil || n != 3 {
			t.Errorf("removed %d, %v, want the dead one, twice, and the count of a message that was handled", n, err)
		}
		if n := r.number("SELECT count(*) FROM gtx_inbox_try WHERE id IN ('dead', 'unhandled')"); n != 2 {
			t.Errorf("%d counts of tries are left, want 2", n)
		}
		want := 1203
		if s.driver != "gtx-sqlite" { // somebody holds one
			tx, err := r.db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			if _, err := tx.ExecContext(t.Context(), "UPDATE gtx_inbox SET state = 1 WHERE consumer = 'billing' AND id = 'old-1'"); err != nil {
				t.Fatal(err)
			}
			want--
		}
		if n, err := in.Purge(t.Context(), time.Now()); err != nil || n != want {
			t.Errorf("removed %d, %v, want %d", n, err, want)
		}
		if n := r.number("SELECT count(*) FROM gtx_inbox WHERE id IN ('young', 'old', '#made', 'dead')"); n != 4 {
			t.Errorf("%d of 4 rows are left", n)
		}
	})
}
