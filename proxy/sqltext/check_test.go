package sqltext

import (
	"slices"
	"testing"
)

// part is one span of a statement.
type part struct {
	what string
	span Span
}

// checkStatement holds for every statement that Parse understands: its parts lie
// inside it, in order and apart, each reads the same when it stands alone, and
// nothing is there that belongs to another kind.
func checkStatement(t *testing.T, st *Statement, m Mode) {
	t.Helper()
	whole := lexAll(t, st.Text, st.Dialect, m)
	checkParts(t, st, m, whole, Span{0, len(st.Text)})
}

func checkParts(t *testing.T, st *Statement, m Mode, whole []token, outer Span) {
	t.Helper()
	if st.Span == (Span{}) {
		t.Fatal("no span")
	}
	within(t, outer, part{"statement", st.Span})
	apart(t, st, m, whole, st.Span, topParts(st))
	for _, c := range st.CTEs {
		apart(t, st, m, whole, st.With, []part{{"CTE", c.Body}})
		if c.Write != nil {
			checkParts(t, c.Write, m, whole, c.Body)
		}
	}
	if st.Multi {
		var inFrom []part
		for i := range st.Targets {
			inFrom = append(inFrom, tableParts(&st.Targets[i])...)
		}
		apart(t, st, m, whole, st.From, inFrom)
	}
	for _, u := range st.Upserts {
		apart(t, st, m, whole, u.Span, []part{{"conflict target", u.Target}, {"conflict set", u.Set}, {"conflict where", u.Where}})
		if u.Nothing == (len(u.SetColumns) > 0) {
			t.Fatal("an upsert does nothing and something")
		}
	}
	for _, w := range st.Whens {
		apart(t, st, m, whole, w.Span, []part{{"when cond", w.Cond}, {"when set", w.Set}})
	}
	at := st.Span.Start
	for _, p := range st.Parts {
		checkParts(t, p, m, whole, Span{at, st.Span.End})
		at = p.Span.End
	}
	checkKind(t, st)
	checkMarkers(t, st)
}

// topParts are the parts that must not overlap.
func topParts(st *Statement) []part {
	all := []part{
		{"with", st.With},
		{"from", st.From},
		{"set", st.Set},
		{"where", st.Where},
		{"order by", st.OrderBy},
		{"limit", st.Limit},
		{"returning", st.Returning},
		{"query", st.Query},
		{"new row", st.RowAlias},
		{"overriding", st.Overriding},
		{"on", st.On},
		{"lock", st.Lock},
	}
	if !st.Multi {
		for i := range st.Targets {
			all = append(all, tableParts(&st.Targets[i])...)
		}
	}
	for _, row := range st.Rows {
		for _, v := range row {
			all = append(all, part{"value", v.Span})
		}
	}
	for _, u := range st.Upserts {
		all = append(all, part{"upsert", u.Span})
	}
	for _, w := range st.Whens {
		all = append(all, part{"when", w.Span})
	}
	return all
}

func tableParts(t *Table) []part {
	return []part{{"name", t.NameSpan}, {"alias", t.AliasSpan}, {"partition", t.Partition}, {"hint", t.IndexHint}}
}

func apart(t *testing.T, st *Statement, m Mode, whole []token, outer Span, parts []part) {
	t.Helper()
	slices.SortFunc(parts, func(a, b part) int { return a.span.Start - b.span.Start })
	for _, p := range parts {
		if p.span == (Span{}) {
			continue
		}
		within(t, outer, p)
		outer.Start = p.span.End
		checkSlice(t, p.what, whole, st, p.span, m)
	}
}

func within(t *testing.T, outer Span, p part) {
	t.Helper()
	if p.span.Start < outer.Start || p.span.End <= p.span.Start || p.span.End > outer.End {
		t.Fatalf("%s is at %v, not in %v", p.what, p.span, outer)
	}
}

func checkKind(t *testing.T, st *Statement) {
	t.Helper()
	writes := st.Kind == Insert || st.Kind == Update || st.Kind == Delete || st.Kind == Merge
	switch {
	case (writes || st.Lock != (Span{})) != (len(st.Targets) > 0),
		len(st.Targets) > 1 && !st.Multi,
		(st.Kind == Update) != (st.Set != (Span{})),
		(st.Kind == Update) != (len(st.SetColumns) > 0),
		st.Multi && (st.From == (Span{}) || st.Kind != Update && st.Kind != Delete),
		st.Lock != (Span{}) && (st.Kind != Select || !st.Locking),
		(st.Kind == Insert) != (st.Source != 0),
		(st.Kind == Merge) != (st.On != (Span{})),
		(st.Kind == Several) != (len(st.Parts) > 1):
		t.Fatalf("parts of another kind of statement: %+v", st)
	}
	for _, table := range st.Targets {
		if table.Name.Table == "" || table.NameSpan == (Span{}) || (table.Alias != "") != (table.AliasSpan != Span{}) {
			t.Fatalf("target %+v", table)
		}
	}
	for _, c := range st.SetColumns {
		if c.Name == "" {
			t.Fatal("a column has no name")
		}
	}
	for _, row := range st.Rows {
		if len(row) != len(st.Columns) && st.Columns != nil || len(row) == 0 && st.Source != SourceDefaults {
			t.Fatalf("%d values for %d columns", len(row), len(st.Columns))
		}
		for _, v := range row {
			if v.Kind == ValuePlaceholder && st.Placeholders[v.Placeholder].Span != v.Span {
				t.Fatal("the value is another marker")
			}
		}
	}
}

func checkMarkers(t *testing.T, st *Statement) {
	t.Helper()
	at := st.Span.Start
	for _, p := range st.Placeholders {
		if p.Ordinal < 1 {
			t.Fatalf("marker %v", p)
		}
		within(t, Span{at, st.Span.End}, part{"marker", p.Span})
		at = p.Span.End
	}
}
