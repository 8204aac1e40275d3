package postgres

import (
	"strings"

	pg "github.com/sqlc-dev/oliphant"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// selection compares a query. Only one that locks the rows of its one table is
// split into clauses; of every other only the WITH list in front is read. Not to
// split a query that could be is no misread.
func (c *comparison) selection(st *sqltext.Statement, n *pg.SelectStmt) string {
	text, _ := slice(st, st.Span)
	bracket := strings.HasPrefix(text, "(")
	w, none := &c.o.clauses, sqltext.Span{}
	return first(
		func() string {
			if bracket && st.With == none && len(st.CTEs) == 0 { // the list stands inside
				return ""
			}
			return c.with(st, n.WithClause)
		},
		func() string {
			if st.Lock == none {
				if st.Targets != nil || st.Where != none || st.OrderBy != none || st.Limit != none {
					return "clauses of a query that is not split"
				}
				return ""
			}
			return first(
				func() string { return c.clause(&w.lock, st, st.Lock, all(n.LockingClause)) },
				func() string {
					if oneTable(n) == nil {
						return "one table read, the tree has something else"
					}
					return c.target(st, oneTable(n))
				},
				func() string { return plain(n) },
				func() string { return c.clause(&w.where, st, st.Where, one(n.WhereClause)) },
				func() string { return c.clause(&w.orderBy, st, st.OrderBy, all(n.SortClause)) },
				func() string { return c.limit(st, n) },
			)
		},
	)
}

// oneTable gives the table when the query reads no other at its top level.
func oneTable(n *pg.SelectStmt) *pg.RangeVar {
	if len(n.FromClause) != 1 {
		return nil
	}
	return n.FromClause[0].GetRangeVar()
}

// plain: nothing in the query stands between its rows and the table's.
func plain(n *pg.SelectStmt) string {
	if n.DistinctClause != nil || n.GroupClause != nil || n.HavingClause != nil || n.WindowClause != nil ||
		n.ValuesLists != nil || n.Larg != nil || n.Rarg != nil {
		return "a query that is not plain is split"
	}
	return ""
}

// limit compares LIMIT and OFFSET. FETCH FIRST makes the same tree, so the ties
// of FETCH FIRST ... WITH TIES must have been refused or left unsplit.
func (c *comparison) limit(st *sqltext.Statement, n *pg.SelectStmt) string {
	if n.LimitOption == pg.LimitOption_LIMIT_OPTION_WITH_TIES {
		return "a query with ties is split"
	}
	return c.clause(&c.o.clauses.limit, st, st.Limit, limitOf(&pg.Node{Node: &pg.Node_SelectStmt{
		SelectStmt: &pg.SelectStmt{LimitCount: n.LimitCount, LimitOffset: n.LimitOffset},
	}}))
}
