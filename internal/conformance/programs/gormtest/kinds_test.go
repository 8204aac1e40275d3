package gormtest

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/globaltx/globaltx/internal/conformance/programs/stage"
)

func kinds() []stage.Program[*gorm.DB] {
	return []stage.Program[*gorm.DB]{
		{Name: "types", Setup: func(ctx context.Context, db *gorm.DB) error {
			return db.WithContext(ctx).AutoMigrate(&Types{})
		}, Run: types},
	}
}

func types(ctx context.Context, db *gorm.DB, tr *stage.Trace) error {
	db = db.WithContext(ctx)
	text := "ünïcode ☃ '\"\\ ; --"
	full := Types{
		ID: uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), Text: text, Long: strings.Repeat("long ", 500),
		Bytes: []byte{0, 1, 255, '\'', '\\'}, Flag: true, MaybeFlag: sql.NullBool{Bool: false, Valid: true},
		Small: -128, Big: -1 << 62, Unsigned: 1<<32 - 1, Float: 1.0 / 3, Amount: "12345678901234.567891",
		Doc: map[string]any{"a": []any{1.5, "x", nil}}, Tags: []string{"p", "q"},
		At: now, MaybeAt: sql.NullTime{Time: now.Add(time.Hour), Valid: true}, MaybeText: &text,
		MaybeInt: sql.NullInt64{Int64: 9, Valid: true}, Embedded: Address{Street: "Main 1", City: "Köln"},
	}
	empty := Types{ID: uuid.MustParse("6ba7b811-9dad-11d1-80b4-00c04fd430c8"), Amount: "0", At: now}
	var rows, again []Types
	var one Types
	return errors.Join(
		saw(tr, "create", db.Create([]*Types{&full, &empty})),
		saw(tr, "read", db.Order("id").Find(&rows), &rows),
		saw(tr, "to null", db.Model(&full).Updates(map[string]any{
			"maybe_at": nil, "maybe_text": nil, "maybe_int": nil, "maybe_flag": nil, "bytes": []byte{},
			"amount": gorm.Expr("amount * 2"), "flag": false,
		})),
		saw(tr, "from null", db.Model(&empty).Select("*").Omit("ID").Updates(Types{
			Text: "x", Bytes: []byte("b"), Doc: map[string]any{}, Amount: "-0.000001", At: now.Add(-time.Minute),
			MaybeAt: sql.NullTime{Time: now, Valid: true}, MaybeInt: sql.NullInt64{Int64: -1, Valid: true},
		})),
		saw(tr, "by bytes", db.Where("bytes = ?", []byte("b")).First(&one), &one),
		saw(tr, "by time", db.Where("at < ?", now).Order("id").Find(&again), &again),
	)
}
