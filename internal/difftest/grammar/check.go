package grammar

import (
	"fmt"
	"slices"
	"strings"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// Split tells whether a Select that locks the rows of one table was split. One
// that was not is to be refused by whoever must know the rows.
func (s Statement) Split(got *sqltext.Statement) bool {
	return s.Want.Lock == sqltext.Span{} || got.Lock != sqltext.Span{} || got.Kind != sqltext.Select
}

// Check holds what Parse said of the text against the truth; "" when they agree.
func (s Statement) Check(got *sqltext.Statement) string {
	if got == nil {
		return "no statement"
	}
	c := &comparison{got: got, anyLock: s.AnyLock}
	c.statement("", s.Want, got)
	return strings.Join(c.differ, "; ")
}

type comparison struct {
	got     *sqltext.Statement
	anyLock bool
	differ  []string
}

func (c *comparison) same(what string, want, got any) {
	if w, g := fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", got); w != g {
		c.differ = append(c.differ, fmt.Sprintf("%s: want %s, got %s", what, w, g))
	}
}

// span compares the texts of two spans, and where they are.
func (c *comparison) span(what string, want, got sqltext.Span) {
	if want == got || want.Start == want.End && got.Start == got.End {
		return
	}
	if got.Start < 0 || got.End > len(c.got.Text) || got.Start > got.End {
		c.differ = append(c.differ, fmt.Sprintf("%s: span %v is outside the text", what, got))
		return
	}
	c.differ = append(c.differ, fmt.Sprintf("%s: want %q, got %q", what, c.got.Slice(want), c.got.Slice(got)))
}

func (c *comparison) name(what, want, got string) {
	if c.got.Dialect != sqltext.Postgres { // only Postgres says how it folds
		want, got = strings.ToLower(want), strings.ToLower(got)
	}
	c.same(what, want, got)
}

func (c *comparison) statement(at string, want, got *sqltext.Statement) {
	c.same(at+"Kind", want.Kind, got.Kind)
	if want.Kind != got.Kind {
		return
	}
	c.span(at+"Span", want.Span, got.Span)
	c.same(at+"Parts", len(want.Parts), len(got.Parts))
	if want.Kind == sqltext.Several {
		for i := range min(len(want.Parts), len(got.Parts)) {
			c.statement(fmt.Sprintf("%sParts[%d].", at, i), want.Parts[i], got.Parts[i])
		}
		return
	}
	c.placeholders(at, want, got)
	c.functions(at, want, got)
	c.name(at+"Savepoint", want.Savepoint, got.Savepoint)
	if want.Kind == sqltext.Explain || want.Kind == sqltext.Show {
		return
	}
	c.same(at+"Locking", want.Locking, got.Locking)
	c.ctes(at, want, got)
	if want.Kind == sqltext.Select && c.anyLock {
		return
	}
	if empty := (sqltext.Span{}); want.Kind == sqltext.Select && got.Lock == empty {
		clean := len(got.Targets) == 0 && got.Where == empty && got.OrderBy == empty && got.Limit == empty
		c.same(at+"nothing of an unsplit Select", true, clean)
		return
	}
	c.clauses(at, want, got)
	c.targets(at, want, got)
	c.columns(at+"SetColumns", want.SetColumns, got.SetColumns)
	c.insert(at, want, got)
	c.upserts(at, want, got)
	c.whens(at, want, got)
}

func (c *comparison) clauses(at string, want, got *sqltext.Statement) {
	for _, f := range []struct {
		name      string
		want, got sqltext.Span
	}{
		{"From", want.From, got.From},
		{"Set", want.Set, got.Set},
		{"Where", want.Where, got.Where},
		{"OrderBy", want.OrderBy, got.OrderBy},
		{"Limit", want.Limit, got.Limit},
		{"Returning", want.Returning, got.Returning},
		{"Query", want.Query, got.Query},
		{"RowAlias", want.RowAlias, got.RowAlias},
		{"Overriding", want.Overriding, got.Overriding},
		{"On", want.On, got.On},
		{"Lock", want.Lock, got.Lock},
	} {
		c.span(at+f.name, f.want, f.got)
	}
	c.same(at+"Or", want.Or, got.Or)
	c.same(at+"Replace", want.Replace, got.Replace)
	c.same(at+"Multi", want.Multi, got.Multi)
}

func (c *comparison) targets(at string, want, got *sqltext.Statement) {
	c.same(at+"Targets", len(want.Targets), len(got.Targets))
	for i := range min(len(want.Targets), len(got.Targets)) {
		w, g, at := want.Targets[i], got.Targets[i], fmt.Sprintf("%sTargets[%d].", at, i)
		c.name(at+"Schema", w.Name.Schema, g.Name.Schema)
		c.name(at+"Table", w.Name.Table, g.Name.Table)
		c.span(at+"NameSpan", w.NameSpan, g.NameSpan)
		c.name(at+"Alias", w.Alias, g.Alias)
		c.span(at+"AliasSpan", w.AliasSpan, g.AliasSpan)
		c.same(at+"Only", w.Only, g.Only)
		c.span(at+"Partition", w.Partition, g.Partition)
		c.span(at+"IndexHint", w.IndexHint, g.IndexHint)
	}
}

func (c *comparison) columns(at string, want, got []sqltext.Column) {
	c.same(at, len(want), len(got))
	for i := range min(len(want), len(got)) {
		c.name(fmt.Sprintf("%s[%d].Table", at, i), want[i].Table, got[i].Table)
		c.name(fmt.Sprintf("%s[%d].Name", at, i), want[i].Name, got[i].Name)
	}
}

func (c *comparison) names(at string, want, got []string) {
	c.same(at, len(want), len(got))
	for i := range min(len(want), len(got)) {
		c.name(fmt.Sprintf("%s[%d]", at, i), want[i], got[i])
	}
}

func (c *comparison) ctes(at string, want, got *sqltext.Statement) {
	c.span(at+"With", want.With, got.With)
	c.same(at+"CTEs", len(want.CTEs), len(got.CTEs))
	for i := range min(len(want.CTEs), len(got.CTEs)) {
		w, g, at := want.CTEs[i], got.CTEs[i], fmt.Sprintf("%sCTEs[%d].", at, i)
		c.name(at+"Name", w.Name, g.Name)
		c.span(at+"Body", w.Body, g.Body)
		c.same(at+"Write", w.Write != nil, g.Write != nil)
		if w.Write != nil && g.Write != nil {
			c.statement(at+"Write.", w.Write, g.Write)
		}
	}
}

func (c *comparison) insert(at string, want, got *sqltext.Statement) {
	c.same(at+"Source", want.Source, got.Source)
	c.names(at+"Columns", want.Columns, got.Columns)
	if want.Source == sqltext.SourceDefaults { // the one row may be told as an empty one
		c.same(at+"Rows", true, len(got.Rows) == 0 || len(got.Rows) == 1 && len(got.Rows[0]) == 0)
		return
	}
	c.same(at+"Rows", len(want.Rows), len(got.Rows))
	for i := range min(len(want.Rows), len(got.Rows)) {
		w, g, at := want.Rows[i], got.Rows[i], fmt.Sprintf("%sRows[%d]", at, i)
		c.same(at, len(w), len(g))
		for j := range min(len(w), len(g)) {
			at := fmt.Sprintf("%s[%d]", at, j)
			c.span(at, w[j].Span, g[j].Span)
			if w[j].Kind != unsure && !c.parted(w[j], g[j]) {
				c.same(at+".Kind", w[j].Kind, g[j].Kind)
			}
			if w[j].Kind == sqltext.ValuePlaceholder {
				c.same(at+".Placeholder", w[j].Placeholder, g[j].Placeholder)
			}
		}
	}
}

// parted tells whether a comment stands between a sign and its number: then to
// say that it may be any expression is right too.
func (c *comparison) parted(want, got sqltext.Value) bool {
	text := c.got.Slice(want.Span)
	return want.Kind == sqltext.ValueLiteral && got.Kind == sqltext.ValueOther &&
		strings.ContainsAny(text[:1], "+-") && (strings.Contains(text, "/*") || strings.Contains(text, "--") || strings.Contains(text, "#"))
}

func (c *comparison) upserts(at string, want, got *sqltext.Statement) {
	c.same(at+"Upserts", len(want.Upserts), len(got.Upserts))
	for i := range min(len(want.Upserts), len(got.Upserts)) {
		w, g, at := want.Upserts[i], got.Upserts[i], fmt.Sprintf("%sUpserts[%d].", at, i)
		c.span(at+"Span", w.Span, g.Span)
		c.span(at+"Target", w.Target, g.Target)
		c.same(at+"Nothing", w.Nothing, g.Nothing)
		c.span(at+"Set", w.Set, g.Set)
		c.columns(at+"SetColumns", w.SetColumns, g.SetColumns)
		c.span(at+"Where", w.Where, g.Where)
	}
}

func (c *comparison) whens(at string, want, got *sqltext.Statement) {
	c.same(at+"Whens", len(want.Whens), len(got.Whens))
	for i := range min(len(want.Whens), len(got.Whens)) {
		w, g, at := want.Whens[i], got.Whens[i], fmt.Sprintf("%sWhens[%d].", at, i)
		c.span(at+"Span", w.Span, g.Span)
		c.same(at+"Match", w.Match, g.Match)
		c.span(at+"Cond", w.Cond, g.Cond)
		c.same(at+"Kind", w.Kind, g.Kind)
		c.span(at+"Set", w.Set, g.Set)
		c.columns(at+"SetColumns", w.SetColumns, g.SetColumns)
		c.names(at+"Columns", w.Columns, g.Columns)
	}
}

func (c *comparison) placeholders(at string, want, got *sqltext.Statement) {
	c.same(at+"Placeholders", want.Placeholders, got.Placeholders)
}

// functions holds that no call is missed, and that nothing is told that the text
// does not hold.
func (c *comparison) functions(at string, want, got *sqltext.Statement) {
	for _, f := range want.Functions {
		if !slices.Contains(got.Functions, f) {
			c.differ = append(c.differ, fmt.Sprintf("%sFunctions: %s is missing", at, f))
		}
	}
	// A quoted name with a bracket behind it looks like a call, its quotes doubled.
	text := strings.NewReplacer(`""`, `"`, "``", "`").Replace(strings.ToLower(got.Slice(got.Span)))
	for i, f := range got.Functions {
		if !slices.Contains(want.Functions, f) && !strings.Contains(text, f) || slices.Contains(got.Functions[:i], f) {
			c.differ = append(c.differ, fmt.Sprintf("%sFunctions: %s is not in the text, or told twice", at, f))
		}
	}
}
