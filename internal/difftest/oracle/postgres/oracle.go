package postgres

import (
	"fmt"
	"strings"

	pg "github.com/sqlc-dev/oliphant"

	"github.com/globaltx/globaltx/internal/difftest"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// Oracle compares with the grammar of Postgres 18. It is for one goroutine at a
// time.
type Oracle struct {
	clauses clauses
	mode    sqltext.Mode
}

var _ difftest.Oracle = (*Oracle)(nil)

// New makes an oracle for statements that were read in mode m.
func New(m sqltext.Mode) *Oracle {
	return &Oracle{clauses: newClauses(), mode: m}
}

// Compare holds st against the tree of its text. The parser has no other
// dialect and reads no text of broken UTF-8: what is not read is Unread.
func (o *Oracle) Compare(st *sqltext.Statement) (difftest.Verdict, string) {
	if st.Dialect != sqltext.Postgres {
		return difftest.Unread, "another dialect"
	}
	text := o.native(st.Text)
	stmts, err := parse(text.String())
	if err != nil {
		return difftest.Unread, err.Error()
	}
	c := comparison{o: o, text: text}
	if detail := c.several(st, stmts); detail != "" {
		return difftest.Misread, detail
	}
	return difftest.Equal, ""
}

// parse gives the statements of a text. A parser that panics has not read it.
func parse(text string) (stmts []*pg.RawStmt, err error) {
	defer func() {
		if r := recover(); r != nil {
			stmts, err = nil, fmt.Errorf("the parser panics: %v", r)
		}
	}()
	tree, err := pg.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	return tree.Stmts, nil
}

// comparison is the work of one Compare. Its methods give what differs, "" when
// nothing does; a method that needs the answer of another stops at the first.
type comparison struct {
	o    *Oracle
	text nativeText
}

func (c *comparison) several(st *sqltext.Statement, stmts []*pg.RawStmt) string {
	if st.Kind != sqltext.Several {
		if len(stmts) != 1 {
			return fmt.Sprintf("one statement read, the tree has %d", len(stmts))
		}
		return c.statement(st, stmts[0].Stmt)
	}
	if len(st.Parts) != len(stmts) {
		return fmt.Sprintf("%d statements read, the tree has %d", len(st.Parts), len(stmts))
	}
	end := 0
	for i, part := range st.Parts {
		if part.Span.Start < end {
			return fmt.Sprintf("part %d begins before the one in front of it ends", i)
		}
		end = part.Span.End
		if detail := c.statement(part, stmts[i].Stmt); detail != "" {
			return fmt.Sprintf("part %d: %s", i, detail)
		}
	}
	return ""
}

// statement compares st with the node that should be the same statement.
func (c *comparison) statement(st *sqltext.Statement, n *pg.Node) string {
	if kind := kindOf(n); kind != st.Kind {
		return fmt.Sprintf("kind %d read, the tree has %d (%T)", st.Kind, kind, n.GetNode())
	}
	f := factsOf(n)
	return first(
		func() string { return c.whole(st, n) },
		func() string { return c.facts(st, f) },
		func() string { return c.byKind(st, n) },
		func() string { return unexpected(st) },
	)
}

func (c *comparison) byKind(st *sqltext.Statement, n *pg.Node) string {
	switch s := n.Node.(type) {
	case *pg.Node_SelectStmt:
		return c.selection(st, s.SelectStmt)
	case *pg.Node_InsertStmt:
		return c.insert(st, s.InsertStmt)
	case *pg.Node_UpdateStmt:
		return c.update(st, s.UpdateStmt)
	case *pg.Node_DeleteStmt:
		return c.delete(st, s.DeleteStmt)
	case *pg.Node_MergeStmt:
		return c.merge(st, s.MergeStmt)
	case *pg.Node_TransactionStmt:
		return equal("savepoint", st.Savepoint, s.TransactionStmt.SavepointName)
	}
	return "" // SHOW and EXPLAIN have no clauses
}

// whole: the statement's own span holds the statement and nothing else.
func (c *comparison) whole(st *sqltext.Statement, n *pg.Node) string {
	text, ok := slice(st, st.Span)
	switch {
	case !ok:
		return "the statement's span is outside the text"
	case strings.HasSuffix(text, ";"):
		return "the statement's span holds the semicolon"
	case len(text) == len(st.Text):
		return ""
	}
	stmts, err := c.o.parseOwn(text)
	if err != nil || len(stmts) != 1 || !same(stmts[0].Stmt, n) {
		return "the statement's span holds something else than the statement"
	}
	return ""
}

// kindOf sorts a node as sqltext does; 0 is what it must refuse.
func kindOf(n *pg.Node) sqltext.Kind {
	switch s := n.GetNode().(type) {
	case *pg.Node_SelectStmt:
		return sqltext.Select
	case *pg.Node_InsertStmt:
		return sqltext.Insert
	case *pg.Node_UpdateStmt:
		return sqltext.Update
	case *pg.Node_DeleteStmt:
		return sqltext.Delete
	case *pg.Node_MergeStmt:
		return sqltext.Merge
	case *pg.Node_VariableShowStmt:
		return sqltext.Show
	case *pg.Node_ExplainStmt:
		for _, o := range s.ExplainStmt.Options {
			if o.GetDefElem().GetDefname() == "analyze" {
				return 0
			}
		}
		return sqltext.Explain
	case *pg.Node_TransactionStmt:
		switch s.TransactionStmt.Kind {
		case pg.TransactionStmtKind_TRANS_STMT_SAVEPOINT:
			return sqltext.Savepoint
		case pg.TransactionStmtKind_TRANS_STMT_ROLLBACK_TO:
			return sqltext.RollbackTo
		case pg.TransactionStmtKind_TRANS_STMT_RELEASE:
			return sqltext.Release
		}
	}
	return 0
}

// slice gives the text of a span, false when the span is outside the statement.
func slice(st *sqltext.Statement, sp sqltext.Span) (string, bool) {
	if sp.Start < 0 || sp.Start > sp.End || sp.End > len(st.Text) {
		return "", false
	}
	return st.Text[sp.Start:sp.End], true
}

// first runs the checks until one finds something.
func first(checks ...func() string) string {
	for _, check := range checks {
		if detail := check(); detail != "" {
			return detail
		}
	}
	return ""
}

func equal[T comparable](what string, read, tree T) string {
	if read == tree {
		return ""
	}
	return fmt.Sprintf("%s: %v read, the tree has %v", what, read, tree)
}
