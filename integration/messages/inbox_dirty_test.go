package messages

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/globaltx/globaltx/natsbus/inbox"
)

// TestInboxReadUncommitted refuses a program whose sessions would take a delivery that is under
// way for done.
func TestInboxReadUncommitted(t *testing.T) {
	for _, s := range servers() {
		name := map[string]string{"mysql": "transaction_isolation", "mariadb": "tx_isolation"}[s.name]
		if name == "" {
			continue // the others have no such level
		}
		t.Run(s.name, func(t *testing.T) {
			db := open(t, s, withParam(s.dsn(t), name+"=%27READ-UNCOMMITTED%27"))
			if _, err := inbox.Open(t.Context(), db, inbox.Config{Name: "billing"}); err == nil || !strings.Contains(err.Error(), "READ UNCOMMITTED") {
				t.Errorf("got %v", err)
			}
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
