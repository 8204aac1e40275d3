// Command bun moves money between two databases through uptrace/bun.
//
//	cd examples/orm && go run ./bun
package main

import (
	"context"
	"database/sql"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"

	"github.com/globaltx/globaltx/examples/orm/internal/demo"
	"github.com/globaltx/globaltx/gtx"
)

func main() { demo.Main(open) }

type account struct {
	bun.BaseModel `bun:"table:accounts"`

	ID      string `bun:",pk"`
	Balance int64
}

type bank struct{ north, south *bun.DB }

func open(north, south *sql.DB) (demo.Bank, error) {
	return &bank{bun.NewDB(north, sqlitedialect.New()), bun.NewDB(south, sqlitedialect.New())}, nil
}

func (b *bank) Transfer(ctx context.Context, amount int64) error {
	return gtx.Run(ctx, func(ctx context.Context) error {
		// A local transaction is one branch, a statement without one is another.
		err := b.north.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			return add(ctx, tx, "anna", -amount)
		})
		if err != nil {
			return err
		}
		if err := add(ctx, b.south, "ben", amount); err != nil {
			return err
		}
		anna, err := find(ctx, b.north, "anna")
		if err != nil {
			return err
		}
		if anna.Balance < 0 {
			return demo.ErrOverdrawn // both databases have committed locally; both are undone
		}
		return nil
	})
}

func (b *bank) Balances(ctx context.Context) (int64, int64, error) {
	anna, err := find(ctx, b.north, "anna")
	if err != nil {
		return 0, 0, err
	}
	ben, err := find(ctx, b.south, "ben")
	return anna.Balance, ben.Balance, err
}

func add(ctx context.Context, db bun.IDB, id string, amount int64) error {
	_, err := db.NewUpdate().Model((*account)(nil)).Set("balance = balance + ?", amount).Where("id = ?", id).Exec(ctx)
	return err
}

func find(ctx context.Context, db bun.IDB, id string) (a account, err error) {
	err = db.NewSelect().Model(&a).Where("id = ?", id).Scan(ctx)
	return a, err
}
