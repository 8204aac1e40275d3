// Command sqlx moves money between two databases through jmoiron/sqlx.
//
//	cd examples/orm && go run ./sqlx
package main

import (
	"context"
	"database/sql"

	"github.com/jmoiron/sqlx"

	"github.com/globaltx/globaltx/examples/orm/internal/demo"
	"github.com/globaltx/globaltx/gtx"
)

func main() { demo.Main(open) }

type account struct {
	ID      string `db:"id"`
	Balance int64  `db:"balance"`
}

type bank struct{ north, south *sqlx.DB }

// open tells sqlx the name that it knows the placeholders of; the databases are
// those of gtx-sqlite.
func open(north, south *sql.DB) (demo.Bank, error) {
	return &bank{sqlx.NewDb(north, "sqlite3"), sqlx.NewDb(south, "sqlite3")}, nil
}

func (b *bank) Transfer(ctx context.Context, amount int64) error {
	return gtx.Run(ctx, func(ctx context.Context) error {
		// A local transaction is one branch, a statement without one is another.
		tx, err := b.north.BeginTxx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback() //nolint:errcheck // does nothing after Commit
		change := map[string]any{"id": "anna", "amount": -amount}
		if _, err := tx.NamedExecContext(ctx, "UPDATE accounts SET balance = balance + :amount WHERE id = :id", change); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		if _, err := b.south.ExecContext(ctx, "UPDATE accounts SET balance = balance + ? WHERE id = ?", amount, "ben"); err != nil {
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

func find(ctx context.Context, db *sqlx.DB, id string) (a account, err error) {
	err = db.GetContext(ctx, &a, "SELECT id, balance FROM accounts WHERE id = ?", id)
	return a, err
}
