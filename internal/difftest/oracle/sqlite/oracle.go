// Package sqlite holds statements against meyer, a parser of SQLite's grammar
// whose nodes tell their exact bytes.
package sqlite

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/sqlc-dev/meyer/ast"
	"github.com/sqlc-dev/meyer/parser"

	"github.com/globaltx/globaltx/internal/difftest"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// Oracle builds from meyer's tree the Statement that the text should give and
// compares every field with the one at hand. Spans must be equal to the byte.
type Oracle struct {
	opts parser.Options
}

var _ difftest.Oracle = (*Oracle)(nil)

// New gives an oracle for texts of a mode: whether UPDATE and DELETE take
// ORDER BY and LIMIT is an option of the build.
func New(m sqltext.Mode) *Oracle {
	return &Oracle{opts: parser.Options{UpdateDeleteLimit: m.UpdateDeleteLimit}}
}

// Compare is Oracle.Compare. Unread are texts that meyer rejects and statements
// of kinds that sqltext has no word for.
func (o *Oracle) Compare(st *sqltext.Statement) (v difftest.Verdict, detail string) {
	defer func() {
		if r := recover(); r != nil {
			v, detail = difftest.Unread, fmt.Sprintf("meyer panics: %v", r)
		}
	}()
	stmts, err := o.opts.ParseString(st.Text)
	if err != nil {
		return difftest.Unread, "meyer: " + err.Error()
	}
	if st.Kind != sqltext.Several {
		if len(stmts) != 1 {
			return difftest.Misread, fmt.Sprintf("%d statements, not one", len(stmts))
		}
		return compare(st, o.expect(st.Text, stmts[0]))
	}
	if len(stmts) < 2 || len(stmts) != len(st.Parts) {
		return difftest.Misread, fmt.Sprintf("%d statements, not %d", len(stmts), len(st.Parts))
	}
	return o.compareParts(st, stmts)
}

// compareParts compares each statement of a text with several. A part numbers
// its parameters as if it were alone, so it is parsed alone, where it stands.
func (o *Oracle) compareParts(st *sqltext.Statement, stmts []ast.Stmt) (difftest.Verdict, string) {
	for i, stmt := range stmts {
		alone, err := o.opts.ParseString(strings.Repeat(" ", stmt.Pos()) + st.Text[stmt.Pos():stmt.End()])
		if err != nil || len(alone) != 1 {
			return difftest.Unread, fmt.Sprintf("meyer does not read part %d alone: %v", i+1, err)
		}
		part := st.Parts[i]
		if part.Text != st.Text {
			return difftest.Misread, fmt.Sprintf("part %d: Text is not the whole text", i+1)
		}
		if v, detail := compare(part, o.expect(st.Text, alone[0])); v != difftest.Equal {
			return v, fmt.Sprintf("part %d: %s", i+1, detail)
		}
	}
	whole := &sqltext.Statement{Text: st.Text, Dialect: sqltext.SQLite, Kind: sqltext.Several, Parts: st.Parts}
	last := st.Parts[len(st.Parts)-1]
	whole.Span = sqltext.Span{Start: st.Parts[0].Span.Start, End: last.Span.End}
	for _, part := range st.Parts {
		whole.Placeholders = append(whole.Placeholders, part.Placeholders...)
		for _, f := range part.Functions {
			if !slices.Contains(whole.Functions, f) {
				whole.Functions = append(whole.Functions, f)
			}
		}
	}
	// The last semicolon may or may not count as the statement's own.
	if end := stmts[len(stmts)-1].End(); st.Span.End == end {
		whole.Span.End = end
	}
	return compare(st, whole)
}

// compare holds got against want. Of the functions, got may name more: what
// looks like a call is listed too.
func compare(got, want *sqltext.Statement) (difftest.Verdict, string) {
	if want == nil {
		return difftest.Unread, "a kind of statement that the oracle does not know"
	}
	for _, f := range want.Functions {
		if !slices.Contains(got.Functions, f) {
			return difftest.Misread, fmt.Sprintf("function %q is missing from %q", f, got.Functions)
		}
	}
	g, w := *got, *want
	g.Functions, w.Functions = nil, nil
	if got.Kind == sqltext.Explain {
		// What it explains is not said, only that it is something known.
		g = sqltext.Statement{Text: g.Text, Dialect: g.Dialect, Kind: g.Kind, Span: g.Span, Placeholders: g.Placeholders}
	}
	if got.Source == sqltext.SourceDefaults && !slices.ContainsFunc(got.Rows, func(r []sqltext.Value) bool { return len(r) > 0 }) {
		g.Rows = nil // one empty row, or none: both say one row of defaults
	}
	a, b := reflect.ValueOf(&g).Elem(), reflect.ValueOf(&w).Elem()
	for i := range a.NumField() {
		x, y := a.Field(i), b.Field(i)
		if x.Kind() == reflect.Slice && x.Len() == 0 && y.Len() == 0 && a.Type().Field(i).Name != "Columns" {
			continue
		}
		if !reflect.DeepEqual(x.Interface(), y.Interface()) {
			return difftest.Misread, fmt.Sprintf("%s: got %s, want %s", a.Type().Field(i).Name,
				show(got.Text, x.Interface()), show(got.Text, y.Interface()))
		}
	}
	return difftest.Equal, ""
}

// show prints a field, of a span also its text.
func show(text string, v any) string {
	if sp, ok := v.(sqltext.Span); ok && sp.Start >= 0 && sp.Start <= sp.End && sp.End <= len(text) {
		return fmt.Sprintf("%d:%d «%s»", sp.Start, sp.End, text[sp.Start:sp.End])
	}
	return fmt.Sprintf("%+v", v)
}
