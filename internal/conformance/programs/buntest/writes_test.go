package buntest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/globaltx/globaltx/internal/conformance/programs/stage"
)

// did notes the result of a write that is expected to work.
func did(tr *stage.Trace, what string, res sql.Result, err error, values ...any) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	tr.Note(what, append([]any{n}, values...)...)
	return nil
}

// all notes the rows of a table.
func all[M any](ctx context.Context, db bun.IDB, tr *stage.Trace, order string) error {
	var rows []M
	if err := db.NewSelect().Model(&rows).Order(order).Scan(ctx); err != nil {
		return fmt.Errorf("read all: %w", err)
	}
	tr.Note("all", rows)
	return nil
}

func insert(ctx context.Context, db *bun.DB, tr *stage.Trace) error {
	one := &Buyer{Name: "dee", Age: 5}
	few := []*Buyer{{Name: "eve"}, {Name: "fay", Age: 6}}
	res, err := db.NewInsert().Model(one).Exec(ctx)
	if err := did(tr, "one", res, err, one); err != nil {
		return err
	}
	res, err = db.NewInsert().Model(&few).Exec(ctx)
	if err := did(tr, "several", res, err, few); err != nil {
		return err
	}
	res, err = db.NewInsert().Model(&map[string]any{"sku": "m", "count": 4}).TableExpr("stocks").Exec(ctx)
	if err := did(tr, "from a map", res, err); err != nil {
		return err
	}
	res, err = db.NewInsert().Model(&Order{BuyerID: 1, Total: 9}).Column("buyer_id").Exec(ctx)
	if err := did(tr, "one column", res, err); err != nil {
		return err
	}
	_, err = db.NewInsert().Model(&Buyer{Name: "ann"}).Exec(ctx)
	tr.Failed("same name again", err)
	return errors.Join(all[Buyer](ctx, db, tr, "id"), all[Order](ctx, db, tr, "id"), all[Stock](ctx, db, tr, "sku"))
}

func update(ctx context.Context, db *bun.DB, tr *stage.Trace) error {
	ann := &Buyer{ID: 1, Name: "anna", Age: 42}
	res, err := db.NewUpdate().Model(ann).WherePK().Exec(ctx)
	if err := did(tr, "by key", res, err); err != nil {
		return err
	}
	res, err = db.NewUpdate().Model(&Buyer{ID: 2, Age: 23}).Column("age").WherePK().Exec(ctx)
	if err := did(tr, "one column", res, err); err != nil {
		return err
	}
	res, err = db.NewUpdate().Model(&Buyer{ID: 3, Age: 34}).OmitZero().WherePK().Exec(ctx)
	if err := did(tr, "without zeros", res, err); err != nil {
		return err
	}
	res, err = db.NewUpdate().Model((*Order)(nil)).Set("total = total * ?", 3).Where("total > ?", 7).Exec(ctx)
	if err := did(tr, "an expression", res, err); err != nil {
		return err
	}
	res, err = db.NewUpdate().Model((*Order)(nil)).Set("total = 0").Where("buyer_id IN (?)",
		db.NewSelect().Model((*Buyer)(nil)).Column("id").Where("age < ?", 30)).Exec(ctx)
	if err := did(tr, "by a subquery", res, err); err != nil {
		return err
	}
	res, err = db.NewUpdate().Model((*Order)(nil)).Set("total = 1").Where("id = 99").Exec(ctx)
	if err := did(tr, "no hit", res, err); err != nil {
		return err
	}
	return errors.Join(all[Buyer](ctx, db, tr, "id"), all[Order](ctx, db, tr, "id"))
}

func remove(ctx context.Context, db *bun.DB, tr *stage.Trace) error {
	res, err := db.NewDelete().Model(&Order{ID: 1}).WherePK().Exec(ctx)
	if err := did(tr, "by key", res, err); err != nil {
		return err
	}
	res, err = db.NewDelete().Model((*BuyerTag)(nil)).Where("buyer_id = ?", 1).Where("tag_id = ?", 2).Exec(ctx)
	if err := did(tr, "by condition", res, err); err != nil {
		return err
	}
	res, err = db.NewUpdate().Model((*Buyer)(nil)).Set("deleted_at = ?", now).Where("id = ?", 3).Exec(ctx)
	if err := did(tr, "softly", res, err); err != nil {
		return err
	}
	if err := all[Buyer](ctx, db, tr, "id"); err != nil {
		return err
	}
	res, err = db.NewDelete().Model((*Buyer)(nil)).Where("id = ?", 3).WhereAllWithDeleted().ForceDelete().Exec(ctx)
	if err := did(tr, "for good", res, err); err != nil {
		return err
	}
	res, err = db.NewDelete().Model((*Stock)(nil)).Where("1 = 1").Exec(ctx)
	if err := did(tr, "everything", res, err); err != nil {
		return err
	}
	n, err := db.NewSelect().Model((*Stock)(nil)).Count(ctx)
	tr.Note("left", n)
	return err
}

func upsert(ctx context.Context, db *bun.DB, tr *stage.Trace) error {
	res, err := db.NewInsert().Model(&Stock{SKU: "a", Count: 9}).On("CONFLICT DO NOTHING").Exec(ctx)
	if err := did(tr, "nothing", res, err); err != nil {
		return err
	}
	rows := []*Stock{{SKU: "b", Count: 20}, {SKU: "d", Count: 40, Note: "new"}}
	res, err = db.NewInsert().Model(&rows).On("CONFLICT (sku) DO UPDATE").Set("count = EXCLUDED.count").Exec(ctx)
	if err := did(tr, "update", res, err); err != nil {
		return err
	}
	res, err = db.NewInsert().Model(&Stock{SKU: "c", Count: 5}).On("CONFLICT (sku) DO UPDATE").
		Set("count = s.count + EXCLUDED.count").Where("s.count < ?", 100).Returning("*").Exec(ctx)
	if err := did(tr, "add", res, err); err != nil {
		return err
	}
	return all[Stock](ctx, db, tr, "sku")
}

func onDuplicate(ctx context.Context, db *bun.DB, tr *stage.Trace) error {
	res, err := db.NewInsert().Ignore().Model(&Stock{SKU: "a", Count: 9}).Exec(ctx)
	if err := did(tr, "ignore", res, err); err != nil {
		return err
	}
	rows := []*Stock{{SKU: "b", Count: 20}, {SKU: "d", Count: 40, Note: "new"}}
	res, err = db.NewInsert().Model(&rows).On("DUPLICATE KEY UPDATE count = VALUES(count)").Exec(ctx)
	if err := did(tr, "update", res, err); err != nil {
		return err
	}
	return all[Stock](ctx, db, tr, "sku")
}

func replace(ctx context.Context, db *bun.DB, tr *stage.Trace) error {
	res, err := db.NewInsert().Replace().Model(&Stock{SKU: "c", Count: 5}).Exec(ctx)
	if err := did(tr, "replace", res, err); err != nil {
		return err
	}
	return all[Stock](ctx, db, tr, "sku")
}

// bulk updates rows by one statement with a table of values.
func bulk(ctx context.Context, db *bun.DB, tr *stage.Trace) error {
	rows := make([]*Stock, 200)
	for i := range rows {
		rows[i] = &Stock{SKU: fmt.Sprintf("bulk-%03d", i), Count: i}
	}
	res, err := db.NewInsert().Model(&rows).Exec(ctx)
	if err := did(tr, "insert", res, err); err != nil {
		return err
	}
	for _, r := range rows {
		r.Count += 1000
	}
	res, err = db.NewUpdate().Model(&rows).Column("count").Bulk().Exec(ctx)
	if err := did(tr, "update", res, err); err != nil {
		return err
	}
	some := rows[:50]
	res, err = db.NewDelete().Model(&some).WherePK().Exec(ctx)
	if err := did(tr, "delete", res, err); err != nil {
		return err
	}
	return all[Stock](ctx, db, tr, "sku")
}

func hooks(ctx context.Context, db *bun.DB, tr *stage.Trace) error {
	res, err := db.NewUpdate().Model(&Stock{SKU: "a", Count: 2, Note: "hook"}).WherePK().Exec(ctx)
	if err := did(tr, "update", res, err); err != nil {
		return err
	}
	return all[Stock](ctx, db, tr, "sku")
}
