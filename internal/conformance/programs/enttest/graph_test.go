package enttest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/sqlgraph"
	"entgo.io/ent/schema/field"

	"github.com/globaltx/globaltx/internal/conformance/programs/stage"
)

var born = time.Date(2026, 3, 1, 12, 30, 45, 0, time.UTC)

func intID() *sqlgraph.FieldSpec  { return sqlgraph.NewFieldSpec("id", field.TypeInt) }
func textID() *sqlgraph.FieldSpec { return sqlgraph.NewFieldSpec("id", field.TypeString) }

func owner(name string, age int) *sqlgraph.CreateSpec {
	s := sqlgraph.NewCreateSpec("owners", intID())
	s.SetField("name", field.TypeString, name)
	s.SetField("age", field.TypeInt, age)
	return s
}

// createOwner lets the server make the key and reads it back into the spec.
func createOwner(ctx context.Context, drv dialect.Driver, s *sqlgraph.CreateSpec) error {
	return sqlgraph.CreateNode(ctx, drv, s)
}

func pet(id, name, kind string, keeper int) *sqlgraph.CreateSpec {
	s := sqlgraph.NewCreateSpec("pets", textID())
	s.ID.Value = id
	s.SetField("name", field.TypeString, name)
	s.SetField("kind", field.TypeEnum, kind)
	s.SetField("weight", field.TypeFloat64, 1.0/3)
	s.SetField("born", field.TypeTime, born)
	if keeper != 0 {
		s.Edges = append(s.Edges, &sqlgraph.EdgeSpec{
			Rel: sqlgraph.M2O, Inverse: true, Table: "pets", Columns: []string{"owner_pets"},
			Target: &sqlgraph.EdgeTarget{Nodes: []driver.Value{keeper}, IDSpec: intID()},
		})
	}
	return s
}

func createPets(ctx context.Context, drv dialect.Driver, nodes ...*sqlgraph.CreateSpec) error {
	return sqlgraph.BatchCreate(ctx, drv, &sqlgraph.BatchCreateSpec{Nodes: nodes})
}

// befriend is an edge of two owners, both ways.
func befriend(with ...driver.Value) *sqlgraph.EdgeSpec {
	return &sqlgraph.EdgeSpec{
		Rel: sqlgraph.M2M, Table: "friends", Columns: []string{"owner_id", "friend_id"}, Bidi: true,
		Target: &sqlgraph.EdgeTarget{Nodes: with, IDSpec: intID()},
	}
}

// keeps is the edge from an owner to pets.
func keeps(pets ...driver.Value) *sqlgraph.EdgeSpec {
	return &sqlgraph.EdgeSpec{
		Rel: sqlgraph.O2M, Table: "pets", Columns: []string{"owner_pets"},
		Target: &sqlgraph.EdgeTarget{Nodes: pets, IDSpec: textID()},
	}
}

// show notes the rows of a query, as text.
func show(ctx context.Context, drv dialect.ExecQuerier, tr *stage.Trace, what, text string, args ...any) (err error) {
	rows := &entsql.Rows{}
	if err := drv.Query(ctx, text, args, rows); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	var all [][]sql.NullString
	for rows.Next() {
		row := make([]sql.NullString, len(columns))
		dest := make([]any, len(columns))
		for i := range row {
			dest[i] = &row[i]
		}
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		all = append(all, row)
	}
	tr.Note(what, columns, all)
	return rows.Err()
}

// everything notes all tables.
func everything(ctx context.Context, drv dialect.ExecQuerier, tr *stage.Trace) error {
	return errors.Join(
		show(ctx, drv, tr, "owners", "SELECT * FROM owners ORDER BY id"),
		show(ctx, drv, tr, "pets", "SELECT * FROM pets ORDER BY id"),
		show(ctx, drv, tr, "friends", "SELECT * FROM friends ORDER BY owner_id, friend_id"),
	)
}

func create(ctx context.Context, drv *entsql.Driver, tr *stage.Trace) error {
	dee := owner("dee", 5)
	dee.SetField("notes", field.TypeJSON, []byte(`["a", 1, null]`))
	dee.Edges = append(dee.Edges, befriend(1, 2), keeps("p0"))
	batch := []*sqlgraph.CreateSpec{owner("eve", 6), owner("fay", 7)}
	err := errors.Join(
		createOwner(ctx, drv, dee),
		sqlgraph.BatchCreate(ctx, drv, &sqlgraph.BatchCreateSpec{Nodes: batch}),
		createPets(ctx, drv, pet("p4", "ünï ☃", "cat", 2), pet("p5", "?", "dog", 3)),
	)
	if err != nil {
		return err
	}
	tr.Note("keys", dee.ID.Value, batch[0].ID.Value, batch[1].ID.Value)
	twice := createOwner(ctx, drv, owner("ann", 1))
	tr.Failed("same name again", twice)
	tr.Note("is a constraint", sqlgraph.IsUniqueConstraintError(twice), sqlgraph.IsForeignKeyConstraintError(twice))
	orphan := createPets(ctx, drv, pet("p6", "nobody's", "cat", 99))
	tr.Note("no such owner", sqlgraph.IsForeignKeyConstraintError(orphan))
	return everything(ctx, drv, tr)
}

func update(ctx context.Context, drv *entsql.Driver, tr *stage.Trace) error {
	one := sqlgraph.NewUpdateSpec("owners", []string{"id", "name", "age"}, intID())
	one.Node.ID.Value = 1
	one.SetField("name", field.TypeString, "anna")
	one.AddField("age", field.TypeInt, 4)
	one.ClearField("notes", field.TypeJSON)
	one.Edges.Add = append(one.Edges.Add, befriend(3))
	one.Edges.Clear = append(one.Edges.Clear, keeps("p1"))
	one.ScanValues = func(columns []string) ([]any, error) {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(sql.NullString)
		}
		return values, nil
	}
	one.Assign = func(columns []string, values []any) error {
		tr.Note("updated", columns, values)
		return nil
	}
	if err := sqlgraph.UpdateNode(ctx, drv, one); err != nil {
		return fmt.Errorf("update one: %w", err)
	}
	many := sqlgraph.NewUpdateSpec("pets", nil, textID())
	many.Predicate = func(s *entsql.Selector) { s.Where(entsql.And(entsql.EQ("kind", "cat"), entsql.NotNull("owner_pets"))) }
	many.SetField("weight", field.TypeFloat64, 2.5)
	many.SetField("chip", field.TypeBytes, []byte{0, 255, '\''})
	n, err := sqlgraph.UpdateNodes(ctx, drv, many)
	if err != nil {
		return fmt.Errorf("update many: %w", err)
	}
	tr.Note("many", n)
	none := sqlgraph.NewUpdateSpec("owners", []string{"id"}, intID())
	none.Node.ID.Value = 99
	none.SetField("age", field.TypeInt, 1)
	none.ScanValues, none.Assign = one.ScanValues, one.Assign
	tr.Failed("none", sqlgraph.UpdateNode(ctx, drv, none))
	return everything(ctx, drv, tr)
}

func remove(ctx context.Context, drv *entsql.Driver, tr *stage.Trace) error {
	spec := sqlgraph.NewDeleteSpec("pets", textID())
	spec.Predicate = func(s *entsql.Selector) { s.Where(entsql.In("id", "p1", "p3", "p9")) }
	n, err := sqlgraph.DeleteNodes(ctx, drv, spec)
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	tr.Note("deleted", n)
	kept := sqlgraph.NewDeleteSpec("owners", intID())
	kept.Predicate = func(s *entsql.Selector) { s.Where(entsql.EQ("id", 1)) }
	_, err = sqlgraph.DeleteNodes(ctx, drv, kept)
	tr.Note("an owner with a pet", sqlgraph.IsForeignKeyConstraintError(err))
	kept.Predicate = func(s *entsql.Selector) { s.Where(entsql.EQ("id", 3)) }
	n, err = sqlgraph.DeleteNodes(ctx, drv, kept)
	tr.Note("an owner without", n)
	return errors.Join(err, everything(ctx, drv, tr))
}

func upsert(ctx context.Context, drv *entsql.Driver, tr *stage.Trace) error {
	ignored := pet("p1", "other", "cat", 2)
	ignored.OnConflict = []entsql.ConflictOption{entsql.ConflictColumns("id"), entsql.ResolveWithIgnore()}
	added := pet("p2", "more", "cat", 2)
	added.OnConflict = []entsql.ConflictOption{
		entsql.ConflictColumns("id"),
		entsql.ResolveWith(func(u *entsql.UpdateSet) { u.SetExcluded("name").Add("weight", 2) }),
	}
	if err := errors.Join(sqlgraph.CreateNode(ctx, drv, ignored), sqlgraph.CreateNode(ctx, drv, added)); err != nil {
		return err
	}
	return everything(ctx, drv, tr)
}

func upsertByName(ctx context.Context, drv *entsql.Driver, tr *stage.Trace) error {
	for _, s := range []*sqlgraph.CreateSpec{owner("ann", 77), owner("new", 78)} {
		s.OnConflict = []entsql.ConflictOption{entsql.ConflictColumns("name"), entsql.ResolveWithNewValues()}
		if err := sqlgraph.CreateNode(ctx, drv, s); err != nil {
			return err
		}
		tr.Note("key", s.ID.Value)
	}
	return everything(ctx, drv, tr)
}
