package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/globaltx/globaltx/internal/difftest/corpus"
	"github.com/globaltx/globaltx/internal/difftest/inject"
	"github.com/globaltx/globaltx/proxy/sqltext"
)

// labels holds every text of the corpus against its label.
func labels(r *inject.Report) {
	for _, e := range corpus.All() {
		for _, d := range e.Dialects {
			r.Texts++
			name := fmt.Sprintf("dialect%d", d)
			st, refusal, err := parse(e.Text, d, sqltext.Mode{})
			var detail string
			switch {
			case err != nil:
				detail = err.Error()
			case refusal != nil:
				r.AddRefused(inject.Labels, name, refusal.Code)
				detail = refused(e.Label, refusal.Code)
			case e.Label.Kind == corpus.Refused:
				detail = "must be refused"
			default:
				detail = differ(e.Label, st)
			}
			if detail != "" {
				r.AddWrong(inject.Labels, name, e.Text, detail)
			}
		}
	}
}

// refused says what is wrong with refusing a text; "" when nothing is.
func refused(l corpus.Label, code string) string {
	switch {
	case l.Kind != corpus.Refused && l.Except != code:
		return "refused with " + code
	case l.Kind == corpus.Refused && l.Code != "" && l.Code != code:
		return fmt.Sprintf("refused with %s, want %s", code, l.Code)
	}
	return ""
}

// differ tells what of a label the statement contradicts.
func differ(l corpus.Label, st *sqltext.Statement) string {
	var all []string
	same := func(what string, want, got any) {
		if w, g := fmt.Sprint(want), fmt.Sprint(got); w != g {
			all = append(all, fmt.Sprintf("%s: label %s, got %s", what, w, g))
		}
	}
	same("kind", l.Kind, kindName(st))
	if l.Params >= 0 {
		same("params", l.Params, len(st.Placeholders))
	}
	for _, call := range l.Calls {
		same("calls "+call, true, slices.Contains(st.Functions, call))
	}
	if st.Kind == sqltext.Explain { // what it explains is not run
		return strings.Join(all, "; ")
	}
	same("targets", l.Targets, targetNames(st))
	same("multi", l.Multi, st.Multi)
	same("locking", l.Locking, st.Locking)
	same("clauses", l.Clauses, clauses(st))
	same("set", l.Set, columns(st.SetColumns))
	same("columns", l.Columns, st.Columns)
	same("or", l.Or, orNames[st.Or])
	same("savepoint", l.Savepoint, st.Savepoint)
	if st.Kind == sqltext.Insert {
		same("source", l.Source, sourceNames[st.Source])
		rows := len(st.Rows)
		if st.Source == sqltext.SourceDefaults {
			rows = max(rows, 1)
		}
		same("rows", l.Rows, rows)
	}
	var ctes []corpus.CTE
	for _, c := range st.CTEs {
		cte := corpus.CTE{Name: c.Name}
		if c.Write != nil {
			cte.Writes = kindName(c.Write)
		}
		ctes = append(ctes, cte)
	}
	same("with", l.CTEs, ctes)
	var upserts []corpus.Upsert
	for _, u := range st.Upserts {
		same("upsert does nothing", !present(u.Set), u.Nothing)
		upserts = append(upserts, corpus.Upsert{Set: columns(u.SetColumns)})
	}
	same("upserts", l.Upserts, upserts)
	var whens []corpus.When
	for _, w := range st.Whens {
		whens = append(whens, corpus.When{Match: matchNames[w.Match], Action: actionNames[w.Kind]})
	}
	same("whens", l.Whens, whens)
	var parts []string
	for _, p := range st.Parts {
		parts = append(parts, kindName(p))
	}
	same("parts", l.Parts, parts)
	return strings.Join(all, "; ")
}

func targetNames(st *sqltext.Statement) []corpus.Table {
	var names []corpus.Table
	for _, t := range st.Targets {
		names = append(names, corpus.Table{Schema: t.Name.Schema, Table: t.Name.Table, Alias: t.Alias})
	}
	return names
}

// clauses gives the clauses that are there, as a label names them.
func clauses(st *sqltext.Statement) []string {
	there := map[string]bool{
		"from": present(st.From), "where": present(st.Where), "order": present(st.OrderBy), "limit": present(st.Limit),
		"returning": present(st.Returning), "lock": present(st.Lock), "overriding": present(st.Overriding),
		"rowalias": present(st.RowAlias), "on": present(st.On),
	}
	for _, t := range st.Targets {
		there["only"] = there["only"] || t.Only
		there["partition"] = there["partition"] || present(t.Partition)
		there["indexhint"] = there["indexhint"] || present(t.IndexHint)
	}
	maps.DeleteFunc(there, func(_ string, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(there))
}

func present(sp sqltext.Span) bool { return sp.End > sp.Start }

func columns(cs []sqltext.Column) []string {
	var names []string
	for _, c := range cs {
		names = append(names, strings.TrimPrefix(c.Table+"."+c.Name, "."))
	}
	return names
}

func kindName(st *sqltext.Statement) string {
	if st.Replace {
		return "replace"
	}
	return kindNames[st.Kind]
}

// The words of labels.
var (
	kindNames = map[sqltext.Kind]string{
		sqltext.Select: "select", sqltext.Show: "show", sqltext.Explain: "explain", sqltext.Insert: "insert",
		sqltext.Update: "update", sqltext.Delete: "delete", sqltext.Merge: "merge", sqltext.Savepoint: "savepoint",
		sqltext.RollbackTo: "rollback-to", sqltext.Release: "release", sqltext.Several: "several",
	}
	sourceNames = map[sqltext.Source]string{
		sqltext.SourceValues: "values", sqltext.SourceSet: "set",
		sqltext.SourceDefaults: "defaults", sqltext.SourceQuery: "query",
	}
	orNames = map[sqltext.Or]string{
		sqltext.OrIgnore: "ignore", sqltext.OrReplace: "replace", sqltext.OrAbort: "abort",
		sqltext.OrFailHere: "fail", sqltext.OrRollback: "rollback",
	}
	matchNames = map[sqltext.Match]string{
		sqltext.Matched: "matched", sqltext.NotMatched: "notmatched", sqltext.NotMatchedBySource: "bysource",
	}
	actionNames = map[sqltext.Kind]string{
		0: "nothing", sqltext.Insert: "insert", sqltext.Update: "update", sqltext.Delete: "delete",
	}
)
