// Command flow sells books through three services with a database each: a shop that takes
// orders, a stock that hands out books, a billing that charges cards. They talk through
// messages only. Either all of an order is done, or what was done of it is taken back.
//
//	go run ./examples/flow
//
// It needs nothing but Go: SQLite files in a temporary directory, and a NATS server in this
// process, in place of the one that you have.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	_ "github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/examples/internal/stage"
	"github.com/globaltx/globaltx/natsbus"
	"github.com/globaltx/globaltx/natsbus/flow"
)

func main() { stage.Main("flow", run) }

// order is the body of the flow.
type order struct {
	Customer, Book string
	Price          int64
}

func run(ctx context.Context, dir string, out io.Writer) (err error) {
	bus, err := natsbus.Embedded(ctx, filepath.Join(dir, "nats"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bus.Close()) }()
	nc, err := bus.Conn()
	if err != nil {
		return err
	}
	town := &town{dir: dir, nc: nc}
	defer func() { err = errors.Join(err, town.close()) }()

	shop, err := town.open(ctx, "shop", "CREATE TABLE orders (flow TEXT PRIMARY KEY, customer TEXT NOT NULL, state TEXT NOT NULL)")
	if err != nil {
		return err
	}
	if err := shop.OnEnd("order", closeOrder); err != nil {
		return err
	}
	stock, err := town.open(ctx, "stock", "CREATE TABLE books (name TEXT PRIMARY KEY, copies INTEGER NOT NULL CHECK (copies >= 0)); INSERT INTO books VALUES ('Atlas', 1), ('Novel', 5)")
	if err != nil {
		return err
	}
	if err := stock.Handle("order", flow.Step{Do: reserve, Undo: release}); err != nil {
		return err
	}
	billing, err := town.open(ctx, "billing", "CREATE TABLE cards (customer TEXT PRIMARY KEY, credit INTEGER NOT NULL); INSERT INTO cards VALUES ('anna', 50), ('ben', 10)")
	if err != nil {
		return err
	}
	if err := billing.Handle("order", flow.Step{Do: charge, Undo: refund}); err != nil {
		return err
	}
	shop.run(ctx)
	stock.run(ctx)

	// Billing is down. The order is placed all the same, and done when billing is back.
	id, err := shop.place(ctx, order{"anna", "Atlas", 30})
	if err != nil {
		return err
	}
	billing.run(ctx)
	if err := shop.await(ctx, id, out); err != nil {
		return err
	}
	// The card is refused: the book goes back into the stock.
	if id, err = shop.place(ctx, order{"ben", "Novel", 20}); err != nil {
		return err
	}
	if err := shop.await(ctx, id, out); err != nil {
		return err
	}
	// There is no Atlas any more: who was charged gets the money back.
	if id, err = shop.place(ctx, order{"anna", "Atlas", 20}); err != nil {
		return err
	}
	if err := shop.await(ctx, id, out); err != nil {
		return err
	}
	var copies, credit int
	if err := stock.db.QueryRowContext(ctx, "SELECT copies FROM books WHERE name = 'Novel'").Scan(&copies); err != nil {
		return err
	}
	if err := billing.db.QueryRowContext(ctx, "SELECT credit FROM cards WHERE customer = 'anna'").Scan(&credit); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d novels are left, and anna has a credit of %d\n", copies, credit)
	return nil
}

// place writes an order and starts its flow, both or neither.
func (s *service) place(ctx context.Context, o order) (id string, err error) {
	body, err := json.Marshal(o)
	if err != nil {
		return "", err
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return "", err
	}
	defer tx.Rollback()
	id, err = s.Start(ctx, tx, flow.Start{Kind: "order", To: []string{"stock", "billing"}, Body: body})
	if err != nil {
		return "", err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders (flow, customer, state) VALUES (?, ?, 'placed')", id, o.Customer); err != nil {
		return "", err
	}
	return id, tx.Commit()
}

// closeOrder is the shop's own share when a flow has ended, either way.
func closeOrder(ctx context.Context, tx *sql.Tx, f *flow.Flow) error {
	state := "shipped"
	if f.State == flow.Undone {
		state = "refused because of " + f.Error
	}
	_, err := tx.ExecContext(ctx, "UPDATE orders SET state = ? WHERE flow = ?", state, f.ID)
	return err
}

// await waits for what closeOrder writes: a shop would show it when the customer looks.
func (s *service) await(ctx context.Context, id string, out io.Writer) error {
	for tick := time.Tick(5 * time.Millisecond); ; {
		var customer, state string
		if err := s.db.QueryRowContext(ctx, "SELECT customer, state FROM orders WHERE flow = ?", id).Scan(&customer, &state); err != nil {
			return err
		}
		if state != "placed" {
			fmt.Fprintf(out, "the order of %s is %s\n", customer, state)
			return nil
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
