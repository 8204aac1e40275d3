package gormtest

import (
	"context"
	"database/sql"
	"errors"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/globaltx/globaltx/internal/conformance/programs/stage"
)

func transactions() []stage.Program[*gorm.DB] {
	return []stage.Program[*gorm.DB]{
		{Name: "transaction", Setup: stock, Run: transaction},
		{Name: "savepoints", Setup: stock, Run: savepoints},
		{Name: "by hand", Setup: stock, Run: byHand},
		{Name: "locking", Setup: stock, Run: locking, Only: []string{"mysql", "postgres"}},
		{Name: "one connection", Setup: stock, Run: oneConnection},
		{Name: "panic", Setup: stock, Run: panics},
	}
}

var errUser = errors.New("the program's own")

func transaction(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	db = db.WithContext(ctx)
	err := db.Transaction(func(tx *gorm.DB) error {
		return errors.Join(
			saw(tr, "insert", tx.Create(&Stock{SKU: "t1", Count: 1})),
			saw(tr, "update", tx.Model(&Stock{}).Where("sku = ?", "t1").Update("count", 2)),
			saw(tr, "update another", tx.Model(&Stock{}).Where("sku = ?", "a").Update("count", 100)),
		)
	})
	if err != nil {
		return err
	}
	tr.Failed("rolled back", db.Transaction(func(tx *gorm.DB) error {
		if err := tx.Model(&Stock{}).Where("sku = ?", "b").Update("count", 0).Error; err != nil {
			return err
		}
		return errors.Join(tx.Delete(&Stock{SKU: "c"}).Error, errUser)
	}))
	var all []Stock
	return saw(tr, "all", db.Order("sku").Find(&all), all)
}

func savepoints(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	err := db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := saw(tr, "outer", tx.Create(&Stock{SKU: "s1", Count: 1})); err != nil {
			return err
		}
		tr.Failed("inner, rolled back", tx.Transaction(func(tx *gorm.DB) error {
			if err := tx.Create(&Stock{SKU: "s2", Count: 2}).Error; err != nil {
				return err
			}
			if err := tx.Model(&Stock{}).Where("sku IN ?", []string{"s1", "a"}).Update("count", 55).Error; err != nil {
				return err
			}
			return errUser
		}))
		tr.Failed("inner, a duplicate", tx.Transaction(func(tx *gorm.DB) error {
			if err := tx.Model(&Stock{}).Where("sku = ?", "b").Update("count", 56).Error; err != nil {
				return err
			}
			return tx.Create(&Stock{SKU: "s1"}).Error
		}))
		return tx.Transaction(func(tx *gorm.DB) error {
			return errors.Join(
				saw(tr, "inner", tx.Create(&Stock{SKU: "s3", Count: 3})),
				saw(tr, "update of the outer's row", tx.Model(&Stock{}).Where("sku = ?", "s1").Update("count", 77)),
			)
		})
	})
	if err != nil {
		return err
	}
	var all []Stock
	return saw(tr, "all", db.WithContext(ctx).Order("sku").Find(&all), all)
}

func byHand(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	tx := db.WithContext(ctx).Begin(&sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if tx.Error != nil {
		return tx.Error
	}
	var n int64
	err := errors.Join(
		saw(tr, "insert", tx.Create(&Stock{SKU: "h1", Count: 1})),
		tx.SavePoint("one").Error,
		saw(tr, "update", tx.Model(&Stock{}).Where("1 = 1").Update("count", 0)),
		saw(tr, "delete", tx.Delete(&Stock{}, "sku = ?", "a")),
		tx.RollbackTo("one").Error,
		saw(tr, "update after", tx.Model(&Stock{}).Where("sku = ?", "h1").Update("count", 9)),
		saw(tr, "count", tx.Model(&Stock{}).Where("count = 0").Count(&n), &n),
	)
	if err != nil {
		return errors.Join(err, tx.Rollback().Error)
	}
	if err := tx.Commit().Error; err != nil {
		return err
	}
	tr.Failed("commit again", tx.Commit().Error)
	return nil
}

func locking(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var s Stock
		if err := saw(tr, "for update", tx.Clauses(clause.Locking{Strength: "UPDATE"}).First(&s, "sku = ?", "a"), &s); err != nil {
			return err
		}
		s.Count += 5
		return saw(tr, "save", tx.Save(&s), s)
	})
}

func oneConnection(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	return db.WithContext(ctx).Connection(func(tx *gorm.DB) error {
		var s Stock
		return errors.Join(
			saw(tr, "update", tx.Model(&Stock{}).Where("sku = ?", "b").Update("note", "on one connection")),
			saw(tr, "read", tx.First(&s, "sku = ?", "b"), &s),
			tx.Transaction(func(tx *gorm.DB) error {
				return saw(tr, "in a transaction", tx.Create(&Stock{SKU: "o1"}))
			}),
		)
	})
}

func panics(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	db = db.WithContext(ctx)
	func() {
		defer func() { tr.Note("recovered", recover()) }()
		_ = db.Transaction(func(tx *gorm.DB) error {
			if err := tx.Model(&Stock{}).Where("sku = ?", "a").Update("count", -1).Error; err != nil {
				return err
			}
			panic("in the middle")
		})
	}()
	var all []Stock
	return errors.Join(
		saw(tr, "after it", db.Model(&Stock{}).Where("sku = ?", "a").Update("note", "after")),
		saw(tr, "all", db.Order("sku").Find(&all), &all),
	)
}
