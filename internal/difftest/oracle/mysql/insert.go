package mysql

import (
	"fmt"
	"strings"

	"github.com/sqlc-dev/marino/ast"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

func (c *comparison) insert(x *ast.InsertStmt) error {
	if err := c.or(x.IgnoreErr, x.IsReplace); err != nil {
		return err
	}
	if err := c.into(x); err != nil {
		return err
	}
	if err := c.columns(x); err != nil {
		return err
	}
	if err := c.source(x); err != nil {
		return err
	}
	takeAlias := func(n ast.StmtNode) any {
		if x, ok := n.(*ast.InsertStmt); ok {
			alias := rowAlias(x)
			x.RowAlias, x.ColumnAliases = nil, nil
			return alias
		}
		return nil
	}
	if err := c.clause("row alias", c.st.RowAlias, inRowAlias, takeAlias, rowAlias(x)); err != nil {
		return err
	}
	return c.upsert(x)
}

// into compares the table, whose partitions the tree keeps elsewhere.
func (c *comparison) into(x *ast.InsertStmt) error {
	source, one := single(x.Table.TableRefs)
	if !one {
		return fmt.Errorf("the parser reads no table behind INTO")
	}
	name := *source.Source.(*ast.TableName)
	name.PartitionNames = x.PartitionNames
	return c.tables([]*ast.TableSource{{Source: &name, AsName: source.AsName}})
}

func (c *comparison) columns(x *ast.InsertStmt) error {
	if (c.st.Columns == nil) != (x.Columns == nil) && len(x.Columns) > 0 || len(c.st.Columns) != len(x.Columns) {
		return fmt.Errorf("columns %q, the parser reads %d", c.st.Columns, len(x.Columns))
	}
	for i, name := range c.st.Columns {
		if want := x.Columns[i].Name.O; name != want {
			return fmt.Errorf("column %q, the parser reads %q", name, want)
		}
	}
	return nil
}

// source compares where the rows come from. VALUES ROW(...) is a query to the
// parser, and may be taken for that or for rows.
func (c *comparison) source(x *ast.InsertStmt) error {
	st, rows := c.st, x.Lists
	if table, ok := x.Select.(*ast.SelectStmt); ok && st.Source != sqltext.SourceQuery && bareValues(table) {
		for _, row := range table.Lists {
			rows = append(rows, row.Values)
		}
		x = &ast.InsertStmt{Lists: rows}
	}
	filled := 0
	for _, row := range rows {
		filled = max(filled, len(row))
	}
	want := sqltext.SourceValues
	switch {
	case x.Select != nil:
		want = sqltext.SourceQuery
	case x.Setlist:
		want = sqltext.SourceSet
	case filled == 0:
		want = sqltext.SourceDefaults
		if len(st.Rows) == 0 && len(rows) == 1 {
			rows = nil // one row may be said by the source alone
		}
	}
	if st.Source != want {
		return fmt.Errorf("source %d, the parser reads %d", st.Source, want)
	}
	takeQuery := func(n ast.StmtNode) any {
		if x, ok := n.(*ast.InsertStmt); ok {
			return take(&x.Select)
		}
		return nil
	}
	if err := c.clause("query", st.Query, inQuery, takeQuery, x.Select); err != nil {
		return err
	}
	return c.rows(rows)
}

// bareValues tells whether a query is VALUES ROW(...), ... and nothing else.
func bareValues(x *ast.SelectStmt) bool {
	return x.Kind == ast.SelectStmtKindValues && !x.IsInBraces && x.With == nil &&
		x.OrderBy == nil && x.Limit == nil && x.LockInfo == nil
}

func (c *comparison) rows(want [][]ast.ExprNode) error {
	if len(c.st.Rows) != len(want) {
		return fmt.Errorf("%d rows, the parser reads %d", len(c.st.Rows), len(want))
	}
	takeValue := func(n ast.StmtNode) any {
		if x, ok := n.(*ast.InsertStmt); ok && len(x.Lists) == 1 && len(x.Lists[0]) == 1 {
			return take(&x.Lists[0][0])
		}
		return nil
	}
	for i, row := range c.st.Rows {
		if len(row) != len(want[i]) {
			return fmt.Errorf("row %d of %d values, the parser reads %d", i, len(row), len(want[i]))
		}
		for j, v := range row {
			if err := c.clause("value", v.Span, inValue, takeValue, want[i][j]); err != nil {
				return err
			}
			if err := c.value(v, want[i][j]); err != nil {
				return err
			}
		}
	}
	return nil
}

// value compares the kind of a value. ValueOther may be said of a literal, as
// nothing is concluded from it.
func (c *comparison) value(v sqltext.Value, want ast.ExprNode) error {
	text := c.st.Slice(v.Span)
	kind := sqltext.ValueOther
	switch x := want.(type) {
	case *ast.ParamMarkerExprBase:
		kind = sqltext.ValuePlaceholder
		if v.Placeholder < 0 || v.Placeholder >= len(c.st.Placeholders) || c.st.Placeholders[v.Placeholder].Span != v.Span {
			return fmt.Errorf("value %q at %d is not placeholder %d", text, v.Span.Start, v.Placeholder)
		}
	case *ast.DefaultExpr:
		if x.Name == nil {
			kind = sqltext.ValueDefault
		}
	case *ast.ValueExprBase:
		switch {
		case x.Kind() == ast.KindNull:
			kind = sqltext.ValueNull
		case plain(text) && v.Kind == sqltext.ValueLiteral:
			kind = v.Kind
		}
	case *ast.UnaryOperationExpr:
		if _, ok := x.V.(*ast.ValueExprBase); ok && signed(text) && v.Kind == sqltext.ValueLiteral {
			kind = v.Kind
		}
	}
	if v.Kind != kind {
		return fmt.Errorf("value %q of kind %d, the parser reads %d", text, v.Kind, kind)
	}
	return nil
}

// plain tells whether the text of a literal is that of a decimal number, a
// string without an introducer, or a truth value.
func plain(text string) bool {
	low := strings.ToLower(text)
	return low == "true" || low == "false" || strings.HasPrefix(low, "'") || strings.HasPrefix(low, `"`) ||
		strings.Trim(low, "0123456789.e+-") == "" && low[0] != 'e'
}

func signed(text string) bool {
	number := strings.TrimLeft(text[1:], " \t\r\n\v\f")
	return (text[0] == '-' || text[0] == '+') && number != "" && strings.Trim(number, "0123456789.eE+-") == ""
}

type aliases struct {
	Row     *ast.CIStr
	Columns []*ast.CIStr
}

func rowAlias(x *ast.InsertStmt) *aliases {
	if x.RowAlias == nil {
		return nil
	}
	return &aliases{x.RowAlias, x.ColumnAliases}
}

// upsert compares ON DUPLICATE KEY UPDATE.
func (c *comparison) upsert(x *ast.InsertStmt) error {
	var u sqltext.Upsert
	switch {
	case len(c.st.Upserts) > 1:
		return fmt.Errorf("%d upserts", len(c.st.Upserts))
	case len(c.st.Upserts) == 1:
		u = c.st.Upserts[0]
		if u.Nothing || u.Target != (sqltext.Span{}) || u.Where != (sqltext.Span{}) {
			return fmt.Errorf("ON DUPLICATE KEY with parts that it cannot have: %+v", u)
		}
	}
	takeUpsert := func(n ast.StmtNode) any {
		if x, ok := n.(*ast.InsertStmt); ok {
			return take(&x.OnDuplicate)
		}
		return nil
	}
	if err := c.clause("ON DUPLICATE KEY", u.Span, inUpsert, takeUpsert, x.OnDuplicate); err != nil {
		return err
	}
	return c.set("ON DUPLICATE KEY UPDATE", u.Set, u.SetColumns, x.OnDuplicate)
}
