package grammar

import (
	"testing"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// TestCovers holds that no form is lost from the generator unnoticed.
func TestCovers(t *testing.T) {
	everywhere := []string{
		"select", "insert", "update", "delete", "savepoint", "rollback-to", "release", "explain", "several", "with", "where", "schema",
		"alias", "upsert", "values", "query", "defaults", "placeholder", "function", "order-by", "limit",
	}
	family := []string{"multi", "set-source", "partition", "index-hint", "or", "replace", "show", "lock", "locking"}
	more := map[sqltext.Dialect][]string{
		sqltext.MySQL:    append(family[:len(family):len(family)], "row-alias"),
		sqltext.MariaDB:  append(family[:len(family):len(family)], "returning"),
		sqltext.Postgres: {"merge", "from", "returning", "overriding", "write-in-with", "only", "show", "lock", "locking", "nothing", "upsert-where", "upsert-target"},
		sqltext.SQLite:   {"from", "returning", "or", "replace", "index-hint", "nothing", "upsert-where", "upsert-target", "named"},
	}
	for _, v := range variants {
		if v.dialect == sqltext.SQLite {
			v.mode.UpdateDeleteLimit = true
		}
		seen := map[string]int{}
		g := v.generator(11)
		for range 6000 {
			features(seen, g.Next().Want)
		}
		for _, f := range append(everywhere[:len(everywhere):len(everywhere)], more[v.dialect]...) {
			if seen[f] == 0 {
				t.Errorf("%s: no text has %s", v.name, f)
			}
		}
	}
}

func features(seen map[string]int, st *sqltext.Statement) {
	kinds := map[sqltext.Kind]string{
		sqltext.Select: "select", sqltext.Insert: "insert", sqltext.Update: "update", sqltext.Delete: "delete", sqltext.Merge: "merge",
		sqltext.Savepoint: "savepoint", sqltext.RollbackTo: "rollback-to", sqltext.Release: "release", sqltext.Explain: "explain",
		sqltext.Show: "show", sqltext.Several: "several",
	}
	seen[kinds[st.Kind]]++
	sources := map[sqltext.Source]string{
		sqltext.SourceValues: "values", sqltext.SourceQuery: "query", sqltext.SourceDefaults: "defaults", sqltext.SourceSet: "set-source",
	}
	seen[sources[st.Source]]++
	empty := sqltext.Span{}
	for name, has := range map[string]bool{
		"with": st.With != empty, "where": st.Where != empty, "order-by": st.OrderBy != empty, "limit": st.Limit != empty, "from": st.From != empty,
		"returning": st.Returning != empty, "row-alias": st.RowAlias != empty, "overriding": st.Overriding != empty, "lock": st.Lock != empty,
		"upsert": len(st.Upserts) > 0, "placeholder": len(st.Placeholders) > 0, "function": len(st.Functions) > 0, "multi": st.Multi,
		"or": st.Or != sqltext.OrFail, "replace": st.Replace, "locking": st.Locking,
	} {
		if has {
			seen[name]++
		}
	}
	for _, t := range st.Targets {
		for name, has := range map[string]bool{
			"schema": t.Name.Schema != "", "alias": t.Alias != "", "only": t.Only, "partition": t.Partition != empty, "index-hint": t.IndexHint != empty,
		} {
			if has {
				seen[name]++
			}
		}
	}
	for _, u := range st.Upserts {
		for name, has := range map[string]bool{"nothing": u.Nothing, "upsert-where": u.Where != empty, "upsert-target": u.Target != empty} {
			if has {
				seen[name]++
			}
		}
	}
	for _, p := range st.Placeholders {
		if p.Name != "" {
			seen["named"]++
		}
	}
	for _, c := range st.CTEs {
		if c.Write != nil {
			seen["write-in-with"]++
		}
	}
}
