package gormtest

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/globaltx/globaltx/internal/conformance/programs/stage"
)

func writes() []stage.Program[*gorm.DB] {
	return []stage.Program[*gorm.DB]{
		{Name: "create", Setup: graph, Run: create},
		{Name: "update", Setup: graph, Run: update},
		{Name: "delete", Setup: graph, Run: remove},
		{Name: "upsert", Setup: stock, Run: upsert},
		{Name: "bulk", Setup: stock, Run: bulk},
		{Name: "hooks", Setup: hooked, Run: hooks},
		{Name: "raw", Setup: stock, Run: raw},
		{Name: "returning", Setup: stock, Run: returning, Only: []string{"postgres", "sqlite"}},
	}
}

func stock(ctx context.Context, db *gorm.DB) error {
	db = db.WithContext(ctx)
	if err := db.AutoMigrate(&Stock{}); err != nil {
		return err
	}
	return db.Create([]Stock{{SKU: "a", Count: 1, Price: 1}, {SKU: "b", Count: 2}, {SKU: "c", Count: 3, Note: "it's"}}).Error
}

func hooked(ctx context.Context, db *gorm.DB) error {
	return db.WithContext(ctx).AutoMigrate(&Hooked{}, &HookLog{})
}

// saw notes the result of a call that is expected to work.
func saw(tr *stage.Trace, what string, tx *gorm.DB, values ...any) error {
	if tx.Error != nil {
		return fmt.Errorf("%s: %w", what, tx.Error)
	}
	tr.Note(what, append([]any{tx.RowsAffected}, values...)...)
	return nil
}

func create(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	db = db.WithContext(ctx)
	dee := User{Name: "dee", Age: 5}
	few := []User{{Name: "eve"}, {Name: "fay", Active: true}, {Name: "gus", Birthday: &now}}
	partly := User{Name: "hal", Age: 9, Active: true}
	first := User{}
	found := User{}
	err := errors.Join(
		saw(tr, "one", db.Create(&dee), dee),
		saw(tr, "several", db.Create(&few), few),
		saw(tr, "in batches", db.CreateInBatches([]Team{{Name: "x"}, {Name: "y"}, {Name: "z"}}, 2)),
		saw(tr, "selected columns", db.Select("Name", "Age").Create(&partly), partly),
		saw(tr, "omitted", db.Omit("Age").Create(&User{Name: "ida", Age: 3})),
		saw(tr, "from a map", db.Model(&User{}).Create(map[string]any{"Name": "joe", "Age": 18})),
		saw(tr, "first or create", db.FirstOrCreate(&first, User{Name: "kim"}), first),
		saw(tr, "first or create finds", db.Where(User{Name: "ann"}).Attrs(User{Age: 1}).FirstOrCreate(&found), found),
	)
	if err != nil {
		return err
	}
	tr.Failed("same name again", db.Create(&User{Name: "ann"}).Error)
	tr.Note("is a duplicate", errors.Is(db.Create(&User{Name: "ann"}).Error, gorm.ErrDuplicatedKey))
	var names []string
	return saw(tr, "names", db.Model(&User{}).Order("id").Pluck("name", &names), names)
}

func update(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	db = db.WithContext(ctx)
	var ann User
	if err := db.First(&ann, "name = ?", "ann").Error; err != nil {
		return err
	}
	ann.Age = 42
	saved := ann
	saved.Name = "anna"
	err := errors.Join(
		saw(tr, "save", db.Save(&saved), saved),
		saw(tr, "one column", db.Model(&User{}).Where("age > ?", 30).Update("active", false)),
		saw(tr, "several columns", db.Model(&ann).Updates(map[string]any{"age": 43, "active": true}), ann),
		saw(tr, "a struct", db.Model(&ann).Updates(User{Name: "annie", Age: 44})),
		saw(tr, "selected", db.Model(&ann).Select("Age", "Active").Updates(User{Name: "no", Age: 0})),
		saw(tr, "an expression", db.Model(&User{}).Where("1 = 1").Update("age", gorm.Expr("age * ? + ?", 2, 1))),
		saw(tr, "without hooks", db.Model(&ann).UpdateColumn("age", gorm.Expr("age + ?", 1))),
		saw(tr, "no hit", db.Model(&User{}).Where("name = ?", "nobody").Update("age", 1)),
		saw(tr, "same value", db.Model(&Company{}).Where("id = 1").Update("name", "acme")),
		saw(tr, "all", db.Session(&gorm.Session{AllowGlobalUpdate: true}).Model(&Order{}).Update("total", gorm.Expr("total + 1"))),
		saw(tr, "by a subquery", db.Model(&User{}).Where("company_id IN (?)", db.Model(&Company{}).Select("id")).Update("age", 50)),
	)
	if err != nil {
		return err
	}
	tr.Failed("without a condition", db.Model(&User{}).Update("age", 1).Error)
	var all []User
	return saw(tr, "all users", db.Order("id").Find(&all), all)
}

func remove(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	db = db.WithContext(ctx)
	var left, gone int64
	return errors.Join(
		saw(tr, "softly", db.Delete(&User{}, "name = ?", "cy")),
		saw(tr, "count", db.Model(&User{}).Count(&left), left),
		saw(tr, "count unscoped", db.Unscoped().Model(&User{}).Count(&gone), gone),
		saw(tr, "again", db.Delete(&User{}, "name = ?", "cy")),
		saw(tr, "by key", db.Delete(&Toy{}, 1)),
		saw(tr, "by keys of two columns", db.Delete(&[]Item{{OrderID: 1, Line: 1}, {OrderID: 1, Line: 2}})),
		saw(tr, "by condition", db.Where("total < ?", 15).Delete(&Order{})),
		saw(tr, "for good", db.Unscoped().Delete(&User{}, "name = ?", "cy")),
		saw(tr, "everything", db.Session(&gorm.Session{AllowGlobalUpdate: true}).Delete(&Account{})),
	)
}

func upsert(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	db = db.WithContext(ctx)
	var all []Stock
	return errors.Join(
		saw(tr, "nothing", db.Clauses(clause.OnConflict{DoNothing: true}).Create(&Stock{SKU: "a", Count: 9})),
		saw(tr, "nothing, new row", db.Clauses(clause.OnConflict{DoNothing: true}).Create(&Stock{SKU: "n", Count: 9})),
		saw(tr, "named columns", db.Clauses(clause.OnConflict{
			Columns: []clause.Column{{Name: "sku"}}, DoUpdates: clause.AssignmentColumns([]string{"count"}),
		}).Create(&[]Stock{{SKU: "b", Count: 20}, {SKU: "d", Count: 40}})),
		saw(tr, "assignments", db.Clauses(clause.OnConflict{
			Columns: []clause.Column{{Name: "sku"}}, DoUpdates: clause.Assignments(map[string]any{"note": "seen"}),
		}).Create(&Stock{SKU: "c"})),
		saw(tr, "all columns", db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&[]Stock{{SKU: "c", Count: 30, Note: "x"}, {SKU: "e", Count: 50}})),
		saw(tr, "save of a new row", db.Save(&Stock{SKU: "f", Count: 60})),
		saw(tr, "save of rows", db.Save(&[]Stock{{SKU: "f", Count: 61}, {SKU: "g", Count: 70}})),
		saw(tr, "all", db.Order("sku").Find(&all), all),
	)
}

func bulk(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	db = db.WithContext(ctx)
	rows := make([]Stock, 300)
	for i := range rows {
		rows[i] = Stock{SKU: fmt.Sprintf("bulk-%03d", i), Count: i, Price: i % 7}
	}
	var sum struct{ N, Total int64 }
	var batches []int
	var page []Stock
	return errors.Join(
		saw(tr, "create", db.CreateInBatches(rows, 100)),
		saw(tr, "raise", db.Model(&Stock{}).Where("price >= ?", 3).Updates(map[string]any{"count": gorm.Expr("count + 1000"), "note": "raised"})),
		saw(tr, "drop", db.Where("count BETWEEN ? AND ?", 10, 60).Delete(&Stock{})),
		saw(tr, "sum", db.Model(&Stock{}).Select("count(*) AS n, sum(count) AS total").Scan(&sum), sum),
		saw(tr, "in batches", db.Where("note = ?", "raised").FindInBatches(&page, 50, func(tx *gorm.DB, batch int) error {
			batches = append(batches, len(page))
			return tx.Model(&Stock{}).Where("sku = ?", page[0].SKU).Update("note", fmt.Sprint("head of ", batch)).Error
		}), &batches),
	)
}

func hooks(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	db = db.WithContext(ctx)
	good := Hooked{Name: "good"}
	if err := saw(tr, "create", db.Create(&good), good); err != nil {
		return err
	}
	tr.Failed("refused by a hook", db.Create(&Hooked{Name: "bad"}).Error)
	var log []HookLog
	return errors.Join(
		saw(tr, "update", db.Model(&good).Updates(Hooked{Total: 5}), good),
		saw(tr, "delete", db.Delete(&good)),
		saw(tr, "without hooks", db.Session(&gorm.Session{SkipHooks: true}).Create(&Hooked{Name: "quiet"})),
		saw(tr, "log", db.Order("id").Find(&log), log),
	)
}

func raw(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	db = db.WithContext(ctx)
	var rows []Stock
	var one struct {
		SKU   string
		Twice int
	}
	var texts []string
	err := errors.Join(
		saw(tr, "update", db.Exec("UPDATE stocks SET count = count + ? WHERE sku IN ?", 10, []string{"a", "b"})),
		saw(tr, "named", db.Exec("UPDATE stocks SET note = @note WHERE sku = @sku", map[string]any{"note": "n'1", "sku": "c"})),
		saw(tr, "insert", db.Exec("INSERT INTO stocks (sku, count, price, note) VALUES (?, ?, ?, ?)", "z", 26, 1, nil)),
		saw(tr, "delete", db.Exec("DELETE FROM stocks WHERE sku = ?", "b")),
		saw(tr, "raw", db.Raw("SELECT * FROM stocks WHERE count > ? ORDER BY sku", 2).Scan(&rows), &rows),
		saw(tr, "raw row", db.Raw("SELECT sku, count * 2 AS twice FROM stocks WHERE sku = ?", "a").Scan(&one), &one),
	)
	if err != nil {
		return err
	}
	r, err := db.Model(&Stock{}).Select("sku").Order("sku").Rows()
	if err != nil {
		return err
	}
	for r.Next() {
		var s Stock
		if err := db.ScanRows(r, &s); err != nil {
			return errors.Join(err, r.Close())
		}
		texts = append(texts, s.SKU)
	}
	tr.Note("rows", texts)
	return errors.Join(r.Err(), r.Close())
}

func returning(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	db = db.WithContext(ctx)
	var updated, deleted []Stock
	created := Stock{SKU: "r", Count: 8}
	return errors.Join(
		saw(tr, "create", db.Clauses(clause.Returning{}).Create(&created), created),
		saw(tr, "update", db.Model(&updated).Clauses(clause.Returning{}).Where("count < ?", 3).Update("count", gorm.Expr("count + 5")), &updated),
		saw(tr, "delete", db.Clauses(clause.Returning{Columns: []clause.Column{{Name: "sku"}}}).Where("count > ?", 5).Delete(&deleted), &deleted),
	)
}
