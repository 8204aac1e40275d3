package messages

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/natsbus/outbox"
)

// impatient relays look at once for what others have published.
func impatient(nc *nats.Conn) outbox.Config {
	return outbox.Config{Conn: nc, PollInterval: 20 * time.Millisecond, PublishTimeout: time.Second, Batch: 64}
}

// ordered checks that the stream has want messages of each key, "key n" with n from 1,
// each once and in order.
func ordered(t *testing.T, m *mail, want map[string]int) {
	t.Helper()
	total := 0
	for _, n := range want {
		total += n
	}
	got, had := map[string]int{}, map[string]bool{}
	for _, msg := range m.messages(t, total) {
		key, number, _ := strings.Cut(string(msg.Data), " ")
		if n, err := strconv.Atoi(number); err != nil || n != got[key]+1 || msg.Header.Get("Gtx-Key") != key {
			t.Errorf("key %s: %q after number %d", key, msg.Data, got[key])
		}
		got[key]++
		if id := msg.Header.Get("Nats-Msg-Id"); had[id] {
			t.Errorf("message %s came twice", id)
		} else {
			had[id] = true
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("messages by key (-want +got):\n%s", d)
	}
}

// TestOutboxOrder has three relays and six publishers, each with a key of its own, and all
// with one that they order by a row lock.
func TestOutboxOrder(t *testing.T) {
	t.Parallel()
	const publishers, each = 6, 40
	onEach(t, func(t *testing.T, s server) {
		t.Parallel()
		m, dsn := newMail(t), s.dsn(t)
		db := open(t, s, dsn)
		itemTable(t, db)
		o := openBox(t, db, impatient(m.nc))
		relays := []*outbox.Outbox{o}
		for range 2 {
			relays = append(relays, openBox(t, open(t, s, dsn), impatient(m.connect(t))))
		}
		var all sync.WaitGroup
		for g := range publishers {
			all.Go(func() {
				for n := 1; n <= each; n++ {
					if err := publishBoth(t.Context(), db, o, fmt.Sprintf("own%d", g), n); err != nil {
						t.Errorf("publish: %v", err)
						return
					}
				}
			})
		}
		all.Wait()
		want := map[string]int{"shared": publishers * each}
		for g := range publishers {
			want[fmt.Sprintf("own%d", g)] = each
		}
		drained(t, o)
		ordered(t, m, want)
		var n int64
		for _, r := range relays {
			n += stats(t, r).Published
		}
		if want := int64(2 * publishers * each); n != want {
			t.Errorf("the relays have published %d, want %d", n, want)
		}
	})
}

// publishBoth publishes a message of an own key, and one of the key "shared" with the number
// that a row gives, whose lock orders it.
func publishBoth(ctx context.Context, db *sql.DB, o *outbox.Outbox, key string, n int) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "UPDATE item SET n = n + 1 WHERE id = 1"); err != nil {
		return err
	}
	var shared int
	if err := tx.QueryRowContext(ctx, "SELECT n FROM item WHERE id = 1").Scan(&shared); err != nil {
		return err
	}
	for _, m := range []outbox.Message{
		{Subject: "box.own", Key: key, Body: fmt.Append(nil, key, " ", n)},
		{Subject: "box.shared", Key: "shared", Body: fmt.Append(nil, "shared ", shared-100)},
	} {
		if _, err := o.Publish(ctx, tx, m); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// backlog publishes keys*each messages that no relay takes yet.
func backlog(t *testing.T, db *sql.DB, keys, each int) map[string]int {
	t.Helper()
	o := openBox(t, db, outbox.Config{})
	want := map[string]int{}
	var list []outbox.Message
	for n := 1; n <= each; n++ {
		for k := range keys {
			key := fmt.Sprintf("k%d", k)
			want[key] = each
			list = append(list, outbox.Message{Subject: "box." + key, Key: key, Body: fmt.Append(nil, key, " ", n)})
		}
	}
	publishTx(t.Context(), t, db, o, list...)
	return want
}

// at calls do when a relay has sent the n-th message, before that is removed: the order of
// what it does first is open, and that is the point.
func (m *mail) at(t *testing.T, n int, do func()) (done <-chan struct{}) {
	t.Helper()
	over, seen := make(chan struct{}), 0
	sub, err := m.connect(t).Subscribe("box.>", func(*nats.Msg) {
		if seen++; seen == n {
			do()
			close(over)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	return over
}

// TestOutboxRelayKilled breaks all connections of the relays while they publish.
func TestOutboxRelayKilled(t *testing.T) {
	t.Parallel()
	for _, s := range preparing() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			m, dsn := newMail(t), s.dsn(t)
			db := open(t, s, dsn)
			want := backlog(t, db, 10, 60)
			var over []<-chan struct{}
			for _, n := range []int{25, 200} {
				over = append(over, m.at(t, n, func() { kill(t, s, db) }))
			}
			ctx, cancel := context.WithCancel(t.Context())
			var relays []*outbox.Outbox
			for range 2 {
				cfg := impatient(nil)
				relays = append(relays, openBox(t, open(t, s, dsn), cfg))
			}
			var running sync.WaitGroup
			for _, o := range relays {
				nc := m.connect(t)
				running.Go(func() {
					if err := o.Relay(ctx, nc); err != nil {
						t.Errorf("relay: %v", err)
					}
				})
			}
			for _, done := range over {
				<-done
			}
			drained(t, relays[0])
			ordered(t, m, want)
			cancel()
			running.Wait()
		})
	}
}

// kill ends all connections to the database but one of db's.
func kill(t *testing.T, s server, db *sql.DB) {
	ctx := context.Background()
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Errorf("connect to kill: %v", err)
		return
	}
	defer conn.Close()
	if s.family() == "gtx-postgres" {
		if _, err := conn.ExecContext(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"); err != nil {
			t.Errorf("kill: %v", err)
		}
		return
	}
	lines, err := conn.QueryContext(ctx, "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()")
	if err != nil {
		t.Errorf("list connections: %v", err)
		return
	}
	var list []int
	for lines.Next() {
		var id int
		if err := lines.Scan(&id); err != nil {
			t.Errorf("list connections: %v", err)
		}
		list = append(list, id)
	}
	lines.Close()
	for _, id := range list {
		_, _ = conn.ExecContext(ctx, "KILL "+strconv.Itoa(id)) // it may be gone
	}
}

// TestOutboxNATSRestart stops the NATS server while relays publish, and starts it again.
func TestOutboxNATSRestart(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s server) {
		t.Parallel()
		m := newMail(t)
		db := open(t, s, s.dsn(t))
		want := backlog(t, db, 10, 40)
		stop := make(chan struct{})
		over := m.at(t, 50, func() { close(stop) })
		o := openBox(t, db, impatient(m.nc))
		<-stop
		m.node.Stop()
		if n := stats(t, o).Backlog; n == 0 {
			t.Log("the relay was faster than the stop")
		}
		m.node.Restart()
		<-over
		drained(t, o)
		ordered(t, m, want)
	})
}

// TestOutboxSlotTaken has another relay that holds a slot: its messages wait, others go.
func TestOutboxSlotTaken(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s server) {
		t.Parallel()
		m := newMail(t)
		db := open(t, s, s.dsn(t))
		o := openBox(t, db, impatient(m.nc))
		put := func(key string) {
			publishTx(t.Context(), t, db, o, outbox.Message{Subject: "box.a", Key: key, Body: []byte(key)})
		}
		// "a" and "b" are in slots 44 and 37.
		free := take(t, s, db, 44)
		put("a")
		put("b")
		if d := cmp.Diff([]string{"b"}, m.bodies(t, 1)); d != "" {
			t.Fatalf("stream (-want +got):\n%s", d)
		}
		since := free()
		drained(t, o)
		list := m.messages(t, 2)
		if len(list) != 2 || string(list[1].Data) != "a" || list[1].Time.Before(since) {
			t.Errorf("got %d messages, the last one %q of %s, want \"a\" after %s", len(list), list[1].Data, list[1].Time, since)
		}
	})
}

// take holds a slot, as a relay does, until free is called, or for a while. The time is that
// before which nobody else can have it.
func take(t *testing.T, s server, db *sql.DB, slot int) (free func() time.Time) {
	t.Helper()
	if s.driver == "gtx-sqlite" {
		until := time.Now().Add(700 * time.Millisecond)
		mustExec(t, db, "UPDATE gtx_outbox_slot SET owner = 'dead', until = ? WHERE slot = ?", until.UnixMicro(), slot)
		return func() time.Time { return until }
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got int
	if err := tx.QueryRowContext(t.Context(), "SELECT slot FROM gtx_outbox_slot WHERE slot = "+strconv.Itoa(slot)+" FOR UPDATE").Scan(&got); err != nil {
		t.Fatal(err)
	}
	return func() time.Time {
		now := time.Now()
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		return now
	}
}

// TestOutboxDead publishes messages that no stream takes: they stand aside, others of
// their key go on, and an operator brings them back.
func TestOutboxDead(t *testing.T) {
	t.Parallel()
	onEachBox(t, func(t *testing.T, s server, db *sql.DB, m *mail, o *outbox.Outbox) {
		limit := func(n int32) {
			t.Helper()
			if _, err := m.js.UpdateStream(t.Context(), jetstream.StreamConfig{Name: "BOX", Subjects: []string{"box.>"}, MaxMsgSize: n}); err != nil {
				t.Fatal(err)
			}
		}
		limit(1000)
		large := bytes.Repeat([]byte{0, 'x'}, 600_000)
		ids := publishTx(
			t.Context(), t, db, o,
			outbox.Message{Subject: "box.a", Key: "k", Body: large[:2000], Header: nats.Header{"A": {"b"}}},
			outbox.Message{Subject: "box.b", Key: "k", Body: large},
			outbox.Message{Subject: "box.c", Key: "k", Body: []byte("small")},
		)
		if d := cmp.Diff([]string{"small"}, m.bodies(t, 1)); d != "" {
			t.Fatalf("stream (-want +got):\n%s", d)
		}
		drained(t, o)
		dead, err := o.Dead(t.Context(), 10)
		if err != nil || len(dead) != 2 {
			t.Fatalf("got %d dead messages, error %v, want 2", len(dead), err)
		}
		why := map[string]string{ids[0]: "message size exceeds maximum allowed", ids[1]: "maximum payload exceeded"}
		for _, d := range dead {
			if !strings.Contains(d.Error, why[d.ID]) || d.Key != "k" || time.Since(d.Died).Abs() > time.Hour {
				t.Errorf("dead message %+v, want error %q", d, why[d.ID])
			}
		}
		if st := stats(t, o); st.Dead != 2 || st.Died != 2 || st.Backlog != 0 {
			t.Errorf("got %+v, want 2 dead", st)
		}

		limit(-1)
		if err := o.Replay(t.Context(), ids[0]); err != nil {
			t.Fatal(err)
		}
		msg := m.messages(t, 2)[1]
		if !bytes.Equal(msg.Data, large[:2000]) || msg.Header.Get("Nats-Msg-Id") != ids[0] || msg.Header.Get("A") != "b" || msg.Header.Get("Gtx-Key") != "k" {
			t.Errorf("the replayed message is not what it was: %d bytes, header %v", len(msg.Data), msg.Header)
		}
		for _, id := range []string{ids[0], ids[2], "", "x' OR 'a' = 'a", strings.Repeat("0", 32)} {
			if err := o.Replay(t.Context(), id); !errors.Is(err, outbox.ErrNotDead) {
				t.Errorf("replay of %q: got %v, want ErrNotDead", id, err)
			}
		}

		// Retention: what is new stays.
		mustExec(t, db, "INSERT INTO gtx_outbox_dead (id, slot, pos, subject, okey, header, size, body, error, died)"+
			" SELECT '00000000000000000000000000000000', slot, pos, subject, okey, header, size, body, error, 1 FROM gtx_outbox_dead")
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
		again := openBox(t, db, outbox.Config{Conn: m.nc})
		awaitBox(t, "the end of the old dead message", func() bool { return stats(t, again).Dead == 1 })
		if dead, err = again.Dead(t.Context(), 10); err != nil || len(dead) != 1 || dead[0].ID != ids[1] {
			t.Errorf("got %v, %v, want the dead message %s only", dead, err, ids[1])
		}
	})
}

// TestOutboxNoStream publishes where no stream is yet: the messages of that subject wait, and
// those of their keys, visibly, and no others.
func TestOutboxNoStream(t *testing.T) {
	t.Parallel()
	onEachBox(t, func(t *testing.T, _ server, db *sql.DB, m *mail, o *outbox.Outbox) {
		publishTx(
			t.Context(), t, db, o,
			outbox.Message{Subject: "later.a", Key: "k", Body: []byte("k 1")},
			outbox.Message{Subject: "box.a", Key: "k", Body: []byte("k 2")},
			outbox.Message{Subject: "later.a"},
			outbox.Message{Subject: "box.a", Key: "other", Body: []byte("other 1")},
			outbox.Message{Subject: "box.a", Key: "other", Body: []byte("other 2")},
		)
		if d := cmp.Diff([]string{"other 1", "other 2"}, m.bodies(t, 2)); d != "" {
			t.Fatalf("stream (-want +got):\n%s", d)
		}
		awaitBox(t, "a failing subject, and the end of what was published", func() bool {
			st := stats(t, o)
			return st.Failing == 1 && st.Backlog == 3
		})
		if st := stats(t, o); st.LastError == "" || st.Oldest <= 0 || st.Retries == 0 {
			t.Errorf("got %+v, want an error and an age", st)
		}
		later, err := m.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "LATER", Subjects: []string{"later.>"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := m.bodies(t, 3); got[2] != "k 2" {
			t.Errorf("got %q, want k 2 at the end", got)
		}
		first, err := later.GetMsg(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if last := m.messages(t, 3)[2]; first.Time.After(last.Time) {
			t.Error("of one key the later message went first")
		}
		drained(t, o)
		if st := stats(t, o); st.Failing != 0 || st.LastError != "" {
			t.Errorf("got %+v, want nothing that fails", st)
		}
	})
}
