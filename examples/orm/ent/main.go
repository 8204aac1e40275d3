// Command ent moves money between two databases through ent.
//
//	cd examples/orm && go run ./ent
package main

import (
	"context"
	"database/sql"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"github.com/globaltx/globaltx/examples/orm/ent/accounts"
	"github.com/globaltx/globaltx/examples/orm/internal/demo"
	"github.com/globaltx/globaltx/gtx"
)

//go:generate go tool ent generate --target accounts ./schema

func main() { demo.Main(open) }

type bank struct{ north, south *accounts.Client }

// open gives ent the databases of gtx-sqlite, with the dialect to write for them.
func open(north, south *sql.DB) (demo.Bank, error) {
	client := func(db *sql.DB) *accounts.Client {
		return accounts.NewClient(accounts.Driver(entsql.OpenDB(dialect.SQLite, db)))
	}
	return &bank{client(north), client(south)}, nil
}

func (b *bank) Transfer(ctx context.Context, amount int64) error {
	return gtx.Run(ctx, func(ctx context.Context) error {
		// ent updates in a local transaction of its own: one branch for each call.
		if err := b.north.Account.UpdateOneID("anna").AddBalance(-amount).Exec(ctx); err != nil {
			return err
		}
		if err := b.south.Account.UpdateOneID("ben").AddBalance(amount).Exec(ctx); err != nil {
			return err
		}
		anna, err := b.north.Account.Get(ctx, "anna")
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
	anna, err := b.north.Account.Get(ctx, "anna")
	if err != nil {
		return 0, 0, err
	}
	ben, err := b.south.Account.Get(ctx, "ben")
	if err != nil {
		return 0, 0, err
	}
	return anna.Balance, ben.Balance, nil
}
