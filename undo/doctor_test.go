package undo_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/globaltx/globaltx/driver/mysql"
	"github.com/globaltx/globaltx/driver/pgsql"
	"github.com/globaltx/globaltx/driver/sqlite"
	"github.com/globaltx/globaltx/undo"
)

func TestOwnTables(t *testing.T) {
	for _, d := range []undo.Dialect{mysql.Dialect{}, pgsql.Dialect{}, sqlite.Dialect{}} {
		t.Run(d.Name(), func(t *testing.T) {
			own := map[string][]string{}
			for _, table := range undo.OwnTables(d) {
				own[table.Name] = table.Columns
			}
			if n := strings.Count(strings.Join(d.Schema(), "\n"), "CREATE TABLE "); len(own) != n {
				t.Errorf("%d tables, the DDL makes %d: %v", len(own), n, own)
			}
			for table, want := range map[string][]string{
				"gtx_resource": {"one", "id", "version"},
				"gtx_branch":   {"xid", "branch", "mode", "state", "payload", "created"},
			} {
				if diff := cmp.Diff(want, own[table]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", table, diff)
				}
			}
			if got := strings.Join(own["gtx_undo"], " "); !strings.HasPrefix(got, "tbl keyh xid branch seq op before_img ") || !strings.HasSuffix(got, " schema_fp") {
				t.Errorf("gtx_undo: %s", got)
			}
		})
	}
}

func TestOwnStateJudge(t *testing.T) {
	full := func() undo.OwnState {
		s := undo.OwnState{Columns: map[string][]string{}, Lacks: map[string][]string{}}
		for _, table := range undo.OwnTables(sqlite.Dialect{}) {
			s.Columns[table.Name] = table.Columns
		}
		return s
	}
	cases := map[string]struct {
		change func(s *undo.OwnState)
		level  undo.Level
		text   string
	}{
		"there":             {func(*undo.OwnState) {}, undo.Info, "of the version of this gtx"},
		"none":              {func(s *undo.OwnState) { s.Columns = nil }, undo.Info, "made at first use"},
		"none, no CREATE":   {func(s *undo.OwnState) { s.Columns, s.Create = nil, "no way" }, undo.Fail, "and no way"},
		"some":              {func(s *undo.OwnState) { delete(s.Columns, "gtx_undo") }, undo.Info, "gtx_undo: made at first use"},
		"some, no CREATE":   {func(s *undo.OwnState) { delete(s.Columns, "gtx_undo"); s.Create = "no way" }, undo.Fail, "gtx_undo: not there"},
		"there, no CREATE":  {func(s *undo.OwnState) { s.Create = "no way" }, undo.Info, "of the version of this gtx"},
		"a column is older": {func(s *undo.OwnState) { s.Columns["gtx_undo"] = s.Columns["gtx_undo"][1:] }, undo.Fail, "no column gtx_undo.tbl"},
		"no privilege":      {func(s *undo.OwnState) { s.Lacks["gtx_undo"] = []string{"INSERT", "DELETE"} }, undo.Fail, "lacks INSERT, DELETE on gtx_undo"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := full()
			tc.change(&s)
			got := s.Judge(sqlite.Dialect{})
			if len(got) != 1 || got[0].Level != tc.level || !strings.Contains(got[0].Reason, tc.text) {
				t.Errorf("got %+v, want one %s with %q", got, tc.level, tc.text)
			}
		})
	}
}

func TestAccessJudge(t *testing.T) {
	all := undo.Access{Select: true, InsertSome: true, InsertAll: true, UpdateSome: true, UpdateAll: true, Delete: true}
	with := func(change func(a *undo.Access)) undo.Access {
		a := all
		change(&a)
		return a
	}
	cases := map[string]struct {
		a    undo.Access
		want string // what is lacking; "-" nothing, "read-only" by that name
	}{
		"everything":             {all, "-"},
		"nothing":                {undo.Access{}, "read-only"},
		"SELECT":                 {undo.Access{Select: true}, "read-only"},
		"no SELECT":              {with(func(a *undo.Access) { a.Select = false }), "SELECT on every column"},
		"INSERT, no DELETE":      {undo.Access{Select: true, InsertSome: true, InsertAll: true}, "DELETE"},
		"INSERT of one, DELETE":  {undo.Access{Select: true, InsertSome: true, Delete: true}, "INSERT on every column"},
		"UPDATE":                 {undo.Access{Select: true, UpdateSome: true, UpdateAll: true}, "-"},
		"UPDATE of one column":   {undo.Access{Select: true, UpdateSome: true}, "UPDATE on every column"},
		"UPDATE by reinserting":  {undo.Access{Select: true, UpdateSome: true, UpdateAll: true, Reinserts: true}, "INSERT on every column, DELETE"},
		"DELETE":                 {undo.Access{Select: true, Delete: true}, "INSERT on every column"},
		"no UPDATE":              {with(func(a *undo.Access) { a.UpdateSome, a.UpdateAll = false, false }), "-"},
		"no UPDATE, to lock":     {with(func(a *undo.Access) { a.UpdateSome, a.UpdateAll, a.LockByUpdate = false, false, true }), "UPDATE"},
		"UPDATE of one, to lock": {with(func(a *undo.Access) { a.UpdateAll, a.LockByUpdate = false, true }), "UPDATE on every column"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := "-"
			for _, f := range tc.a.Judge() {
				got = f.Name
				if f.Level == undo.Fail {
					_, got, _ = strings.Cut(f.Reason, " and lacks ")
					got, _, _ = strings.Cut(got, ", so what")
				}
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestShowName(t *testing.T) {
	for want, parts := range map[string][]string{
		`order`:            {"order"},
		`public.order`:     {"public", "order"},
		`"a.b".c`:          {"a.b", "c"},
		`"say ""hello"""`:  {`say "hello"`},
		"public.\"a`b\"":   {"public", "a`b"},
		`public."".naught`: {"public", "", "naught"},
	} {
		if got := undo.ShowName(parts...); got != want {
			t.Errorf("%q: got %s, want %s", parts, got, want)
		}
	}
}
