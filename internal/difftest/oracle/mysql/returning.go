package mysql

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/sqlc-dev/marino/ast"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

const returning = "returning"

// blankReturning overwrites the RETURNING clause of a part of the text, which is
// the end of its statement, with spaces: all else keeps its place.
func (o *Oracle) blankReturning(text []byte, st *sqltext.Statement) error {
	sp := st.Returning
	if sp == (sqltext.Span{}) {
		return nil
	}
	if st.Dialect != sqltext.MariaDB {
		return errors.New("RETURNING is not of this dialect")
	}
	if sp.Start < st.Span.Start || sp.End != st.Span.End || sp.End > len(text) || sp.Start >= sp.End {
		return fmt.Errorf("RETURNING %v is not the end of the statement %v", sp, st.Span)
	}
	at := bytes.LastIndex(bytes.ToLower(text[:sp.Start]), []byte(returning))
	if at < st.Span.Start {
		return errors.New("no RETURNING in front of the list")
	}
	// Between the word and the list are at most comments.
	gap := st.Text[at+len(returning) : sp.Start]
	alone, err := o.one("SELECT 1, " + gap + " 1") // behind SELECT a comment can be a hint
	if err != nil {
		return fmt.Errorf("%q in front of the RETURNING list: %s", gap, err.Error())
	}
	list, err := o.one("SELECT 1, 1")
	if err != nil {
		return err
	}
	if d := same(alone, list, anywhere); d != "" {
		return fmt.Errorf("%q in front of the RETURNING list: %s", gap, d)
	}
	copy(text[at:sp.End], strings.Repeat(" ", sp.End-at))
	return nil
}

// returningList parses the list as that of a SELECT.
func (o *Oracle) returningList(st *sqltext.Statement) (ast.StmtNode, error) {
	takeFields := func(n ast.StmtNode) any {
		if x, ok := n.(*ast.SelectStmt); ok {
			return take(&x.Fields)
		}
		return nil
	}
	list := st.Slice(st.Returning)
	// It begins behind the word and ends with the statement, so what cannot be
	// parsed is what only MariaDB reads.
	tree, err := o.one(inList.before + list)
	if err != nil {
		return nil, fmt.Errorf("RETURNING: %w", err)
	}
	if _, err := o.content(inList, list, takeFields); err != nil {
		return nil, fmt.Errorf("RETURNING: %w", err)
	}
	return tree, nil
}
