// Package enttest plays programs that write and read as the code that ent generates:
// through its builder, its graph and its migrations. Generated code is nothing but
// calls of these.
package enttest

import (
	"context"
	"database/sql"
	"testing"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/schema"
	"entgo.io/ent/schema/field"

	"github.com/globaltx/globaltx/internal/conformance/programs/stage"
)

func TestEnt(t *testing.T) {
	stage.Suite[*entsql.Driver]{Open: open, Programs: programs()}.Play(t)
}

func open(db *sql.DB, k stage.Kind) (*entsql.Driver, error) {
	name := map[string]string{"mysql": dialect.MySQL, "postgres": dialect.Postgres, "sqlite": dialect.SQLite}[k.Dialect]
	return entsql.OpenDB(name, db), nil
}

func programs() []stage.Program[*entsql.Driver] {
	return []stage.Program[*entsql.Driver]{
		{Name: "create", Setup: zoo, Run: create},
		{Name: "update", Setup: zoo, Run: update},
		{Name: "delete", Setup: zoo, Run: remove},
		// ent assigns the key its own value, which is captured from PostgreSQL 18 on.
		{Name: "upsert", Setup: zoo, Run: upsert, Refused: map[string]string{"pq": "key-update"}},
		{Name: "upsert by name", Setup: zoo, Run: upsertByName},
		{Name: "query", Setup: zoo, Run: query},
		{Name: "transaction", Setup: zoo, Run: transaction},
		{Name: "locking", Setup: zoo, Run: locking, Only: []string{"mysql", "postgres"}},
	}
}

// The tables: owners with friends, and their pets.
var (
	ownerID = &schema.Column{Name: "id", Type: field.TypeInt, Increment: true}
	petID   = &schema.Column{Name: "id", Type: field.TypeString, Size: 40}
	keeper  = &schema.Column{Name: "owner_pets", Type: field.TypeInt, Nullable: true}
	left    = &schema.Column{Name: "owner_id", Type: field.TypeInt}
	right   = &schema.Column{Name: "friend_id", Type: field.TypeInt}

	owners = &schema.Table{
		Name: "owners", PrimaryKey: []*schema.Column{ownerID},
		Columns: []*schema.Column{
			ownerID,
			{Name: "name", Type: field.TypeString, Unique: true, Size: 80},
			{Name: "age", Type: field.TypeInt, Default: 1},
			{Name: "notes", Type: field.TypeJSON, Nullable: true},
		},
	}
	pets = &schema.Table{
		Name: "pets", PrimaryKey: []*schema.Column{petID},
		Columns: []*schema.Column{
			petID,
			{Name: "name", Type: field.TypeString},
			{Name: "kind", Type: field.TypeEnum, Enums: []string{"cat", "dog"}, Default: "cat"},
			{Name: "weight", Type: field.TypeFloat64},
			{Name: "chip", Type: field.TypeBytes, Nullable: true},
			{Name: "born", Type: field.TypeTime, Nullable: true},
			keeper,
		},
		ForeignKeys: []*schema.ForeignKey{{
			Symbol: "pets_owners", Columns: []*schema.Column{keeper}, RefTable: owners,
			RefColumns: []*schema.Column{ownerID}, OnDelete: schema.NoAction,
		}},
	}
	friends = &schema.Table{
		Name: "friends", PrimaryKey: []*schema.Column{left, right},
		Columns: []*schema.Column{left, right},
	}
)

func zoo(ctx context.Context, drv *entsql.Driver) error {
	m, err := schema.NewMigrate(drv)
	if err != nil {
		return err
	}
	if err := m.Create(ctx, owners, pets, friends); err != nil {
		return err
	}
	for _, name := range []string{"ann", "bob", "cy"} {
		if err := createOwner(ctx, drv, owner(name, 30)); err != nil {
			return err
		}
	}
	return createPets(ctx, drv, pet("p1", "rex", "dog", 1), pet("p2", "tom", "cat", 1), pet("p3", "it's", "cat", 2), pet("p0", "stray", "cat", 0))
}
