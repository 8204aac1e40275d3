package pgsql

import (
	"fmt"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// check refuses what the texts of this package would not protect.
func (w *writer) check() error {
	s := w.Stmt
	if len(w.Table.Key) == 0 {
		return noKey(w.Table.ID)
	}
	spans := []sqltext.Span{s.With, s.Target().NameSpan, s.Target().AliasSpan, s.Set, s.From, s.Where, s.Query, s.On, s.Returning}
	sets := [][]sqltext.Column{s.SetColumns}
	for _, u := range s.Upserts {
		spans = append(spans, u.Span, u.Target, u.Set, u.Where)
		sets = append(sets, u.SetColumns)
		if !u.Nothing && len(u.SetColumns) == 0 {
			return noSetList()
		}
	}
	for _, m := range s.Whens {
		spans = append(spans, m.Span)
		sets = append(sets, m.SetColumns)
		if m.Kind == sqltext.Update && len(m.SetColumns) == 0 {
			return noSetList()
		}
	}
	if s.Kind == sqltext.Update && len(s.SetColumns) == 0 {
		return noSetList()
	}
	for _, span := range spans {
		if !closed(s.Slice(span)) {
			return unbalanced()
		}
	}
	always := make(map[string]bool)
	for _, c := range w.Table.Columns {
		always[c.Name] = hasAttr(c, attrAlways)
	}
	for _, set := range sets {
		for _, c := range set {
			if always[c.Name] {
				return &gtx.UnsupportedError{
					Code: "identity-update", Reason: fmt.Sprintf("column %q of %s is GENERATED ALWAYS AS IDENTITY and could not be set back", c.Name, w.Table.ID),
				}
			}
		}
	}
	return nil
}

func unbalanced() error {
	return &gtx.UnsupportedError{Code: "unbalanced", Reason: "a part of the statement ends inside a string, a comment or brackets"}
}

func noSetList() error {
	return &gtx.UnsupportedError{Code: "set-list", Reason: "the columns of SET are not known"}
}
