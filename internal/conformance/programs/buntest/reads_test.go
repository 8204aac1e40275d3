package buntest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/globaltx/globaltx/internal/conformance/programs/stage"
)

func relations(ctx context.Context, db *bun.DB, tr *stage.Trace) error {
	res, err := db.NewInsert().Model(&Order{BuyerID: 3, Total: 99}).Exec(ctx)
	if err := did(tr, "write", res, err); err != nil {
		return err
	}
	var buyers []Buyer
	err = db.NewSelect().Model(&buyers).Relation("Orders", func(q *bun.SelectQuery) *bun.SelectQuery { return q.Order("o.id") }).
		Relation("Tags", func(q *bun.SelectQuery) *bun.SelectQuery { return q.Order("t.id") }).Order("b.id").Scan(ctx)
	if err != nil {
		return fmt.Errorf("has many: %w", err)
	}
	tr.Note("has many", buyers)
	var orders []Order
	if err := db.NewSelect().Model(&orders).Relation("Buyer").Where("o.total > ?", 8).Order("o.id").Scan(ctx); err != nil {
		return fmt.Errorf("belongs to: %w", err)
	}
	tr.Note("belongs to", orders)
	var sums []struct {
		Name string
		Sum  int64
	}
	err = db.NewSelect().TableExpr("buyers AS b").Join("JOIN orders AS o ON o.buyer_id = b.id").
		ColumnExpr("b.name AS name").ColumnExpr("sum(o.total) AS sum").GroupExpr("b.name").OrderExpr("b.name").Scan(ctx, &sums)
	if err != nil {
		return fmt.Errorf("group: %w", err)
	}
	tr.Note("group", sums)
	var names []string
	n, err := db.NewSelect().Model((*Buyer)(nil)).Column("name").Order("name").Limit(2).ScanAndCount(ctx, &names)
	if err != nil {
		return fmt.Errorf("scan and count: %w", err)
	}
	exists, err := db.NewSelect().Model((*Buyer)(nil)).Where("age > ?", 100).Exists(ctx)
	tr.Note("names", names, n, exists)
	return err
}

var errUser = errors.New("the program's own")

func transaction(ctx context.Context, db *bun.DB, tr *stage.Trace) error {
	err := db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		res, err := tx.NewInsert().Model(&Stock{SKU: "t1", Count: 1}).Exec(ctx)
		if err := did(tr, "insert", res, err); err != nil {
			return err
		}
		tr.Failed("inner, rolled back", tx.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			if _, err := tx.NewUpdate().Model((*Stock)(nil)).Set("count = 50").Where("sku IN (?)", bun.List([]string{"t1", "a"})).Exec(ctx); err != nil {
				return err
			}
			return errUser
		}))
		return tx.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			res, err := tx.NewUpdate().Model((*Stock)(nil)).Set("count = 60").Where("sku = ?", "t1").Exec(ctx)
			return did(tr, "inner", res, err)
		})
	})
	if err != nil {
		return err
	}
	tr.Failed("rolled back", db.RunInTx(ctx, &sql.TxOptions{Isolation: sql.LevelDefault}, func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewDelete().Model((*Stock)(nil)).Where("1 = 1").Exec(ctx); err != nil {
			return err
		}
		return errUser
	}))
	return all[Stock](ctx, db, tr, "sku")
}

func raw(ctx context.Context, db *bun.DB, tr *stage.Trace) error {
	res, err := db.ExecContext(ctx, "UPDATE stocks SET count = count + ? WHERE sku = ?", 10, "a")
	if err := did(tr, "exec", res, err); err != nil {
		return err
	}
	res, err = db.NewRaw("INSERT INTO stocks (sku, count, note) VALUES (?, ?, ?)", "r'1", 8, nil).Exec(ctx)
	if err := did(tr, "raw", res, err); err != nil {
		return err
	}
	var rows []Stock
	if err := db.NewRaw("SELECT * FROM ? WHERE count > ? ORDER BY sku", bun.Ident("stocks"), 1).Scan(ctx, &rows); err != nil {
		return fmt.Errorf("scan: %w", err)
	}
	tr.Note("rows", rows)
	return nil
}

func prepared(ctx context.Context, db *bun.DB, tr *stage.Trace) error {
	texts := []string{"UPDATE stocks SET count = count + 1 WHERE sku = 'a'", "SELECT count FROM stocks WHERE sku = 'a'"}
	for range 3 {
		var stmts [2]bun.Stmt
		for i, text := range texts {
			var err error
			if stmts[i], err = db.PrepareContext(ctx, text); err != nil {
				return err
			}
		}
		res, err := stmts[0].ExecContext(ctx)
		if err := did(tr, "exec", res, err); err != nil {
			return err
		}
		var n int
		err = stmts[1].QueryRowContext(ctx).Scan(&n)
		tr.Note("query", n)
		if err := errors.Join(err, stmts[0].Close(), stmts[1].Close()); err != nil {
			return err
		}
	}
	return nil
}

func hardValues(ctx context.Context, db *bun.DB, tr *stage.Trace) error {
	text := "ünïcode ☃ '\" ? ; --"
	rows := []*Types{
		{
			ID: 1, Text: text + strings.Repeat("long ", 300), Bytes: []byte{0, 1, 255, '\''}, Flag: true, Small: -32768,
			Big: -1 << 62, Float: 1.0 / 3, Doc: map[string]any{"a": []any{1.5, "x", nil}}, At: now,
			MaybeText: &text, MaybeInt: sql.NullInt64{Int64: 9, Valid: true}, MaybeFlag: sql.NullBool{Valid: true},
		},
		{ID: 2},
	}
	res, err := db.NewInsert().Model(&rows).Exec(ctx)
	if err := did(tr, "insert", res, err); err != nil {
		return err
	}
	if err := all[Types](ctx, db, tr, "id"); err != nil {
		return err
	}
	rows[0].At, rows[0].Doc, rows[0].MaybeText, rows[0].Bytes = now.Add(time.Hour), map[string]any{}, nil, nil
	res, err = db.NewUpdate().Model(rows[0]).WherePK().Exec(ctx)
	if err := did(tr, "update", res, err); err != nil {
		return err
	}
	return all[Types](ctx, db, tr, "id")
}
