// Command gorm moves money between two databases through GORM.
//
//	cd examples/orm && go run ./gorm
package main

import (
	"context"
	"database/sql"

	"gorm.io/driver/sqlite"
	"gorm.io/gorm"

	"github.com/globaltx/globaltx/examples/orm/internal/demo"
	"github.com/globaltx/globaltx/gtx"
)

func main() { demo.Main(open) }

// Account is a row of accounts, by GORM's rules for names.
type Account struct {
	ID      string `gorm:"primaryKey"`
	Balance int64
}

type bank struct{ north, south *gorm.DB }

// open gives GORM the databases of gtx-sqlite in place of a DSN: of the package
// sqlite it uses the dialect, not the driver.
func open(north, south *sql.DB) (demo.Bank, error) {
	n, err := gorm.Open(sqlite.Dialector{Conn: north}, &gorm.Config{})
	if err != nil {
		return nil, err
	}
	s, err := gorm.Open(sqlite.Dialector{Conn: south}, &gorm.Config{})
	if err != nil {
		return nil, err
	}
	return &bank{n, s}, nil
}

// Transfer says WithContext once for each database: GORM has the context in its
// session, and a session without it is not in the transaction.
func (b *bank) Transfer(ctx context.Context, amount int64) error {
	return gtx.Run(ctx, func(ctx context.Context) error {
		north, south := b.north.WithContext(ctx), b.south.WithContext(ctx)
		if err := add(north, "anna", -amount); err != nil {
			return err
		}
		// GORM's own transaction is a local one: one branch.
		err := south.Transaction(func(tx *gorm.DB) error { return add(tx, "ben", amount) })
		if err != nil {
			return err
		}
		var anna Account
		if err := north.First(&anna, "id = ?", "anna").Error; err != nil {
			return err
		}
		if anna.Balance < 0 {
			return demo.ErrOverdrawn // both databases have committed locally; both are undone
		}
		return nil
	})
}

func (b *bank) Balances(ctx context.Context) (int64, int64, error) {
	var anna, ben Account
	if err := b.north.WithContext(ctx).First(&anna, "id = ?", "anna").Error; err != nil {
		return 0, 0, err
	}
	err := b.south.WithContext(ctx).First(&ben, "id = ?", "ben").Error
	return anna.Balance, ben.Balance, err
}

func add(db *gorm.DB, id string, amount int64) error {
	return db.Model(&Account{ID: id}).Update("balance", gorm.Expr("balance + ?", amount)).Error
}
