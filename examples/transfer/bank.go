package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"

	"github.com/globaltx/globaltx/gtx"
)

var errOverdrawn = errors.New("the account would be overdrawn")

// bank is two databases that know nothing of each other.
type bank struct{ north, south *sql.DB }

// transfer moves n from anna in the north to ben in the south, or nothing.
func (b *bank) transfer(ctx context.Context, n int) error {
	return gtx.Run(ctx, func(ctx context.Context) error {
		if _, err := b.north.ExecContext(ctx, "UPDATE accounts SET balance = balance - ? WHERE id = ?", n, "anna"); err != nil {
			return err
		}
		var left int
		if err := b.north.QueryRowContext(ctx, "SELECT balance FROM accounts WHERE id = ?", "anna").Scan(&left); err != nil {
			return err
		}
		if left < 0 {
			return errOverdrawn
		}
		_, err := b.south.ExecContext(ctx, "UPDATE accounts SET balance = balance + ? WHERE id = ?", n, "ben")
		return err
	}, gtx.WithName("transfer"))
}

// report waits for what is still being undone: the undo of an aborted transaction
// runs in the background.
func (b *bank) report(ctx context.Context, out io.Writer, when string) error {
	ctx = gtx.ReadCommitted(ctx)
	var anna, ben int
	if err := b.north.QueryRowContext(ctx, "SELECT balance FROM accounts WHERE id = ?", "anna").Scan(&anna); err != nil {
		return err
	}
	if err := b.south.QueryRowContext(ctx, "SELECT balance FROM accounts WHERE id = ?", "ben").Scan(&ben); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%s: anna %d, ben %d, together %d\n", when, anna, ben, anna+ben)
	return err
}
