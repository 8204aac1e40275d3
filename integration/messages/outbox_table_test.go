package messages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus/outbox"
)

// TestOutboxReplayTwice replays a dead message many times at once: it comes back once, and
// one of the calls has done it.
func TestOutboxReplayTwice(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s server) {
		t.Parallel()
		db := open(t, s, s.dsn(t))
		o := openBox(t, db, outbox.Config{}) // no relay takes it away meanwhile
		for round := 1; round <= 3; round++ {
			id := fmt.Sprintf("%032d", round)
			mustExec(t, db, "INSERT INTO gtx_outbox_dead (id, slot, pos, subject, okey, header, size, body, error, died) VALUES ('"+id+"', 5, 1, 'box.a', '', NULL, 1, 'a', 'why', 1)")
			const callers = 4
			errs := make([]error, callers)
			var all sync.WaitGroup
			begin := make(chan struct{})
			for i := range errs {
				all.Go(func() {
					<-begin
					errs[i] = o.Replay(t.Context(), id)
				})
			}
			close(begin)
			all.Wait()
			done := 0
			for _, err := range errs {
				if err == nil {
					done++
				} else if !errors.Is(err, outbox.ErrNotDead) {
					t.Error(err)
				}
			}
			if st := stats(t, o); done != 1 || st.Dead != 0 || st.Backlog != int64(round) {
				t.Errorf("round %d: %d calls have replayed it, and there are %d dead and %d that wait", round, done, st.Dead, st.Backlog)
			}
		}
		mustExec(t, db, "DELETE FROM gtx_outbox")
	})
}

// TestOutboxOldTable relays a table of SQLite that has id for a key, and its order in an
// index, as it was made before: messages are published, held, taken back and put aside.
func TestOutboxOldTable(t *testing.T) {
	t.Parallel()
	s, m, bus := servers()[0], newMail(t), embedded(t)
	db := open(t, s, sqliteDSN(t))
	mustExec(t, db, "CREATE TABLE gtx_outbox (id TEXT NOT NULL PRIMARY KEY, slot INTEGER NOT NULL, pos INTEGER NOT NULL, subject TEXT NOT NULL,"+
		" okey TEXT NOT NULL, header TEXT, size INTEGER NOT NULL, body BLOB NOT NULL) WITHOUT ROWID")
	mustExec(t, db, "CREATE INDEX gtx_outbox_order ON gtx_outbox (slot, pos, id)")
	o := openBox(t, db, outbox.Config{Conn: m.nc})
	var ddl string
	if err := db.QueryRowContext(t.Context(), "SELECT group_concat(sql) FROM sqlite_schema WHERE tbl_name = 'gtx_outbox'").Scan(&ddl); err != nil || !strings.Contains(ddl, "gtx_outbox_order") {
		t.Fatalf("the table is %s, %v: want the old one", ddl, err)
	}

	large := strings.Repeat("large", 4000) // is read alone
	publishTx(t.Context(), t, db, o, outbox.Message{Subject: "box.a", Key: "k", Body: []byte("first")}, outbox.Message{Subject: "box.a", Key: "k", Body: []byte(large)})
	want := []string{"first", large}
	if d := cmp.Diff(want, m.bodies(t, 2)); d != "" {
		t.Fatalf("stream (-want +got):\n%s", d)
	}
	for _, no := range []error{errNo, nil} {
		err := gtx.Run(t.Context(), func(ctx context.Context) error {
			publishTx(ctx, t, db, o, outbox.Message{Subject: "box.a", Key: "k", Body: []byte("global")})
			publishTx(gtx.Detach(ctx), t, db, o, outbox.Message{Subject: "box.a", Key: "other", Body: []byte("plain")})
			want = append(want, "plain")
			if d := cmp.Diff(want, m.bodies(t, len(want))); d != "" {
				t.Errorf("stream (-want +got):\n%s", d)
			}
			return no
		}, gtx.WithCoordinator(bus))
		if !errors.Is(err, no) {
			t.Fatal(err)
		}
	}
	want = append(want, "global")
	if d := cmp.Diff(want, m.bodies(t, len(want))); d != "" {
		t.Fatalf("stream (-want +got):\n%s", d)
	}

	ids := publishTx(t.Context(), t, db, o, outbox.Message{Subject: "box.a", Body: bytes.Repeat([]byte("x"), 2<<20), Header: nats.Header{"A": {"b"}}})
	awaitBox(t, "a dead message", func() bool { st := stats(t, o); return st.Dead == 1 && st.Backlog == 0 })
	if err := o.Replay(t.Context(), ids[0]); err != nil {
		t.Fatal(err)
	}
	awaitBox(t, "its second death", func() bool { st := stats(t, o); return st.Died == 2 && st.Dead == 1 && st.Backlog == 0 })
}
