package postgres

import (
	"fmt"
	"strings"

	pg "github.com/sqlc-dev/oliphant"
	"google.golang.org/protobuf/proto"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

func (c *comparison) insert(st *sqltext.Statement, n *pg.InsertStmt) string {
	w := &c.o.clauses
	return first(
		func() string { return c.target(st, n.Relation) },
		func() string { return c.with(st, n.WithClause) },
		func() string { return plainColumns("column list", st.Columns, n.Cols) },
		func() string { return c.clause(&w.overriding, st, st.Overriding, override(n.Override)) },
		func() string { return c.source(st, n) },
		func() string { return c.upserts(st, n.OnConflictClause) },
		func() string { return c.clause(&w.returning, st, st.Returning, one(n.ReturningClause)) },
	)
}

// source compares where the rows come from.
func (c *comparison) source(st *sqltext.Statement, n *pg.InsertStmt) string {
	query := n.SelectStmt.GetSelectStmt()
	switch {
	case query == nil:
		if st.Source != sqltext.SourceDefaults || st.Rows != nil || st.Query != (sqltext.Span{}) {
			return "the tree has DEFAULT VALUES"
		}
		return ""
	case st.Source == sqltext.SourceValues && st.Query == sqltext.Span{}:
		if !same(query, valuesOnly(query)) {
			return "values read, the tree has a query"
		}
		return c.rows(st, query.ValuesLists)
	case st.Source == sqltext.SourceQuery && st.Rows == nil:
		return c.query(st, query)
	}
	return fmt.Sprintf("source %d read, the tree has a query or values", st.Source)
}

// valuesOnly is q if it is nothing but VALUES.
func valuesOnly(q *pg.SelectStmt) *pg.SelectStmt {
	if len(q.ValuesLists) == 0 {
		return &pg.SelectStmt{}
	}
	return &pg.SelectStmt{ValuesLists: q.ValuesLists, LimitOption: q.LimitOption, Op: q.Op}
}

// query compares the text of a source query. The tree does not show whether
// VALUES stood in brackets; without them it must have been read as rows.
func (c *comparison) query(st *sqltext.Statement, want *pg.SelectStmt) string {
	text, ok := slice(st, st.Query)
	if !ok || text == "" {
		return "the span of the query is empty or outside the text"
	}
	stmts, err := c.o.parseOwn(text)
	if err != nil || len(stmts) != 1 || stmts[0].Stmt.GetSelectStmt() == nil || !same(stmts[0].Stmt.GetSelectStmt(), want) {
		return fmt.Sprintf("the query %q alone is something else than in the tree", text)
	}
	if !strings.HasPrefix(text, "(") && same(want, valuesOnly(want)) {
		return "query read, the tree has values"
	}
	return ""
}

// rows compares VALUES. All values are parsed at once, each in brackets of its
// own: a span with half a bracket gives another number of rows.
func (c *comparison) rows(st *sqltext.Statement, lists []*pg.Node) string {
	if len(st.Rows) != len(lists) {
		return fmt.Sprintf("%d rows read, the tree has %d", len(st.Rows), len(lists))
	}
	var want []*pg.Node
	var texts []string
	for i, row := range st.Rows {
		items := lists[i].GetList().GetItems()
		if len(row) != len(items) {
			return fmt.Sprintf("row %d: %d values read, the tree has %d", i, len(row), len(items))
		}
		for j := range row {
			text, ok := slice(st, row[j].Span)
			if !ok {
				return fmt.Sprintf("row %d: value %d is outside the text", i, j)
			}
			if detail := c.valueKind(st, &row[j], text, items[j]); detail != "" {
				return fmt.Sprintf("row %d: value %d: %s", i, j, detail)
			}
			texts = append(texts, text)
		}
		want = append(want, items...)
	}
	got, err := c.unwrap(&c.o.clauses.values, strings.Join(texts, "), ("))
	if err != nil {
		return fmt.Sprintf("the values alone: %v", err)
	}
	if len(got) != len(want) {
		return "the values alone are another number"
	}
	for i, list := range got {
		if items := list.(*pg.Node).GetList().GetItems(); len(items) != 1 || !same(items[0], want[i]) {
			return fmt.Sprintf("value %q alone is something else than in the tree", texts[i])
		}
	}
	return ""
}

// valueKind compares what sort of expression a value is. ValueOther may be
// anything that does not look simple from its first byte.
func (c *comparison) valueKind(st *sqltext.Statement, v *sqltext.Value, text string, n *pg.Node) string {
	tree := sqltext.ValueOther
	switch e := n.Node.(type) {
	case *pg.Node_SetToDefault:
		tree = sqltext.ValueDefault
	case *pg.Node_ParamRef:
		tree = sqltext.ValuePlaceholder
		if v.Kind == tree && (v.Placeholder < 0 || v.Placeholder >= len(st.Placeholders) ||
			st.Placeholders[v.Placeholder].Span != v.Span || st.Placeholders[v.Placeholder].Ordinal != int(e.ParamRef.Number)) {
			return "the wrong placeholder"
		}
	case *pg.Node_AConst:
		tree = sqltext.ValueLiteral
		switch {
		case e.AConst.Isnull:
			tree = sqltext.ValueNull
		case e.AConst.GetBsval() != nil:
			tree = sqltext.ValueOther
		}
	case *pg.Node_AExpr: // the grammar keeps the sign of +1
		if e.AExpr.Lexpr == nil && e.AExpr.Rexpr.GetAConst() != nil && strings.HasPrefix(text, "+") {
			tree = sqltext.ValueLiteral
		}
	}
	if v.Kind == tree || v.Kind == sqltext.ValueOther && (tree == sqltext.ValueLiteral || strings.HasPrefix(text, "(")) {
		return ""
	}
	return fmt.Sprintf("kind %d read, the tree has %d", v.Kind, tree)
}

func (c *comparison) upserts(st *sqltext.Statement, n *pg.OnConflictClause) string {
	if n == nil || len(st.Upserts) != 1 {
		return equal("ON CONFLICT clauses", len(st.Upserts), len(one(n)))
	}
	u, w := &st.Upserts[0], &c.o.clauses
	return first(
		func() string { return c.clause(&w.conflict, st, u.Span, []proto.Message{n}) },
		func() string { return c.clause(&w.conflictTarget, st, u.Target, one(n.Infer)) },
		func() string {
			return equal("do nothing", u.Nothing, n.Action == pg.OnConflictAction_ONCONFLICT_NOTHING)
		},
		func() string { return c.clause(&w.set, st, u.Set, all(n.TargetList)) },
		func() string { return columns("columns of DO UPDATE", u.SetColumns, n.TargetList) },
		func() string { return c.clause(&w.where, st, u.Where, one(n.WhereClause)) },
	)
}
