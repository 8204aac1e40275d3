package messages

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/natsbus/outbox"
)

// TestOutboxGuarded has gtx_guard=on, where plain writes are captured, too: the relay's
// as well as the sender's.
func TestOutboxGuarded(t *testing.T) {
	t.Parallel()
	bus := embedded(t)
	onEach(t, func(t *testing.T, s server) {
		t.Parallel()
		m := newMail(t)
		db := guarded(t, s, s.dsn(t))
		o := openBox(t, db, impatient(m.nc))
		if err := gtx.Run(t.Context(), func(ctx context.Context) error {
			publishTx(ctx, t, db, o, outbox.Message{Subject: "box.a", Key: "k", Body: []byte("k 1")})
			return nil
		}, gtx.WithCoordinator(bus)); err != nil {
			t.Fatal(err)
		}
		publishTx(t.Context(), t, db, o, outbox.Message{Subject: "box.a", Key: "k", Body: []byte("k 2")}, outbox.Message{Subject: "box.a", Key: "k", Body: make([]byte, 2<<20)},
			outbox.Message{Subject: "box.a", Key: "k", Body: []byte("k 3")})
		drained(t, o)
		ordered(t, m, map[string]int{"k": 3})
		dead, err := o.Dead(t.Context(), 1)
		if err != nil || len(dead) != 1 {
			t.Fatalf("got %v, %v, want one dead message", dead, err)
		}
		if err := o.Replay(t.Context(), dead[0].ID); err != nil {
			t.Errorf("replay: %v", err)
		}
		awaitBox(t, "its second death", func() bool { return stats(t, o).Died == 2 })
	})
}

// TestOutboxOneConnection gives the program and the relay one connection in all.
func TestOutboxOneConnection(t *testing.T) {
	t.Parallel()
	onEachBox(t, func(t *testing.T, _ server, db *sql.DB, m *mail, o *outbox.Outbox) {
		db.SetMaxOpenConns(1)
		for n := 1; n <= 20; n++ {
			publishTx(t.Context(), t, db, o, outbox.Message{Subject: "box.a", Key: "k", Body: fmt.Append(nil, "k ", n)})
		}
		ordered(t, m, map[string]int{"k": 20})
		drained(t, o)
	})
}

// TestOutboxTwoSpellings opens one database by two DSNs, and has a trace context in the
// messages.
func TestOutboxTwoSpellings(t *testing.T) {
	t.Parallel()
	type traceKey struct{}
	inject := func(ctx context.Context, header map[string]string) {
		if v, ok := ctx.Value(traceKey{}).(string); ok {
			header["traceparent"] = v
			header["tracestate"] = "a=b"
			header["bad"] = "line\nbreak" // is left out
		}
	}
	onEach(t, func(t *testing.T, s server) {
		t.Parallel()
		m, dsn := newMail(t), s.dsn(t)
		one := open(t, s, dsn)
		two := open(t, s, withParam(dsn, "gtx_lock_wait=7s"))
		sender := openBox(t, one, outbox.Config{Inject: inject})
		openBox(t, two, impatient(m.nc))
		other := openBox(t, two, outbox.Config{Inject: inject})
		ctx := context.WithValue(t.Context(), traceKey{}, "00-trace")
		publishTx(ctx, t, one, sender, outbox.Message{Subject: "box.a", Key: "k"})
		publishTx(ctx, t, two, other, outbox.Message{Subject: "box.a", Key: "k", Header: nats.Header{"traceparent": {"mine"}}})
		publishTx(t.Context(), t, one, sender, outbox.Message{Subject: "box.a", Key: "k"})
		source := ""
		for i, msg := range m.messages(t, 3) {
			want := nats.Header{"Gtx-Key": {"k"}, "Nats-Msg-Id": msg.Header["Nats-Msg-Id"], "Gtx-Source": msg.Header["Gtx-Source"]}
			if i < 2 {
				want["traceparent"], want["tracestate"] = []string{[]string{"00-trace", "mine"}[i]}, []string{"a=b"}
			}
			if d := cmp.Diff(want, msg.Header); d != "" {
				t.Errorf("header of message %d (-want +got):\n%s", i, d)
			}
			if now := msg.Header.Get("Gtx-Source"); source != "" && now != source {
				t.Errorf("one database has the names %s and %s", source, now)
			} else {
				source = now
			}
		}
		drained(t, sender)
	})
}

// TestOutboxManyHeld has more messages of undecided transactions at the head of a slot than
// a relay reads at a time: others come through.
func TestOutboxManyHeld(t *testing.T) {
	t.Parallel()
	bus := embedded(t)
	onEach(t, func(t *testing.T, s server) {
		t.Parallel()
		m := newMail(t)
		db := open(t, s, s.dsn(t))
		cfg := impatient(m.nc)
		cfg.Batch = 4
		o := openBox(t, db, cfg)
		held := make([]outbox.Message, 20)
		for i := range held {
			held[i] = outbox.Message{Subject: "box.held", Key: "a", Body: fmt.Append(nil, "a ", i+1)}
		}
		same := ""
		for i := 0; same == ""; i++ {
			key := fmt.Sprintf("key-%d", i)
			if fnv64(key) == fnv64("a") {
				same = key
			}
		}
		if err := gtx.Run(t.Context(), func(ctx context.Context) error {
			publishTx(ctx, t, db, o, held...)
			publishTx(gtx.Detach(ctx), t, db, o, outbox.Message{Subject: "box.free", Key: same, Body: []byte("free")})
			if d := cmp.Diff([]string{"free"}, m.bodies(t, 1)); d != "" {
				t.Errorf("stream (-want +got):\n%s", d)
			}
			return nil
		}, gtx.WithCoordinator(bus)); err != nil {
			t.Fatal(err)
		}
		drained(t, o)
		for i, body := range m.bodies(t, 21)[1:] {
			if want := fmt.Sprint("a ", i+1); body != want {
				t.Errorf("got %q, want %q", body, want)
			}
		}
	})
}

// fnv64 is the slot of a key.
func fnv64(key string) uint32 {
	h := uint32(2166136261)
	for i := range len(key) {
		h = (h ^ uint32(key[i])) * 16777619
	}
	return h % 64
}

// TestOutboxRelayTwice has one relay an Outbox, and none after Close.
func TestOutboxRelayTwice(t *testing.T) {
	t.Parallel()
	m := newMail(t)
	db := open(t, servers()[0], sqliteDSN(t))
	o := openBox(t, db, outbox.Config{Conn: m.nc})
	if err := o.Relay(t.Context(), m.nc); !errors.Is(err, outbox.ErrRunning) {
		t.Errorf("second relay: got %v, want ErrRunning", err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if err := o.Relay(t.Context(), m.nc); !errors.Is(err, outbox.ErrRunning) {
		t.Errorf("after Close: got %v, want ErrRunning", err)
	}
	closed := openBox(t, db, outbox.Config{})
	nc := m.connect(t)
	nc.Close()
	if err := closed.Relay(t.Context(), nc); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("closed connection: got %v, want ErrConnectionClosed", err)
	}
	plain, err := sql.Open("sqlite", "file:x?mode=memory")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := outbox.Open(t.Context(), plain, outbox.Config{}); err == nil || !strings.Contains(err.Error(), "gtx-") {
		t.Errorf("database of another driver: got %v", err)
	}
}

// serverTime is the clock that orders messages, in microseconds, asked of another session.
func serverTime(t *testing.T, s server, db *sql.DB) (micros int64) {
	t.Helper()
	text := map[string]string{
		"gtx-mysql":    "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))",
		"gtx-postgres": "SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::bigint",
	}[s.family()]
	if text == "" {
		return time.Now().UnixMicro()
	}
	if err := db.QueryRowContext(t.Context(), text).Scan(&micros); err != nil {
		t.Fatal(err)
	}
	return micros
}

// TestOutboxSession publishes in sessions whose settings change what text and times mean.
func TestOutboxSession(t *testing.T) {
	t.Parallel()
	hostile := map[string][]string{
		"gtx-mysql":    {"SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'", "SET NAMES latin1", "SET time_zone = '-11:00'", "SET timestamp = 1000000"},
		"gtx-postgres": {"SET standard_conforming_strings = off", "SET bytea_output = 'escape'", "SET search_path = pg_temp", "SET timezone = 'Asia/Kolkata'", "SET datestyle = 'German'"},
	}
	onEachBox(t, func(t *testing.T, s server, db *sql.DB, m *mail, o *outbox.Outbox) {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		for _, text := range hostile[s.family()] {
			if _, err := tx.ExecContext(t.Context(), text); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
		}
		const odd = `k'\"ü世`
		before := serverTime(t, s, db)
		if _, err := o.Publish(t.Context(), tx, outbox.Message{Subject: "box." + odd, Key: odd, Header: nats.Header{"A": {odd}}, Body: []byte(odd)}); err != nil {
			t.Fatal(err)
		}
		var pos int64
		if err := tx.QueryRowContext(t.Context(), "SELECT pos FROM "+map[string]string{"gtx-postgres": "public."}[s.family()]+"gtx_outbox").Scan(&pos); err != nil {
			t.Fatal(err)
		}
		if after := serverTime(t, s, db); pos < before || pos > after {
			t.Errorf("place %d, want the server's time of now, %d to %d", pos, before, after)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		msg := m.messages(t, 1)[0]
		if msg.Subject != "box."+odd || msg.Header.Get("Gtx-Key") != odd || msg.Header.Get("A") != odd || string(msg.Data) != odd {
			t.Errorf("got subject %q, header %q, body %q", msg.Subject, msg.Header, msg.Data)
		}
		drained(t, o)
		publishTx(t.Context(), t, db, o, outbox.Message{Subject: "none.x"})
		if age := stats(t, o).Oldest; age > time.Hour {
			t.Errorf("the oldest message is %s old", age)
		}
		if _, err := m.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "NONE", Subjects: []string{"none.>"}}); err != nil {
			t.Fatal(err)
		}
		drained(t, o)
	})
}

// TestOutboxEncoding publishes in PostgreSQL sessions that read statements in a character
// set in which a quote or a backslash may be the end of a character, and relays in such ones.
func TestOutboxEncoding(t *testing.T) {
	t.Parallel()
	for _, s := range servers() {
		if s.family() != "gtx-postgres" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			m := newMail(t)
			db := open(t, s, s.dsn(t))
			var name string
			if err := db.QueryRowContext(t.Context(), "SELECT current_database()").Scan(&name); err != nil {
				t.Fatal(err)
			}
			o := openBox(t, db, outbox.Config{})
			// Of each of these the last byte and what follows are one character to one of them.
			const odd = `世\'世'ソ\ü\`
			n := 0
			for _, set := range []string{"GBK", "BIG5", "SJIS", "GB18030", "LATIN1", "UTF8"} {
				// For this session, and for those to come.
				mustExec(t, db, "ALTER DATABASE "+name+" SET client_encoding = '"+set+"'")
				tx, err := db.BeginTx(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := tx.ExecContext(t.Context(), "SET client_encoding = '"+set+"'"); err != nil {
					t.Fatal(err)
				}
				for _, size := range []int{0, 20_000} { // as a literal, and as an argument
					if _, err := o.Publish(t.Context(), tx, outbox.Message{Subject: "box." + odd, Key: odd, Header: nats.Header{"A": {odd}}, Body: []byte(odd + strings.Repeat("x", size))}); err != nil {
						t.Fatalf("%s: %v", set, err)
					}
					n++
				}
				if err := tx.Commit(); err != nil {
					t.Fatal(err)
				}
				db.SetMaxIdleConns(0) // what comes next connects anew
				relay := openBox(t, db, outbox.Config{Conn: m.nc})
				msgs := m.messages(t, n)
				for _, msg := range msgs[n-2:] {
					if msg.Subject != "box."+odd || msg.Header.Get("Gtx-Key") != odd || msg.Header.Get("A") != odd || !strings.HasPrefix(string(msg.Data), odd) {
						t.Errorf("%s: got subject %q, header %q, body %.40q", set, msg.Subject, msg.Header, msg.Data)
					}
				}
				if err := relay.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
