package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/internal/testserver/natstest"
	"github.com/globaltx/globaltx/natsbus/inbox"
	"github.com/globaltx/globaltx/natsbus/outbox"
)

// postRig is a database with an outbox, two inboxes and a stream ORDERS that takes 1000 bytes.
type postRig struct {
	*mess
	db  *sql.DB
	nc  *nats.Conn
	js  jetstream.JetStream
	out *outbox.Outbox
}

func newPostRig(t *testing.T, dsn string) *postRig {
	t.Helper()
	nc, err := nats.Connect(natstest.Run(t, &server.Options{JetStream: true, StoreDir: t.TempDir()}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	r := &postRig{mess: &mess{T: t, dsn: dsn}, nc: nc}
	if r.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	r.limit(1000)
	r.gtx(exitError, []string{"outbox", dsn}, "has no tables of messages")
	target, err := parseTarget(dsn)
	if err != nil {
		t.Fatal(err)
	}
	side, err := target.open(true, 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { side.DB.Close() })
	r.db = side.DB
	if r.out, err = outbox.Open(t.Context(), r.db, outbox.Config{Conn: nc, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.out.Close() })
	return r
}

func (r *postRig) limit(size int32) {
	r.Helper()
	if _, err := r.js.CreateOrUpdateStream(r.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}, MaxMsgSize: size}); err != nil {
		r.Fatal(err)
	}
}

// sent waits for the outbox to have so many messages and dead ones.
func (r *postRig) sent(waiting, dead int64) {
	r.Helper()
	r.until(func() bool {
		s, err := r.out.Stats(r.Context())
		if err != nil {
			r.Fatal(err)
		}
		return s.Backlog == waiting && s.Dead == dead
	})
}

func (r *postRig) until(ok func() bool) {
	r.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.Fatal("a minute has passed")
		}
	}
}

// die has an inbox put its next message aside.
func (r *postRig) die(name string) *inbox.Inbox {
	r.Helper()
	in, err := inbox.Open(r.Context(), r.db, inbox.Config{Name: name, JetStream: r.js})
	if err != nil {
		r.Fatal(err)
	}
	c, err := r.js.CreateOrUpdateConsumer(r.Context(), "ORDERS", jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		r.Fatal(err)
	}
	msg, err := c.Next()
	if err != nil {
		r.Fatal(err)
	}
	err = in.Handle(r.Context(), msg, func(context.Context, *sql.Tx) error { return inbox.Permanent(errors.New("of no use")) })
	if !errors.Is(err, inbox.ErrDead) {
		r.Fatal(err)
	}
	return in
}

// TestOutboxCommand looks at dead messages, replays and drops them, on every server.
func TestOutboxCommand(t *testing.T) {
	for name, dsn := range messKinds() {
		t.Run(name, func(t *testing.T) {
			r := newPostRig(t, dsn(t))
			r.gtx(exitOK, []string{"outbox", r.dsn}, `^outbox: 0 messages wait; 0 dead\n$`)

			secret := bytes.Repeat([]byte("s3cret"), 400)
			id, err := r.out.Publish(t.Context(), r.db, outbox.Message{Subject: "orders.ü", Key: "k1", Header: nats.Header{"X-Token": {"tok\u0085en"}}, Body: secret})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.out.Publish(t.Context(), r.db, outbox.Message{Subject: "none.a"}); err != nil {
				t.Fatal(err)
			}
			r.sent(1, 1)
			if _, err := r.js.PublishMsg(t.Context(), &nats.Msg{Subject: "orders.\x1b[31m", Header: nats.Header{"Nats-Msg-Id": {"a"}}, Data: secret[:12]}); err != nil {
				t.Fatal(err)
			}
			in := r.die("billing")
			r.die("audit")

			out := r.gtx(exitOK, []string{"outbox", r.dsn}, `outbox: 1 message waits, the oldest for \d+s; 1 dead`, `inbox audit: 0 messages failed, to be tried again; 1 dead`,
				`outbox +`+id+` +orders.ü +k1 +2400 +\d+s +- +.*message size exceeds maximum`, `billing +ORDERS/a +orders.\x{FFFD}\[31m +- +12 +\d+s +1 +of no use`)
			for _, bad := range []string{"s3cret", "X-Token", "\x1b"} {
				if strings.Contains(out, bad) {
					t.Errorf("%q is in\n%s", bad, out)
				}
			}
			r.gtx(exitOK, []string{"outbox", r.dsn, "--show", id}, `message `+id+` in the outbox of `, `subject: orders.ü\nkey: k1\n`, `header X-Token: "tok\\u0085en"`, `body, 2400 bytes:\ns3crets3.*\.\.\. \(2400 bytes\)`)
			r.gtx(exitOK, []string{"outbox", "--full", r.dsn, "--show", id}, `bytes:\n(s3cret){400}\n`)
			r.gtx(exitError, []string{"outbox", r.dsn, "--show", "ORDERS/a"}, "is dead in audit and billing: say --from")
			r.gtx(exitOK, []string{"outbox", r.dsn, "--show", "ORDERS/a", "--from", "audit"}, `in inbox audit of `, `body, 12 bytes:\ns3crets3cret\n`)
			r.gtx(exitError, []string{"outbox", r.dsn, "--show", "' OR 1 = 1"}, "no dead message")
			r.gtx(exitError, []string{"outbox", r.dsn, "--from", "it's"}, "has no it's")

			r.limit(-1)
			r.gtx(exitOK, []string{"outbox", r.dsn, "--replay", id}, "the outbox: 1 message given back to the relay")
			r.sent(1, 0)
			r.gtx(exitError, []string{"outbox", r.dsn, "--replay", id}, "no dead message")
			r.gtx(exitOK, []string{"outbox", r.dsn, "--replay", "ORDERS/a", "--from", "billing"}, "inbox billing: 1 message to be handled once more")
			r.gtx(exitOK, []string{"outbox", r.dsn, "--from", "billing"}, `\(to be replayed\) of no use`)
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				done <- in.Consume(ctx, inbox.Source{Stream: "ORDERS", Durable: "billing"}, func(context.Context, *sql.Tx, *inbox.Message) error { return nil })
			}()
			r.until(func() bool { return in.Stats().Replayed == 1 })
			stop()
			if err := <-done; err != nil {
				t.Fatal(err)
			}

			drop := []string{"outbox", r.dsn, "--drop", "ORDERS/a"}
			r.gtx(exitUsage, drop, "wants a --reason")
			r.gtx(exitError, append(drop, "--reason", "x"), "not a terminal")
			r.gtx(exitOK, append(drop, "--reason", "it's done \\ by hand ü", "--yes"), `drop message ORDERS/a of inbox audit in .*\n.*is forgotten, recorded for`)
			r.gtx(exitError, append(drop, "--reason", "x", "--yes"), "no dead message")
			r.gtx(exitOK, []string{"outbox", r.dsn}, `inbox audit: 0 messages failed, to be tried again; 0 dead`)
			r.gtx(exitOK, []string{"outbox", r.dsn, "--replay", "all"}, "the outbox: nothing is dead\ninbox audit: nothing is dead")
			rows, err := r.db.QueryContext(t.Context(), "SELECT tbl, keyh, action, reason FROM gtx_operator")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for n := 0; rows.Next() || n != 1; n++ {
				var tbl, key, action, reason string
				if err := rows.Scan(&tbl, &key, &action, &reason); err != nil || n > 0 {
					t.Fatal(n, err)
				}
				if tbl != "gtx_inbox_dead audit ORDERS/a" || action != "drop-message" || reason != "it's done \\ by hand ü" {
					t.Errorf("recorded %q %q %q %q", tbl, key, action, reason)
				}
			}
		})
	}
}

// TestOutboxAll replays all that is dead, and drops of the outbox.
func TestOutboxAll(t *testing.T) {
	r := newPostRig(t, sqliteMess(t))
	var ids []string
	for range 3 {
		id, err := r.out.Publish(t.Context(), r.db, outbox.Message{Subject: "orders.a", Body: make([]byte, 2000)})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	r.sent(0, 3)
	r.gtx(exitOK, []string{"outbox", r.dsn, "--drop", ids[1], "--yes", "--reason", "test order"}, "is forgotten")
	r.gtx(exitOK, []string{"outbox", r.dsn, "--from", "outbox", "--replay", "all"}, `^the outbox: 2 messages given back`)
	r.sent(0, 2) // they die again
	r.limit(-1)
	r.gtx(exitOK, []string{"outbox", r.dsn, "--replay", "all"}, "2 messages given back")
	r.sent(0, 0)
	out := r.gtx(exitOK, []string{"outbox", r.dsn})
	if regexp.MustCompile(`FROM`).MatchString(out) {
		t.Errorf("a table of nothing: %s", out)
	}
	var tbl, key string
	if err := r.db.QueryRowContext(t.Context(), "SELECT tbl, keyh FROM gtx_operator").Scan(&tbl, &key); err != nil || tbl != "gtx_outbox_dead" || key != ids[1] {
		t.Errorf("recorded %q %q, %v", tbl, key, err)
	}
}

// TestOutboxUsage: what cannot be meant is not done.
func TestOutboxUsage(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"--show", "a", "--drop", "b", "--reason", "x"},
		{"--full"},
		{"--drop", "a"},
		{"--replay", "a", "--yes"},
		{"--limit", "0"},
	} {
		if len(args) > 0 {
			args = append(args, sqliteMess(t))
		}
		var o, e bytes.Buffer
		if code := run(t.Context(), append([]string{"outbox"}, args...), stdio{strings.NewReader(""), &o, &e}); code != exitUsage || e.Len() == 0 {
			t.Errorf("%q: exit code %d, %s", args, code, e.String())
		}
	}
	var o bytes.Buffer
	if code := run(t.Context(), []string{"outbox", "-h"}, stdio{strings.NewReader(""), io.Discard, &o}); code != exitOK || !strings.Contains(o.String(), "--replay") {
		t.Errorf("help: exit code %d, %s", code, o.String())
	}
}
