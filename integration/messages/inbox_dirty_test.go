package messages

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/globaltx/globaltx/natsbus/inbox"
)

// TestInboxReadUncommitted has a second delivery come while the first is under way, in a
// program whose sessions see what is not committed: it is not taken for done.
func TestInboxReadUncommitted(t *testing.T) {
	for _, s := range servers() {
		name := map[string]string{"mysql": "transaction_isolation", "mariadb": "tx_isolation"}[s.name]
		if name == "" {
			continue // the others have no such level
		}
		t.Run(s.name, func(t *testing.T) {
			r := newInboxRig(t, s, open(t, s, withParam(s.dsn(t), name+"=%27READ-UNCOMMITTED%27")))
			in := r.open(r.db, inbox.Config{Wait: 300 * time.Millisecond})
			one, two := r.durable("one", time.Minute), r.durable("two", time.Minute)
			r.publish("orders.new", "a", []byte("x"))
			inside, release, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
			go func() {
				ended <- in.Handle(context.Background(), r.next(one), func(context.Context, *sql.Tx) error {
					close(inside)
					<-release
					return errUndo
				})
			}()
			<-inside
			if err := r.next(two).Nak(); err != nil {
				t.Fatal(err)
			}
			m := r.next(two)
			if err := in.Handle(t.Context(), m, func(context.Context, *sql.Tx) error { return nil }); err == nil {
				t.Error("a delivery beside one that is under way was taken for done")
			}
			close(release)
			if err := <-ended; !errors.Is(err, errUndo) {
				t.Errorf("the first delivery: %v", err)
			}
			err := in.Handle(t.Context(), r.next(two), func(ctx context.Context, tx *sql.Tx) error { return r.effect(ctx, tx, &inbox.Message{ID: "a"}) })
			if err != nil {
				t.Error(err)
			}
			r.once(1)
		})
	}
}

// TestInboxErrorOfAnother: that a handler speaks of another message that was put aside says
// nothing of its own.
func TestInboxErrorOfAnother(t *testing.T) {
	s := servers()[0]
	r := newInboxRig(t, s, open(t, s, s.dsn(t)))
	in := r.open(r.db, inbox.Config{})
	r.publish("orders.new", "a", []byte("x"))
	var tries atomic.Int32
	r.consume(in, inbox.Source{}, func(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
		if tries.Add(1) == 1 {
			return fmt.Errorf("hand over to the other inbox: %w", inbox.ErrDead)
		}
		return r.effect(ctx, tx, m)
	})
	eventually(t, "handled", func() bool { return in.Stats().Handled == 1 })
	r.once(1)
	if st := in.Stats(); st.Dead != 0 {
		t.Errorf("got %+v", st)
	}
}

// TestInboxServerRollsBack has the server end the local transaction of a handler that says
// nothing of it: the message has not taken effect.
func TestInboxServerRollsBack(t *testing.T) {
	for _, s := range servers() {
		if s.family() != "gtx-mysql" {
			continue // on the others COMMIT fails
		}
		t.Run(s.name, func(t *testing.T) {
			r := newInboxRig(t, s, open(t, s, s.dsn(t)))
			in := r.open(r.db, inbox.Config{})
			r.publish("orders.new", "a", []byte("x"))
			var tries atomic.Int32
			r.consume(in, inbox.Source{}, func(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
				if err := r.effect(ctx, tx, m); err != nil || tries.Add(1) > 1 {
					return err
				}
				_, err := tx.ExecContext(ctx, "ROLLBACK") // as a deadlock does
				return err
			})
			eventually(t, "handled", func() bool { return in.Stats().Handled == 1 })
			r.once(1)
			if tries.Load() != 2 {
				t.Errorf("%d tries, want 2", tries.Load())
			}
		})
	}
}
