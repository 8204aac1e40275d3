package mysql

import (
	"fmt"

	"github.com/sqlc-dev/marino/ast"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

func (c *comparison) update(x *ast.UpdateStmt) error {
	if err := c.or(x.IgnoreErr, false); err != nil {
		return err
	}
	if err := c.set("SET", c.st.Set, c.st.SetColumns, x.List); err != nil {
		return err
	}
	if err := c.tail(x.Where, x.Order, x.Limit); err != nil {
		return err
	}
	source, one := single(x.TableRefs.TableRefs)
	if c.st.Multi == one {
		return fmt.Errorf("multi-table %v, the parser says %v", c.st.Multi, !one)
	}
	if one {
		if c.st.From != (sqltext.Span{}) {
			return fmt.Errorf("FROM %q of a single-table UPDATE", c.st.Slice(c.st.From))
		}
		return c.tables([]*ast.TableSource{source})
	}
	takeRefs := func(n ast.StmtNode) any {
		if x, ok := n.(*ast.UpdateStmt); ok {
			return take(&x.TableRefs)
		}
		return nil
	}
	if err := c.clause("table references", c.st.From, inUpdateRef, takeRefs, x.TableRefs); err != nil {
		return err
	}
	return c.tables(c.assigned(x))
}

// assigned gives the base tables that a multi-table UPDATE may change: those that
// the assignments name, all of them when one assignment names none.
func (c *comparison) assigned(x *ast.UpdateStmt) []*ast.TableSource {
	all := c.sources(x.TableRefs.TableRefs)
	named := map[string]bool{}
	for _, a := range x.List {
		if a.Column.Table.O == "" {
			return all
		}
		named[a.Column.Table.O] = true
	}
	var list []*ast.TableSource
	for _, source := range all {
		if named[called(source)] {
			list = append(list, source)
		}
	}
	return list
}

func (c *comparison) delete(x *ast.DeleteStmt) error {
	if x.BeforeFrom && x.Tables.Tables[0].Name.L == "quick" {
		// DELETE IGNORE QUICK FROM t: the servers take modifiers in any order.
		return fmt.Errorf("%w: QUICK taken for a table", errUnread)
	}
	if err := c.or(x.IgnoreErr, false); err != nil {
		return err
	}
	if err := c.tail(x.Where, x.Order, x.Limit); err != nil {
		return err
	}
	if c.st.Multi != x.IsMultiTable {
		return fmt.Errorf("multi-table %v, the parser says %v", c.st.Multi, x.IsMultiTable)
	}
	if !x.IsMultiTable {
		return c.deleteOne(x)
	}
	takeRefs := func(n ast.StmtNode) any {
		if x, ok := n.(*ast.DeleteStmt); ok {
			return take(&x.TableRefs)
		}
		return nil
	}
	if err := c.clause("table references", c.st.From, inDeleteRef, takeRefs, x.TableRefs); err != nil {
		return err
	}
	var targets []*ast.TableSource
	for _, listed := range x.Tables.Tables {
		target, err := c.listed(listed, x.TableRefs.TableRefs)
		if err != nil {
			return err
		}
		targets = append(targets, target)
	}
	return c.tables(targets)
}

// deleteOne compares DELETE FROM t: its tree has no offset for the name, so the
// table with all that belongs to it is read once more.
func (c *comparison) deleteOne(x *ast.DeleteStmt) error {
	if c.st.From != (sqltext.Span{}) || len(c.st.Targets) != 1 {
		return fmt.Errorf("single-table DELETE with %d targets and FROM %v", len(c.st.Targets), c.st.From)
	}
	t := c.st.Targets[0]
	whole := t.NameSpan
	for _, sp := range []sqltext.Span{t.AliasSpan, t.Partition, t.IndexHint} {
		whole.End = max(whole.End, sp.End)
	}
	takeTable := func(n ast.StmtNode) any {
		if x, ok := n.(*ast.DeleteStmt); ok && !x.IsMultiTable {
			return take(&x.TableRefs)
		}
		return nil
	}
	if err := c.clause("table", whole, inDelete, takeTable, x.TableRefs); err != nil {
		return err
	}
	source, one := single(x.TableRefs.TableRefs)
	if !one {
		return fmt.Errorf("the parser reads a single-table DELETE of no table")
	}
	return c.tables([]*ast.TableSource{source})
}

// listed finds the table that an entry of the list of a multi-table DELETE means.
func (c *comparison) listed(entry *ast.TableName, refs *ast.Join) (*ast.TableSource, error) {
	var found []*ast.TableSource
	for _, source := range c.sources(refs) {
		name := source.Source.(*ast.TableName)
		if entry.Schema.O == "" && called(source) == entry.Name.O ||
			entry.Schema.O != "" && source.AsName.O == "" && name.Schema.O == entry.Schema.O && name.Name.O == entry.Name.O {
			found = append(found, source)
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%d tables are called %s.%s", len(found), entry.Schema.O, entry.Name.O)
	}
	return found[0], nil
}

// set compares assignments and the columns that they assign.
func (c *comparison) set(what string, sp sqltext.Span, columns []sqltext.Column, want []*ast.Assignment) error {
	takeList := func(n ast.StmtNode) any {
		if x, ok := n.(*ast.UpdateStmt); ok {
			return take(&x.List)
		}
		return nil
	}
	if err := c.clause(what, sp, inSet, takeList, want); err != nil {
		return err
	}
	if len(columns) != len(want) {
		return fmt.Errorf("%s of %d columns, the parser reads %d", what, len(columns), len(want))
	}
	for i, col := range columns {
		if w := want[i].Column; col != (sqltext.Column{Table: w.Table.O, Name: w.Name.O}) {
			return fmt.Errorf("%s of %v, the parser reads %s.%s", what, col, w.Table.O, w.Name.O)
		}
	}
	return nil
}

func (c *comparison) or(ignore, replace bool) error {
	want := sqltext.OrFail
	switch {
	case ignore:
		want = sqltext.OrIgnore
	case replace:
		want = sqltext.OrReplace
	}
	if c.st.Or != want || c.st.Replace != replace {
		return fmt.Errorf("or %d, replace %v; the parser reads ignore %v, replace %v", c.st.Or, c.st.Replace, ignore, replace)
	}
	return nil
}
