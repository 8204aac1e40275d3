package postgres

import (
	"fmt"

	pg "github.com/sqlc-dev/oliphant"
	"google.golang.org/protobuf/proto"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// target compares the one table of st with the tree's.
func (c *comparison) target(st *sqltext.Statement, r *pg.RangeVar) string {
	if len(st.Targets) != 1 {
		return fmt.Sprintf("%d targets read, the tree has 1", len(st.Targets))
	}
	t := st.Target()
	rest := *t
	rest.Name, rest.NameSpan, rest.Alias, rest.AliasSpan, rest.Only = sqltext.Name{}, sqltext.Span{}, "", sqltext.Span{}, false
	alias := ""
	if r.Alias != nil {
		alias = r.Alias.Aliasname
		if len(r.Alias.Colnames) != 0 {
			return "the target's alias has columns in the tree"
		}
	}
	return first(
		func() string { return equal("database of the target", "", r.Catalogname) },
		func() string { return equal("schema of the target", t.Name.Schema, r.Schemaname) },
		func() string { return equal("target", t.Name.Table, r.Relname) },
		func() string { return equal("alias", t.Alias, alias) },
		func() string { return equal("only", t.Only, !r.Inh) },
		func() string { return equal("offset of the target", t.NameSpan.Start, c.text.offset(int(r.Location))) },
		func() string {
			name := &pg.Node{Node: &pg.Node_RangeVar{RangeVar: &pg.RangeVar{
				Schemaname: r.Schemaname, Relname: r.Relname, Inh: true, Relpersistence: r.Relpersistence,
			}}}
			return c.clause(&c.o.clauses.table, st, t.NameSpan, []proto.Message{name})
		},
		func() string {
			var want []proto.Message
			if alias != "" {
				want = append(want, &pg.Node{Node: &pg.Node_RangeVar{RangeVar: &pg.RangeVar{
					Relname: "a", Inh: true, Relpersistence: r.Relpersistence, Alias: &pg.Alias{Aliasname: alias},
				}}})
			}
			return c.clause(&c.o.clauses.alias, st, t.AliasSpan, want)
		},
		func() string {
			if rest != (sqltext.Table{}) {
				return "partition or index hint: Postgres has none"
			}
			return ""
		},
	)
}

// with compares the WITH list and its members.
func (c *comparison) with(st *sqltext.Statement, w *pg.WithClause) string {
	if len(st.CTEs) != len(w.GetCtes()) {
		return fmt.Sprintf("%d CTEs read, the tree has %d", len(st.CTEs), len(w.GetCtes()))
	}
	if detail := c.clause(&c.o.clauses.with, st, st.With, one(w)); detail != "" {
		return detail
	}
	for i, cte := range st.CTEs {
		if detail := c.cte(st, cte, w.Ctes[i].GetCommonTableExpr()); detail != "" {
			return fmt.Sprintf("CTE %d: %s", i, detail)
		}
	}
	return ""
}

func (c *comparison) cte(st *sqltext.Statement, cte sqltext.CTE, tree *pg.CommonTableExpr) string {
	body, _ := slice(st, cte.Body)
	inside := cte.Body.Start >= st.With.Start && cte.Body.End <= st.With.End
	stmts, err := c.o.parseOwn(body)
	switch {
	case cte.Name != tree.Ctename:
		return equal("name", cte.Name, tree.Ctename)
	case !inside || err != nil || len(stmts) != 1 || !same(stmts[0].Stmt, tree.Ctequery):
		return fmt.Sprintf("the body %q alone is something else than in the tree", body)
	case cte.Write != nil:
		return c.statement(cte.Write, tree.Ctequery)
	case kindOf(tree.Ctequery) != sqltext.Select:
		return "it writes in the tree"
	}
	return ""
}

// columns compares columns with names, both in text order.
func columns(what string, read []sqltext.Column, tree []*pg.Node) string {
	names := make([]string, len(read))
	for i, c := range read {
		if c.Table != "" {
			return fmt.Sprintf("%s: column %d has a table", what, i)
		}
		names[i] = c.Name
	}
	return plainColumns(what, names, tree)
}

func plainColumns(what string, read []string, tree []*pg.Node) string {
	want := make([]string, len(tree))
	for i, n := range tree {
		want[i] = n.GetResTarget().GetName()
	}
	return equal(what, fmt.Sprintf("%q", read), fmt.Sprintf("%q", want))
}
