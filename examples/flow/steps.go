package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/globaltx/globaltx/natsbus/flow"
	"github.com/globaltx/globaltx/natsbus/inbox"
)

func orderOf(m *flow.Message) (o order, err error) {
	if err := json.Unmarshal(m.Body, &o); err != nil {
		return o, inbox.Permanent(err)
	}
	return o, nil
}

// change runs an update of one row; none of them is worth a second try without.
func change(ctx context.Context, tx *sql.Tx, why, text string, args ...any) error {
	res, err := tx.ExecContext(ctx, text, args...)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return inbox.Permanent(errors.New(why))
}

func reserve(ctx context.Context, tx *sql.Tx, m *flow.Message) error {
	o, err := orderOf(m)
	if err != nil {
		return err
	}
	return change(ctx, tx, "it is sold out", "UPDATE books SET copies = copies - 1 WHERE name = ? AND copies > 0", o.Book)
}

func release(ctx context.Context, tx *sql.Tx, m *flow.Message) error {
	o, err := orderOf(m)
	if err != nil {
		return err
	}
	return change(ctx, tx, "there is no such book", "UPDATE books SET copies = copies + 1 WHERE name = ?", o.Book)
}

func charge(ctx context.Context, tx *sql.Tx, m *flow.Message) error {
	o, err := orderOf(m)
	if err != nil {
		return err
	}
	return change(ctx, tx, "the card is declined", "UPDATE cards SET credit = credit - ? WHERE customer = ? AND credit >= ?", o.Price, o.Customer, o.Price)
}

func refund(ctx context.Context, tx *sql.Tx, m *flow.Message) error {
	o, err := orderOf(m)
	if err != nil {
		return err
	}
	return change(ctx, tx, "there is no such card", "UPDATE cards SET credit = credit + ? WHERE customer = ?", o.Price, o.Customer)
}
