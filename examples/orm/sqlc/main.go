// Command sqlc moves money between two databases through code that sqlc made of
// query.sql.
//
//	cd examples/orm && go run ./sqlc
package main

import (
	"context"
	"database/sql"

	"github.com/globaltx/globaltx/examples/orm/internal/demo"
	"github.com/globaltx/globaltx/examples/orm/sqlc/accounts"
	"github.com/globaltx/globaltx/gtx"
)

func main() { demo.Main(open) }

type bank struct {
	northDB      *sql.DB
	north, south *accounts.Queries
}

func open(north, south *sql.DB) (demo.Bank, error) {
	return &bank{north, accounts.New(north), accounts.New(south)}, nil
}

func (b *bank) Transfer(ctx context.Context, amount int64) error {
	return gtx.Run(ctx, func(ctx context.Context) error {
		// A local transaction is one branch, a statement without one is another.
		tx, err := b.northDB.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if err := b.north.WithTx(tx).Add(ctx, accounts.AddParams{ID: "anna", Amount: -amount}); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		if err := b.south.Add(ctx, accounts.AddParams{ID: "ben", Amount: amount}); err != nil {
			return err
		}
		anna, err := b.north.Balance(ctx, "anna")
		if err != nil {
			return err
		}
		if anna < 0 {
			return demo.ErrOverdrawn // both databases have committed locally; both are undone
		}
		return nil
	})
}

func (b *bank) Balances(ctx context.Context) (int64, int64, error) {
	anna, err := b.north.Balance(ctx, "anna")
	if err != nil {
		return 0, 0, err
	}
	ben, err := b.south.Balance(ctx, "ben")
	return anna, ben, err
}
