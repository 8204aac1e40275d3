package corpus

import (
	"slices"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// describe puts what the splitter says in the words of a Label.
func describe(st *sqltext.Statement) Label {
	l := Label{Kind: kindOf(st), Multi: st.Multi, Locking: st.Locking, Savepoint: st.Savepoint, Params: len(st.Placeholders)}
	for _, t := range st.Targets {
		l.Targets = append(l.Targets, Table{t.Name.Schema, t.Name.Table, t.Alias})
		l.has("only", t.Only)
		l.has("partition", present(t.Partition))
		l.has("indexhint", present(t.IndexHint))
	}
	for name, sp := range map[string]sqltext.Span{
		"from": st.From, "where": st.Where, "order": st.OrderBy, "limit": st.Limit, "returning": st.Returning,
		"lock": st.Lock, "overriding": st.Overriding, "rowalias": st.RowAlias, "on": st.On,
	} {
		l.has(name, present(sp))
	}
	slices.Sort(l.Clauses)
	for _, c := range st.CTEs {
		cte := CTE{Name: c.Name}
		if c.Write != nil {
			cte.Writes = kindOf(c.Write)
		}
		l.CTEs = append(l.CTEs, cte)
	}
	l.Set = columns(st.SetColumns)
	if st.Kind == sqltext.Insert {
		l.Source = map[sqltext.Source]string{
			sqltext.SourceValues: "values", sqltext.SourceSet: "set",
			sqltext.SourceDefaults: "defaults", sqltext.SourceQuery: "query",
		}[st.Source]
		l.Columns = st.Columns
		l.Rows = len(st.Rows)
		if st.Source == sqltext.SourceDefaults && l.Rows == 0 {
			l.Rows = 1
		}
	}
	l.Or = map[sqltext.Or]string{
		sqltext.OrIgnore: "ignore", sqltext.OrReplace: "replace", sqltext.OrAbort: "abort",
		sqltext.OrFailHere: "fail", sqltext.OrRollback: "rollback",
	}[st.Or]
	for _, u := range st.Upserts {
		set := columns(u.SetColumns)
		if u.Nothing == present(u.Set) || u.Nothing == (set != nil) {
			set = append(set, "Nothing contradicts Set") // no label says so
		}
		l.Upserts = append(l.Upserts, Upsert{Set: set})
	}
	for _, w := range st.Whens {
		l.Whens = append(l.Whens, When{matchWords[w.Match], actionWords[w.Kind]})
	}
	for _, p := range st.Parts {
		l.Parts = append(l.Parts, kindOf(p))
	}
	return l
}

func present(sp sqltext.Span) bool { return sp.End > sp.Start }

func (l *Label) has(clause string, is bool) {
	if is && !slices.Contains(l.Clauses, clause) {
		l.Clauses = append(l.Clauses, clause)
	}
}

func columns(cs []sqltext.Column) []string {
	var names []string
	for _, c := range cs {
		if c.Table != "" {
			c.Name = c.Table + "." + c.Name
		}
		names = append(names, c.Name)
	}
	return names
}

var matchWords = map[sqltext.Match]string{
	sqltext.Matched: "matched", sqltext.NotMatched: "notmatched", sqltext.NotMatchedBySource: "bysource",
}

var actionWords = map[sqltext.Kind]string{
	0: "nothing", sqltext.Insert: "insert", sqltext.Update: "update", sqltext.Delete: "delete",
}

func kindOf(st *sqltext.Statement) string {
	if st.Replace {
		return "replace"
	}
	return map[sqltext.Kind]string{
		sqltext.Select: "select", sqltext.Show: "show", sqltext.Explain: "explain", sqltext.Insert: "insert",
		sqltext.Update: "update", sqltext.Delete: "delete", sqltext.Merge: "merge", sqltext.Savepoint: "savepoint",
		sqltext.RollbackTo: "rollback-to", sqltext.Release: "release", sqltext.Several: "several",
	}[st.Kind]
}
