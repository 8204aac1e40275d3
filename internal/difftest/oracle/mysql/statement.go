package mysql

import (
	"fmt"

	"github.com/sqlc-dev/marino/ast"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// comparison is that of one statement.
type comparison struct {
	oracle    *Oracle
	st        *sqltext.Statement
	text      string       // of the whole, with RETURNING blanked out
	returning ast.StmtNode // SELECT of the RETURNING list; nil when none
	ctes      map[string]bool
}

// statement compares one statement, which has before placeholders in front of it.
func (c *comparison) statement(tree ast.StmtNode, before int) error {
	if err := c.span(tree); err != nil {
		return err
	}
	if c.st.Returning != (sqltext.Span{}) {
		list, err := c.oracle.returningList(c.st)
		if err != nil {
			return err
		}
		c.returning = list
	}
	if err := c.with(tree); err != nil {
		return err
	}
	if err := c.kind(tree); err != nil {
		return err
	}
	return c.facts(tree, before)
}

// span holds the statement's own span against the whole text: alone it must read
// the same, so what is around it is comments and space.
func (c *comparison) span(tree ast.StmtNode) error {
	sp := c.st.Span
	if sp.Start < 0 || sp.Start >= sp.End || sp.End > len(c.text) {
		return fmt.Errorf("span %v is not in the text", sp)
	}
	alone, err := c.oracle.one(c.text[sp.Start:sp.End])
	if err != nil {
		return fmt.Errorf("span %v alone is no statement: %s", sp, err.Error())
	}
	if d := same(alone, tree, sp.Start); d != "" {
		return fmt.Errorf("span %v alone is another statement: %s", sp, d)
	}
	return nil
}

func (c *comparison) kind(tree ast.StmtNode) error {
	kind := c.st.Kind
	switch x := tree.(type) {
	case *ast.SelectStmt:
		if kind == sqltext.Select {
			return c.query(x)
		}
	case *ast.SetOprStmt:
		if kind == sqltext.Select {
			return c.unsplit()
		}
	case *ast.DoStmt: // expressions whose values nobody sees
		if kind == sqltext.Select {
			return c.unsplit()
		}
	case *ast.ShowStmt:
		if kind == sqltext.Show {
			return nil
		}
	case *ast.ExplainStmt:
		if kind == sqltext.Explain && !x.Analyze && x.IntoVar == "" {
			return nil
		}
	case *ast.ExplainForStmt:
		if kind == sqltext.Explain {
			return nil
		}
	case *ast.SavepointStmt:
		if kind == sqltext.Savepoint {
			return c.savepoint(x.Name)
		}
	case *ast.RollbackStmt:
		if kind == sqltext.RollbackTo {
			return c.savepoint(x.SavepointName)
		}
	case *ast.ReleaseSavepointStmt:
		if kind == sqltext.Release {
			return c.savepoint(x.Name)
		}
	case *ast.InsertStmt:
		if kind == sqltext.Insert {
			return c.insert(x)
		}
	case *ast.UpdateStmt:
		if kind == sqltext.Update {
			return c.update(x)
		}
	case *ast.DeleteStmt:
		if kind == sqltext.Delete {
			return c.delete(x)
		}
	}
	return fmt.Errorf("kind %d, the parser reads %T", kind, tree)
}

func (c *comparison) savepoint(name string) error {
	if c.st.Savepoint != name || name == "" {
		return fmt.Errorf("savepoint %q, the parser reads %q", c.st.Savepoint, name)
	}
	return nil
}

// with compares the WITH list in front, and keeps the names of its members,
// which are no tables.
func (c *comparison) with(tree ast.StmtNode) error {
	var list *ast.WithClause
	switch x := tree.(type) {
	case *ast.SelectStmt:
		if !x.IsInBraces || x.WithBeforeBraces { // else the list is inside the brackets
			list = x.With
		}
	case *ast.SetOprStmt:
		if !x.IsInBraces || c.startsWith() {
			list = x.With
		}
	case *ast.UpdateStmt:
		list = x.With
	case *ast.DeleteStmt:
		list = x.With
	}
	takeWith := func(n ast.StmtNode) any {
		if x, ok := n.(*ast.SelectStmt); ok {
			return take(&x.With)
		}
		return nil
	}
	if err := c.clause("WITH", c.st.With, inWith, takeWith, list); err != nil {
		return err
	}
	c.ctes = map[string]bool{}
	var members []*ast.CommonTableExpression
	if list != nil {
		members = list.CTEs
	}
	if len(members) != len(c.st.CTEs) {
		return fmt.Errorf("%d CTEs, the parser reads %d", len(c.st.CTEs), len(members))
	}
	for i, cte := range c.st.CTEs {
		c.ctes[members[i].Name.L] = true
		if cte.Name != members[i].Name.O || cte.Write != nil {
			return fmt.Errorf("CTE %q (writes: %v), the parser reads %q", cte.Name, cte.Write != nil, members[i].Name.O)
		}
		takeQuery := func(n ast.StmtNode) any {
			if x, ok := n.(*ast.SelectStmt); ok && x.With != nil && len(x.With.CTEs) == 1 {
				return take(&x.With.CTEs[0].Query.Query)
			}
			return nil
		}
		if err := c.clause("CTE "+cte.Name, cte.Body, inCTE, takeQuery, members[i].Query.Query); err != nil {
			return err
		}
	}
	return nil
}

// startsWith tells whether a bracketed set operation has its list in front of
// the bracket: its tree does not say.
func (c *comparison) startsWith() bool { return c.text[c.st.Span.Start] != '(' }

// tail compares WHERE, ORDER BY and LIMIT.
func (c *comparison) tail(where ast.ExprNode, order *ast.OrderByClause, limit *ast.Limit) error {
	head := heads[c.st.Kind]
	for _, t := range []struct {
		what, filler string
		sp           sqltext.Span
		take         taker
		want         any
	}{
		{"WHERE", "1", c.st.Where, func(n ast.StmtNode) any { w, _, _ := tailOf(n); return take(w) }, where},
		{"ORDER BY", "d", c.st.OrderBy, func(n ast.StmtNode) any { _, o, _ := tailOf(n); return take(o) }, order},
		{"LIMIT", "1", c.st.Limit, func(n ast.StmtNode) any { _, _, l := tailOf(n); return take(l) }, limit},
	} {
		if err := c.clause(t.what, t.sp, frame{head + " " + t.what + " ", t.filler, ""}, t.take, t.want); err != nil {
			return err
		}
	}
	return nil
}

// tailOf points to the clauses of a statement of heads.
func tailOf(n ast.StmtNode) (*ast.ExprNode, **ast.OrderByClause, **ast.Limit) {
	switch x := n.(type) {
	case *ast.SelectStmt:
		return &x.Where, &x.OrderBy, &x.Limit
	case *ast.UpdateStmt:
		return &x.Where, &x.Order, &x.Limit
	case *ast.DeleteStmt:
		return &x.Where, &x.Order, &x.Limit
	}
	return new(ast.ExprNode), new(*ast.OrderByClause), new(*ast.Limit)
}

// query compares what is said of a SELECT that locks one table.
func (c *comparison) query(x *ast.SelectStmt) error {
	if c.st.Lock == (sqltext.Span{}) {
		return c.unsplit()
	}
	locks := locksOf(x)
	takeLocks := func(n ast.StmtNode) any {
		x, ok := n.(*ast.SelectStmt)
		if !ok {
			return nil
		}
		locks := locksOf(x)
		x.LockInfo, x.MoreLockInfos = nil, nil
		return locks
	}
	if err := c.clause("lock", c.st.Lock, inLock, takeLocks, locks); err != nil {
		return err
	}
	if x.From == nil {
		return fmt.Errorf("a lock without a table")
	}
	source, one := single(x.From.TableRefs)
	if !one || len(c.st.Targets) != 1 {
		return fmt.Errorf("a lock of %d tables, the parser reads one table: %v", len(c.st.Targets), one)
	}
	if err := c.table(c.st.Targets[0], source); err != nil {
		return err
	}
	return c.tail(x.Where, x.OrderBy, x.Limit)
}

func locksOf(x *ast.SelectStmt) []*ast.SelectLockInfo {
	if x.LockInfo == nil || x.LockInfo.LockType == ast.SelectLockNone {
		return nil
	}
	return append([]*ast.SelectLockInfo{x.LockInfo}, x.MoreLockInfos...)
}

// unsplit holds a SELECT to not being split into clauses.
func (c *comparison) unsplit() error {
	st := c.st
	for _, sp := range []sqltext.Span{st.Where, st.OrderBy, st.Limit, st.Lock, st.From, st.Set, st.Returning} {
		if sp != (sqltext.Span{}) {
			return fmt.Errorf("clause %q of a SELECT that is not split", st.Slice(sp))
		}
	}
	if len(st.Targets) != 0 {
		return fmt.Errorf("targets of a SELECT that is not split: %v", st.Targets)
	}
	return nil
}
