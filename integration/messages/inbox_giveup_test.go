package messages

import (
	"context"
	"database/sql"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/globaltx/globaltx/natsbus/inbox"
)

// TestInboxGiveUp: a program deals with a message that would be put aside. What it writes
// commits with the fact that the message never takes effect; until it succeeds it is asked
// again, and what it declines is put aside.
func TestInboxGiveUp(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		r := newInboxRig(t, s, open(t, s, s.dsn(t)))
		var asked, handled atomic.Int32
		in := r.open(r.db, inbox.Config{GiveUp: func(ctx context.Context, tx *sql.Tx, m *inbox.Message, cause error) (bool, error) {
			if !errors.Is(cause, errUndo) {
				t.Errorf("give up because of %v", cause)
			}
			if err := r.effect(ctx, tx, m); err != nil {
				return false, err
			}
			switch n := asked.Add(1); {
			case n == 1:
				return true, errors.New("not now")
			case n == 2:
				panic("nor now")
			}
			return m.Subject == "orders.bad", nil
		}})
		r.publish("orders.bad", "a", nil)
		r.consume(in, inbox.Source{}, func(_ context.Context, _ *sql.Tx, m *inbox.Message) error {
			handled.Add(1)
			return inbox.Permanent(errUndo)
		})
		eventually(t, "dealt with", func() bool { return r.number("SELECT count(*) FROM effect") == 1 })
		if st := in.Stats(); st.Dead != 0 || asked.Load() != 3 || handled.Load() != 3 {
			t.Errorf("asked %d times, handled %d times, %+v", asked.Load(), handled.Load(), st)
		}
		r.publish("orders.bad", "a2", nil)
		r.publish("orders.poison", "b", nil)
		eventually(t, "put aside", func() bool { return in.Stats().Dead == 1 && r.number("SELECT count(*) FROM effect") == 3 })
		eventually(t, "acknowledged", func() bool {
			l, err := in.Lag(t.Context())
			return err == nil && l.Unacked == 0 && l.Pending == 0
		})
		if n := r.number("SELECT count(*) FROM gtx_inbox_dead"); n != 1 {
			t.Errorf("%d dead letters, want 1", n)
		}
		if n := r.number("SELECT count(*) FROM gtx_inbox_try"); n != 0 {
			t.Errorf("%d counts of tries are left", n)
		}
	})
}
