package sqlite

import (
	"slices"
	"strconv"
	"strings"

	"github.com/sqlc-dev/meyer/ast"
	"github.com/sqlc-dev/meyer/lexer"
	"github.com/sqlc-dev/meyer/token"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// builder makes the Statement that a tree stands for.
type builder struct {
	text string
	toks []token.Token // without space and comments
	st   *sqltext.Statement
}

// expect gives the Statement of a tree, nil for a kind that sqltext does not
// have.
func (o *Oracle) expect(text string, n ast.Stmt) *sqltext.Statement {
	b := builder{text: text, toks: lexer.Lex(text), st: &sqltext.Statement{Text: text, Dialect: sqltext.SQLite}}
	b.st.Span = b.statementSpan(n)
	if !b.statement(n) {
		return nil
	}
	b.everywhere(n)
	return b.st
}

// statementSpan is a statement without the semicolon that meyer adds.
func (b *builder) statementSpan(n ast.Stmt) sqltext.Span {
	i := b.tokenAt(n.Pos())
	sp := sqltext.Span{Start: n.Pos(), End: n.Pos()}
	for ; i < len(b.toks) && b.toks[i].End <= n.End(); i++ {
		if b.toks[i].Kind != token.SEMI && b.toks[i].Kind != token.EOF {
			sp.End = b.toks[i].End
		}
	}
	return sp
}

func (b *builder) statement(n ast.Stmt) bool {
	st := b.st
	switch n := n.(type) {
	case *ast.SelectStmt:
		st.Kind = sqltext.Select
		b.with(n.With)
	case *ast.InsertStmt:
		b.insert(n)
	case *ast.UpdateStmt:
		b.update(n)
	case *ast.DeleteStmt:
		b.delete(n)
	case *ast.SavepointStmt:
		st.Kind, st.Savepoint = sqltext.Savepoint, n.Name.Name
	case *ast.ReleaseStmt:
		st.Kind, st.Savepoint = sqltext.Release, n.Name.Name
	case *ast.RollbackStmt:
		if n.Savepoint == nil {
			return false
		}
		st.Kind, st.Savepoint = sqltext.RollbackTo, n.Savepoint.Name
	case *ast.ExplainStmt:
		switch n.Stmt.(type) {
		case *ast.SelectStmt, *ast.InsertStmt, *ast.UpdateStmt, *ast.DeleteStmt:
			st.Kind = sqltext.Explain
		default:
			return false
		}
	default:
		return false
	}
	return true
}

func (b *builder) update(n *ast.UpdateStmt) {
	st := b.st
	st.Kind = sqltext.Update
	st.Or = or[n.OrConflict]
	b.with(n.With)
	b.target(n.Table, n.Alias, n.IndexedBy, n.NotIndexed)
	st.Set, st.SetColumns = list(n.Set), columns(n.Set)
	st.From = list(n.From)
	st.Where = span(n.Where)
	st.Returning = list(n.Returning)
	st.OrderBy = list(n.OrderBy)
	st.Limit = limit(n.Limit)
}

func (b *builder) delete(n *ast.DeleteStmt) {
	st := b.st
	st.Kind = sqltext.Delete
	b.with(n.With)
	b.target(n.Table, n.Alias, n.IndexedBy, n.NotIndexed)
	st.Where = span(n.Where)
	st.Returning = list(n.Returning)
	st.OrderBy = list(n.OrderBy)
	st.Limit = limit(n.Limit)
}

func (b *builder) with(w *ast.With) {
	if w == nil {
		return
	}
	b.st.With = sqltext.Span{Start: w.Pos(), End: w.End()}
	for _, c := range w.CTEs {
		b.st.CTEs = append(b.st.CTEs, sqltext.CTE{Name: c.Name.Name, Body: span(c.Select)})
	}
}

func (b *builder) target(name *ast.QualifiedName, alias, indexedBy *ast.Ident, notIndexed bool) {
	t := sqltext.Table{Name: sqltext.Name{Table: name.Name.Name}, NameSpan: span(name)}
	if name.Schema != nil {
		t.Name.Schema = name.Schema.Name
	}
	end := name.End()
	if alias != nil {
		t.Alias, t.AliasSpan, end = alias.Name, span(alias), alias.End()
	}
	if indexedBy != nil || notIndexed {
		// INDEXED BY name and NOT INDEXED stand right behind; the last word of
		// the second is one token on.
		i := b.tokenAt(end)
		t.IndexHint = sqltext.Span{Start: b.toks[i].Pos, End: b.toks[i+1].End}
		if indexedBy != nil {
			t.IndexHint.End = indexedBy.End()
		}
	}
	b.st.Targets = []sqltext.Table{t}
}

// everywhere collects what may stand at any depth: parameters and calls.
func (b *builder) everywhere(n ast.Node) {
	st := b.st
	call := func(name string) {
		if name = strings.ToLower(name); !slices.Contains(st.Functions, name) {
			st.Functions = append(st.Functions, name)
		}
	}
	ast.Walk(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BindParam:
			st.Placeholders = append(st.Placeholders, placeholder(n))
		case *ast.FuncCall:
			call(n.Name.Name)
		case *ast.TableRef:
			if n.HasArgs {
				call(n.Name.Name.Name)
			}
		case *ast.InExpr:
			if n.HasArgs {
				call(n.Table.Name.Name)
			}
		case *ast.Literal:
			if n.Kind >= ast.LitCurrentDate {
				call(n.Raw)
			}
		}
		return true
	})
	// Some nodes give their children out of text order: LIMIT 1, 2 is one.
	slices.SortFunc(st.Placeholders, func(x, y sqltext.Placeholder) int { return x.Span.Start - y.Span.Start })
}

// placeholder is a parameter as the Go drivers bind it: SQLite takes $2 for a
// name like any other, they give it the second argument.
func placeholder(n *ast.BindParam) sqltext.Placeholder {
	p := sqltext.Placeholder{Span: span(n), Ordinal: n.Number}
	switch n.Kind {
	case ast.ParamColon, ast.ParamAt:
		p.Name = n.Name
	case ast.ParamDollar:
		p.Name = n.Name
		if k, err := strconv.Atoi(n.Name); err == nil && k > 0 && strconv.Itoa(k) == n.Name {
			p.Ordinal, p.Name = k, ""
		}
	}
	return p
}

// tokenAt is the first token that begins at an offset or later.
func (b *builder) tokenAt(offset int) int {
	i, _ := slices.BinarySearchFunc(b.toks, offset, func(t token.Token, at int) int { return t.Pos - at })
	return i
}

var or = map[ast.ConflictAction]sqltext.Or{
	ast.ConflictDefault:  sqltext.OrFail,
	ast.ConflictRollback: sqltext.OrRollback,
	ast.ConflictAbort:    sqltext.OrAbort,
	ast.ConflictFail:     sqltext.OrFailHere,
	ast.ConflictIgnore:   sqltext.OrIgnore,
	ast.ConflictReplace:  sqltext.OrReplace,
}

// columns are the columns that assignments name, in text order.
func columns(set []*ast.SetPair) (cs []sqltext.Column) {
	for _, pair := range set {
		for _, c := range pair.Columns {
			cs = append(cs, sqltext.Column{Name: c.Name})
		}
	}
	return cs
}

func limit(n *ast.Limit) sqltext.Span {
	switch {
	case n == nil:
		return sqltext.Span{}
	case n.Offset == nil:
		return span(n.Count)
	case n.Comma:
		return sqltext.Span{Start: n.Offset.Pos(), End: n.Count.End()}
	}
	return sqltext.Span{Start: n.Count.Pos(), End: n.Offset.End()}
}

// span is a node's bytes; n may be a nil interface, not a nil pointer.
func span(n ast.Node) sqltext.Span {
	if n == nil {
		return sqltext.Span{}
	}
	return sqltext.Span{Start: n.Pos(), End: n.End()}
}

// list is from the first node of a list to the last.
func list[N ast.Node](ns []N) sqltext.Span {
	if len(ns) == 0 {
		return sqltext.Span{}
	}
	return sqltext.Span{Start: ns[0].Pos(), End: ns[len(ns)-1].End()}
}
