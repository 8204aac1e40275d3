package pgsql

import (
	"fmt"
	"slices"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
	"github.com/globaltx/globaltx/undo"
)

// order gives the undo rows of several changes in one statement their places, so
// that undoing them one by one meets no foreign key: what was deleted comes back
// before the rows that refer to it, what was inserted goes after them. A statement
// whose parts stand in each other's way is refused, as is one that could change a
// row twice: of such changes the server lets any one take place.
func order(parts []*writer) error {
	if len(parts) < 2 {
		return nil
	}
	if 3*len(parts) > stride {
		return &gtx.UnsupportedError{Code: "cte-write", Reason: fmt.Sprintf("%d members of WITH write", len(parts)), Hint: "send the statements one by one"}
	}
	var all []step
	for i, w := range parts {
		for _, other := range parts[:i] {
			if other.Table.ID == w.Table.ID {
				return &gtx.UnsupportedError{
					Code: "cte-twice", Reason: "two parts of the statement write " + w.Table.ID + ", and a row that both change would be changed by one of them only",
					Hint: "send the statements one by one",
				}
			}
			if refers(w.Table, other.Table) && other.resets() || refers(other.Table, w.Table) && w.resets() {
				return noOrder(w, other)
			}
		}
		for _, op := range w.ops() {
			all = append(all, step{w, op})
		}
	}
	for place := int64(len(all)) - 1; place >= 0; place-- {
		free := slices.IndexFunc(all, func(s step) bool {
			return !slices.ContainsFunc(all, func(other step) bool { return other.undoneBefore(s) })
		})
		if free < 0 {
			return noOrder(all[0].w, all[len(all)-1].w)
		}
		all[free].w.rank[all[free].op] = place
		all = slices.Delete(all, free, free+1)
	}
	return nil
}

func noOrder(a, b *writer) error {
	return &gtx.UnsupportedError{
		Code: "cte-order", Reason: "foreign keys leave no order in which the changes of " + a.Table.ID + " and " + b.Table.ID + " could be undone one by one",
		Hint: "send the statements one by one",
	}
}

// refers tells whether a has a foreign key to b.
func refers(a, b *undo.Table) bool { return slices.Contains(readAttr(a).refers, readAttr(b).root) }

// resets tells whether SET names a column that a foreign key of some table refers to.
func (w *writer) resets() bool {
	sets := [][]sqltext.Column{w.Stmt.SetColumns}
	for _, u := range w.Stmt.Upserts {
		sets = append(sets, u.SetColumns)
	}
	for _, m := range w.Stmt.Whens {
		sets = append(sets, m.SetColumns)
	}
	for _, c := range w.Table.Columns {
		if hasAttr(c, attrReferred) && slices.ContainsFunc(sets, func(set []sqltext.Column) bool {
			return slices.ContainsFunc(set, func(s sqltext.Column) bool { return s.Name == c.Name })
		}) {
			return true
		}
	}
	return false
}

// step is what one part does to rows.
type step struct {
	w  *writer
	op undo.Op
}

func (s step) undoneBefore(t step) bool {
	switch {
	case s.w == t.w:
		return s.op == undo.Insert && t.op == undo.Delete // a unique key may have moved
	case refers(t.w.Table, s.w.Table):
		return s.op == undo.Delete && t.op != undo.Insert
	case refers(s.w.Table, t.w.Table):
		return t.op == undo.Insert && s.op != undo.Delete
	}
	return false
}

// ops are the kinds of change that a part may make.
func (w *writer) ops() []undo.Op {
	s := w.Stmt
	set := s.SetColumns
	var ops []undo.Op
	switch s.Kind {
	case sqltext.Delete:
		return []undo.Op{undo.Delete}
	case sqltext.Merge:
		return []undo.Op{undo.Insert, undo.Update, undo.Delete}
	case sqltext.Insert:
		ops = append(ops, undo.Insert)
		if len(s.Upserts) == 0 || s.Upserts[0].Nothing {
			return ops
		}
		set = s.Upserts[0].SetColumns
	}
	if w.rekeys(set) {
		return []undo.Op{undo.Insert, undo.Update, undo.Delete}
	}
	return append(ops, undo.Update)
}
