package outbox_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"expvar"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	_ "github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/natsbus/inbox"
	"github.com/globaltx/globaltx/natsbus/outbox"
)

// metrics gives what a monitoring system wants of an outbox and an inbox. Each look asks
// the database, and the NATS server while the inbox consumes: once in 15 s is plenty.
func metrics(box *outbox.Outbox, in *inbox.Inbox) *expvar.Map {
	vars := new(expvar.Map).Init() // in a program: expvar.NewMap("messages")
	vars.Set("outbox", expvar.Func(func() any {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		s, err := box.Stats(ctx)
		if err != nil {
			return map[string]any{"error": err.Error()}
		}
		return map[string]any{
			"backlog":        s.Backlog,
			"oldest_seconds": s.Oldest.Seconds(),
			"dead":           s.Dead,
			"failing":        s.Failing,
			"published":      s.Published, // its growth is the rate
			"retries":        s.Retries,
		}
	}))
	vars.Set("inbox", expvar.Func(func() any {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		lag, err := in.Lag(ctx)
		if err != nil {
			return map[string]any{"error": err.Error()}
		}
		var oldest time.Duration
		if !lag.Oldest.IsZero() {
			oldest = time.Since(lag.Oldest)
		}
		s := in.Stats()
		return map[string]any{
			"backlog":        lag.Pending + lag.Unacked,
			"oldest_seconds": oldest.Seconds(),
			"dead":           lag.Dead,
			"handled":        s.Handled, // its growth is the rate
			"duplicates":     s.Duplicates,
			"failed":         s.Failed,
		}
	}))
	return vars
}

// Backlog, age and rate of an outbox and an inbox, through package expvar: GET /debug/vars.
func Example_metrics() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "outbox")
	check(err)
	defer os.RemoveAll(dir)
	db, err := sql.Open("gtx-sqlite", "file:"+filepath.Join(dir, "shop.db"))
	check(err)
	defer db.Close()
	box, err := outbox.Open(ctx, db, outbox.Config{}) // Conn is not set: nothing relays here
	check(err)
	defer box.Close()
	in, err := inbox.Open(ctx, db, inbox.Config{Name: "billing"})
	check(err)
	vars := metrics(box, in)

	tx, err := db.BeginTx(ctx, nil)
	check(err)
	defer tx.Rollback()
	for _, id := range []string{"4711", "4712"} {
		_, err = box.Publish(ctx, tx, outbox.Message{Subject: "orders.placed", Key: id})
		check(err)
	}
	check(tx.Commit())

	var got struct {
		Outbox struct {
			Backlog, Dead, Published int
			Oldest                   float64 `json:"oldest_seconds"`
		}
		Inbox struct{ Backlog, Handled int }
	}
	check(json.Unmarshal([]byte(vars.String()), &got))
	fmt.Println("backlog", got.Outbox.Backlog, "published", got.Outbox.Published, "dead", got.Outbox.Dead, "waits", got.Outbox.Oldest > 0)
	fmt.Println("to be handled", got.Inbox.Backlog, "handled", got.Inbox.Handled)
	// Output:
	// backlog 2 published 0 dead 0 waits true
	// to be handled 0 handled 0
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
