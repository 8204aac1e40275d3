package messages

import (
	"context"
	crand "crypto/rand"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/natsbus/inbox"
)

// broker is a NATS server with JetStream that can be stopped and started again.
type broker struct {
	dir  string
	port int
	srv  *natsserver.Server
}

func startBroker(t testing.TB) *broker {
	t.Helper()
	b := &broker{dir: t.TempDir(), port: natsserver.RANDOM_PORT}
	b.start(t)
	t.Cleanup(b.stop)
	return b
}

func (b *broker) start(t testing.TB) {
	t.Helper()
	srv, err := natsserver.NewServer(&natsserver.Options{
		JetStream: true, StoreDir: b.dir, Host: "127.0.0.1", Port: b.port, NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Start()
	if !srv.ReadyForConnections(30 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	b.srv = srv
	_, _ = fmt.Sscanf(srv.ClientURL(), "nats://127.0.0.1:%d", &b.port)
}

func (b *broker) stop() {
	b.srv.Shutdown()
	b.srv.WaitForShutdown()
}

func (b *broker) jetStream(t testing.TB) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(b.srv.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// inboxRig is a stream, and a database with a table of effects.
type inboxRig struct {
	t  testing.TB
	s  server
	db *sql.DB
	b  *broker
	js jetstream.JetStream
}

var quietLog = slog.New(slog.NewTextHandler(io.Discard, nil))

func newInboxRig(t testing.TB, s server, db *sql.DB) *inboxRig {
	t.Helper()
	b := startBroker(t)
	r := &inboxRig{t, s, db, b, b.jetStream(t)}
	_, err := r.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}, MaxMsgSize: -1})
	if err != nil {
		t.Fatal(err)
	}
	// No two effects are one row, so that a second one is seen.
	mustExec(t, db, "CREATE TABLE effect (uid varchar(64) PRIMARY KEY, id varchar(200) NOT NULL)")
	return r
}

func (r *inboxRig) open(db *sql.DB, cfg inbox.Config) *inbox.Inbox {
	r.t.Helper()
	if cfg.Name == "" {
		cfg.Name = "billing"
	}
	if cfg.JetStream == nil {
		cfg.JetStream = r.js
	}
	cfg.Logger = quietLog
	in, err := inbox.Open(r.t.Context(), db, cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return in
}

// effect is the handler that most tests use.
func (r *inboxRig) effect(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO effect (uid, id) VALUES ("+r.s.holder(1)+", "+r.s.holder(2)+")", crand.Text(), m.ID)
	return err
}

func (r *inboxRig) publish(subject, id string, body []byte) {
	r.t.Helper()
	m := &nats.Msg{Subject: subject, Header: nats.Header{}, Data: body}
	if id != "" {
		m.Header.Set(jetstream.MsgIDHeader, id)
	}
	if _, err := r.js.PublishMsg(r.t.Context(), m); err != nil {
		r.t.Fatal(err)
	}
}

// durable makes a consumer whose messages the test takes itself.
func (r *inboxRig) durable(name string, ackWait time.Duration) jetstream.Consumer {
	r.t.Helper()
	c, err := r.js.CreateConsumer(r.t.Context(), "ORDERS", jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// next takes one message, and waits for it.
func (r *inboxRig) next(c jetstream.Consumer) jetstream.Msg {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 60*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if m, err := c.Next(jetstream.FetchMaxWait(2 * time.Second)); err == nil {
			return m
		}
	}
	r.t.Fatal("no message comes")
	return nil
}

// number is the answer of a query with one number.
func (r *inboxRig) number(query string) int {
	r.t.Helper()
	var n int
	if err := r.db.QueryRowContext(context.Background(), query).Scan(&n); err != nil {
		r.t.Fatalf("%s: %v", query, err)
	}
	return n
}

// once checks that n messages have taken effect, none of them twice.
func (r *inboxRig) once(n int) {
	r.t.Helper()
	if all, ids := r.number("SELECT count(*) FROM effect"), r.number("SELECT count(DISTINCT id) FROM effect"); all != n || ids != n {
		r.t.Errorf("%d effects of %d messages, want %d of %d", all, ids, n, n)
	}
}

// consume runs Consume until the test ends, or stop is called.
func (r *inboxRig) consume(in *inbox.Inbox, src inbox.Source, fn inbox.Handler) (stop func()) {
	r.t.Helper()
	src.Stream = "ORDERS"
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.Consume(ctx, src, fn) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("consume: %v", err)
		}
	}
	r.t.Cleanup(stop)
	return stop
}
