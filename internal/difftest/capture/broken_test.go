package capture

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/globaltx/globaltx/proxy/sqltext"
)

// damaged is Parse with one mistake in what it gives. The damage gets a copy of
// the statement whose slices it may replace, not write into.
func damaged(damage func(*sqltext.Statement)) parser {
	return func(text string, d sqltext.Dialect, m sqltext.Mode) (*sqltext.Statement, error) {
		st, err := sqltext.Parse(text, d, m)
		if err != nil {
			return nil, err
		}
		bad := *st
		damage(&bad)
		return &bad, nil
	}
}

// TestBrokenParserIsFound makes one kind of mistake at a time, and wants it seen.
func TestBrokenParserIsFound(t *testing.T) {
	faults := []struct {
		name   string
		damage func(*sqltext.Statement)
	}{
		{"the condition ends at its last AND", func(st *sqltext.Statement) {
			if i := strings.LastIndex(strings.ToUpper(st.Slice(st.Where)), " AND "); i > 0 {
				st.Where.End = st.Where.Start + i
			}
		}},
		{"no condition", func(st *sqltext.Statement) { st.Where = sqltext.Span{} }},
		{"arguments one too far", func(st *sqltext.Statement) {
			moved := make([]sqltext.Placeholder, len(st.Placeholders))
			copy(moved, st.Placeholders)
			for i := range moved {
				moved[i].Ordinal = moved[i].Ordinal%len(moved) + 1
				moved[i].Name = ""
			}
			st.Placeholders = moved
		}},
		{"no limit", func(st *sqltext.Statement) { st.Limit = sqltext.Span{} }},
		{"no order", func(st *sqltext.Statement) { st.OrderBy = sqltext.Span{} }},
		{"no partition", func(st *sqltext.Statement) {
			st.Targets = changed(st, func(t *sqltext.Table) { t.Partition = sqltext.Span{} })
		}},
		{"no ONLY", func(st *sqltext.Statement) { st.Targets = changed(st, func(t *sqltext.Table) { t.Only = false }) }},
		{"no alias", func(st *sqltext.Statement) { st.Targets = changed(st, func(t *sqltext.Table) { t.Alias = "" }) }},
		{"no other tables", func(st *sqltext.Statement) {
			if !st.Multi {
				st.From = sqltext.Span{}
			}
		}},
		{"one table of several", func(st *sqltext.Statement) { st.Targets = st.Targets[:1] }},
		{"no WITH", func(st *sqltext.Statement) { st.With = sqltext.Span{} }},
		{"no condition of an upsert", func(st *sqltext.Statement) {
			if len(st.Upserts) > 0 {
				up := st.Upserts[0]
				up.Where = sqltext.Span{}
				st.Upserts = []sqltext.Upsert{up}
			}
		}},
		{"a lost row of VALUES", func(st *sqltext.Statement) {
			if len(st.Rows) > 1 {
				st.Rows = st.Rows[1:]
			}
		}},
		{"no conditions of WHEN", func(st *sqltext.Statement) {
			whens := make([]sqltext.When, len(st.Whens))
			copy(whens, st.Whens)
			for i := range whens {
				whens[i].Cond = sqltext.Span{}
			}
			st.Whens = whens
		}},
	}
	// has says which dialects have what a fault is about; all where none is named.
	has := map[string][]sqltext.Dialect{
		"no limit":                  {sqltext.MySQL, sqltext.MariaDB},
		"no order":                  {sqltext.MySQL, sqltext.MariaDB},
		"no partition":              {sqltext.MySQL, sqltext.MariaDB},
		"one table of several":      {sqltext.MySQL, sqltext.MariaDB},
		"no ONLY":                   {sqltext.Postgres},
		"no conditions of WHEN":     {sqltext.Postgres},
		"no other tables":           {sqltext.Postgres, sqltext.SQLite},
		"no condition of an upsert": {sqltext.Postgres, sqltext.SQLite},
		"no WITH":                   {sqltext.MySQL, sqltext.Postgres, sqltext.SQLite},
	}
	for _, e := range engines {
		if e.m != (sqltext.Mode{}) || e.name == "postgres15" {
			continue
		}
		t.Run(e.name, func(t *testing.T) {
			for _, f := range faults {
				if ds := has[f.name]; ds != nil && !slices.Contains(ds, e.d) {
					continue
				}
				engine := Engine{Name: e.name, Dialect: e.d, DSN: e.dsn(t)}
				rep, err := run(context.Background(), engine, 1, share(e.d, 300), damaged(f.damage))
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%s: %d of %d unequal", f.name, rep.Unequal, rep.Statements)
				if rep.Unequal == 0 {
					t.Errorf("%s: not found", f.name)
				}
			}
		})
	}
}

// changed gives changed copies of the targets.
func changed(st *sqltext.Statement, change func(*sqltext.Table)) []sqltext.Table {
	all := make([]sqltext.Table, len(st.Targets))
	copy(all, st.Targets)
	for i := range all {
		change(&all[i])
	}
	return all
}
