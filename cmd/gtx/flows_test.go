package main

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/internal/testserver/natstest"
	"github.com/globaltx/globaltx/natsbus/flow"
	"github.com/globaltx/globaltx/natsbus/inbox"
	"github.com/globaltx/globaltx/natsbus/outbox"
)

// TestShowsFlows looks at a flow of which one service has failed and another cannot undo, and
// ends the wait by hand. Both services and the sender share a database.
func TestShowsFlows(t *testing.T) {
	for name, dsn := range messKinds() {
		t.Run(name, func(t *testing.T) {
			nc, err := nats.Connect(natstest.Start(t, 1).URL())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(nc.Close)
			js, err := jetstream.New(nc)
			if err != nil {
				t.Fatal(err)
			}
			target, err := parseTarget(dsn(t))
			if err != nil {
				t.Fatal(err)
			}
			side, err := target.open(true, 8)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { side.DB.Close() })
			m := &mess{T: t, dsn: target.text}
			m.gtx(exitError, []string{"show", m.dsn, strings.Repeat("0", 32)}, "no flow 0000")

			quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
			box, err := outbox.Open(t.Context(), side.DB, outbox.Config{Conn: nc, Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { box.Close() })
			none := func(context.Context, *sql.Tx, *flow.Message) error { return nil }
			steps := map[string]flow.Step{
				"shop": {Do: none, Undo: none},
				"stock": {Do: none, Undo: func(context.Context, *sql.Tx, *flow.Message) error {
					return errors.New("the parcel has gone\x1b[2J")
				}},
				"billing": {Do: func(context.Context, *sql.Tx, *flow.Message) error {
					return inbox.Permanent(errors.New("the card is declined"))
				}, Undo: none},
			}
			services := map[string]*flow.Service{}
			for name, step := range steps {
				s, err := flow.Open(t.Context(), side.DB, flow.Config{Name: name, Outbox: box, JetStream: js, Logger: quiet, MaxTries: 1, Resend: 500 * time.Millisecond})
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Handle("order", step); err != nil {
					t.Fatal(err)
				}
				services[name] = s
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, len(services))
			runAll := func(names ...string) {
				for _, name := range names {
					go func() { done <- services[name].Run(ctx) }()
				}
			}
			t.Cleanup(func() {
				cancel()
				for range services {
					if err := <-done; err != nil {
						t.Error(err)
					}
				}
			})
			runAll("shop", "stock")
			tx, err := side.DB.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			id, err := services["shop"].Start(t.Context(), tx, flow.Start{Kind: "order", To: []string{"stock", "billing"}, Body: []byte("a secret")})
			if err != nil {
				t.Fatal(err)
			}
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			await := func(what string, ok func(f *flow.Flow) bool) {
				t.Helper()
				for deadline := time.Now().Add(time.Minute); ; {
					f, err := services["shop"].Flow(t.Context(), id)
					if err == nil && ok(f) {
						return
					}
					if time.Now().After(deadline) {
						t.Fatalf("a minute has passed without %s: %+v, %v", what, f, err)
					}
					<-time.After(5 * time.Millisecond)
				}
			}
			await("stock being done", func(f *flow.Flow) bool { return f.To[1].State == flow.Done })
			m.gtx(exitOK, []string{"ls", m.dsn}, "SERVICES", id+` +\d+s +shop +order +running +1 done, 1 waiting +-`)
			m.gtx(exitOK, []string{"ls", "--stuck", m.dsn}, "no global transaction is stuck")
			runAll("billing")
			await("stock failing to undo", func(f *flow.Flow) bool { return f.Stuck() })
			m.gtx(exitOK, []string{"ls", "--stuck", m.dsn}, id+` .* undoing +1 done, 1 failed +stock: undo: the parcel has gone\S* *`)
			out := m.gtx(exitOK, []string{"show", m.dsn, id}, "flow "+id, "started by shop as order at", "undoing, failed because of billing: the card is declined",
				`billing +failed +\d{4}.* the card is declined`, `stock +done +\d{4}.* undo: the parcel has gone`, "STEP HERE")
			if strings.Contains(out, "secret") || strings.Contains(out, "\x1b") {
				t.Errorf("it shows too much: %q", out)
			}
			settle := []string{"resolve", m.dsn, id, "--settle", "stock", "--yes"}
			m.gtx(exitUsage, settle, "wants a --reason")
			m.gtx(exitError, []string{"resolve", m.dsn, id, "--settle", "billing", "--yes", "--reason", "x"}, "nothing to settle: service billing")
			m.gtx(exitError, []string{"resolve", m.dsn, "1", "--settle", "stock", "--yes", "--reason", "x"}, "32 hexadecimal digits")
			m.gtx(exitOK, append(settle, "--reason", "called the customer"), "counts as undone")
			await("an end", func(f *flow.Flow) bool { return f.State == flow.Undone })
			m.gtx(exitError, append(settle, "--reason", "called the customer"), "nothing to settle: service stock")
			m.gtx(exitOK, []string{"show", m.dsn, id}, "undone since", `stock +undone .* by hand: called the customer`)
			m.gtx(exitOK, []string{"ls", m.dsn}, "no global transaction has anything left")
			var n int
			if err := side.DB.QueryRow("SELECT count(*) FROM gtx_operator WHERE action = 'settle-step'").Scan(&n); err != nil || n != 1 {
				t.Errorf("%d records of the operator, %v", n, err)
			}
		})
	}
}
