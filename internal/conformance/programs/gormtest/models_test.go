package gormtest

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
)

// User has every association that GORM knows.
type User struct {
	gorm.Model
	Name      string `gorm:"size:100;uniqueIndex"`
	Age       int
	Active    bool
	Birthday  *time.Time
	CompanyID *uint
	Company   *Company
	Account   Account // has one
	Orders    []Order // has many
	Teams     []Team  `gorm:"many2many:user_teams"`
	Toys      []Toy   `gorm:"polymorphic:Owner"`
	ManagerID *uint
	Manager   *User
}

// Company has users.
type Company struct {
	ID   uint
	Name string `gorm:"size:100"`
}

// Account belongs to a user.
type Account struct {
	ID     uint
	UserID uint
	Number string `gorm:"size:40"`
}

// Order has items.
type Order struct {
	ID     uint
	UserID uint
	Total  int64
	Items  []Item
}

// Item belongs to an order; its key has two columns.
type Item struct {
	OrderID uint `gorm:"primaryKey;autoIncrement:false"`
	Line    int  `gorm:"primaryKey;autoIncrement:false"`
	SKU     string
	Count   int
}

// Team has many users, by a table between them.
type Team struct {
	ID   uint
	Name string `gorm:"size:60"`
}

// Toy belongs to whatever OwnerType names.
type Toy struct {
	ID        uint
	Name      string `gorm:"size:60"`
	OwnerID   uint
	OwnerType string `gorm:"size:60"`
}

// Hooked writes a log row from its hooks.
type Hooked struct {
	ID    uint
	Name  string `gorm:"size:60"`
	Total int
}

// HookLog is what the hooks of Hooked write.
type HookLog struct {
	ID   uint
	Text string `gorm:"size:120"`
}

var errHook = errors.New("refused by hook")

// BeforeCreate refuses the name "bad" after it has written.
func (h *Hooked) BeforeCreate(tx *gorm.DB) error { return h.log(tx, "before create") }

// AfterCreate writes into the same local transaction.
func (h *Hooked) AfterCreate(tx *gorm.DB) error { return h.log(tx, "after create") }

// BeforeUpdate changes the statement.
func (h *Hooked) BeforeUpdate(tx *gorm.DB) error {
	tx.Statement.SetColumn("Total", 77)
	return h.log(tx, "before update")
}

// AfterDelete writes into the same local transaction.
func (h *Hooked) AfterDelete(tx *gorm.DB) error { return h.log(tx, "after delete") }

func (h *Hooked) log(tx *gorm.DB, text string) error {
	if err := tx.Create(&HookLog{Text: text + " " + h.Name}).Error; err != nil {
		return err
	}
	if h.Name == "bad" && text == "after create" {
		return errHook
	}
	return nil
}

// Types has a column of every type that programs put into a model.
type Types struct {
	ID        uuid.UUID `gorm:"type:varchar(36);primaryKey"`
	Text      string
	Long      string `gorm:"type:text"`
	Bytes     []byte
	Flag      bool
	MaybeFlag sql.NullBool
	Small     int8
	Big       int64
	Unsigned  uint32
	Float     float64
	Amount    string         `gorm:"type:decimal(20,6)"`
	Doc       map[string]any `gorm:"serializer:json"`
	Tags      []string       `gorm:"serializer:json;type:text"`
	At        time.Time
	MaybeAt   sql.NullTime
	Unix      int64 `gorm:"autoUpdateTime:milli"`
	MaybeText *string
	MaybeInt  sql.NullInt64
	Embedded  Address `gorm:"embedded;embeddedPrefix:addr_"`
}

// Address is embedded.
type Address struct {
	Street string
	City   string
}

// Stock has a key that the program chooses, for upserts.
type Stock struct {
	SKU   string `gorm:"primaryKey;size:40"`
	Count int
	Price int `gorm:"default:5"`
	Note  string
}

// graph makes the tables of the model and a few rows.
func graph(ctx context.Context, db *gorm.DB) error {
	db = db.WithContext(ctx)
	if err := db.AutoMigrate(&Company{}, &User{}, &Account{}, &Order{}, &Item{}, &Team{}, &Toy{}); err != nil {
		return err
	}
	return db.Create([]*User{
		{
			Name: "ann", Age: 41, Active: true, Company: &Company{Name: "acme"}, Account: Account{Number: "a-1"},
			Orders: []Order{{Total: 10, Items: []Item{{Line: 1, SKU: "nut", Count: 3}, {Line: 2, SKU: "bolt", Count: 4}}}, {Total: 20}},
			Teams:  []Team{{Name: "red"}, {Name: "blue"}}, Toys: []Toy{{Name: "ball"}},
		},
		{Name: "bob", Age: 22, Birthday: &now, Orders: []Order{{Total: 7}}},
		{Name: "cy", Age: 33, Active: true},
	}).Error
}
