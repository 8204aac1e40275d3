package mysql

import (
	"errors"
	"fmt"

	"github.com/sqlc-dev/marino/ast"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// frame is a small statement that one clause is parsed in: before, the clause,
// after. The filler is a clause that fits there.
type frame struct{ before, filler, after string }

// taker takes the clause out of the tree of its frame. What it leaves must be
// what it leaves of the filler's tree; nil when the clause is not there.
type taker func(ast.StmtNode) any

var (
	inSet       = frame{"UPDATE d SET ", "d = 1", ""}
	inWith      = frame{"", "WITH d AS (SELECT 1)", " SELECT 1"}
	inCTE       = frame{"WITH d AS (", "SELECT 1", ") SELECT 1"}
	inQuery     = frame{"INSERT INTO d ", "SELECT 1", ""}
	inValue     = frame{"INSERT INTO d VALUES (", "1", ")"}
	inUpsert    = frame{"INSERT INTO d VALUES (1) ", "ON DUPLICATE KEY UPDATE d = 1", ""}
	inRowAlias  = frame{"INSERT INTO d VALUES (1) ", "AS d", ""}
	inUpdateRef = frame{"UPDATE ", "d", "\nSET d = 1"} // "1. SET" is a syntax error to the parser
	inDeleteRef = frame{"DELETE d FROM ", "d", ""}
	inDelete    = frame{"DELETE FROM ", "d", ""}
	inLock      = frame{"SELECT 1 FROM d ", "FOR UPDATE", ""}
	inName      = frame{"SELECT 1 FROM ", "d", ""}
	inAlias     = frame{"SELECT 1 FROM d AS ", "d", ""}
	inPartition = frame{"SELECT 1 FROM d ", "PARTITION (d)", ""}
	inHint      = frame{"SELECT 1 FROM d ", "USE INDEX (d)", ""}
	inList      = frame{"SELECT 1, ", "1", ""} // behind SELECT some words are options
)

// heads are the shortest statements that take WHERE, ORDER BY and LIMIT.
var heads = map[sqltext.Kind]string{
	sqltext.Select: "SELECT 1 FROM d",
	sqltext.Update: "UPDATE d SET d = 1",
	sqltext.Delete: "DELETE FROM d",
}

// clause compares a clause with a part of the whole tree: is it there, what does
// it hold, and where.
func (c *comparison) clause(what string, sp sqltext.Span, f frame, take taker, want any) error {
	if err := c.within(what, sp); err != nil {
		return err
	}
	if empty := sp.Start == sp.End; empty || absent(want) {
		if empty != absent(want) {
			return fmt.Errorf("%s: there is %v, the parser says %v", what, !empty, !absent(want))
		}
		return nil
	}
	got, err := c.oracle.content(f, c.st.Slice(sp), take)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if d := same(got, want, sp.Start-len(f.before)); d != "" {
		return fmt.Errorf("%s %q is not what the parser reads: %s", what, c.st.Slice(sp), d)
	}
	return nil
}

// content parses a clause in its frame. The frame must stay as it is: a clause
// that brings another one with it is wrong. So is one that cannot be parsed.
func (o *Oracle) content(f frame, clause string, take taker) (any, error) {
	tree, err := o.one(f.before + clause + f.after)
	if errors.Is(err, errNumber) {
		return nil, err
	}
	if err != nil {
		// Part of a text that was read, so this says that the part is wrong.
		return nil, errors.New("is not a clause of its kind: " + err.Error())
	}
	around, ok := o.fillers[f]
	if !ok {
		if around, err = o.one(f.before + f.filler + f.after); err != nil {
			return nil, fmt.Errorf("parse frame %q: %w", f, err)
		}
		if absent(take(around)) {
			return nil, fmt.Errorf("no clause in frame %q", f)
		}
		o.fillers[f] = around
	}
	got := take(tree)
	if absent(got) {
		return nil, fmt.Errorf("%q is not a clause of its kind", clause)
	}
	if d := same(tree, around, anywhere); d != "" {
		return nil, fmt.Errorf("%q is more than its clause: %s", clause, d)
	}
	return got, nil
}

// within refuses a span outside its statement.
func (c *comparison) within(what string, sp sqltext.Span) error {
	if sp == (sqltext.Span{}) {
		return nil
	}
	if sp.Start < c.st.Span.Start || sp.End > c.st.Span.End || sp.Start >= sp.End {
		return fmt.Errorf("%s: span %v is not inside %v", what, sp, c.st.Span)
	}
	return nil
}

func take[T any](part *T) T {
	var none T
	got := *part
	*part = none
	return got
}
