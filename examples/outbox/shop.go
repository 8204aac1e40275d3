package main

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/globaltx/globaltx/natsbus/outbox"
)

type order struct {
	ID             int64
	Customer, Book string
	Paid           int64
}

// shop is the service that sends.
type shop struct {
	db  *sql.DB
	box *outbox.Outbox
}

// place writes an order and its message. The message goes first only to show that it is
// gone, too, when the order is refused. Orders of one customer arrive in their order.
func (s *shop) place(ctx context.Context, o order) error {
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := s.box.Publish(ctx, tx, outbox.Message{Subject: "orders.placed", Key: o.Customer, Body: body}); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders (id, customer, book, paid) VALUES (?, ?, ?, ?)", o.ID, o.Customer, o.Book, o.Paid); err != nil {
		return err
	}
	return tx.Commit()
}
