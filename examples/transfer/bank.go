package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/globaltx/globaltx/gtx"
)

var errOverdrawn = errors.New("the account would be overdrawn")

// bank is two databases that know nothing of each other.
type bank struct{ north, south *sql.DB }

// transfer moves n from anna in the north to ben in the south, or nothing.
func (b *bank) transfer(ctx context.Context, n int) error {
	return gtx.Run(ctx, func(ctx context.Context) error {
		if _, err := b.north.ExecContext(ctx, "UPDATE account SET balance = balance - ? WHERE owner = ?", n, "anna"); err != nil {
			return err
		}
		var left int
		if err := b.north.QueryRowContext(ctx, "SELECT balance FROM account WHERE owner = ?", "anna").Scan(&left); err != nil {
			return err
		}
		if left < 0 {
			return errOverdrawn
		}
		_, err := b.south.ExecContext(ctx, "UPDATE account SET balance = balance + ? WHERE owner = ?", n, "ben")
		return err
	}, gtx.WithName("transfer"))
}

// settled waits until no undo row is left. Phase two runs in the background; a
// program need not wait for it.
func (b *bank) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		left := 0
		for _, db := range []*sql.DB{b.north, b.south} {
			var n int
			if err := db.QueryRowContext(ctx, "SELECT count(*) FROM gtx_undo").Scan(&n); err != nil {
				return fmt.Errorf("count undo rows: %w", err)
			}
			left += n
		}
		if left == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %d undo rows: %w", left, ctx.Err())
		}
	}
}

func (b *bank) report(ctx context.Context, out io.Writer, when string) error {
	var anna, ben int
	if err := b.north.QueryRowContext(ctx, "SELECT balance FROM account").Scan(&anna); err != nil {
		return err
	}
	if err := b.south.QueryRowContext(ctx, "SELECT balance FROM account").Scan(&ben); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: anna %d, ben %d, together %d\n", when, anna, ben, anna+ben)
	return nil
}
