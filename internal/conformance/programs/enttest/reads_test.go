package enttest

import (
	"context"
	"errors"
	"fmt"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/sqlgraph"

	"github.com/globaltx/globaltx/internal/conformance/programs/stage"
)

func query(ctx context.Context, drv *entsql.Driver, tr *stage.Trace) error {
	if err := createPets(ctx, drv, pet("p7", "sam", "dog", 2)); err != nil {
		return err
	}
	b := entsql.Dialect(drv.Dialect())
	o, p := b.Table("owners"), b.Table("pets")
	text, args := b.Select(o.C("name"), entsql.As(entsql.Count("*"), "n")).From(o).Join(p).On(o.C("id"), p.C("owner_pets")).
		Where(entsql.GT(o.C("age"), 1)).GroupBy(o.C("name")).OrderBy(o.C("name")).Query()
	if err := show(ctx, drv, tr, "join", text, args...); err != nil {
		return err
	}
	spec := sqlgraph.NewQuerySpec("pets", []string{"id"}, textID())
	spec.Predicate = func(s *entsql.Selector) {
		s.Where(entsql.In(s.C("owner_pets"), entsql.Dialect(drv.Dialect()).Select("id").From(entsql.Table("owners")).Where(entsql.HasPrefix("name", "a"))))
	}
	n, err := sqlgraph.CountNodes(ctx, drv, spec)
	tr.Note("count", n)
	return err
}

var errUser = errors.New("the program's own")

// inTx is what every program with ent writes once.
func inTx(ctx context.Context, drv *entsql.Driver, fn func(tx dialect.Tx) error) error {
	tx, err := drv.Tx(ctx)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// ofTx lets graph calls run in a transaction, as generated code does.
type ofTx struct {
	dialect.ExecQuerier
	tx   dialect.Tx
	name string
}

func within(tx dialect.Tx, drv *entsql.Driver) ofTx { return ofTx{tx, tx, drv.Dialect()} }

func (t ofTx) Tx(context.Context) (dialect.Tx, error) { return nopTx{t.tx}, nil }
func (t ofTx) Dialect() string                        { return t.name }
func (t ofTx) Close() error                           { return nil }

// nopTx leaves the end to whoever began.
type nopTx struct{ dialect.Tx }

func (nopTx) Commit() error   { return nil }
func (nopTx) Rollback() error { return nil }

func transaction(ctx context.Context, drv *entsql.Driver, tr *stage.Trace) error {
	err := inTx(ctx, drv, func(tx dialect.Tx) error {
		s := owner("tess", 9)
		s.Edges = append(s.Edges, befriend(1), keeps("p0"))
		if err := sqlgraph.CreateNode(ctx, within(tx, drv), s); err != nil {
			return fmt.Errorf("create: %w", err)
		}
		tr.Note("key", s.ID.Value)
		return everything(ctx, tx, tr)
	})
	if err != nil {
		return err
	}
	tr.Failed("rolled back", inTx(ctx, drv, func(tx dialect.Tx) error {
		spec := sqlgraph.NewDeleteSpec("pets", textID())
		if _, err := sqlgraph.DeleteNodes(ctx, within(tx, drv), spec); err != nil {
			return err
		}
		return errUser
	}))
	return everything(ctx, drv, tr)
}

func locking(ctx context.Context, drv *entsql.Driver, tr *stage.Trace) error {
	return inTx(ctx, drv, func(tx dialect.Tx) error {
		text, args := entsql.Dialect(drv.Dialect()).Select("id", "age").From(entsql.Table("owners")).
			Where(entsql.EQ("name", "bob")).ForUpdate().Query()
		if err := show(ctx, tx, tr, "for update", text, args...); err != nil {
			return err
		}
		text, args = entsql.Dialect(drv.Dialect()).Update("owners").Add("age", 1).Where(entsql.EQ("name", "bob")).Query()
		return tx.Exec(ctx, text, args, nil)
	})
}
