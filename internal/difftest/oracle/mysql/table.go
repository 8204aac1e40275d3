package mysql

import (
	"fmt"
	"slices"

	"github.com/sqlc-dev/marino/ast"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// single gives the table when the references are one table and nothing else.
func single(refs *ast.Join) (*ast.TableSource, bool) {
	if refs.Right != nil || refs.ExplicitParens {
		return nil, false
	}
	source, ok := refs.Left.(*ast.TableSource)
	if !ok {
		return nil, false
	}
	_, ok = source.Source.(*ast.TableName)
	return source, ok
}

// sources gives the base tables among table references, in text order.
func (c *comparison) sources(refs *ast.Join) []*ast.TableSource {
	var list []*ast.TableSource
	var into func(n ast.ResultSetNode)
	into = func(n ast.ResultSetNode) {
		switch x := n.(type) {
		case *ast.Join:
			into(x.Left)
			if x.Right != nil {
				into(x.Right)
			}
		case *ast.TableSource:
			if join, ok := x.Source.(*ast.Join); ok {
				into(join)
			}
			if name, ok := x.Source.(*ast.TableName); ok && !c.isCTE(name) {
				list = append(list, x)
			}
		}
	}
	into(refs)
	slices.SortStableFunc(list, func(a, b *ast.TableSource) int {
		return a.Source.OriginTextPosition() - b.Source.OriginTextPosition()
	})
	return list
}

func (c *comparison) isCTE(name *ast.TableName) bool {
	return name.Schema.O == "" && c.ctes[name.Name.L]
}

// called is what the rest of a statement calls a table.
func called(source *ast.TableSource) string {
	if source.AsName.O != "" {
		return source.AsName.O
	}
	return source.Source.(*ast.TableName).Name.O
}

// tables compares the targets with the tables that the parser finds, in order.
func (c *comparison) tables(want []*ast.TableSource) error {
	if len(c.st.Targets) != len(want) {
		return fmt.Errorf("%d targets, the parser finds %d", len(c.st.Targets), len(want))
	}
	for i, t := range c.st.Targets {
		if err := c.table(t, want[i]); err != nil {
			return err
		}
	}
	return nil
}

// table compares a table: its names, and that each of its spans holds just that.
func (c *comparison) table(t sqltext.Table, want *ast.TableSource) error {
	name, ok := want.Source.(*ast.TableName)
	if !ok || c.isCTE(name) {
		return fmt.Errorf("table %q, the parser reads no base table", t.Name.Table)
	}
	if t.Name != (sqltext.Name{Schema: name.Schema.O, Table: name.Name.O}) || t.Alias != want.AsName.O || t.Only {
		return fmt.Errorf("table %+v, the parser reads %s.%s as %q", t, name.Schema.O, name.Name.O, want.AsName.O)
	}
	if at := name.OriginTextPosition(); at != 0 && at != t.NameSpan.Start {
		return fmt.Errorf("table %q at %d, the parser reads it at %d", t.Name.Table, t.NameSpan.Start, at)
	}
	if err := inOrder(t.NameSpan, t.Partition, t.AliasSpan, t.IndexHint); err != nil {
		return fmt.Errorf("table %q: %w", t.Name.Table, err)
	}
	bare := ast.TableName{Schema: name.Schema, Name: name.Name, PartitionNames: []ast.CIStr{}, IndexHints: []*ast.IndexHint{}}
	if err := c.clause("table name", t.NameSpan, inName, takeSource(func(s *ast.TableSource) any {
		if s.AsName.O != "" {
			return nil
		}
		return take(&s.Source)
	}), &bare); err != nil {
		return err
	}
	if err := c.clause("alias", t.AliasSpan, inAlias, takeSource(func(s *ast.TableSource) any {
		return pointer(take(&s.AsName))
	}), pointer(want.AsName)); err != nil {
		return err
	}
	if err := c.clause("PARTITION", t.Partition, inPartition, takeSource(func(s *ast.TableSource) any {
		return take(&s.Source.(*ast.TableName).PartitionNames)
	}), name.PartitionNames); err != nil {
		return err
	}
	return c.clause("index hint", t.IndexHint, inHint, takeSource(func(s *ast.TableSource) any {
		return take(&s.Source.(*ast.TableName).IndexHints)
	}), name.IndexHints)
}

// pointer is nil for a name that is not there.
func pointer(name ast.CIStr) *ast.CIStr {
	if name.O == "" {
		return nil
	}
	return &name
}

// takeSource takes out of the one table of SELECT.
func takeSource(of func(*ast.TableSource) any) taker {
	return func(n ast.StmtNode) any {
		x, ok := n.(*ast.SelectStmt)
		if !ok || x.From == nil {
			return nil
		}
		source, ok := single(x.From.TableRefs)
		if !ok {
			return nil
		}
		return of(source)
	}
}

// inOrder holds spans to follow each other; the first is there, others may lack.
func inOrder(spans ...sqltext.Span) error {
	end := 0
	for i, sp := range spans {
		if sp == (sqltext.Span{}) && i > 0 {
			continue
		}
		if sp.Start < end || sp.End <= sp.Start {
			return fmt.Errorf("span %v does not follow", sp)
		}
		end = sp.End
	}
	return nil
}
