package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/globaltx/globaltx/natsbus/inbox"
)

// bill is a service with a database of its own, in which each order takes effect once. The
// first try of each message fails here, after it has written: nothing of that stays.
func bill(ctx context.Context, js jetstream.JetStream, dir string, n uint64, out io.Writer) (err error) {
	db, err := sql.Open("gtx-sqlite", filepath.Join(dir, "billing.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, "CREATE TABLE account (customer TEXT PRIMARY KEY, owes INTEGER NOT NULL)"); err != nil {
		return err
	}
	in, err := inbox.Open(ctx, db, inbox.Config{Name: "billing", JetStream: js})
	if err != nil {
		return err
	}

	// A service goes on until it is told to stop; this one until n orders are billed.
	consuming, stop := context.WithCancel(ctx)
	defer stop()
	billed := func() {
		for tick := time.Tick(10 * time.Millisecond); in.Stats().Handled < n && consuming.Err() == nil; {
			<-tick
		}
		stop()
	}
	var wg sync.WaitGroup
	wg.Go(billed)
	defer wg.Wait()
	err = in.Consume(consuming, inbox.Source{Stream: "ORDERS", Ordered: true}, func(ctx context.Context, tx *sql.Tx, m *inbox.Message) error {
		var o order
		if err := json.Unmarshal(m.Body, &o); err != nil {
			return inbox.Permanent(err)
		}
		const text = "INSERT INTO account (customer, owes) VALUES (?, ?) ON CONFLICT (customer) DO UPDATE SET owes = owes + excluded.owes"
		if _, err := tx.ExecContext(ctx, text, o.Customer, o.Paid); err != nil {
			return err
		}
		if m.Deliveries == 1 {
			return errors.New("the printer is out of paper")
		}
		return nil
	})
	stop()
	if err != nil {
		return err
	}
	var owes int
	if err := db.QueryRowContext(ctx, "SELECT owes FROM account WHERE customer = 'anna'").Scan(&owes); err != nil {
		return err
	}
	fmt.Fprintf(out, "anna owes %d for %d orders\n", owes, in.Stats().Handled)
	return nil
}
