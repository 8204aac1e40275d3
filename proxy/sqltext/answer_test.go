package sqltext

import (
	"errors"
	"fmt"
	"strings"
)

var (
	kindText = [...]string{
		"nothing", "select", "show", "explain", "insert", "update", "delete", "merge", "savepoint", "rollback to",
		"release", "several",
	}
	orText     = [...]string{"", "or ignore", "or replace", "or abort", "or fail", "or rollback"}
	sourceText = [...]string{"", "", "from set", "of defaults", "from a query"}
	matchText  = [...]string{"", "matched", "not matched", "not matched by source"}
	valueText  = [...]string{"other", "literal", "null", "default", "marker"}
)

// answer writes down everything that Parse said. Strings that the parser has
// unquoted are printed with %q, slices of the text between «».
func answer(st *Statement, err error) string {
	if err != nil {
		var r *Refusal
		if !errors.As(err, &r) {
			return "not a refusal: " + err.Error() + "\n"
		}
		return "refused " + r.Code + "\n"
	}
	w := writer{st: st}
	w.statement("")
	return w.b.String()
}

type writer struct {
	b  strings.Builder
	st *Statement
}

func (w *writer) statement(indent string) {
	st := w.st
	w.head(indent)
	w.span(indent, "with", st.With)
	for _, c := range st.CTEs {
		fmt.Fprintf(&w.b, "%s  cte %q «%s»\n", indent, c.Name, w.slice(c.Body))
		if c.Write != nil {
			w.inner(c.Write, indent+"    ")
		}
	}
	if st.Columns != nil {
		fmt.Fprintf(&w.b, "%scolumns %q\n", indent, st.Columns)
	}
	w.span(indent, "overriding", st.Overriding)
	w.rows(indent)
	w.span(indent, "query", st.Query)
	w.span(indent, "new row", st.RowAlias)
	for _, u := range st.Upserts {
		w.upsert(indent, u)
	}
	w.span(indent, "from", st.From)
	w.span(indent, "on", st.On)
	for _, when := range st.Whens {
		w.when(indent, when)
	}
	w.assigns(indent, st.Set, st.SetColumns)
	w.span(indent, "where", st.Where)
	w.span(indent, "order by", st.OrderBy)
	w.span(indent, "limit", st.Limit)
	w.span(indent, "lock", st.Lock)
	w.span(indent, "returning", st.Returning)
	for _, part := range st.Parts {
		fmt.Fprintf(&w.b, "%spart «%s»\n", indent, w.slice(part.Span))
		w.inner(part, indent+"  ")
	}
	w.markers(indent)
	if st.Functions != nil {
		fmt.Fprintf(&w.b, "%scalls %q\n", indent, st.Functions)
	}
}

func (w *writer) inner(st *Statement, indent string) {
	outer := w.st
	w.st = st
	w.statement(indent)
	w.st = outer
}

func (w *writer) head(indent string) {
	st := w.st
	fmt.Fprintf(&w.b, "%s%s", indent, kindText[st.Kind])
	for i, word := range []string{orText[st.Or], sourceText[st.Source], "by replace", "multi", "locking"} {
		if word != "" && (i < 2 || i == 2 && st.Replace || i == 3 && st.Multi || i == 4 && st.Locking) {
			fmt.Fprintf(&w.b, " %s", word)
		}
	}
	if st.Savepoint != "" {
		fmt.Fprintf(&w.b, " %q", st.Savepoint)
	}
	for i, t := range st.Targets {
		if i > 0 {
			w.b.WriteByte(',')
		}
		w.table(t)
	}
	w.b.WriteByte('\n')
}

func (w *writer) table(t Table) {
	w.b.WriteByte(' ')
	if t.Only {
		w.b.WriteString("only ")
	}
	if t.Name.Schema != "" {
		fmt.Fprintf(&w.b, "%q.", t.Name.Schema)
	}
	fmt.Fprintf(&w.b, "%q «%s»", t.Name.Table, w.slice(t.NameSpan))
	if t.Alias != "" {
		fmt.Fprintf(&w.b, " as %q «%s»", t.Alias, w.slice(t.AliasSpan))
	}
	if t.Partition != (Span{}) {
		fmt.Fprintf(&w.b, " partition «%s»", w.slice(t.Partition))
	}
	if t.IndexHint != (Span{}) {
		fmt.Fprintf(&w.b, " hint «%s»", w.slice(t.IndexHint))
	}
}

func (w *writer) rows(indent string) {
	for _, row := range w.st.Rows {
		fmt.Fprintf(&w.b, "%srow", indent)
		for _, v := range row {
			fmt.Fprintf(&w.b, " %s«%s»", valueText[v.Kind], w.slice(v.Span))
			if v.Kind == ValuePlaceholder {
				fmt.Fprintf(&w.b, "#%d", v.Placeholder)
			}
		}
		w.b.WriteByte('\n')
	}
}

func (w *writer) upsert(indent string, u Upsert) {
	fmt.Fprintf(&w.b, "%supsert «%s»\n", indent, w.slice(u.Span))
	w.span(indent+"  ", "target", u.Target)
	if u.Nothing {
		fmt.Fprintf(&w.b, "%s  nothing\n", indent)
	}
	w.assigns(indent+"  ", u.Set, u.SetColumns)
	w.span(indent+"  ", "where", u.Where)
}

func (w *writer) when(indent string, when When) {
	kind := "nothing"
	if when.Kind != 0 {
		kind = kindText[when.Kind]
	}
	fmt.Fprintf(&w.b, "%swhen %s %s «%s»\n", indent, matchText[when.Match], kind, w.slice(when.Span))
	w.span(indent+"  ", "and", when.Cond)
	w.assigns(indent+"  ", when.Set, when.SetColumns)
	if when.Columns != nil {
		fmt.Fprintf(&w.b, "%s  columns %q\n", indent, when.Columns)
	}
}

func (w *writer) assigns(indent string, sp Span, columns []Column) {
	w.span(indent, "set", sp)
	if columns == nil {
		return
	}
	var names []string
	for _, c := range columns {
		if c.Table != "" {
			c.Name = c.Table + "." + c.Name
		}
		names = append(names, c.Name)
	}
	fmt.Fprintf(&w.b, "%sassigns %q\n", indent, names)
}

func (w *writer) markers(indent string) {
	if w.st.Placeholders == nil {
		return
	}
	fmt.Fprintf(&w.b, "%smarkers", indent)
	for _, p := range w.st.Placeholders {
		fmt.Fprintf(&w.b, " %s=%d", w.slice(p.Span), p.Ordinal)
		if p.Name != "" {
			fmt.Fprintf(&w.b, "(%s)", p.Name)
		}
	}
	w.b.WriteByte('\n')
}

func (w *writer) span(indent, name string, sp Span) {
	if sp != (Span{}) {
		fmt.Fprintf(&w.b, "%s%s «%s»\n", indent, name, w.slice(sp))
	}
}

func (w *writer) slice(sp Span) string {
	return strings.ReplaceAll(w.st.Slice(sp), "\n", "⏎")
}
