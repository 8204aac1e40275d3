package gormtest

import (
	"context"
	"errors"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/globaltx/globaltx/internal/conformance/programs/stage"
)

// old: GORM saves what a row has by ON CONFLICT DO UPDATE without a key, which is
// captured from PostgreSQL 18 on.
var old = map[string]string{"pq": "on-conflict"}

func associations() []stage.Program[*gorm.DB] {
	return []stage.Program[*gorm.DB]{
		{Name: "associations", Setup: graph, Run: associate, Refused: old},
		{Name: "nested create", Setup: graph, Run: nested, Refused: old},
		{Name: "known and new", Setup: graph, Run: mixed, Refused: map[string]string{
			"mysql": "mixed-keys", "mariadb": "mixed-keys",
		}},
		{Name: "preload", Setup: graph, Run: preload},
		{Name: "joins", Setup: graph, Run: joins},
	}
}

func associate(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	db = db.WithContext(ctx)
	var ann, bob User
	if err := errors.Join(db.First(&ann, "name = ?", "ann").Error, db.First(&bob, "name = ?", "bob").Error); err != nil {
		return err
	}
	var teams []Team
	var toys []Toy
	err := errors.Join(
		db.Model(&bob).Association("Teams").Append(&Team{Name: "green"}, &Team{Name: "gold"}),
		db.Model(&bob).Association("Toys").Append(&[]Toy{{Name: "kite"}, {Name: "drum"}}),
		db.Model(&bob).Association("Company").Append(&Company{Name: "bobs"}),
		db.Model(&bob).Association("Account").Replace(&Account{Number: "b-1"}),
		db.Model(&ann).Association("Teams").Replace(&Team{Name: "white"}),
		db.Model(&ann).Association("Toys").Clear(),
		db.Model(&bob).Association("Teams").Find(&teams),
		db.Model(&bob).Association("Toys").Find(&toys),
	)
	if err != nil {
		return err
	}
	tr.Note("bob has", bob, teams, toys)
	tr.Note("counts", db.Model(&bob).Association("Teams").Count(), db.Model(&ann).Association("Toys").Count(),
		db.Model(&ann).Association("Orders").Count())
	err = errors.Join(
		db.Model(&bob).Association("Teams").Delete(&teams[0]),
		db.Model(&bob).Association("Teams").Clear(),
		db.Model(&bob).Association("Company").Clear(),
		db.Model(&ann).Association("Account").Unscoped().Clear(),
	)
	if err != nil {
		return err
	}
	var all []User
	return saw(tr, "all", db.Preload(clause.Associations).Order("id").Find(&all), all)
}

func nested(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	db = db.WithContext(ctx)
	boss := User{Name: "boss", Company: &Company{Name: "top"}}
	clerk := User{
		Name: "clerk", Manager: &boss, Account: Account{Number: "c-9"},
		Orders: []Order{{Total: 1, Items: []Item{{Line: 1, SKU: "pen", Count: 2}}}, {Total: 2}},
		Teams:  []Team{{Name: "new"}, {Name: "newer"}},
		Toys:   []Toy{{Name: "top"}},
	}
	if err := saw(tr, "create", db.Create(&clerk), clerk); err != nil {
		return err
	}
	clerk.Orders[0].Total, clerk.Account.Number = 100, "c-10"
	err := errors.Join(
		saw(tr, "save", db.Session(&gorm.Session{FullSaveAssociations: true}).Save(&clerk), clerk),
		saw(tr, "without associations", db.Omit(clause.Associations).Create(&User{Name: "solo", Toys: []Toy{{Name: "never"}}})),
		saw(tr, "delete with what it has", db.Select("Account", "Toys").Delete(&clerk)),
	)
	return err
}

// mixed saves rows of which some have a key and some get one.
func mixed(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	u := User{Name: "u", Teams: []Team{{ID: 1, Name: "red"}, {Name: "new"}}}
	return saw(tr, "create", db.WithContext(ctx).Create(&u), u)
}

func preload(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	db = db.WithContext(ctx)
	var all, some []User
	return errors.Join(
		saw(tr, "write", db.Create(&Order{UserID: 3, Total: 99})),
		saw(tr, "all", db.Preload("Orders", func(tx *gorm.DB) *gorm.DB { return tx.Order("orders.id") }).
			Preload("Orders.Items").Preload("Teams").Preload("Toys").Preload("Account").Order("id").Find(&all), &all),
		saw(tr, "with a condition", db.Preload("Orders", "total > ?", 9).Where("age > ?", 30).Order("id").Find(&some), &some),
	)
}

func joins(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	db = db.WithContext(ctx)
	var users []User
	var totals []struct {
		Name  string
		Total int64
	}
	var n int64
	return errors.Join(
		saw(tr, "write", db.Model(&Company{}).Where("id = ?", 1).Update("name", "acme inc")),
		saw(tr, "belongs to", db.Joins("Company").Joins("Account").Order("users.id").Find(&users), &users),
		saw(tr, "group", db.Model(&User{}).Select("users.name, sum(orders.total) AS total").
			Joins("LEFT JOIN orders ON orders.user_id = users.id").Group("users.name").Having("count(*) > ?", 0).
			Order("users.name").Scan(&totals), &totals),
		saw(tr, "exists", db.Model(&User{}).Where("EXISTS (?)", db.Model(&Order{}).Select("1").Where("orders.user_id = users.id")).Count(&n), &n),
	)
}
