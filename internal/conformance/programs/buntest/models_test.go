package buntest

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"
)

// The time that every program lives at.
var now = time.Date(2026, 3, 1, 12, 30, 45, 123000000, time.UTC)

// Buyer has many orders and many tags.
type Buyer struct {
	bun.BaseModel `bun:"table:buyers,alias:b"`

	ID        int64  `bun:",pk,autoincrement"`
	Name      string `bun:",notnull,unique,type:varchar(60)"`
	Age       int
	DeletedAt time.Time `bun:",soft_delete,nullzero"`

	Orders []*Order `bun:"rel:has-many,join:id=buyer_id"`
	Tags   []*Tag   `bun:"m2m:buyer_tags,join:Buyer=Tag"`
}

// Order belongs to a buyer.
type Order struct {
	bun.BaseModel `bun:"table:orders,alias:o"`

	ID      int64 `bun:",pk,autoincrement"`
	BuyerID int64
	Total   int64

	Buyer *Buyer `bun:"rel:belongs-to,join:buyer_id=id"`
}

// Tag has many buyers.
type Tag struct {
	bun.BaseModel `bun:"table:tags,alias:t"`

	ID   int64  `bun:",pk,autoincrement"`
	Name string `bun:"type:varchar(60)"`
}

// BuyerTag stands between buyers and tags.
type BuyerTag struct {
	bun.BaseModel `bun:"table:buyer_tags,alias:bt"`

	BuyerID int64  `bun:",pk"`
	Buyer   *Buyer `bun:"rel:belongs-to,join:buyer_id=id"`
	TagID   int64  `bun:",pk"`
	Tag     *Tag   `bun:"rel:belongs-to,join:tag_id=id"`
}

// Stock has a key that the program chooses.
type Stock struct {
	bun.BaseModel `bun:"table:stocks,alias:s"`

	SKU   string `bun:",pk,type:varchar(40)"`
	Count int
	Note  string `bun:",nullzero,type:varchar(200)"`
}

var _ bun.BeforeAppendModelHook = (*Stock)(nil)

// BeforeAppendModel changes what is written.
func (s *Stock) BeforeAppendModel(_ context.Context, query bun.Query) error {
	if _, ok := query.(*bun.UpdateQuery); ok && s.Note == "hook" {
		s.Note = "changed by the hook"
	}
	return nil
}

// Types has a column of every type that programs put into a model.
type Types struct {
	bun.BaseModel `bun:"table:types,alias:ty"`

	ID        int64  `bun:",pk"`
	Text      string `bun:"type:text"`
	Bytes     []byte
	Flag      bool
	Small     int16
	Big       int64
	Float     float64
	Doc       map[string]any `bun:"type:json"`
	At        time.Time      `bun:",nullzero"`
	MaybeText *string
	MaybeInt  sql.NullInt64
	MaybeFlag sql.NullBool
}

func shop(ctx context.Context, db *bun.DB) error {
	db.RegisterModel((*BuyerTag)(nil))
	for _, m := range []any{(*Buyer)(nil), (*Order)(nil), (*Tag)(nil), (*BuyerTag)(nil), (*Stock)(nil)} {
		if _, err := db.NewCreateTable().Model(m).Exec(ctx); err != nil {
			return err
		}
	}
	write := func(model any) error {
		_, err := db.NewInsert().Model(model).Exec(ctx)
		return err
	}
	return errors.Join(
		write(&[]*Buyer{{Name: "ann", Age: 41}, {Name: "bob", Age: 22}, {Name: "cy", Age: 33}}),
		write(&[]*Order{{BuyerID: 1, Total: 10}, {BuyerID: 1, Total: 20}, {BuyerID: 2, Total: 7}}),
		write(&[]*Tag{{Name: "red"}, {Name: "blue"}}),
		write(&[]*BuyerTag{{BuyerID: 1, TagID: 1}, {BuyerID: 1, TagID: 2}}),
		write(&[]*Stock{{SKU: "a", Count: 1}, {SKU: "b", Count: 2, Note: "it's"}, {SKU: "c", Count: 3}}),
	)
}

func types(ctx context.Context, db *bun.DB) error {
	_, err := db.NewCreateTable().Model((*Types)(nil)).Exec(ctx)
	return err
}
