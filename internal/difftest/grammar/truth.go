package grammar

import (
	"slices"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// resolve turns the ranges of tokens of a statement into ranges of bytes, and
// adds what the tokens themselves tell.
func (g *Generator) resolve(st *sqltext.Statement, text string, at []sqltext.Span) {
	from, to := st.Span.Start, st.Span.End
	st.Text = text
	st.Placeholders = g.placeholders(at, from, to)
	for i, t := range g.tokens[from:to] {
		if t.calls != "" && !slices.Contains(st.Functions, t.calls) {
			st.Functions = append(st.Functions, t.calls)
		}
		if slices.Contains(g.locks, from+i) {
			st.Locking = true
		}
	}
	bytes := func(sp *sqltext.Span) {
		if *sp != (sqltext.Span{}) {
			*sp = sqltext.Span{Start: at[sp.Start].Start, End: at[sp.End-1].End}
		}
	}
	for _, sp := range []*sqltext.Span{
		&st.Span, &st.With, &st.From, &st.Set, &st.Where, &st.OrderBy, &st.Limit, &st.Returning,
		&st.Query, &st.RowAlias, &st.Overriding, &st.On, &st.Lock,
	} {
		bytes(sp)
	}
	for i := range st.Targets {
		t := &st.Targets[i]
		for _, sp := range []*sqltext.Span{&t.NameSpan, &t.AliasSpan, &t.Partition, &t.IndexHint} {
			bytes(sp)
		}
	}
	for i := range st.CTEs {
		bytes(&st.CTEs[i].Body)
		if w := st.CTEs[i].Write; w != nil {
			g.resolve(w, text, at)
		}
	}
	for _, row := range st.Rows {
		for i := range row {
			bytes(&row[i].Span)
			for j, p := range st.Placeholders {
				if row[i].Kind == sqltext.ValuePlaceholder && p.Span == row[i].Span {
					row[i].Placeholder = j
				}
			}
		}
	}
	for i := range st.Upserts {
		u := &st.Upserts[i]
		for _, sp := range []*sqltext.Span{&u.Span, &u.Target, &u.Set, &u.Where} {
			bytes(sp)
		}
	}
	for i := range st.Whens {
		w := &st.Whens[i]
		for _, sp := range []*sqltext.Span{&w.Span, &w.Cond, &w.Set} {
			bytes(sp)
		}
	}
	for _, p := range st.Parts {
		g.resolve(p, text, at)
	}
}
