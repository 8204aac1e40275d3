// Package schema is what ent makes the rest of its package of.
package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"
)

// Account is a row of accounts.
type Account struct{ ent.Schema }

// Fields of an account: the id is its owner.
func (Account) Fields() []ent.Field {
	return []ent.Field{
		field.String("id"),
		field.Int64("balance"),
	}
}
