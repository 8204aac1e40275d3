package gormtest

import (
	"context"
	"errors"

	"gorm.io/gorm"

	"github.com/globaltx/globaltx/internal/conformance/programs/stage"
)

func reads() []stage.Program[*gorm.DB] {
	return []stage.Program[*gorm.DB]{
		{Name: "find", Setup: graph, Run: find},
		{Name: "scan", Setup: graph, Run: scan},
	}
}

func find(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	db = db.WithContext(ctx)
	var first, last, taken User
	var many, page []User
	var n int64
	err := errors.Join(
		saw(tr, "write", db.Create(&User{Name: "zed", Age: 70})),
		saw(tr, "first", db.First(&first), &first),
		saw(tr, "last", db.Last(&last), &last),
		saw(tr, "take", db.Where(&User{Name: "bob"}).Take(&taken), &taken),
		saw(tr, "in", db.Where("name IN ?", []string{"ann", "zed"}).Not("age = ?", 1).Or("age < ?", 23).Order("name DESC").Find(&many), &many),
		saw(tr, "page", db.Limit(2).Offset(1).Order("id").Find(&page), &page),
		saw(tr, "count", db.Model(&User{}).Distinct("active").Count(&n), &n),
	)
	if err != nil {
		return err
	}
	tr.Failed("none", db.First(&User{}, "name = ?", "nobody").Error)
	tr.Failed("no such column", db.Where("no_such_column = ?", 1).Find(&many).Error)
	return nil
}

func scan(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	db = db.WithContext(ctx)
	var ages []int
	var maps []map[string]any
	var max int
	var pairs []struct {
		Name string
		N    int64
	}
	return errors.Join(
		saw(tr, "write", db.Model(&User{}).Where("name = ?", "bob").Update("age", 23)),
		saw(tr, "pluck", db.Model(&User{}).Order("age").Pluck("age", &ages), &ages),
		saw(tr, "maps", db.Model(&User{}).Select("id", "name", "age", "active").Order("id").Find(&maps), &maps),
		saw(tr, "scalar", db.Raw("SELECT max(age) FROM users").Scan(&max), &max),
		saw(tr, "from a subquery", db.Table("(?) AS u", db.Model(&Order{}).Select("user_id, count(*) AS n").Group("user_id")).
			Select("users.name, u.n").Joins("JOIN users ON users.id = u.user_id").Order("users.name").Scan(&pairs), &pairs),
	)
}
