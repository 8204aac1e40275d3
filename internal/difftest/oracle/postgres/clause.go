package postgres

import (
	"fmt"
	"reflect"

	pg "github.com/sqlc-dev/oliphant"
	"google.golang.org/protobuf/proto"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// wrapper is a small statement around one clause.
type wrapper struct {
	name      string
	pre, post string
	// take cuts the clause out of the wrapper's tree.
	take func(*pg.Node) []proto.Message
	rest *pg.Node // the tree without the clause
}

// clauses are the wrappers, one for each sort of clause.
type clauses struct {
	with, table, alias, from, set, where, orderBy, limit, lock, returning, values,
	overriding, conflict, conflictTarget, when wrapper
}

func newClauses() clauses {
	w := func(name, pre, sample, post string, take func(*pg.Node) []proto.Message) wrapper {
		stmts, err := parse(pre + sample + post)
		if err != nil {
			panic(err) // our own text
		}
		take(stmts[0].Stmt)
		return wrapper{name, pre, post, take, stmts[0].Stmt}
	}
	return clauses{
		with: w("with", "", "WITH a AS (SELECT 1)", " SELECT 1", func(n *pg.Node) []proto.Message {
			return one(cut(&n.GetSelectStmt().WithClause))
		}),
		table: w("table name", "SELECT 1 FROM ", "a", "", fromList),
		alias: w("alias", "SELECT 1 FROM a AS ", "b", "", fromList),
		from:  w("from", "SELECT 1 FROM ", "a", "", fromList),
		set: w("set", "UPDATE x SET ", "a = 1", "", func(n *pg.Node) []proto.Message {
			return all(cut(&n.GetUpdateStmt().TargetList))
		}),
		where: w("condition", "SELECT 1 WHERE ", "a", "", func(n *pg.Node) []proto.Message {
			return one(cut(&n.GetSelectStmt().WhereClause))
		}),
		orderBy: w("order by", "SELECT 1 ORDER BY ", "a", "", func(n *pg.Node) []proto.Message {
			return all(cut(&n.GetSelectStmt().SortClause))
		}),
		limit: w("limit", "SELECT 1 LIMIT ", "1", "", limitOf),
		lock: w("lock", "SELECT 1 FROM a ", "FOR UPDATE", "", func(n *pg.Node) []proto.Message {
			return all(cut(&n.GetSelectStmt().LockingClause))
		}),
		returning: w("returning", "DELETE FROM x RETURNING ", "a", "", func(n *pg.Node) []proto.Message {
			return one(cut(&n.GetDeleteStmt().ReturningClause))
		}),
		values: w("values", "VALUES (", "1", ")", func(n *pg.Node) []proto.Message {
			return all(cut(&n.GetSelectStmt().ValuesLists))
		}),
		overriding: w("overriding", "INSERT INTO x ", "OVERRIDING USER VALUE", " VALUES (1)", func(n *pg.Node) []proto.Message {
			return override(cut(&n.GetInsertStmt().Override))
		}),
		conflict: w("on conflict", "INSERT INTO x DEFAULT VALUES ", "ON CONFLICT DO NOTHING", "", func(n *pg.Node) []proto.Message {
			return one(cut(&n.GetInsertStmt().OnConflictClause))
		}),
		conflictTarget: w("on conflict target", "INSERT INTO x DEFAULT VALUES ON CONFLICT ", "(a)", " DO NOTHING",
			func(n *pg.Node) []proto.Message { return one(cut(&n.GetInsertStmt().OnConflictClause.Infer)) }),
		when: w("when", "MERGE INTO x USING y ON true ", "WHEN MATCHED THEN DELETE", "", func(n *pg.Node) []proto.Message {
			return all(cut(&n.GetMergeStmt().MergeWhenClauses))
		}),
	}
}

// cut empties a field and gives what it held.
func cut[T any](field *T) T {
	var zero, was T
	was, *field = *field, zero
	return was
}

func fromList(n *pg.Node) []proto.Message { return all(cut(&n.GetSelectStmt().FromClause)) }

// limitOf gives count and offset, always both, the absent one empty.
func limitOf(n *pg.Node) []proto.Message {
	s := n.GetSelectStmt()
	if s.LimitCount == nil && s.LimitOffset == nil {
		return nil
	}
	s.LimitOption = 0
	return []proto.Message{orEmpty(cut(&s.LimitCount)), orEmpty(cut(&s.LimitOffset))}
}

func orEmpty(n *pg.Node) *pg.Node {
	if n == nil {
		return &pg.Node{}
	}
	return n
}

// override gives OVERRIDING as a tree.
func override(k pg.OverridingKind) []proto.Message {
	if k == pg.OverridingKind_OVERRIDING_NOT_SET || k == pg.OverridingKind_OVERRIDING_KIND_UNDEFINED {
		return nil
	}
	return []proto.Message{&pg.InsertStmt{Override: k}}
}

// clause compares the clause in span sp with the sub-tree want: both are there
// or both are not, and the span alone is read as the same tree.
func (c *comparison) clause(w *wrapper, st *sqltext.Statement, sp sqltext.Span, want []proto.Message) string {
	text, ok := slice(st, sp)
	switch {
	case !ok || sp.Start < st.Span.Start && sp != sqltext.Span{} || sp.End > st.Span.End:
		return w.name + ": the span is outside the statement"
	case text == "" && len(want) == 0:
		return ""
	case text == "":
		return w.name + ": not read, but in the tree"
	case len(want) == 0:
		return w.name + ": read, but not in the tree"
	}
	got, err := c.unwrap(w, text)
	if err != nil {
		return fmt.Sprintf("%s: %q alone: %v", w.name, text, err)
	}
	if !sameAll(got, want) {
		return fmt.Sprintf("%s: %q alone is something else than in the tree", w.name, text)
	}
	return ""
}

// unwrap parses a clause inside its wrapper and gives its tree.
func (c *comparison) unwrap(w *wrapper, text string) ([]proto.Message, error) {
	stmts, err := c.o.parseOwn(w.pre + text + w.post)
	switch {
	case err != nil:
		return nil, err
	case len(stmts) != 1, reflect.TypeOf(stmts[0].Stmt.Node) != reflect.TypeOf(w.rest.Node):
		return nil, fmt.Errorf("reads as more than the clause")
	}
	got := w.take(stmts[0].Stmt)
	if !same(stmts[0].Stmt, w.rest) {
		return nil, fmt.Errorf("reads as more than the clause")
	}
	return got, nil
}
