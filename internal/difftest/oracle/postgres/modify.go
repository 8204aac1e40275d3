package postgres

import (
	"reflect"

	pg "github.com/sqlc-dev/oliphant"
	"google.golang.org/protobuf/proto"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

func (c *comparison) update(st *sqltext.Statement, n *pg.UpdateStmt) string {
	w := &c.o.clauses
	return first(
		func() string { return c.target(st, n.Relation) },
		func() string { return c.with(st, n.WithClause) },
		func() string { return c.clause(&w.set, st, st.Set, all(n.TargetList)) },
		func() string { return columns("assigned columns", st.SetColumns, n.TargetList) },
		func() string { return c.clause(&w.from, st, st.From, all(n.FromClause)) },
		func() string { return c.clause(&w.where, st, st.Where, one(n.WhereClause)) },
		func() string { return c.clause(&w.returning, st, st.Returning, one(n.ReturningClause)) },
	)
}

func (c *comparison) delete(st *sqltext.Statement, n *pg.DeleteStmt) string {
	w := &c.o.clauses
	return first(
		func() string { return c.target(st, n.Relation) },
		func() string { return c.with(st, n.WithClause) },
		func() string { return c.clause(&w.from, st, st.From, all(n.UsingClause)) },
		func() string { return c.clause(&w.where, st, st.Where, one(n.WhereClause)) },
		func() string { return c.clause(&w.returning, st, st.Returning, one(n.ReturningClause)) },
	)
}

func (c *comparison) merge(st *sqltext.Statement, n *pg.MergeStmt) string {
	w := &c.o.clauses
	return first(
		func() string { return c.target(st, n.Relation) },
		func() string { return c.with(st, n.WithClause) },
		func() string { return c.clause(&w.from, st, st.From, one(n.SourceRelation)) },
		func() string { return c.clause(&w.where, st, st.On, one(n.JoinCondition)) },
		func() string { return equal("WHEN clauses", len(st.Whens), len(n.MergeWhenClauses)) },
		func() string {
			for i := range st.Whens {
				if detail := c.when(st, &st.Whens[i], n.MergeWhenClauses[i]); detail != "" {
					return detail
				}
			}
			return ""
		},
		func() string { return c.clause(&w.returning, st, st.Returning, one(n.ReturningClause)) },
	)
}

var matches = map[pg.MergeMatchKind]sqltext.Match{
	pg.MergeMatchKind_MERGE_WHEN_MATCHED:               sqltext.Matched,
	pg.MergeMatchKind_MERGE_WHEN_NOT_MATCHED_BY_TARGET: sqltext.NotMatched,
	pg.MergeMatchKind_MERGE_WHEN_NOT_MATCHED_BY_SOURCE: sqltext.NotMatchedBySource,
}

var commands = map[pg.CmdType]sqltext.Kind{
	pg.CmdType_CMD_INSERT: sqltext.Insert,
	pg.CmdType_CMD_UPDATE: sqltext.Update,
	pg.CmdType_CMD_DELETE: sqltext.Delete,
}

func (c *comparison) when(st *sqltext.Statement, when *sqltext.When, n *pg.Node) string {
	tree := n.GetMergeWhenClause()
	var set, cols []*pg.Node
	switch tree.CommandType {
	case pg.CmdType_CMD_UPDATE:
		set = tree.TargetList
	case pg.CmdType_CMD_INSERT:
		cols = tree.TargetList
	}
	w := &c.o.clauses
	return first(
		func() string { return c.clause(&w.when, st, when.Span, []proto.Message{n}) },
		func() string { return equal("match", when.Match, matches[tree.MatchKind]) },
		func() string { return equal("action", when.Kind, commands[tree.CommandType]) },
		func() string { return c.clause(&w.where, st, when.Cond, one(tree.Condition)) },
		func() string { return c.clause(&w.set, st, when.Set, all(set)) },
		func() string { return columns("columns of WHEN", when.SetColumns, set) },
		func() string { return plainColumns("columns of WHEN", when.Columns, cols) },
	)
}

// unexpected: a field is set that belongs to no statement of this kind.
func unexpected(st *sqltext.Statement) string {
	rest := *st
	rest.Text, rest.Dialect, rest.Kind, rest.Span = "", 0, 0, sqltext.Span{}
	rest.Placeholders, rest.Functions, rest.Locking = nil, nil, false
	none := sqltext.Span{}
	switch st.Kind {
	case sqltext.Select:
		rest.With, rest.CTEs, rest.Targets, rest.Lock = none, nil, nil, none
		rest.Where, rest.OrderBy, rest.Limit = none, none, none
	case sqltext.Savepoint, sqltext.RollbackTo, sqltext.Release:
		rest.Savepoint = ""
	case sqltext.Insert:
		rest.With, rest.CTEs, rest.Targets, rest.Returning = none, nil, nil, none
		rest.Source, rest.Columns, rest.Rows, rest.Query = 0, nil, nil, none
		rest.Upserts, rest.Overriding = nil, none
	case sqltext.Update:
		rest.Set, rest.SetColumns = none, nil
		fallthrough
	case sqltext.Delete:
		rest.With, rest.CTEs, rest.Targets, rest.Returning = none, nil, nil, none
		rest.From, rest.Where = none, none
	case sqltext.Merge:
		rest.With, rest.CTEs, rest.Targets, rest.Returning = none, nil, nil, none
		rest.From, rest.On, rest.Whens = none, none, nil
	}
	v := reflect.ValueOf(rest)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			return v.Type().Field(i).Name + " is set, which this kind does not have"
		}
	}
	return ""
}
