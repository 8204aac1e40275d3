package sqlite

import (
	"strings"

	"github.com/sqlc-dev/meyer/ast"
	"github.com/sqlc-dev/meyer/token"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

func (b *builder) insert(n *ast.InsertStmt) {
	st := b.st
	st.Kind = sqltext.Insert
	st.Replace = n.Replace
	st.Or = or[n.OrConflict]
	if n.Replace {
		st.Or = sqltext.OrReplace
	}
	b.with(n.With)
	b.target(n.Table, n.Alias, nil, false)
	for _, c := range n.Columns {
		st.Columns = append(st.Columns, c.Name)
	}
	b.source(n)
	for _, u := range n.Upserts {
		st.Upserts = append(st.Upserts, b.upsert(u))
	}
	st.Returning = list(n.Returning)
}

func (b *builder) source(n *ast.InsertStmt) {
	st := b.st
	if n.DefaultValues {
		st.Source = sqltext.SourceDefaults
		return
	}
	values, ok := n.Select.Cores[0].(*ast.ValuesClause)
	if !ok || len(n.Select.Cores) > 1 || n.Select.With != nil {
		st.Source, st.Query = sqltext.SourceQuery, span(n.Select)
		return
	}
	st.Source = sqltext.SourceValues
	// In text order the parameters of the rows are the first but for those of
	// the WITH list in front.
	nth := params(n.With)
	for _, row := range values.Rows {
		vs := make([]sqltext.Value, len(row))
		for i, e := range row {
			vs[i] = sqltext.Value{Span: span(e), Kind: b.valueKind(e)}
			if vs[i].Kind == sqltext.ValuePlaceholder {
				vs[i].Placeholder = nth
			}
			nth += params(e)
		}
		st.Rows = append(st.Rows, vs)
	}
}

// params counts the parameters in a tree.
func params(n ast.Node) (count int) {
	ast.Walk(n, func(n ast.Node) bool {
		if _, ok := n.(*ast.BindParam); ok {
			count++
		}
		return true
	})
	return count
}

// valueKind tells what an expression of VALUES is. A sign and a number with more
// than space between them are any expression.
func (b *builder) valueKind(e ast.Expr) sqltext.ValueKind {
	switch e := e.(type) {
	case *ast.BindParam:
		return sqltext.ValuePlaceholder
	case *ast.Literal:
		switch {
		case e.Kind == ast.LitNull:
			return sqltext.ValueNull
		case e.Kind == ast.LitString, decimal(e):
			return sqltext.ValueLiteral
		}
	case *ast.UnaryExpr:
		l, ok := e.X.(*ast.Literal)
		if ok && decimal(l) && strings.TrimSpace(b.text[e.Pos()+1:l.Pos()]) == "" && (e.Op == ast.OpPlus || e.Op == ast.OpMinus) {
			return sqltext.ValueLiteral
		}
	case *ast.Ident:
		if e.Quote == ast.QuoteNone && (strings.EqualFold(e.Name, "true") || strings.EqualFold(e.Name, "false")) {
			return sqltext.ValueLiteral
		}
	}
	return sqltext.ValueOther
}

func decimal(l *ast.Literal) bool {
	return (l.Kind == ast.LitInteger || l.Kind == ast.LitFloat) && !strings.HasPrefix(strings.ToLower(l.Raw), "0x")
}

func (b *builder) upsert(u *ast.Upsert) sqltext.Upsert {
	up := sqltext.Upsert{
		Span: span(u), Nothing: u.DoNothing,
		Set: list(u.Set), SetColumns: columns(u.Set), Where: span(u.Where),
	}
	if len(u.Target) > 0 {
		// Behind ON and CONFLICT comes the bracket, which no node counts as its own.
		up.Target.Start = b.toks[b.tokenAt(u.Pos())+2].Pos
		i := b.tokenAt(u.Target[len(u.Target)-1].End())
		for b.toks[i].Kind != token.RP {
			i++
		}
		up.Target.End = b.toks[i].End
		if u.TargetWhere != nil {
			up.Target.End = u.TargetWhere.End()
		}
	}
	return up
}
