package messages

import (
	"bytes"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/natsbus/outbox"
)

// letters makes the stream of dead letters, whose messages have a size limit.
func (m *mail) letters(t *testing.T, limit int32) *mail {
	t.Helper()
	stream, err := m.js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "DEAD", Subjects: []string{"dead.>"}, MaxMsgSize: limit})
	if err != nil {
		t.Fatal(err)
	}
	return &mail{m.node, m.nc, m.js, stream}
}

// TestOutboxDeadLetter publishes what no stream takes: its letter waits for a stream without
// holding up others, and leaves out what is too large for that.
func TestOutboxDeadLetter(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s server) {
		t.Parallel()
		m := newMail(t)
		db := open(t, s, s.dsn(t))
		if _, err := m.js.UpdateStream(t.Context(), jetstream.StreamConfig{Name: "BOX", Subjects: []string{"box.>"}, MaxMsgSize: 1000}); err != nil {
			t.Fatal(err)
		}
		o := openBox(t, db, outbox.Config{Conn: m.nc, DeadSubject: "dead.box"})
		large := bytes.Repeat([]byte{0, '\''}, 600_000)
		const key = `k'\ü`
		ids := publishTx(
			t.Context(), t, db, o,
			outbox.Message{Subject: "box.ü", Key: key, Body: large[:2000], Header: nats.Header{"A": {key}}},
			outbox.Message{Subject: "box.b", Key: key, Body: large},
			outbox.Message{Subject: "box.c", Key: key, Body: []byte("small")},
		)
		if got := m.bodies(t, 1); got[0] != "small" {
			t.Fatalf("got %q", got)
		}
		awaitBox(t, "two letters that wait", func() bool {
			st := stats(t, o)
			return st.Backlog == 2 && st.Dead == 2 && st.Died == 2 && st.Failing == 1
		})
		dead := m.letters(t, -1)
		check := func(n int, id, subject, body, header string, size int) {
			t.Helper()
			for _, msg := range dead.messages(t, n) {
				if h := msg.Header; h.Get(outbox.HeaderDeadID) == id {
					if msg.Subject != "dead.box" || h.Get(outbox.HeaderDeadSubject) != subject || h.Get(outbox.HeaderDeadError) == "" || h.Get("Nats-Msg-Id") == id ||
						h.Get("Gtx-Key") != key || h.Get(outbox.HeaderDeadOutbox) != h.Get("Gtx-Source") ||
						h.Get(outbox.HeaderDeadBody) != body || h.Get(outbox.HeaderDeadHeader) != header || len(msg.Data) != size || (h.Get("A") == "") == (subject == "box.ü" && header == "") {
						t.Errorf("letter of %s: %q, %d bytes", subject, h, len(msg.Data))
					}
					return
				}
			}
			t.Errorf("no letter of %s", subject)
		}
		check(2, ids[0], "box.ü", "", "", 2000)
		check(2, ids[1], "box.b", "left out", "", 0)
		drained(t, o)

		dead.letters(t, 1000) // less than a body of 2000
		one := publishTx(t.Context(), t, db, o, outbox.Message{Subject: "box.ü", Key: key, Body: large[:2000], Header: nats.Header{"A": {"a"}}})
		check(3, one[0], "box.ü", "left out", "", 0)
		one = publishTx(t.Context(), t, db, o, outbox.Message{Subject: "box.ü", Key: key, Body: large[:10], Header: nats.Header{"A": {strings.Repeat("a", 3000)}}})
		check(4, one[0], "box.ü", "left out", "left out", 0)
		drained(t, o)

		dead.letters(t, 10) // no letter fits: it is put aside itself
		publishTx(t.Context(), t, db, o, outbox.Message{Subject: "box.ü", Key: key, Body: large[:2000]})
		awaitBox(t, "a letter that is put aside", func() bool { st := stats(t, o); return st.Dead == 6 && st.Backlog == 0 })
		list, err := o.Dead(t.Context(), 10)
		if err != nil || list[5].Subject != "dead.box" {
			t.Errorf("got %+v, %v", list, err)
		}
		dead.letters(t, -1)
		if err := o.Replay(t.Context(), list[5].ID); err != nil {
			t.Fatal(err)
		}
		check(5, list[4].ID, "box.ü", "left out", "left out", 0)
	})
}

// TestOutboxDeadLetterOnce loses the COMMIT that puts a message aside, or its answer: there
// is one dead message and one letter.
func TestOutboxDeadLetterOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s server) {
		t.Parallel()
		for _, arrives := range []bool{true, false} {
			m := newMail(t)
			dead := m.letters(t, -1)
			if _, err := m.js.UpdateStream(t.Context(), jetstream.StreamConfig{Name: "BOX", Subjects: []string{"box.>"}, MaxMsgSize: 1000}); err != nil {
				t.Fatal(err)
			}
			program := &hook{}
			db := openHooked(t, s, s.dsn(t), program, &hook{})
			var buried, lost atomic.Bool
			lose := func(text string) error {
				if strings.HasPrefix(text, "INSERT INTO") && strings.Contains(text, "gtx_outbox_dead (") {
					buried.Store(true)
				}
				if strings.HasPrefix(text, "COMMIT") && buried.Load() && !lost.Swap(true) {
					return sqldriver.ErrBadConn // the connection is gone with it
				}
				return nil
			}
			if arrives {
				program.Set(nil, func(text string, err error) error { return errors.Join(err, lose(text)) })
			} else {
				program.Set(lose, nil)
			}
			o := openBox(t, db, outbox.Config{Conn: m.nc, DeadSubject: "dead.box"})
			publishOnce(t, db, o)
			awaitBox(t, "the letter", func() bool { return lost.Load() && stats(t, o).Dead == 1 })
			drained(t, o)
			if n := len(dead.messages(t, 1)); n != 1 {
				t.Errorf("arrives=%t: %d letters, want 1", arrives, n)
			}
		}
	})
}

func publishOnce(t *testing.T, db *sql.DB, o *outbox.Outbox) {
	t.Helper()
	if _, err := o.Publish(t.Context(), db, outbox.Message{Subject: "box.a", Body: make([]byte, 2000)}); err != nil {
		t.Fatal(err)
	}
}

// TestOutboxManyFail: behind more messages than are remembered by name whose subjects fail, each by itself, one of
// a good subject arrives, and when there is a stream the others do.
func TestOutboxManyFail(t *testing.T) {
	t.Parallel()
	s, m := servers()[0], newMail(t)
	db := open(t, s, sqliteDSN(t))
	quiet := openBox(t, db, outbox.Config{})
	const n = 1100
	var list []outbox.Message
	for i := range n {
		list = append(list, outbox.Message{Subject: fmt.Sprintf("none.%d", i)})
	}
	publishTx(t.Context(), t, db, quiet, append(list, outbox.Message{Subject: "box.good", Body: []byte("good")})...)
	o := openBox(t, db, outbox.Config{Conn: m.nc, Logger: quietLog})
	m.messages(t, 1)
	awaitBox(t, "more failures than are remembered by name", func() bool { return stats(t, o).Failing > 1024 })
	if _, err := m.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "NONE", Subjects: []string{"none.>"}}); err != nil {
		t.Fatal(err)
	}
	drained(t, o)
	if st := stats(t, o); st.Published != n+1 || st.Dead != 0 {
		t.Errorf("got %+v", st)
	}
}
